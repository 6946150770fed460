"""ALPS: one-shot pruning by ADMM, layer by layer, with new values for the remaining weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, PositiveInt

from smc_eval.card import MethodCard
from smc_eval.methods.layerwise import FromGrams, LayerwiseAfter
from smc_eval.pruner import Pruner

if TYPE_CHECKING:
    from torch import Tensor

    from smc_eval.sparse.input_stats import InputStats
    from smc_eval.sparse.quota import Quota


class SupportSearch(FromGrams):
    """Finds the weights of each tensor that can best make its outputs, and their values.

    Meng et al. (2024), algorithms 1 and 2; `smc_eval.sparse.admm`. Columns of a weight that are multiplied
    separately count as uncorrelated. Inputs of a convolution are unfolded. A tensor that no linear map uses
    keeps its largest magnitudes, without an update.
    """

    penalty: float = Field(0.1, gt=0)
    """First penalty of ADMM."""
    iterations: PositiveInt = 300
    """Iterations of ADMM, at most."""
    refinements: PositiveInt = 10
    """Steps of conjugate gradients on the support."""

    def solve(
        self, name: str, weight_OI: Tensor, within_OI: Tensor, stats: InputStats, quota: Quota
    ) -> tuple[Tensor, Tensor]:
        """The support of a tensor, and the values on it."""
        from smc_eval.sparse.admm import Search, admm

        assert isinstance(quota, int | tuple)  # it supports no distribution by rows
        search = Search(self.damping, self.penalty, self.iterations, self.refinements)
        return admm(weight_OI, within_OI, stats.bands(name), quota, search)


class Alps(LayerwiseAfter):
    """Train, prune and update the remaining weights, then train on with the whole recipe."""

    card: ClassVar[MethodCard] = MethodCard(
        name="alps",
        summary="ADMM with a limit on the weights of each layer, after training, then the whole recipe again",
        source="Meng et al. (2024), arXiv:2406.07831, algorithms 1 and 2",
        when="after",
        distributions=("uniform", "erk", "owl", "alpha"),
        distribution="uniform",
        criterion="(W - W₀) H (W - W₀)ᵀ, H of the inputs, minimized over all supports by ADMM",
        equals=(
            "mazumder-lab/ALPS 8af9e6b, ALPS_admm, same weights and Gram matrix: in double precision all "
            "mask bits in 47 of 48 layers (2 bits in one), values to 2e-4; in single precision all bits in "
            "43 of 48, up to 1.2 % in the others, where rounding decides when ADMM ends"
        ),
    )
    damping: float = Field(0.01, gt=0)
    """Added to the diagonal of the inputs' Gram matrix, as a share of its mean."""
    penalty: float = Field(0.1, gt=0)
    """First penalty of ADMM."""
    iterations: PositiveInt = 300
    """Iterations of ADMM, at most."""
    refinements: PositiveInt = 10
    """Steps of conjugate gradients on the support."""

    def pruner(self) -> Pruner:
        """The search for supports, layer by layer."""
        return SupportSearch(
            batches=self.batches,
            calibrate=self.calibrate,
            damping=self.damping,
            penalty=self.penalty,
            iterations=self.iterations,
            refinements=self.refinements,
            memory=self.memory,
        )
