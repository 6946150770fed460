"""The layout of a masked matrix: where its unpruned weights are, by rows and by columns.

Shapes: O outputs, I inputs, K unpruned weights.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

LARGEST_INDEX = 2**31 - 1


@dataclass(frozen=True)
class Order:
    """The unpruned weights of a matrix, row by row."""

    starts: Tensor
    """Place of the first one of each row, and K at the end; int32."""
    columns_K: Tensor
    """int32."""
    places_K: Tensor
    """Of each of them in the flat weight; int64."""
    shape: tuple[int, int]

    def values(self, weight: Tensor) -> Tensor:
        """The unpruned weights [K], read now."""
        return weight.detach().reshape(-1).index_select(0, self.places_K)

    def filled(self, values_K: Tensor) -> Tensor:
        """The matrix with these values, in compressed sparse rows."""
        return torch.sparse_csr_tensor(
            self.starts, self.columns_K, values_K, size=self.shape, check_invariants=False
        )

    @property
    def bytes(self) -> int:
        """Bytes of the indices."""
        return self.starts.nbytes + self.columns_K.nbytes + self.places_K.nbytes


class MaskLayout:
    """The places of the unpruned weights of a matrix W_OI. It holds no weight, so it is never out of date.

    A weight that is stored `turned`, as [I, O], has the same orders; only the places in it differ.
    """

    def __init__(self, mask: Tensor, *, turned: bool = False) -> None:
        """`mask` has the shape of the stored weight.

        Raises:
            ValueError: it is no matrix, or too large for indices of 32 bits.
        """
        if mask.ndim != 2 or mask.numel() > LARGEST_INDEX:
            raise ValueError(
                f"a layout is of a matrix with at most 2^31 - 1 weights, not {tuple(mask.shape)}"
            )
        self.mask, self.turned = mask, turned
        """The mask that it was made from."""
        stored, crossed = _order(mask), _order_of_columns(mask)
        self.by_output, self.by_input = (crossed, stored) if turned else (stored, crossed)
        """The orders of W_OI and of its transpose."""

    @property
    def outputs(self) -> int:
        return self.by_output.shape[0]

    @property
    def inputs(self) -> int:
        return self.by_output.shape[1]

    @property
    def count(self) -> int:
        """K, the number of unpruned weights."""
        return len(self.by_output.columns_K)

    @property
    def density(self) -> float:
        """Share of unpruned weights."""
        return self.count / max(1, self.mask.numel())

    @property
    def bytes(self) -> int:
        """Bytes of the indices of both orders."""
        return self.by_output.bytes + self.by_input.bytes

    def matrix(self, weight: Tensor) -> Tensor:
        """The weight, as stored, as a view W_OI."""
        return weight.detach().T if self.turned else weight.detach()

    def scattered(self, values_K: Tensor) -> Tensor:
        """A gradient in the shape of the stored weight: these values by outputs, and +0.0 elsewhere."""
        flat = values_K.new_zeros(self.mask.numel())
        flat.index_copy_(0, self.by_output.places_K, values_K)
        return flat.view(self.mask.shape)


def _order(mask: Tensor) -> Order:
    rows, columns = mask.shape
    places = mask.reshape(-1).nonzero().view(-1)
    return Order(_starts(mask.sum(1)), (places % columns).int(), places, (rows, columns))


def _order_of_columns(mask: Tensor) -> Order:
    """The order of the transpose; its places are still those in the mask."""
    rows, columns = mask.shape
    crossed = mask.T.reshape(-1).nonzero().view(-1)
    inner = crossed % rows
    places = inner * columns + torch.div(crossed, rows, rounding_mode="floor")
    return Order(_starts(mask.sum(0)), inner.int(), places, (columns, rows))


def _starts(counts: Tensor) -> Tensor:
    starts = torch.zeros(len(counts) + 1, dtype=torch.int32)
    starts[1:] = counts.cumsum(0)
    return starts


def _take_warning() -> None:
    """Let torch warn now, once for the process, that compressed rows are in beta."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        _order(torch.ones(1, 1, dtype=torch.bool)).filled(torch.ones(1))


_take_warning()
