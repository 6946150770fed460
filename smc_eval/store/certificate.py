"""The Certificate: the engine's own checks and counts of a net that was scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

RECORD_CONFIG = ConfigDict(extra="forbid", allow_inf_nan=False)
"""Records have exactly their fields; the JSON Schema has the docstrings of these."""


Share = Annotated[float, Field(ge=0, le=1)]
"""A part of a whole, as a sparsity is."""

Count = Annotated[int, Field(ge=0, le=10**30)]
"""How many. More than the limit is no count of anything, and no float."""


@dataclass(frozen=True)
class StoredBytes:
    """Bytes of all parameters in three storage formats."""

    __pydantic_config__ = RECORD_CONFIG

    dense: Count
    """Every value, also those that are pruned."""
    bitmask: Count
    """Unpruned values, and one bit for each weight in scope."""
    csr: Count
    """Compressed sparse rows."""


@dataclass(frozen=True)
class WeightChange:
    """‖w − w₀‖ / ‖w₀‖ from the start of the chain to its end; None where w₀ is zero."""

    __pydantic_config__ = RECORD_CONFIG

    scope: float | None
    """Over all weights in scope."""
    scope_remaining: float | None
    """Over the unpruned weights in scope."""
    tensors: Mapping[str, float | None]
    """Over the weights of each tensor in scope."""
    tensors_remaining: Mapping[str, float | None]
    """Over the unpruned weights of each tensor in scope."""


@dataclass(frozen=True)
class UnitCount:
    """Heads or neurons in scope."""

    __pydantic_config__ = RECORD_CONFIG

    kind: Literal["heads", "neurons"]
    """Which of them."""
    remaining: Count
    """Those that are not pruned."""
    expected: Count
    """As many as the target demands."""
    total: Count
    """All of the dense net."""


@dataclass(frozen=True)
class Certificate:
    """The checks of the net that was scored, and the counts they were made of."""

    __pydantic_config__ = RECORD_CONFIG

    ok: bool
    """Whether every check passed."""
    failed: tuple[str, ...]
    """Each check that failed, in words."""
    asked: Share | None
    """Sparsity that was asked, of the weights or of the units; None for custom masks."""
    reached: Share
    """Sparsity of the scope."""
    remaining: Count
    """Unpruned weights in scope."""
    expected: Count
    """Unpruned weights that the target demands; where units are pruned, the weights of those that remain."""
    in_scope: Count
    """Weights in scope."""
    largest_under_mask: float
    """Largest absolute value under a mask; must be 0."""
    revived: Count
    """Weights under masks that are not zero; must be 0."""
    finite: bool
    """Whether every parameter is a finite number."""
    misfits: tuple[str, ...]
    """Tensors that break the N:M pattern, or in which units are pruned in part."""
    tensors: Mapping[str, Share]
    """Sparsity of each tensor in scope."""
    dead_tensors: tuple[str, ...]
    """Tensors without any unpruned weight."""
    dead_units: Mapping[str, tuple[int, int]]
    """Rows and columns without any unpruned weight, of tensors that have some."""
    mask_digest: str
    """SHA-256 of all masks, with the names and shapes of their tensors."""
    mask_changes: int
    """How often masks changed along the chain."""
    regrown: int
    """Weights that came back along the chain."""
    bytes: StoredBytes
    moved: WeightChange
    effective: float | None
    """Sparsity if weights that lie on no path from input to output count as pruned; None where unknown."""
    effective_tensors: Annotated[Mapping[str, float] | None, Field(exclude_if=lambda v: v is None)] = None
    """The same of each tensor."""
    fan_in: Annotated[Mapping[str, tuple[int, int]] | None, Field(exclude_if=lambda v: v is None)] = None
    """Smallest and largest number of unpruned weights of the rows of each tensor that have some, where the
    method promises a constant fan-in: then they differ by 1 at most."""
    unused: Annotated[tuple[str, ...], Field(exclude_if=lambda v: not v)] = ()
    """Matrices that the dense net does not use in this task; they are in no scope."""
    units: Annotated[UnitCount | None, Field(exclude_if=lambda v: v is None)] = None
    """The heads or neurons, where these are pruned whole."""
    effective_unknown: Annotated[str | None, Field(exclude_if=lambda v: v is None)] = None
    """Why the effective sparsity is unknown."""
