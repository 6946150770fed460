"""SparseSwaps: the best exchange of a kept and a pruned weight in each row, again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import PositiveInt

from smc_eval.card import MethodCard
from smc_eval.methods.refinement import RefinedAfter, Refinement
from smc_eval.pruner import Pruner

if TYPE_CHECKING:
    from torch import Tensor

    from smc_eval.sparse.input_stats import Grams


class BestSwaps(Refinement):
    """Swaps one kept and one pruned weight of a row as long as the error of its outputs falls.

    Zimmer et al. (2025). The error of a row is (w - m w)^T G (w - m w) with the Gram matrix G of its inputs.
    Each step takes the best swap of all pairs, within the row or within a group of N:M. The search over pairs
    leaves out those that a bound excludes, so the result is that of the full search. It works on a copy of G
    in double precision, of one tensor at a time.
    """

    version: ClassVar[int] = 2  # before, G was not made symmetric, and the bound left out some best swaps

    swaps: PositiveInt
    """Most swaps of a row."""

    @classmethod
    def statistic(cls) -> type[Grams]:
        """Gram matrices: I x I x 4 bytes for a tensor of I inputs."""
        from smc_eval.sparse.input_stats import Grams

        return Grams

    def refine(
        self, weight_OI: Tensor, mask_OI: Tensor, within_OI: Tensor, total: Tensor, group: int | None
    ) -> Tensor:
        """The mask after the swaps."""
        from smc_eval.sparse.swaps import swapped

        return swapped(weight_OI, mask_OI, within_OI, total, group=group, most=self.swaps)

    def squares(self, total: Tensor) -> Tensor:
        """The diagonal of the Gram matrix."""
        return total.diagonal()

    def gram(self, total: Tensor) -> Tensor:
        """The Gram matrix itself."""
        return total


class SparseSwaps(RefinedAfter):
    """Train, make a first mask and swap weights within its rows, then train on with the whole recipe."""

    card: ClassVar[MethodCard] = MethodCard(
        name="sparseswaps",
        summary="best swaps within the rows of a first mask of the trained net, then the whole recipe again",
        source="Zimmer, Roux, Wagner, Hendrych & Pokutta (2025), SparseSwaps, arXiv:2512.10922",
        when="after",
        distribution="rows",
        criterion="least (w - m w)^T X^T X (w - m w) of each row, by best swaps",
        equals="none: ZIB-IOL/SparseSwaps b11decd has no code yet. Each step equals the best of all single "
        "swaps by brute force",
    )
    swaps: PositiveInt = 100
    """Most swaps of a row. It ends earlier when no swap reduces its error."""

    def pruner(self) -> Pruner:
        """The first mask, and its swaps."""
        return BestSwaps(
            batches=self.batches,
            calibrate=self.calibrate,
            memory=self.memory,
            start=self.start,
            swaps=self.swaps,
        )
