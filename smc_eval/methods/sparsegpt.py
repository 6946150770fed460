"""SparseGPT: one-shot pruning that updates the remaining weights, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, PositiveInt

from smc_eval.card import MethodCard
from smc_eval.methods.one_shot import OneShotAfter
from smc_eval.methods.wanda import WandaScore
from smc_eval.pruner import Probe, Pruner
from smc_eval.target import Target

if TYPE_CHECKING:
    from torch import Tensor

    from smc_eval.sparse.tensors import Tensors


class Reconstruction(Pruner):
    """Prunes the weights whose removal changes the outputs least, and updates the others.

    Frantar & Alistarh (2023), algorithm 1. All layers see the inputs of the unpruned net. The published
    code instead gives each block the outputs of the pruned blocks before it. Columns of a weight that are
    multiplied separately count as uncorrelated. Inputs of a convolution are unfolded. A tensor that no
    linear map uses keeps its largest magnitudes, without an update.
    """

    version: ClassVar[int] = 2  # padding counted, and convolutions and `x @ weight` were not seen

    batches: PositiveInt = 32
    """Training batches that are run forward."""
    damping: float = Field(0.01, gt=0)
    """Added to the diagonal of the inputs' Gram matrix, as a share of its mean."""
    block: PositiveInt = 128
    """Columns that are compared with each other."""
    memory: PositiveInt = 1024
    """Mebibytes of Gram matrices at a time: I x I x 4 bytes for a tensor of I inputs. A net that needs more
    takes several passes over the batches. A single tensor can exceed the limit."""

    def prune(self, probe: Probe, target: Target) -> dict[str, Tensor]:
        """Masks that meet the budget of each tensor. The unpruned weights get new values."""
        from smc_eval.sparse.allocate import budgets
        from smc_eval.sparse.input_stats import Grams
        from smc_eval.sparse.reconstruct import reconstruct

        weights, within = probe.weights, probe.masks
        saliency = WandaScore(batches=self.batches).saliency(probe) if target.distribution == "owl" else None
        counts = budgets({name: tuple(w.shape) for name, w in weights.items()}, target, within, saliency)
        masks: dict[str, Tensor] = {}
        mended: dict[str, Tensor] = {}
        for names in self._sweeps(weights):
            grams = Grams(weights, names)
            probe.inputs(self.batches, grams)
            grams.refuse_pattern(target.pattern)
            for name in names:
                quota = target.group if target.is_n_m else counts[name]
                mask_OI, mended_OI = reconstruct(
                    grams.matrix(name, weights[name]),
                    grams.matrix(name, within[name]),
                    grams.bands(name),
                    quota,
                    damping=self.damping,
                    block=self.block,
                )
                masks[name], mended[name] = grams.shaped(name, mask_OI), grams.shaped(name, mended_OI)
        probe.mend(mended)
        return masks

    def _sweeps(self, weights: Tensors) -> Iterator[list[str]]:
        """Names of the tensors of each sweep: their Gram matrices fit into memory together."""
        names, room = list[str](), self.memory * 2**20
        for name, weight in weights.items():
            need = 4 * weight[0].numel() ** 2
            if names and need > room:
                yield names
                names, room = [], self.memory * 2**20
            names.append(name)
            room -= need
        if names:
            yield names


class SparseGPT(OneShotAfter):
    """Train, prune and update the remaining weights, then train on with the whole recipe."""

    card: ClassVar[MethodCard] = MethodCard(
        name="sparsegpt",
        summary="one-shot layer-wise reconstruction of the trained net, then the whole recipe again",
        source="Frantar & Alistarh (2023), arXiv:2301.00774, algorithm 1",
        when="after",
        distributions=("uniform", "erk", "owl"),
        distribution="uniform",
    )
    batches: PositiveInt = 32
    """Training batches that are run forward: with 4 examples a batch, 128 examples as published."""
    damping: float = Field(0.01, gt=0)
    """Added to the diagonal of the inputs' Gram matrix, as a share of its mean."""
    block: PositiveInt = 128
    """Columns that are compared with each other."""
    memory: PositiveInt = 1024
    """Mebibytes of Gram matrices at a time. A net that needs more takes several passes over the batches."""

    def pruner(self) -> Pruner:
        """Reconstruction, layer by layer."""
        return Reconstruction(
            batches=self.batches, damping=self.damping, block=self.block, memory=self.memory
        )
