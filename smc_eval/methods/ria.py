"""RIA: one-shot pruning by relative importance and activations, and an order of channels for N:M."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from smc_eval.card import MethodCard
from smc_eval.errors import UsageError
from smc_eval.methods.layerwise import Layerwise, LayerwiseAfter
from smc_eval.pruner import Probe, Pruner
from smc_eval.target import Target

if TYPE_CHECKING:
    from torch import Tensor

    from smc_eval.sparse.input_stats import InputStats, Squares
    from smc_eval.sparse.quota import Quota
    from smc_eval.sparse.tensors import Masks


class RelativeImportance(Layerwise):
    """(|w_ij| / sum of row i + |w_ij| / sum of column j) times the norm of input j to the power `exponent`.

    Zhang et al. (2024). The sums are of magnitudes. A kernel of a convolution is a row over the unfolded
    inputs. A weight that no linear map uses has inputs of norm 1.

    With `permute`, inputs are first put into an order in which the N:M pattern keeps more: `best_order`.
    The paper reorders the inputs of every map, and the outputs of the maps before, if need be by a change of
    the norms between. Here only hidden units are reordered, of which `Probe.hidden_inputs` knows that no
    other order changes the net; all other inputs stay where they are. The order follows the inputs of the net
    before pruning.
    """

    exponent: float = Field(0.5, ge=0)
    """Power of the input norm: a in the paper."""
    permute: bool = False
    """Reorder hidden units for the N:M pattern."""

    @classmethod
    def statistic(cls) -> type[Squares]:
        """Sums of squares."""
        from smc_eval.sparse.input_stats import Squares

        return Squares

    def prune(self, probe: Probe, target: Target) -> Masks:
        """Masks of the most important weights of each tensor, in the new order if there is one."""
        if self.permute and target.is_n_m:
            self._reorder(probe, target)
        return super().prune(probe, target)

    def solve(
        self, name: str, weight_OI: Tensor, within_OI: Tensor, stats: InputStats, quota: Quota
    ) -> tuple[Tensor, None]:
        """The mask of the most important weights; no new values."""
        from smc_eval.sparse.quota import chosen

        return chosen(self.importance(name, weight_OI, stats), within_OI, quota), None

    def importance(self, name: str, weight_OI: Tensor, stats: InputStats) -> Tensor:
        """The importance of each weight of a tensor."""
        import torch

        from smc_eval.sparse.relative_importance import relative_importance

        matrices = stats.matrices(name)  # those of a stack share no column
        importance_OI = (
            torch.cat([relative_importance(weight_OI[outputs]) for outputs in matrices])
            if len(matrices) > 1
            else relative_importance(weight_OI)
        )
        for outputs, squares_I in stats.bands(name):
            if squares_I is not None:
                importance_OI[outputs] *= (squares_I ** (self.exponent / 2)).to(importance_OI.dtype)
        return importance_OI

    def _reorder(self, probe: Probe, target: Target) -> None:
        """Give hidden units the order that the pattern fits best."""
        from smc_eval.sparse.channels import best_order

        names = probe.hidden_inputs()
        if names:
            stats = self.statistic()(probe.weights, names)
            probe.inputs(self.batches, stats)
            probe.reorder_hidden(
                {
                    name: best_order(self.importance(name, probe.weights[name], stats), *target.group)
                    for name in names
                }
            )
        probe.note(
            f"permute: the inputs of {len(names)} of {len(probe.weights)} tensors are hidden units and were "
            "reordered, so there the change from the initial weights compares different units"
        )


class Ria(LayerwiseAfter):
    """Train, prune by relative importance and activations, then train on with the whole recipe."""

    card: ClassVar[MethodCard] = MethodCard(
        name="ria",
        summary="weight as a share of its row and column, times root input norm, after training, then again",
        source='Zhang et al. (2024), "Plug-and-Play", ICLR: https://openreview.net/forum?id=Tr0lPx9woF',
        when="after",
        distributions=("uniform", "rows", "erk", "owl", "alpha"),
        distribution="uniform",
        criterion="(|w| / Σ row + |w| / Σ column) ‖x‖^½, within each tensor",
        equals=(
            "biomedical-cybernetics/Relative-importance-and-activation-pruning 7bc55b0, prune_ria, same "
            "weights and inputs: all mask bits at 2:4 and 4:8, also with permutation; its 1:4 prunes 1 of 4, "
            "and equals 3:4 here. At 0.5 to 0.9 all but the weight by which its threshold misses the count. "
            "It permutes every map, and its stored weights are not N:M; ours permutes hidden units alone"
        ),
    )
    exponent: float = Field(0.5, ge=0)
    """Power of the input norm."""
    permute: bool = False
    """For N:M patterns: first give hidden units (between the two maps of a feed-forward pair) the order in
    which the pattern keeps the most importance. The net computes the same."""

    def accept(self, target: Target) -> None:
        """Refuse `permute` without a pattern: an order of inputs changes nothing there."""
        super().accept(target)
        if self.permute and target.pattern == "free" and target.sparsity:
            raise UsageError(
                f"ria:permute=true orders inputs for an N:M pattern, and sparsity {target.sparsity:g} has "
                "none; leave permute out, or ask for a pattern such as --sparsity 2:4"
            )

    def pruner(self) -> Pruner:
        """Relative importance and activations."""
        return RelativeImportance(
            batches=self.batches,
            calibrate=self.calibrate,
            memory=self.memory,
            exponent=self.exponent,
            permute=self.permute,
        )
