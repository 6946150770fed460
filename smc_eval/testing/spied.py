"""Spied: a method whose updaters leave a log of what they did."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import PrivateAttr
from torch import Tensor

from smc_eval.card import MethodCard
from smc_eval.method import Method
from smc_eval.stages import Stage, Train
from smc_eval.target import Target
from smc_eval.updater import StepView, Updater


@dataclass
class UpdaterLog:
    """One training under an updater, as it went."""

    updater: Updater
    size: int
    """Weights in scope."""
    densities: list[float] = field(default_factory=list)
    """Density of the net at the forward pass of each step."""
    read: list[int] = field(default_factory=list)
    """Steps at which the updater read gradients."""
    grown_above_zero: list[str] = field(default_factory=list)
    """Tensors in which a weight that grew back did not start at zero."""


class Spied(Method):
    """A method that does the same, with each of its updaters observed."""

    method: Method
    _logs: list[UpdaterLog] = PrivateAttr(default_factory=list)

    @property
    def card(self) -> MethodCard:  # type: ignore[override]
        """The method's own."""
        return self.method.card

    @property
    def logs(self) -> Sequence[UpdaterLog]:
        """One for each training under an updater, so far."""
        return self._logs

    def accept(self, target: Target) -> None:
        self.method.accept(target)

    def plan(self, target: Target) -> Iterator[Stage]:
        """The method's plan."""
        for stage in self.method.plan(target):
            if isinstance(stage, Train) and stage.updater:
                yield stage.model_copy(update={"updater": observed(stage.updater, self._logs)})
            else:
                yield stage


class ObservedUpdater(Updater):
    """An updater that does what another does, and logs it."""

    inner: Updater
    _logs: list[UpdaterLog] = PrivateAttr(default_factory=list)

    def init(self, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self._logs.append(UpdaterLog(self.inner, sum(mask.numel() for mask in masks.values())))
        return self.inner.init(weights, masks)

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        log = self._logs[-1]
        log.densities.append(sum(int(mask.sum()) for mask in view.masks.values()) / log.size)
        return self.inner.update(ObservedView(view, log, soft=self.inner.soft), state)

    def densities(self, steps: int, density: float) -> Iterable[tuple[int, float]] | None:
        return self.inner.densities(steps, density)

    def dense_gradient_steps(self, steps: int) -> Sequence[int]:
        return self.inner.dense_gradient_steps(steps)


class ObservedView:
    """A view that logs which gradients are read, and what grows back."""

    def __init__(self, view: StepView, log: UpdaterLog, *, soft: bool) -> None:
        self._view, self._log, self._soft = view, log, soft

    def __getattr__(self, name: str) -> Any:
        return getattr(self._view, name)

    @property
    def grads(self) -> Mapping[str, Tensor]:
        """The gradients of the step."""
        self._log.read.append(self._view.step)
        return self._view.grads

    def set_masks(self, masks: Mapping[str, Tensor]) -> None:
        """Change the masks, and look at what grew."""
        before = {name: mask.clone() for name, mask in self._view.masks.items()}
        self._view.set_masks(masks)
        if not self._soft:  # a soft updater's weights come back with their values
            after, weights = self._view.masks, self._view.weights
            self._log.grown_above_zero += [
                name for name, mask in after.items() if weights[name][mask & ~before[name]].any()
            ]


def observed(updater: Updater, logs: list[UpdaterLog]) -> ObservedUpdater:
    """An updater that does what another does, and logs it."""
    traits = {name: getattr(updater, name) for name in ("soft", "straight_through", "shardable")}
    kind = type("ObservedUpdater", (ObservedUpdater,), {"__module__": __name__, **traits})
    spy: ObservedUpdater = kind(inner=updater)
    spy._logs = logs
    return spy


def steady(measured: Sequence[float], changes: Mapping[int, float]) -> list[float]:
    """Densities step by step: the first that was measured, and then the changes that were announced."""
    wanted = [measured[0]] if measured else [math.nan]
    for step in range(len(measured) - 1):
        wanted.append(changes.get(step, wanted[-1]))
    return wanted
