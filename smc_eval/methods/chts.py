"""CHTs and CHTss: prune small weights and grow links that the net's topology predicts, both by chance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from smc_eval.card import MethodCard
from smc_eval.method import Method
from smc_eval.methods.random import RandomSaliency
from smc_eval.methods.rewiring import Rewiring
from smc_eval.pruner import Probe, Pruner
from smc_eval.sparse.schedule import sigmoid
from smc_eval.stages import Prune, Stage, Train
from smc_eval.target import Target
from smc_eval.updater import StepView

if TYPE_CHECKING:
    from torch import Tensor

    from smc_eval.sparse.tensors import Masks

Predictor = Literal["ch2-l3n", "ch3-l3n", "ch2-l3p", "ch3-l3p"]
"""Link predictors on paths of length three: CH2 or CH3, summed over nodes or over paths."""

SLOPE = 6.0
"""Steepness of the density decay, k."""


class ReceptiveField(Pruner):
    """Random masks that prefer near nodes: the bipartite receptive field (BRF). Zhang et al. (2025)."""

    reads_batches: ClassVar[bool] = False

    randomness: float = Field(0.25, ge=0, le=1)
    """0 links the nearest nodes, 1 links any; r in the paper."""
    degrees: Literal["uniform", "fixed"] = "uniform"
    """`uniform`: the nodes of the shorter side of a tensor have random numbers of links, each at least one.
    `fixed`: they have equally many."""

    def prune(self, probe: Probe, target: Target) -> Masks:
        """Masks with the budgets of the tensors."""
        from smc_eval.sparse.allocate import budgets
        from smc_eval.sparse.receptive_field import receptive_field

        masks = probe.masks
        counts = budgets({name: tuple(mask.shape) for name, mask in masks.items()}, target)
        return {
            name: receptive_field(
                tuple(mask.shape),
                counts[name],
                self.randomness,
                probe.generator,
                equal=self.degrees == "fixed",
            ).to(mask.device)
            for name, mask in masks.items()
        }


class Topology(Rewiring):
    """At some steps, each tensor prunes small weights and grows the most likely links of its graph.

    Zhang et al. (2025). Which weights stay is drawn, with probabilities in proportion to |w| ** t. The power
    t rises in proportion to time, so chance counts less and less. Which weights grow is drawn too, in
    proportion to their link scores; see `smc_eval.sparse.link_scores`. They start at zero. A weight that is
    pruned and grows at the same change keeps its value. No gradient is used.

    With `initial`, the sparsity rises from there to the target by a sigmoid: each change first prunes the
    weights of least relative importance, and then exchanges weights.
    """

    title: ClassVar[str] = "topological mask updates"

    to: Target
    """The target, with a distribution that sets budgets."""
    initial: float | None = Field(None, ge=0, lt=1)
    """Sparsity before the first change, reached before the training. None: that of the target."""
    score: Predictor = "ch2-l3n"
    """The link predictor."""
    importance: Literal["magnitude", "relative"] = "magnitude"
    """What |w| is in the draw of the weights that stay: the magnitude, or the relative importance, which is
    the sum of the weight's shares in the magnitudes of its row and of its column."""
    draw: Literal["both", "pruned", "none"] = "both"
    """Whether chance decides: which weights are pruned and which grow, only the former, or none."""
    power: float = Field(1.0, gt=0)
    """Power of |w| at the first step."""
    last_power: float = Field(9.0, gt=0)
    """Power of |w| at `stop`."""

    def sparsity(self, step: int, steps: int) -> float:
        """The sparsity after the change at this step; that of the target after the last one."""
        changes = self.changes(steps)
        if self.initial is None or step == changes[-1]:
            return self.to.sparsity
        done = (changes.index(step) + 1) / len(changes)
        return sigmoid(self.initial, self.to.sparsity, done, SLOPE)

    def power_at(self, step: int, steps: int) -> float:
        """The power of |w| at this step: it rises in proportion to time, until `stop`."""
        return self.power + min(1.0, step / (self.stop * steps)) * (self.last_power - self.power)

    def changes(self, steps: int) -> range:
        """The steps at which the masks change. Under a density decay there is one at least."""
        return super().changes(steps) or range(steps - 1, steps if self.initial is not None else steps - 1)

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """At a change, new masks. The optimizer step is skipped then, as in the authors' code."""
        share = self.due(view.step, view.steps)
        if share is not None:
            counts = {name: int(mask.count_nonzero()) for name, mask in view.masks.items()}
            if self.initial is not None:
                counts = self._decayed(view)
            weights, masks = view.weights, view.masks
            view.set_masks(
                {name: self._rewired(view, weights[name], masks[name], share, counts[name]) for name in masks}
            )
            if view.step:
                view.skip()
        return state

    def densities(self, steps: int, density: float) -> Iterator[tuple[int, float]]:
        """The densities of its changes, under a density decay."""
        if self.initial is not None:
            for step in self.changes(steps):
                yield step, 1 - self.sparsity(step, steps)

    def _decayed(self, view: StepView) -> dict[str, int]:
        """Prune the weights of least relative importance in each tensor; returns the budgets of this step.

        A small tensor may have a weight less than its budget, where fractions were settled otherwise before.
        """
        from smc_eval.sparse.allocate import budgets
        from smc_eval.sparse.relative_importance import relative_importance
        from smc_eval.sparse.select import largest

        weights, masks = view.weights, view.masks
        counts = budgets(view.shards.shapes(masks), self.to.at(self.sparsity(view.step, view.steps)))
        view.set_masks(
            {
                name: largest(
                    {"": relative_importance(weights[name])},
                    min(counts[name], int(mask.count_nonzero())),
                    {"": mask},
                )[""]
                for name, mask in masks.items()
            }
        )
        return counts

    def _rewired(self, view: StepView, weight: Tensor, mask: Tensor, share: float, count: int) -> Tensor:
        """The next mask of a tensor, with `count` weights."""
        from smc_eval.sparse.link_scores import link_scores
        from smc_eval.sparse.regrow import drop_count, grown
        from smc_eval.sparse.relative_importance import relative_importance
        from smc_eval.sparse.select import largest
        from smc_eval.sparse.weighted_draw import drawn

        before = int(mask.count_nonzero())
        if before == count and count in {0, mask.numel()}:
            return mask
        remaining = before - drop_count(before, share)
        size = relative_importance(weight) if self.importance == "relative" else weight.abs()
        if self.draw == "none":
            stays = largest({"": size}, remaining, {"": mask})[""]
        else:
            power = self.power_at(view.step, view.steps)
            stays = drawn(size, mask, remaining, view.generator, power=power)
        rule, _, sum_over = self.score.partition("-l3")
        scores = link_scores(stays, internal=rule == "ch2", paths=sum_over == "p")
        grow = drawn if self.draw == "both" else grown
        return stays | grow(scores, ~stays, count - remaining, view.generator)


class CannistraciHebb(Method):
    """Start from a random net. During training, prune small weights and grow links by the net's topology.

    Written from the authors' code; of the paper, only the abstract was read. Their code rounds the number of
    pruned weights down, ours up. In some of their experiments, links of neurons without inputs or outputs
    are removed too, the start correlates with the data, or weights are initialized for a sparse net. Here
    each tensor stands for itself, and the model's own weights are kept.
    """

    score: Predictor = "ch2-l3n"
    """The link predictor: CH2 or CH3, summed over the nodes (n) or over the paths (p) of length three. Paths
    cost much more."""
    importance: Literal["magnitude", "relative"] = "magnitude"
    """Of which weights the small ones are pruned: `magnitude`, or `relative` to their rows and columns."""
    draw: Literal["both", "pruned", "none"] = "both"
    """Whether chance decides which weights are pruned and which grow, only the former, or neither: CHT."""
    start: Literal["brf", "random"] = "brf"
    """Links of the first net: a bipartite receptive field, or at random."""
    randomness: float = Field(0.25, ge=0, le=1)
    """Randomness of the receptive field: 0 links the nearest nodes, 1 links any."""
    last_power: float = Field(9.0, gt=0)
    """Weights stay with probabilities in proportion to a power of |w|, which rises from 1 to this. It is 9 in
    the authors' code for language models, and 3 in the earlier one for translation."""
    share: float = Field(0.3, gt=0, le=1)
    """Share of a tensor's weights that the first change prunes and grows."""
    end: float = Field(0.0, ge=0, le=1)
    """Share at `stop`; between them the share falls by a cosine."""
    stop: float = Field(0.75, gt=0, le=1)
    """Share of training after which the masks stay."""
    every: int = Field(100, ge=2)
    """Optimizer steps between two changes. In a short training fewer, so that there are six changes."""

    def first_sparsity(self, target: Target) -> float | None:
        """The sparsity at the start of training; None if it is the target's."""
        return None

    def plan(self, target: Target) -> Iterator[Stage]:
        """Prune at random, train under the updater."""
        initial = self.first_sparsity(target)
        by = ReceptiveField(randomness=self.randomness) if self.start == "brf" else RandomSaliency()
        yield Prune(by=by, to=target if initial is None else target.at(initial))
        yield Train(
            updater=Topology(
                to=target,
                initial=initial,
                score=self.score,
                importance=self.importance,
                draw=self.draw,
                last_power=self.last_power,
                share=self.share,
                end=self.end,
                stop=self.stop,
                every=self.every,
            )
        )


def chts_card(name: str, decay: str, equals: str) -> MethodCard:
    """The card of a method of this family."""
    return MethodCard(
        name=name,
        summary=f"Cannistraci-Hebb training with the soft rule{decay}, from a receptive field",
        source="Zhang et al. (2025), arXiv:2501.19107; CH3-L3: Zhang et al. (2024), "
        "https://openreview.net/forum?id=iayEcORsGd",
        when="during",
        patterns=("free",),
        distribution="uniform",
        distributions=("uniform", "erk"),
        criterion="prune small |w|, grow by CH2-L3n link scores, both drawn",
        equals=equals,
    )


class Chts(CannistraciHebb):
    """CHTs: Cannistraci-Hebb training with the soft rule, at the target's sparsity throughout."""

    card: ClassVar[MethodCard] = chts_card(
        "chts",
        "",
        "biomedical-cybernetics/Cannistraci-Hebb-training d1677b5, and its successor "
        "Cannistraci-Hebb-Training-Soft-Rule- 1f91f31: scores of 180 random masks, CH2 and CH3, by nodes "
        "and by paths, differ by less than 8e-7 of their size; draws and receptive fields agree in "
        "frequency (8,000 and 400 draws). The successor draws only what is pruned, and grows the highest "
        "scores, although it names the rule soft: here draw=pruned",
    )


class Chtss(CannistraciHebb):
    """CHTss: the same, while the density falls to the target by a sigmoid."""

    card: ClassVar[MethodCard] = chts_card(
        "chtss",
        " and a sigmoid density decay",
        "biomedical-cybernetics/Cannistraci-Hebb-Training-Soft-Rule- 1f91f31: as chts; the decay differs by "
        "less than 3e-16. There changes end at 0.75 of training and the decay at 0.8, so that it stops at "
        "0.8989 instead of 0.9; here both end at `stop`, at the target",
    )

    initial: float = Field(0.5, ge=0, lt=1)
    """Sparsity at the start of training, if the target's is not below it. It rises to the target until
    `stop`."""

    def first_sparsity(self, target: Target) -> float | None:
        """`initial`, or the target's if that is lower."""
        return min(self.initial, target.sparsity)
