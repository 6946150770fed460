"""Wanda: one-shot pruning by weights and activations."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from smc_eval.card import MethodCard
from smc_eval.errors import SparsityError
from smc_eval.methods.layerwise import Layerwise, LayerwiseAfter
from smc_eval.pruner import Probe, Pruner, masks
from smc_eval.target import Distribution, Target

if TYPE_CHECKING:
    from torch import Tensor

    from smc_eval.sparse.input_stats import InputStats, Squares
    from smc_eval.sparse.quota import Quota
    from smc_eval.sparse.tensors import Masks


class WandaScore(Layerwise):
    """|w_ij| ||x_j||: weight times the norm of its input over all tokens. Sun et al. (2024), equation 1.

    A kernel of a convolution is a row over the unfolded inputs. A weight that no linear map uses, such as
    a lookup table, has inputs of norm 1, so its magnitude decides. By default saliencies are compared
    within each output, also under `owl` and `alpha`. Under `global` and `lamp` all tensors are compared, so
    all inputs come from the net as it is.
    """

    version: ClassVar[int] = 3  # block by block; under `owl` a ratio for each block, within rows

    by_rows: ClassVar[tuple[Distribution, ...]] = ("rows", "owl", "alpha")

    @classmethod
    def statistic(cls) -> type[Squares]:
        """Sums of squares."""
        from smc_eval.sparse.input_stats import Squares

        return Squares

    def solve(
        self, name: str, weight_OI: Tensor, within_OI: Tensor, stats: InputStats, quota: Quota
    ) -> tuple[Tensor, None]:
        """The mask of the highest saliencies; no new values."""
        from smc_eval.sparse.quota import chosen

        saliency_OI = stats.matrix(name, saliency(stats, name))
        return chosen(saliency_OI, within_OI, quota), None

    def prune(self, probe: Probe, target: Target) -> Masks:
        """Masks of the highest saliencies. Under `rows`, the columns of `x @ weight` are its outputs."""
        if target.distribution in ("global", "lamp"):
            if self.calibrate == "sequential":
                probe.note(
                    f"distribution {target.distribution} compares all tensors, so all of them saw the inputs "
                    "of the net before pruning (calibrate=once)"
                )
        elif self.calibrate == "sequential":
            return super().prune(probe, target)
        return self._at_once(probe, target)

    def _at_once(self, probe: Probe, target: Target) -> Masks:
        """Masks by the inputs of the net as it is, in one pass."""
        from smc_eval.sparse.allocate import budgets
        from smc_eval.sparse.quota import RowQuota, chosen

        squares = self.statistic()(probe.weights, probe.weights.keys())
        probe.inputs(self.batches, squares)
        squares.refuse_pattern(target.pattern)
        within = probe.masks
        scores = {name: saliency(squares, name) for name in probe.weights}
        if target.distribution not in self.by_rows:
            return masks(scores, target, within=within, shards=probe.shards, weights=probe.weights)
        shapes = {name: tuple(score.shape) for name, score in scores.items()}
        counts = budgets(shapes, target, within, scores, weights=probe.weights)
        chosen_OI = {
            name: chosen(
                squares.matrix(name, score), squares.matrix(name, within[name]), RowQuota(counts[name])
            )
            for name, score in scores.items()
        }
        return {name: squares.shaped(name, mask_OI) for name, mask_OI in chosen_OI.items()}


def saliency(stats: InputStats, name: str) -> Tensor:
    """Magnitudes of a tensor times the norms of its inputs.

    Raises:
        SparsityError: a product is not finite.
    """
    from smc_eval.sparse.given_tensors import is_finite
    from smc_eval.sparse.input_stats import Squares

    assert isinstance(stats, Squares)
    values = stats.scaled(name)
    if not is_finite(values):
        raise SparsityError(
            f"the weights of {name!r} times their inputs are not finite; train with a lower lr"
        )
    return values


class Wanda(LayerwiseAfter):
    """Train, prune the weights that contribute least to each output, then train on with the whole recipe."""

    card: ClassVar[MethodCard] = MethodCard(
        name="wanda",
        summary="magnitude times input norm of the trained net, per output row, then the whole recipe again",
        source="Sun et al. (2024), arXiv:2306.11695, equation 1",
        when="after",
        distribution="rows",
        criterion="|w| times the norm of its input, within each row",
        equals=(
            "locuslab/wanda 8e8fc87: no mask bit differs (a Llama of 4 blocks, 0.5 and 0.75); with "
            "calibrate=once 3.8 % and 6.0 % do. With --distribution owl luuyin/OWL dddb7a4: 1.8 % of the "
            "bits differ at 0.5, 2.9 % at 0.7, 5.3 % at 0.95. Its code lets a block leave S ± 0.08 (at 0.95 "
            "it empties one) and prunes less than asked; here ratios stay within S ± 0.08, counts are exact"
        ),
    )

    def pruner(self) -> Pruner:
        """Magnitude times input norm."""
        return WandaScore(batches=self.batches, calibrate=self.calibrate, memory=self.memory)
