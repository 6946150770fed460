"""Methods that are wrong in one way each."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from smc_eval.card import MethodCard
from smc_eval.method import Method
from smc_eval.methods.omp import Magnitude
from smc_eval.pruner import Criterion, Probe, Pruner, masks
from smc_eval.stages import Prune, Rewind, Stage, Train
from smc_eval.target import Target

COUNTER = itertools.count(1)


def card_of(name: str, **fields: object) -> MethodCard:
    """The card of a method of the tests."""
    return MethodCard.model_validate(
        {"name": name, "summary": name, "source": "none", "when": "before", **fields}
    )


class Pruning(Method):
    """Prunes twice to the same target, then trains: correct with a correct pruner."""

    card: ClassVar[MethodCard] = card_of("pruning")
    by: Pruner = Magnitude()

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Prune(by=Magnitude(), to=target)
        yield Prune(by=self.by, to=target)
        yield Train()


class PruningOnce(Pruning):
    """Prunes and trains."""

    card: ClassVar[MethodCard] = card_of("pruning-once")

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Prune(by=self.by, to=target)
        yield Train()


# Pruners


class RevivesWithValues(Pruner):
    """Unprunes weights, and gives them values by writing into the net."""

    revives: ClassVar[bool] = True

    def prune(self, probe: Probe, target: Target) -> dict[str, Tensor]:
        with torch.no_grad():
            for mask, weight in zip(probe.masks.values(), probe.weights.values(), strict=True):
                weight[~mask] = 10.0
        return masks({name: weight.abs() for name, weight in probe.weights.items()}, target)


class RevivesInSilence(Pruner):
    """Unprunes weights, and does not say `revives = True`."""

    def prune(self, probe: Probe, target: Target) -> dict[str, Tensor]:
        return masks({name: torch.zeros_like(weight) for name, weight in probe.weights.items()}, target)


class KeepsOneTooMany(Criterion):
    """Keeps one weight too many in each tensor."""

    def prune(self, probe: Probe, target: Target) -> dict[str, Tensor]:
        made = super().prune(probe, target)
        for mask in made.values():
            mask.view(-1)[(~mask.view(-1)).nonzero()[0]] = True
        return made

    def saliency(self, probe: Probe) -> dict[str, Tensor]:
        return {name: weight.abs() for name, weight in probe.weights.items()}


class DrawsUnseeded(Criterion):
    """Draws random numbers that no seed decides."""

    def saliency(self, probe: Probe) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(next(COUNTER))
        return {name: torch.rand(weight.shape, generator=generator) for name, weight in probe.weights.items()}


class DrawsTheSameForEverySeed(Criterion):
    """Seeds a generator of its own, so all seeds have one mask and no spread."""

    def saliency(self, probe: Probe) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(0)
        return {name: torch.rand(weight.shape, generator=generator) for name, weight in probe.weights.items()}


class WritesWeights(Criterion):
    """Sets the zeros itself, past torch's own count of writes."""

    def saliency(self, probe: Probe) -> dict[str, Tensor]:
        for weight in probe.weights.values():
            weight.data.numpy()[..., 0] = 0
        return {name: weight.abs() for name, weight in probe.weights.items()}


class MasksBothNamesOfATie(Criterion):
    """Gives the second name of a tied weight a mask of its own."""

    def prune(self, probe: Probe, target: Target) -> dict[str, Tensor]:
        made = super().prune(probe, target)
        return {**made, "out.weight": made["words.weight"].clone()} if "words.weight" in made else made

    def saliency(self, probe: Probe) -> dict[str, Tensor]:
        return {name: weight.abs() for name, weight in probe.weights.items()}


class PrunesOutsideTheScope(Criterion):
    """Prunes the embedding too, whatever the scope says."""

    def prune(self, probe: Probe, target: Target) -> dict[str, Tensor]:
        return {"words.weight": torch.ones(12, 8) > 0, **super().prune(probe, target)}

    def saliency(self, probe: Probe) -> dict[str, Tensor]:
        return {name: weight.abs() for name, weight in probe.weights.items()}


class RemembersEarlierCells(Criterion):
    """Adds up saliencies in a list of its class, over all cells of a process."""

    seen: ClassVar[dict[str, Tensor]] = {}

    def saliency(self, probe: Probe) -> dict[str, Tensor]:
        drawn = {name: torch.rand(w.shape, generator=probe.generator) for name, w in probe.weights.items()}
        for name, values in drawn.items():
            self.seen[name] = self.seen.get(name, torch.zeros_like(values)) * 3 % 1 + values
        return dict(self.seen)


class NotANumber(Criterion):
    """Divides zero by zero where a weight is pruned."""

    def saliency(self, probe: Probe) -> dict[str, Tensor]:
        return {name: weight / (probe.masks[name] * weight) for name, weight in probe.weights.items()}


class NeedsWholeGroups(Criterion):
    """Cuts each row into groups of four, and fails at a row of seven."""

    def saliency(self, probe: Probe) -> dict[str, Tensor]:
        groups = {name: weight.reshape(weight.shape[0], -1, 4) for name, weight in probe.weights.items()}
        return {name: (w / w.norm(dim=2, keepdim=True)).abs().flatten(1) for name, w in groups.items()}


# Plans


class PlanDiffers(Pruning):
    """Its plan differs each time."""

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Prune(by=Magnitude(), to=target)
        yield Train(length=next(COUNTER) % 7 + 1.0)


class PlanHasNoEnd(Pruning):
    """Trains and prunes in a loop that never ends."""

    def plan(self, target: Target) -> Iterator[Stage]:
        while True:
            yield Train()
            yield Prune(by=Magnitude(), to=target)


class PlanWritesAFile(Pruning):
    """Leaves a log in the working folder when it is planned."""

    def plan(self, target: Target) -> Iterator[Stage]:
        Path("wrong.log").write_text("planned", encoding="utf-8")
        yield from super().plan(target)


class PlanDraws(Pruning):
    """Draws from the global generator when it is planned."""

    def plan(self, target: Target) -> Iterator[Stage]:
        random.random()
        yield from super().plan(target)


class PlanChangesOptions(Pruning):
    """Keeps a history of its plans in an option."""

    history: list[str] = []  # noqa: RUF012  pydantic copies it

    def plan(self, target: Target) -> Iterator[Stage]:
        self.history.append(target.pattern)
        yield from super().plan(target)


class DigestHoldsAnAddress(Pruning):
    """Takes the text of an object as an option, with its address."""

    key: str = repr(object())


class NeverPrunes(Pruning):
    """Its card promises masks, and its plan makes none."""

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Train()


class RewindsToNowhere(Pruning):
    """Goes back to a net that no stage names."""

    def plan(self, target: Target) -> Iterator[Stage]:
        yield from super().plan(target)
        yield Rewind(to="early")
        yield Train()


class IgnoresThePattern(Pruning):
    """Prunes as many weights as N:M does, anywhere."""

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Prune(by=Magnitude(), to=target.replace(pattern="free"))
        yield Train()


class IgnoresTheDistribution(Pruning):
    """Compares all weights, whatever distribution is asked."""

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Prune(by=Magnitude(), to=target if target.is_n_m else target.replace(distribution="global"))
        yield Train()


class AcceptsEveryPattern(Pruning):
    """Accepts patterns that its card does not name."""

    card: ClassVar[MethodCard] = card_of("accepts-every-pattern", patterns=("free",))

    def accept(self, target: Target) -> None:
        """Nothing is refused."""


class AcceptsEveryScope(Pruning):
    """Accepts scopes that its card does not name."""

    card: ClassVar[MethodCard] = card_of("accepts-every-scope", scopes=("body",))

    def accept(self, target: Target) -> None:
        if target.is_structured:
            super().accept(target)


class AcceptsEveryDistribution(Pruning):
    """Accepts distributions that its card does not name."""

    card: ClassVar[MethodCard] = card_of("accepts-every-distribution", distributions=("global",))

    def accept(self, target: Target) -> None:
        super().accept(target if target.is_structured else target.with_distribution("global"))
