"""DSnoT, dynamic sparse no training: rows prune and grow by the mean and variance of their inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, PositiveInt

from smc_eval.card import MethodCard
from smc_eval.methods.refinement import RefinedAfter, Refinement
from smc_eval.pruner import Pruner

if TYPE_CHECKING:
    from torch import Tensor

    from smc_eval.sparse.moments import GramsAndSums, PowerSums


class NoTraining(Refinement):
    """Grows by w E[x] / Var[x] and prunes by |w| ||x||, where the mean error E of a row gets smaller.

    Zhang et al. (2024). E is the sum of w E[x] over the pruned weights of a row, over all tokens. A cycle
    grows the pruned weight with the largest w E[x] / Var[x] of the sign of E, and prunes the kept weight of
    least |w| ||x|| whose w E[x] has the other sign. Under N:M the weight to prune is the one of least
    |w| ||x|| in the group of the grown one. The authors' code goes on when no such weight is left, with
    weights that do not reduce E or that are kept already; here the row ends, so that its count is exact.
    """

    cycles: PositiveInt
    """Most exchanges of a row."""
    threshold: float = Field(ge=0)
    """|E| at which a row ends."""
    power: float = Field(ge=0)
    """Power of the variance in the growth criterion."""

    @classmethod
    def statistic(cls) -> type[PowerSums]:
        """Rows, sums and sums of squares of the inputs."""
        from smc_eval.sparse.moments import PowerSums

        return PowerSums

    def refine(
        self, weight_OI: Tensor, mask_OI: Tensor, within_OI: Tensor, total: Tensor, group: int | None
    ) -> Tensor:
        """The mask after the exchanges."""
        from smc_eval.sparse.moments import moments
        from smc_eval.sparse.turnover import Turnover

        rule = Turnover(cycles=self.cycles, threshold=self.threshold, power=self.power, group=group)
        return rule.masks(weight_OI, mask_OI, within_OI, moments(total))

    def squares(self, total: Tensor) -> Tensor:
        """The sums of squares."""
        return total[2]


class NoTrainingOfGrams(NoTraining):
    """The same from Gram matrices, which `start=sparsegpt` needs."""

    @classmethod
    def statistic(cls) -> type[GramsAndSums]:
        """Power sums, and Gram matrices: 8 x I x I bytes for a tensor of I inputs."""
        from smc_eval.sparse.moments import GramsAndSums

        return GramsAndSums

    def gram(self, total: Tensor) -> Tensor:
        """The Gram matrix below the power sums."""
        return total[3:]


class DynamicSparseNoTraining(RefinedAfter):
    """Train, make a first mask and exchange weights within its rows, then train on with the whole recipe.

    The authors' code leaves out the feed-forward maps by default; here every tensor in scope is refined.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="dsnot",
        summary="rows of a first mask prune and grow by means and variances, then the whole recipe again",
        source="Zhang et al. (2024), DSnoT, arXiv:2310.08915",
        when="after",
        distribution="rows",
        criterion="grow by w E[x] / Var[x], prune by |w| times the norm of x, until |E| of the row is small",
        equals="zyxxmu/DSnoT 4c029df on the inputs of one example: all mask bits at 0.5, 0.7 and 0.9 from "
        "wanda, at 0.5 from magnitude, and at 2:4 and 4:8 from wanda. From magnitude its N:M prunes by |w| "
        "(0.2 % of the bits differ); where a group has none left to prune it loses count (1:4). It sums E "
        "over the tokens of an example (0.1 for 2,048 tokens is 4.9e-5 here) and takes the variance within "
        "examples. Its gram matrix of a start from sparsegpt stays 0",
    )
    cycles: PositiveInt = 50
    """Most exchanges of a row. Published for rows of 4,096 and more."""
    threshold: float = Field(0.1, ge=0)
    """Expected error of an output at which its row is done, as a mean over all tokens."""
    power: float = Field(1.0, ge=0)
    """Power of the variance in the growth criterion. 0 ignores the variance."""

    def pruner(self) -> Pruner:
        """The first mask, and its exchanges."""
        kind = NoTrainingOfGrams if self.start == "sparsegpt" else NoTraining
        return kind(
            batches=self.batches,
            calibrate=self.calibrate,
            memory=self.memory,
            start=self.start,
            cycles=self.cycles,
            threshold=self.threshold,
            power=self.power,
        )
