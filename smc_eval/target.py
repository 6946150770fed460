"""A Target: how sparse, in which pattern, spread how, over which tensors."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from smc_eval.errors import UsageError
from smc_eval.spec import OmitDefault, Spec

Distribution = Literal["global", "uniform", "rows", "erk", "lamp", "owl"]
Scope = Literal["body", "all-2d"]

REGEX = "re:"
"""Begins a pattern that is a regular expression, as in llm-compressor."""

SMC_GRID: tuple[float, ...] = tuple(1 - 0.8**k for k in range(1, 11))
"""The paper's ten sparsities, exactly: each drops a fifth of what the last one left."""


class Target(Spec):
    """What a method is asked to reach."""

    sparsity: float = Field(0.0, ge=0, lt=1)
    """Share of the weights in scope that is gone, in [0, 1)."""
    pattern: str = Field("free", pattern=r"^(free|[1-9][0-9]*:[1-9][0-9]*)$")
    """`free`, or `N:M`: of every M weights along a row, N stay."""
    distribution: Distribution = "global"
    """How the sparsity is spread over tensors: `global` compares all weights, `uniform` those of a tensor
    and `rows` those of a row, each with the same share; `erk` gives each tensor a share by its shape,
    `owl` by its outliers; `lamp` adapts saliencies to their tensor, then compares all. An N:M pattern
    fixes it to `uniform`."""
    scope: Scope = "body"
    """`body`: every weight of two or more dimensions but embeddings, what is tied to one, and
    the output layer of a fresh head. `all-2d`: the paper's, every weight of two or four dimensions."""

    include: Annotated[tuple[str, ...], OmitDefault()] = ()
    """Patterns of names: of the tensors in scope, only those that match one count; all where there is no
    pattern. See `matches`."""
    exclude: Annotated[tuple[str, ...], OmitDefault()] = ()
    """Patterns of names: tensors that match one do not count."""

    @field_validator("include", "exclude")
    @classmethod
    def _patterns_can_be_read(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            if pattern.startswith(REGEX):
                try:
                    re.compile(pattern.removeprefix(REGEX))
                except re.error as error:
                    raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
        return patterns

    @model_validator(mode="after")
    def _pattern_fixes_the_rest(self) -> Self:
        if self.pattern != "free":
            n, m = self.group
            if n >= m:
                raise ValueError(f"pattern {self.pattern!r} keeps {n} of {m}; N must be below M")
            if self.distribution != "uniform" or abs(self.sparsity - (1 - n / m)) > 1e-9:
                raise ValueError(
                    f"pattern {self.pattern!r} is uniform and {1 - n / m:g} sparse; "
                    f"found {self.distribution!r} and {self.sparsity:g}"
                )
        return self

    @property
    def group(self) -> tuple[int, int]:
        """N and M of an N:M pattern."""
        n, _, m = self.pattern.partition(":")
        return int(n), int(m)

    @property
    def density(self) -> float:
        """Share of the weights in scope that stays."""
        return 1 - self.sparsity

    @classmethod
    def parse(cls, word: str, distribution: Distribution = "global", scope: Scope = "body") -> Target:
        """A target from a word of the command line: `0.9` or `2:4`.

        Raises:
            UsageError: the word is neither a number in [0, 1) nor an N:M pattern with N < M.
        """
        if ":" in word:
            if not re.fullmatch(r"[1-9][0-9]*:[1-9][0-9]*", word):
                raise UsageError(f"sparsity {word!r} is no N:M pattern; write 2:4 to keep 2 of every 4")
            n, m = (int(part) for part in word.split(":"))
            if n >= m:
                raise UsageError(f"sparsity {word!r} keeps {n} of every {m}; N must be below M, as in 2:4")
            return cls(sparsity=1 - n / m, pattern=word, distribution="uniform", scope=scope)
        try:
            sparsity = float(word)
        except ValueError:
            raise UsageError(f"sparsity {word!r} is neither a number nor a pattern such as 2:4") from None
        if not 0 <= sparsity < 1:
            raise UsageError(
                f"sparsity {word} lies outside [0, 1); it is the share that is gone, 0.9 for 90 %"
            )
        return cls(sparsity=sparsity, distribution=distribution, scope=scope)

    def at(self, sparsity: float) -> Target:
        """The same target on the way there, at another sparsity.

        Of an N:M pattern that is the sparsest one with the same M that is no sparser: 3:4 stands
        between dense and 2:4, so that masks which follow each other can shrink group by group.
        """
        if self.pattern == "free":
            return self.replace(sparsity=sparsity)
        m = self.group[1]
        n = math.ceil(m * (1 - sparsity) - 1e-9)
        if n >= m:
            return self.replace(sparsity=0.0, pattern="free")
        return self.replace(sparsity=1 - n / m, pattern=f"{n}:{m}")

    def with_distribution(self, distribution: Distribution) -> Target:
        """The same target spread otherwise; an N:M pattern leaves no choice and stays as it is."""
        return self if self.pattern != "free" else self.replace(distribution=distribution)

    def dense(self) -> Self:
        """The target of a net that is not pruned: the same weights count."""
        return self.replace(sparsity=0.0, pattern="free", distribution="global")

    def replace(self, **fields: object) -> Self:
        """The same target with other fields, validated."""
        return type(self).model_validate({**dict(self), **fields})


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a pattern matches a parameter's name, or the name of the module that holds it.

    A pattern is a glob of the whole name: `*.q_proj`, `encoder.layer.[01].*`. After `re:` it is a
    regular expression that matches from the start of the name: `re:.*(query|key)`.
    """
    names = (name, name.rpartition(".")[0])
    return any(
        re.match(pattern.removeprefix(REGEX), one) if pattern.startswith(REGEX) else fnmatchcase(one, pattern)
        for pattern in patterns
        for one in names
    )
