"""Checkpoint zeros: sparsity, patterns and ties of a checkpoint, and zeros that it lost against another."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from smc_eval.engine.verify.tensor_files import TensorFiles
from smc_eval.errors import ModelError, SparsityError
from smc_eval.sparse.custom_masks import matched_names
from smc_eval.sparse.zeros import ZeroCounts, count_zeros

EMBEDDING = re.compile(r"(^|[._])(embed\w*|\w*embeddings?|wte|wpe|shared)([._]|$)")
"""A part of the names of embedding tables. Without the net, only the name tells them."""

OUTPUT_TABLE = re.compile(
    r"(^|\.)(lm_head|embed_out|output_projection|(cls\.predictions|lm_head)\.decoder)\.weight$"
)
"""Names of output layers that many nets tie to the table of input embeddings."""

MOST_EQUAL = 0.5
"""Share of equal values above which two tables were one, whatever the config says."""


@dataclass(frozen=True)
class Tie:
    """A table of input embeddings and an output layer of the same shape."""

    table: str
    output: str
    differing: int
    """Number of values that differ."""
    size: int
    broken: bool
    """Whether they should be one tensor: the config ties them, or most values are equal."""


@dataclass(frozen=True)
class LostZeros:
    """The zeros of one tensor of another checkpoint that are none here."""

    name: str
    before: int
    lost: int


@dataclass(frozen=True)
class ZerosAgainst:
    """A checkpoint against another, which had the zeros."""

    tensors: tuple[LostZeros, ...]
    """Of the tensors that had zeros."""
    missing: tuple[str, ...]
    """Tensors with zeros that are not here, have another shape, or are no floats here."""

    @property
    def lost(self) -> int:
        """Number of lost zeros."""
        return sum(tensor.lost for tensor in self.tensors)

    @property
    def before(self) -> int:
        """Number of zeros that there were, in tensors that can be compared."""
        return sum(tensor.before for tensor in self.tensors)


@dataclass(frozen=True)
class CheckpointZeros:
    """What the files of a checkpoint show."""

    tensors: Mapping[str, ZeroCounts]
    """Of all tensors of floats."""
    integers: tuple[str, ...]
    """Tensors of integers with two or more dimensions: without their scale, no zero can be told."""
    ties: tuple[Tie, ...]
    scope: tuple[str, ...] | None
    """The tensors with a mask, in a folder that smc-eval exported; else None."""
    revived: Mapping[str, int] = field(default_factory=dict)
    """Values under those masks that are not zero, by tensor; only tensors that have some."""
    comparison: ZerosAgainst | None = None

    def sparsity(self, which: str) -> float | None:
        """Share of zeros of the `scope`, the `weights` (matrices without embeddings) or `all` values."""
        chosen = list(self._chosen(which))
        size = sum(counts.size for counts in chosen)
        return sum(counts.zeros for counts in chosen) / size if size else None

    def _chosen(self, which: str) -> Iterator[ZeroCounts]:
        for name, counts in self.tensors.items():
            scoped = (
                name in self.scope if self.scope is not None else counts.zeros > 0 and is_matrix(name, counts)
            )
            if (
                which == "all"
                or (which == "weights" and is_matrix(name, counts))
                or (which == "scope" and scoped)
            ):
                yield counts

    @property
    def faults(self) -> tuple[str, ...]:
        """What makes the check fail, in words."""
        return tuple(self._faults())

    def _faults(self) -> Iterator[str]:
        if wrong := {name: counts.not_finite for name, counts in self.tensors.items() if counts.not_finite}:
            yield f"{sum(wrong.values())} values are not finite, in {_some(list(wrong))}"
        if self.revived:
            count, where = sum(self.revived.values()), _some(list(self.revived))
            yield f"{count} values under the masks of the folder are not zero, in {where}"
        for tie in self.ties:
            if tie.broken:
                differing = f"{tie.differing} of {tie.size} values differ"
                yield f"{tie.output!r} and {tie.table!r} should be one tensor, and {differing}"
        if self.comparison:
            if self.comparison.lost:
                tensors = [tensor.name for tensor in self.comparison.tensors if tensor.lost]
                lost, before = self.comparison.lost, self.comparison.before
                yield f"{lost} of {before} zeros were lost, in {_some(tensors)}"
            if self.comparison.missing:
                missing = self.comparison.missing
                yield f"{len(missing)} tensors with zeros cannot be compared: {_some(missing)}"

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return {
            "sparsity": {which: self.sparsity(which) for which in ("scope", "weights", "all")},
            "faults": list(self.faults),
            "tensors": {
                name: {**vars(counts), "sparsity": counts.sparsity} for name, counts in self.tensors.items()
            },
            "integers": list(self.integers),
            "ties": [vars(tie) for tie in self.ties],
            "revived": dict(self.revived),
            "against": None
            if self.comparison is None
            else {
                "zeros": self.comparison.before,
                "lost": self.comparison.lost,
                "tensors": {tensor.name: vars(tensor) for tensor in self.comparison.tensors},
                "missing": list(self.comparison.missing),
            },
        }


def is_matrix(name: str, counts: ZeroCounts) -> bool:
    """Whether a tensor is a matrix, and no embedding by its name."""
    return len(counts.shape) >= 2 and not EMBEDDING.search(name)


def checkpoint_zeros(
    files: TensorFiles,
    n: int,
    m: int,
    *,
    ties_by_config: bool | None = None,
    masks: Mapping[str, torch.Tensor] | None = None,
    against: TensorFiles | None = None,
) -> CheckpointZeros:
    """Count the zeros of a checkpoint.

    Args:
        files: its tensors.
        n: N of the pattern whose groups are counted.
        m: M of it.
        ties_by_config: whether its config ties input and output tables; None if it does not say.
        masks: the masks beside it, by name.
        against: the tensors of another checkpoint, which had the zeros.

    Raises:
        ModelError: there are no floats, or the other checkpoint has no tensor of the same name.
    """
    tensors, integers, revived = dict[str, ZeroCounts](), list[str](), dict[str, int]()
    for name, tensor in files.items():
        if not tensor.is_floating_point():
            integers += [name] if tensor.dim() >= 2 and tensor.dtype != torch.bool else []
            continue
        tensors[name] = count_zeros(tensor, n, m)
        mask = (masks or {}).get(name)
        if mask is not None and mask.shape == tensor.shape and (count := int(tensor[~mask].count_nonzero())):
            revived[name] = count
    if not tensors:
        raise ModelError(
            "it holds no tensors of floats; a packed or quantised checkpoint must be unpacked first"
        )
    return CheckpointZeros(
        tensors,
        tuple(integers),
        tuple(_ties(files, tensors, by_config=ties_by_config)),
        None if masks is None else tuple(masks),
        revived,
        compared(files, against) if against else None,
    )


def compared(files: TensorFiles, against: TensorFiles) -> ZerosAgainst:
    """Which zeros of another checkpoint are none here. Names may differ by a prefix.

    Raises:
        ModelError: no name fits.
    """
    try:
        names = matched_names(list(against.names), list(files.names))
    except SparsityError as error:
        raise ModelError(f"the two checkpoints cannot be compared: {error}") from None
    found, missing = list[LostZeros](), list[str]()
    for other, before in against.items():
        if not before.is_floating_point():
            continue
        zero = before.float() == 0 if before.element_size() == 1 else before == 0
        count = int(zero.sum())
        if not count or before.dim() < 2:
            continue
        after = files[names[other]] if other in names else None
        if after is None or after.shape != before.shape or not after.is_floating_point():
            missing.append(other)
            continue
        values = after.float() if after.element_size() == 1 else after
        found.append(LostZeros(names[other], count, int((values[zero] != 0).sum())))
    return ZerosAgainst(tuple(found), tuple(missing))


def _ties(files: TensorFiles, tensors: Mapping[str, ZeroCounts], *, by_config: bool | None) -> Iterator[Tie]:
    """The pairs of an input table and an output layer that are stored twice."""
    tables = [name for name in tensors if EMBEDDING.search(name) and name.endswith(".weight")]
    for output in (name for name in tensors if OUTPUT_TABLE.search(name)):
        for table in tables:
            if table == output or tensors[table].shape != tensors[output].shape:
                continue
            size = tensors[table].size
            equal = int((files[table] == files[output]).sum())
            differing = size - equal
            broken = bool(differing) and (by_config is True or equal > MOST_EQUAL * size)
            yield Tie(table, output, differing, size, broken)


def _some(names: list[str] | tuple[str, ...]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]!r}{more}"
