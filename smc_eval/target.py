"""A Target: sparsity, pattern, distribution and scope."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated, Literal, Self, cast

from pydantic import Field, field_validator, model_validator

from smc_eval.errors import UsageError
from smc_eval.spec import Json, OmitDefault, Spec

Distribution = Literal["global", "uniform", "rows", "erk", "lamp", "owl", "alpha"]
Scope = Literal["body", "all-2d"]

STRUCTURED_PATTERNS = ("heads", "neurons")
"""Patterns that prune whole units: attention heads, or neurons of hidden layers."""

STRUCTURED_DISTRIBUTIONS = ("global", "uniform")
"""Distributions of units over layers."""

REGEX = "re:"
"""Prefix of a name pattern that is a regular expression, as in llm-compressor."""

SMC_GRID: tuple[float, ...] = tuple(1 - 0.8**k for k in range(1, 11))
"""The ten sparsities of SMC-Bench, exactly: each prunes a fifth of the remaining weights."""


class Target(Spec):
    """The sparsity that a method must reach, and the weights that it counts.

    Every method must meet it exactly: the engine counts the weights and refuses a net that misses it.
    """

    sparsity: float = Field(0.0, ge=0, lt=1)
    """Share of the weights in scope that is pruned, in [0, 1)."""
    pattern: str = Field("free", pattern=r"^(free|heads|neurons|[1-9][0-9]*:[1-9][0-9]*)$")
    """`free` (unstructured), `N:M`: of every M consecutive weights of a row, N remain; or `heads` or
    `neurons`: whole attention heads, or whole neurons of hidden layers. The sparsity is then the share of
    heads or neurons, and only their weights are in scope."""
    distribution: Distribution = "global"
    """Distribution of the sparsity over the tensors. `global` compares all weights. `uniform` prunes the
    same share of each tensor, `rows` of each row. `erk` sets the share by the shape of the tensor
    (Erdős–Rényi kernel), `owl` by the outliers of its block, `alpha` by the spectra of its block. `lamp`
    compares all weights by saliencies that are scaled for each tensor. An N:M pattern is always
    `uniform`. Heads and neurons are compared over all layers (`global`), or each layer loses the same share
    (`uniform`)."""
    scope: Scope = "body"
    """Weights that are pruned and counted. `body`: every weight of two or more dimensions, except
    embeddings, weights tied to them, and the output layer of a new head. `all-2d`: every weight of two
    or four dimensions, as in SMC-Bench."""

    include: Annotated[tuple[str, ...], OmitDefault()] = ()
    """Name patterns: of the tensors in scope, only those that match one are pruned and counted. Empty means
    all. See `matches`."""
    exclude: Annotated[tuple[str, ...], OmitDefault()] = ()
    """Name patterns: tensors that match one are not pruned and not counted."""

    @field_validator("include", "exclude")
    @classmethod
    def _valid_patterns(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            if pattern.startswith(REGEX):
                try:
                    re.compile(pattern.removeprefix(REGEX))
                except re.error as error:
                    raise ValueError(f"{pattern!r} is not a valid regular expression: {error}") from None
        return patterns

    @model_validator(mode="after")
    def _pattern_agrees(self) -> Self:
        if self.is_n_m:
            n, m = self.group
            if n >= m:
                raise ValueError(f"pattern {self.pattern!r} keeps {n} of {m}; N must be below M")
            if self.distribution != "uniform" or abs(self.sparsity - (1 - n / m)) > 1e-9:
                raise ValueError(
                    f"pattern {self.pattern!r} is uniform and {1 - n / m:g} sparse; "
                    f"found {self.distribution!r} and {self.sparsity:g}"
                )
        return self

    def canonical(self) -> dict[str, Json]:
        """The canonical form of a Spec. `owl` has a version of its own, so others keep their digests."""
        form = super().canonical()
        return {**form, "version": 2} if self.distribution == "owl" else form  # 2: a ratio for each block

    @property
    def is_n_m(self) -> bool:
        """Whether the pattern is N of every M weights."""
        return ":" in self.pattern

    @property
    def is_structured(self) -> bool:
        """Whether whole units are pruned: heads or neurons."""
        return self.pattern in STRUCTURED_PATTERNS

    @property
    def units(self) -> Literal["heads", "neurons"]:
        """The kind of the units that are pruned whole."""
        assert self.is_structured
        return cast("Literal['heads', 'neurons']", self.pattern)

    @property
    def group(self) -> tuple[int, int]:
        """N and M of an N:M pattern."""
        n, _, m = self.pattern.partition(":")
        return int(n), int(m)

    @property
    def density(self) -> float:
        """Share of the weights in scope that remains: `1 - sparsity`."""
        return 1 - self.sparsity

    @classmethod
    def parse(cls, word: str, distribution: Distribution = "global", scope: Scope = "body") -> Target:
        """A target from the text on the command line: `0.9`, `2:4`, `heads:0.5` or `neurons:0.5`.

        Raises:
            UsageError: the text is neither a number in [0, 1) nor such a pattern; N:M needs N < M.
        """
        unit, _, share = word.partition(":")
        if unit in STRUCTURED_PATTERNS:
            free = cls.parse(share, distribution, scope)
            if free.is_n_m:
                raise UsageError(
                    f"sparsity {word!r} names two patterns; write {unit}:0.5 to prune half of them"
                )
            return free.replace(pattern=unit)
        if ":" in word:
            if not re.fullmatch(r"[1-9][0-9]{0,5}:[1-9][0-9]{0,5}", word):
                raise UsageError(f"sparsity {word!r} is not an N:M pattern; write 2:4 to keep 2 of every 4")
            n, m = (int(part) for part in word.split(":"))
            if n >= m:
                raise UsageError(f"sparsity {word!r} keeps {n} of every {m}; N must be below M, as in 2:4")
            return cls(sparsity=1 - n / m, pattern=word, distribution="uniform", scope=scope)
        try:
            sparsity = float(word)
        except ValueError:
            raise UsageError(
                f"sparsity {word!r} is neither a number nor a pattern such as 2:4 or heads:0.5"
            ) from None
        if not 0 <= sparsity < 1:
            raise UsageError(
                f"sparsity {word} lies outside [0, 1); it is the share of pruned weights, 0.9 for 90 %"
            )
        return cls(sparsity=sparsity + 0.0, distribution=distribution, scope=scope)

    def at(self, sparsity: float) -> Target:
        """The same target at another sparsity, as an intermediate step towards it.

        For an N:M pattern it is the sparsest pattern with the same M that is not sparser than requested:
        3:4 lies between dense and 2:4. Successive masks can thus shrink group by group.
        """
        if not self.is_n_m:
            return self.replace(sparsity=sparsity)
        m = self.group[1]
        n = math.ceil(m * (1 - sparsity) - 1e-9)
        if n >= m:
            return self.replace(sparsity=0.0, pattern="free")
        return self.replace(sparsity=1 - n / m, pattern=f"{n}:{m}")

    def with_distribution(self, distribution: Distribution) -> Target:
        """The same target with another distribution; an N:M pattern does not change."""
        return self if self.is_n_m else self.replace(distribution=distribution)

    def dense(self) -> Self:
        """The target of the unpruned net, with the same weights in scope."""
        return self.replace(sparsity=0.0, pattern="free", distribution="global")

    def replace(self, **fields: object) -> Self:
        """The same target with other field values, validated."""
        return type(self).model_validate({**dict(self), **fields})


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a pattern matches the name of a parameter or of its module.

    A pattern is a glob of the whole name: `*.q_proj`, `encoder.layer.[01].*`. After `re:` it is a
    regular expression that matches from the start of the name: `re:.*(query|key)`.
    """
    names = (name, name.rpartition(".")[0])
    for pattern in patterns:
        if pattern.startswith(REGEX):
            if any(re.match(pattern.removeprefix(REGEX), text) for text in names):
                return True
        elif any(fnmatchcase(text, pattern) for text in names):
            return True
    return False


def level_text(pattern: str, sparsity: str) -> str:
    """A pattern with its sparsity, as users type them: `0.9`, `2:4`, `heads:0.5`."""
    if pattern == "free":
        return sparsity
    return f"{pattern}:{sparsity}" if pattern in STRUCTURED_PATTERNS else pattern
