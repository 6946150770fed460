"""Observed methods: they do the same as another method, and log what its updaters do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from pydantic import PrivateAttr
from torch import Tensor

from smc_eval.card import MethodCard
from smc_eval.method import Method
from smc_eval.stages import Stage, Train
from smc_eval.target import Target
from smc_eval.updater import StepView, Updater


@dataclass
class UpdaterLog:
    """What an updater did in one training."""

    updater: Updater
    size: int
    """Number of weights in scope."""
    first_density: float
    """Density before the first step."""
    densities: list[float] = field(default_factory=list)
    """Density after each step."""
    gradient_steps: list[int] = field(default_factory=list)
    """Steps at which it read the gradients."""
    nonzero_growth: list[str] = field(default_factory=list)
    """Tensors in which a regrown weight did not start at zero; always empty for a soft updater."""


class ObservedMethod(Method):
    """A method that does the same as another, with a log of each of its updaters."""

    method: Method
    _logs: list[UpdaterLog] = PrivateAttr(default_factory=list)

    @property
    def card(self) -> MethodCard:  # type: ignore[override]
        """The card of the other method."""
        return self.method.card

    @property
    def logs(self) -> Sequence[UpdaterLog]:
        """One log for each training under an updater, so far."""
        return self._logs

    def accept(self, target: Target) -> None:
        self.method.accept(target)

    def plan(self, target: Target) -> Iterator[Stage]:
        """The plan of the other method, with observed updaters."""
        for stage in self.method.plan(target):
            if isinstance(stage, Train) and stage.updater:
                yield stage.model_copy(update={"updater": observed(stage.updater, self._logs)})
            else:
                yield stage


class ObservedUpdater(Updater):
    """An updater that does the same as another, and logs it."""

    inner: Updater
    _logs: list[UpdaterLog] = PrivateAttr(default_factory=list)

    def logging_to(self, logs: list[UpdaterLog]) -> Self:
        """The updater itself. It appends its logs to this list."""
        self._logs = logs
        return self

    def init(self, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        size = sum(mask.numel() for mask in masks.values())
        self._logs.append(UpdaterLog(self.inner, size, unpruned_count(masks) / size))
        return self.inner.init(weights, masks)

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        log = self._logs[-1]
        before = {name: mask.clone() for name, mask in view.masks.items()}
        state = self.inner.update(ObservedView(view, log), state)
        masks, weights = view.masks, view.weights
        log.densities.append(unpruned_count(masks) / log.size)
        if not self.inner.soft:  # regrown weights of a soft updater have their old values
            log.nonzero_growth += [
                name for name, mask in masks.items() if weights[name][mask & ~before[name]].any()
            ]
        return state

    def densities(self, steps: int, density: float) -> Iterable[tuple[int, float]] | None:
        return self.inner.densities(steps, density)

    def dense_gradient_steps(self, steps: int) -> Sequence[int]:
        return self.inner.dense_gradient_steps(steps)


class ObservedView:
    """A view that logs the steps at which gradients are read."""

    def __init__(self, view: StepView, log: UpdaterLog) -> None:
        self._view, self._log = view, log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._view, name)

    @property
    def grads(self) -> Mapping[str, Tensor]:
        """The gradients of the step."""
        self._log.gradient_steps.append(self._view.step)
        return self._view.grads


def observed(updater: Updater, logs: list[UpdaterLog]) -> ObservedUpdater:
    """An updater that does the same as another, and appends its logs to a list."""
    traits = {name: getattr(updater, name) for name in ("soft", "straight_through", "shardable")}
    kind = type("ObservedUpdater", (ObservedUpdater,), {"__module__": __name__, **traits})
    observer: ObservedUpdater = kind(inner=updater)
    return observer.logging_to(logs)


def unpruned_count(masks: Mapping[str, Tensor]) -> int:
    """Number of unpruned weights over all masks."""
    return sum(int(mask.sum()) for mask in masks.values())


def density_after_each_step(first: float, steps: int, changes: Mapping[int, float]) -> list[float]:
    """The density after each step, from the first density and the announced changes by step."""
    density, densities = first, list[float]()
    for step in range(steps):
        density = changes.get(step, density)
        densities.append(density)
    return densities
