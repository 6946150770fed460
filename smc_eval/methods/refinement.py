"""Refinement: another method makes the first mask, and each row then exchanges weights, as many as it has."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

from smc_eval.errors import UsageError
from smc_eval.methods.layerwise import Layerwise, LayerwiseAfter
from smc_eval.methods.omp import Magnitude
from smc_eval.methods.wanda import WandaScore
from smc_eval.pruner import Probe, Pruner
from smc_eval.target import Distribution, Target

if TYPE_CHECKING:
    from torch import Tensor

    from smc_eval.sparse.input_stats import InputStats
    from smc_eval.sparse.quota import Quota

Start = Literal["wanda", "magnitude", "ria", "sparsegpt"]
"""Methods that make a first mask. `sparsegpt` gives its mask alone: all weights keep their values."""

COMPARED: tuple[Distribution, ...] = ("global", "lamp")
"""Distributions that compare all tensors: there the first mask is that of the net as it is."""

COMPARABLE: tuple[Start, ...] = ("wanda", "magnitude")
"""First masks that these distributions have."""


class Refinement(Layerwise):
    """Exchanges weights of a first mask within the rows of each tensor, or within the groups of a pattern.

    The first mask is that of `start` under the target's distribution and for the same inputs. Its weights
    are then exchanged, so every row keeps the count that it has there. A row of inputs that were never seen
    keeps its first mask. No weight changes its value.
    """

    start: Start
    """Method that makes the first mask."""

    by_rows: ClassVar[tuple[Distribution, ...]] = ("rows", "owl")

    @abstractmethod
    def refine(
        self, weight_OI: Tensor, mask_OI: Tensor, within_OI: Tensor, total: Tensor, group: int | None
    ) -> Tensor:
        """The new mask of rows with the same inputs.

        Args:
            weight_OI: their weights.
            mask_OI: their first mask.
            within_OI: only weights that are True here can stay.
            total: what `statistic` has summed over their inputs.
            group: M of an N:M pattern; None if rows are the unit.
        """

    @abstractmethod
    def squares(self, total: Tensor) -> Tensor:
        """The sum of squares of each input, up to a factor, from what `statistic` has summed."""

    def quotas(self, probe: Probe, target: Target) -> dict[str, Quota]:
        """How many weights of each tensor stay; under `global` and `lamp`, the first mask itself."""
        from smc_eval.sparse.first_mask import FirstMask

        if target.is_n_m or target.distribution not in COMPARED:
            if self.start == "sparsegpt" and not target.is_n_m and target.distribution in self.by_rows:
                probe.note(
                    f"start=sparsegpt sets no budget for a row, so under distribution {target.distribution} "
                    "the rows of a tensor keep different shares"
                )
            return super().quotas(probe, target)
        by: Pruner = Magnitude()
        if self.start == "wanda":
            if self.calibrate == "sequential":
                probe.note(
                    f"distribution {target.distribution} compares all tensors, so the first mask is that of "
                    "the inputs of the net before pruning"
                )
            by = WandaScore(batches=self.batches, calibrate="once")
        return {name: FirstMask(int(mask.sum()), mask) for name, mask in by.prune(probe, target).items()}

    def solve(
        self, name: str, weight_OI: Tensor, within_OI: Tensor, stats: InputStats, quota: Quota
    ) -> tuple[Tensor, None]:
        """The refined mask of a tensor; no new values."""
        new_OI = self.first_mask(name, weight_OI, within_OI, stats, quota).clone()
        group = quota[1] if isinstance(quota, tuple) else None
        for rows, total in stats.bands(name):
            if total is not None:
                new_OI[rows] = self.refine(weight_OI[rows], new_OI[rows], within_OI[rows], total, group)
        return new_OI, None

    def first_mask(
        self, name: str, weight_OI: Tensor, within_OI: Tensor, stats: InputStats, quota: Quota
    ) -> Tensor:
        """The mask of `start`, as [O, I]."""
        from smc_eval.sparse.first_mask import FirstMask
        from smc_eval.sparse.quota import chosen
        from smc_eval.sparse.relative_importance import relative_importance

        if isinstance(quota, FirstMask):
            return stats.matrix(name, quota.mask)
        if self.start == "sparsegpt":
            return self.reconstructed(name, weight_OI, within_OI, stats, quota)
        score_OI = relative_importance(weight_OI) if self.start == "ria" else weight_OI.abs()
        if self.start != "magnitude":
            power = 0.25 if self.start == "ria" else 0.5  # of the squares: the root of the norm, or the norm
            for rows, total in stats.bands(name):
                if total is not None:
                    score_OI[rows] *= self.squares(total).pow(power).to(score_OI.dtype)
        return chosen(score_OI, within_OI, quota)

    def reconstructed(
        self, name: str, weight_OI: Tensor, within_OI: Tensor, stats: InputStats, quota: Quota
    ) -> Tensor:
        """The mask of SparseGPT with its published options. It sets no budget for a row."""
        from smc_eval.sparse.quota import RowQuota
        from smc_eval.sparse.reconstruct import reconstruct

        budget = quota.count if isinstance(quota, RowQuota) else quota
        bands = [(rows, None if total is None else self.gram(total)) for rows, total in stats.bands(name)]
        return reconstruct(weight_OI, within_OI, bands, budget, damping=0.01, block=128)[0]

    def gram(self, total: Tensor) -> Tensor:
        """The Gram matrix of the inputs, from what `statistic` has summed."""
        raise NotImplementedError


class RefinedAfter(LayerwiseAfter):
    """Train, make a first mask and refine it, then train on with the whole recipe."""

    start: Start = "wanda"
    """Method that makes the first mask. Of `sparsegpt` only the mask is taken: weights keep their values."""

    def accept(self, target: Target) -> None:
        """Refuse a first mask that the distribution does not have.

        Raises:
            UsageError: `start` has no mask under the target's distribution.
        """
        super().accept(target)
        if not target.is_n_m and target.distribution in COMPARED and self.start not in COMPARABLE:
            raise UsageError(
                f"start={self.start} compares no tensors, so it has no first mask under distribution "
                f"{target.distribution!r}; choose start={' or '.join(COMPARABLE)}, or --distribution rows"
            )
