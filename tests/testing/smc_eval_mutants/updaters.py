"""Methods whose updaters are wrong in one way each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from smc_eval.card import MethodCard
from smc_eval.method import Method
from smc_eval.pruner import masks
from smc_eval.stages import Stage, Train
from smc_eval.target import Target
from smc_eval.updater import StepView, Updater
from smc_eval_mutants.methods import card_of


class HalfTime(Updater):
    """A correct updater: it prunes by magnitude after half of the steps, and reads no gradient."""

    to: Target = Target()

    def init(self, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {}

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        if view.step == view.steps // 2:
            self.change(view)
        return state

    def change(self, view: StepView) -> None:
        """Set the masks."""
        saliency = {name: weight.abs() for name, weight in view.weights.items()}
        view.set_masks(masks(saliency, self.to, within=view.masks, shards=view.shards))

    def densities(self, steps: int, density: float) -> Iterable[tuple[int, float]] | None:
        return [(steps // 2, self.to.density)]

    def dense_gradient_steps(self, steps: int) -> Sequence[int]:
        return ()


class Updating(Method):
    """Trains under one of the updaters."""

    card: ClassVar[MethodCard] = card_of("updating", when="during")
    updater: Updater = HalfTime()

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Train(updater=self.updater.model_copy(update={"to": target}))


class StopsShort(HalfTime):
    """Reaches half of the sparsity, and stops."""

    def change(self, view: StepView) -> None:
        saliency = {name: weight.abs() for name, weight in view.weights.items()}
        view.set_masks(masks(saliency, self.to.at(self.to.sparsity / 2), within=view.masks))

    def densities(self, steps: int, density: float) -> Iterable[tuple[int, float]] | None:
        return None


class WritesLate(HalfTime):
    """Scales the unpruned weights at one step, past torch's own count of writes."""

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        state = super().update(view, state)
        if view.step == 7:
            for weight in view.weights.values():
                weight.numpy()[...] *= 1.5
        return state


class LeaksThroughMomentum(HalfTime):
    """Lets weights grow back with the momentum that they had before they were pruned."""

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        if view.step not in (5, 9):
            return state
        optimizer: Any = view.optimizer  # type: ignore[attr-defined]
        parameters: Any = view.parameters  # type: ignore[attr-defined]
        moment = "exp_avg" if isinstance(optimizer, torch.optim.Adam) else "momentum_buffer"
        kept = {name: optimizer.state[weight][moment].clone() for name, weight in parameters.items()}
        order = {
            name: -weight.abs() if view.step == 9 else weight.abs() for name, weight in view.weights.items()
        }
        view.set_masks(masks(order, self.to))
        with torch.no_grad():
            for name, weight in parameters.items():
                optimizer.state[weight][moment].copy_(kept[name])
        return state

    def densities(self, steps: int, density: float) -> Iterable[tuple[int, float]] | None:
        return [(5, self.to.density)]


class PrunesByLocalGradients(HalfTime):
    """Decides by the gradients of one pass: those of its own rank, or of one accumulated part."""

    seen: ClassVar[dict[str, Tensor]] = {}

    def remask(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        if view.step == 0:
            self.seen.clear()
        for name, weight in view.parameters.items() if view.step == 0 else ():  # type: ignore[attr-defined]

            def see(gradient: Tensor, name: str = name) -> None:
                self.see(name, gradient.detach())

            weight.register_hook(see)
        return state

    def see(self, name: str, gradient: Tensor) -> None:
        """Keep the gradient of a pass."""
        self.seen[name] = gradient.clone()

    def change(self, view: StepView) -> None:
        saliency = {name: self.seen[name].abs() for name in view.weights}
        view.set_masks(masks(saliency, self.to, within=view.masks))


class AddsUpSizesOfPasses(PrunesByLocalGradients):
    """Adds up |g| of each accumulated pass, and not the gradients."""

    def see(self, name: str, gradient: Tensor) -> None:
        self.seen[name] = self.seen.get(name, torch.zeros_like(gradient)) + gradient.abs()


class CountsOutsideItsState(HalfTime):
    """Counts its steps in its class, so no checkpoint has them."""

    count: ClassVar[list[int]] = [0]

    def init(self, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self.count[0] = 0
        return {}

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        self.count[0] += 1
        if self.count[0] == 7:
            self.change(view)
        return state


class AnnouncesWrongDensities(HalfTime):
    """Announces the right density one step late."""

    def densities(self, steps: int, density: float) -> Iterable[tuple[int, float]] | None:
        return [(steps // 2 + 1, self.to.density)]


class ReadsGradientsInSecret(HalfTime):
    """Reads all gradients at each step, and announces none."""

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        assert view.grads
        return super().update(view, state)


class PrunesUnannounced(HalfTime):
    """Prunes at the last step, and announces no change."""

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        if view.step == view.steps - 1:
            self.change(view)
        return state

    def densities(self, steps: int, density: float) -> Iterable[tuple[int, float]] | None:
        return []


class AnnouncesBackwards(HalfTime):
    """Announces its changes in falling order."""

    def densities(self, steps: int, density: float) -> Iterable[tuple[int, float]] | None:
        return [(steps // 2, self.to.density), (0, density)]


class ReadsMoreGradients(HalfTime):
    """Reads the gradients of all weights, and announces those of unpruned ones."""

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        view.gradients_within({name: mask | True for name, mask in view.masks.items()})
        return super().update(view, state)


class LearnsBehindMasks(HalfTime):
    """Lets pruned weights learn at each step, and announces no step of dense gradients."""

    soft: ClassVar[bool] = True


class GivesNaN(HalfTime):
    """Sets gradients that are no numbers."""

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        view.set_gradients({name: weight * float("nan") for name, weight in view.weights.items()})
        return super().update(view, state)


class GivesRows(HalfTime):
    """Sets gradients of another shape."""

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        view.set_gradients({name: weight[:1] for name, weight in view.weights.items()})
        return super().update(view, state)


class WritesGradients(HalfTime):
    """Writes into the gradients of its view instead of setting others."""

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        for gradient in view.grads.values():
            gradient.mul_(2)
        return super().update(view, state)


class SetsBetweenSteps(HalfTime):
    """Sets gradients where there are none."""

    def remask(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        view.set_gradients(view.weights)
        return state


class PrunesBeforeTheFirstStep(HalfTime):
    """Prunes before the first step, and announces no change."""

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return state

    def remask(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        if view.step == 0:
            self.change(view)
        return state

    def densities(self, steps: int, density: float) -> Iterable[tuple[int, float]] | None:
        return []


class CountsBetweenSteps(HalfTime):
    """Counts the moments between its steps in its class, so no checkpoint has them."""

    count: ClassVar[list[int]] = [0]

    def init(self, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self.count[0] = 0
        return {}

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return state

    def remask(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        self.count[0] += 1
        if self.count[0] == 7:
            self.change(view)
        return state


class GrowsToOne(HalfTime):
    """Lets each tensor exchange a weight at the end, and writes a one into the regrown weight."""

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        super().update(view, state)
        if view.step == view.steps - 1:
            changed = {name: mask.clone() for name, mask in view.masks.items()}
            for mask in changed.values():
                flat = mask.view(-1)
                unpruned, pruned = flat.nonzero()[0], (~flat).nonzero()[0]
                flat[unpruned], flat[pruned] = False, True
            before = view.masks
            view.set_masks(changed)
            for name, weight in view.weights.items():
                weight[changed[name] & ~before[name]] = 1.0
        return state


class ReadsGradientsAtUnknownDensity(ReadsGradientsInSecret):
    """Reads all gradients at each step, announces none, and does not know its densities."""

    def densities(self, steps: int, density: float) -> Iterable[tuple[int, float]] | None:
        return None
