"""Observed methods: they do the same as another method, and log what its updaters do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
    """Density before the training."""
    start_density: float = 0.0
    """Density of the first step's forward pass."""
    densities: list[float] = field(default_factory=list)
    """Density after each step."""
    gradient_steps: list[int] = field(default_factory=list)
    """Steps at which it read the gradients of all weights."""
    wider_gradients: list[tuple[float, float]] = field(default_factory=list)
    """Of each step at which it read those of some: the densities of its forward pass and its gradients."""
    nonzero_growth: list[str] = field(default_factory=list)
    """Tensors in which a regrown weight did not start at zero; always empty for a soft updater."""
    written: list[str] = field(default_factory=list)
    """What it wrote into by itself, in words: weights that stay, or the state of the optimizer."""


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
        observer = ObservedView(view, log)
        with self._unwritten(view, before):
            state = self.inner.update(observer, state)
        if observer.read_masks:
            union = {name: mask | observer.read_masks.get(name, mask) for name, mask in before.items()}
            log.wider_gradients.append((unpruned_count(before) / log.size, unpruned_count(union) / log.size))
        self._log_masks(view, before)
        log.densities.append(unpruned_count(view.masks) / log.size)
        return state

    def remask(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        before = {name: mask.clone() for name, mask in view.masks.items()}
        with self._unwritten(view, before):
            state = self.inner.remask(view, state)
        self._log_masks(view, before)
        density = unpruned_count(view.masks) / self._logs[-1].size
        if view.step:
            self._logs[-1].densities[-1] = density
        else:
            self._logs[-1].start_density = density
        return state

    @contextmanager
    def _unwritten(self, view: StepView, masks: Mapping[str, Tensor]) -> Iterator[None]:
        """Log what the updater writes within, past the functions of its view.

        The engine compares the bits of a view at some steps alone, and never the state of the optimizer.
        """
        log, weights = self._logs[-1], {name: weight.clone() for name, weight in view.weights.items()}
        memory = memory_of(view)
        yield
        for name, weight in view.weights.items():
            # a weight that it prunes and lets grow back in one step is zero, by the engine
            changed = (weight != weights[name]) & (weight != 0) & masks[name] & view.masks[name]
            if bool(changed.any()):
                log.written.append(f"at step {view.step} it writes into unpruned weights of {name!r}")
        for (part, name), values in memory_of(view).items():
            grown = view.masks[name] & ~masks[name]
            changed = values != memory.get((part, name), values)
            if not self.inner.soft:
                changed |= grown  # what the engine clears stays clear
            if bool((changed & (values != 0)).any()):
                log.written.append(
                    f"at step {view.step} it writes into {part!r} of the optimizer for {name!r}"
                )

    def _log_masks(self, view: StepView, before: Mapping[str, Tensor]) -> None:
        """Log the tensors in which a weight grew back with a value."""
        masks, weights = view.masks, view.weights
        if not self.inner.soft:  # regrown weights of a soft updater have their old values
            self._logs[-1].nonzero_growth += [
                name for name, mask in masks.items() if weights[name][mask & ~before[name]].any()
            ]

    def gradient_density(self, density: float) -> float:
        return self.inner.gradient_density(density)

    def densities(self, steps: int, density: float) -> Iterable[tuple[int, float]] | None:
        return self.inner.densities(steps, density)

    def dense_gradient_steps(self, steps: int) -> Sequence[int]:
        return self.inner.dense_gradient_steps(steps)


class ObservedView:
    """A view that logs the steps at which gradients are read."""

    def __init__(self, view: StepView, log: UpdaterLog) -> None:
        self._view, self._log = view, log
        self.read_masks = dict[str, Tensor]()
        """Where it read gradients, by weight."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._view, name)

    @property
    def grads(self) -> Mapping[str, Tensor]:
        """The gradients of the step."""
        self._log.gradient_steps.append(self._view.step)
        return self._view.grads

    def gradients_within(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The gradients of the step in some places."""
        for name, mask in masks.items():
            self.read_masks[name] = mask | self.read_masks[name] if name in self.read_masks else mask.clone()
        return self._view.gradients_within(masks)


def observed(updater: Updater, logs: list[UpdaterLog]) -> ObservedUpdater:
    """An updater that does the same as another, and appends its logs to a list."""
    traits = {name: getattr(updater, name) for name in ("soft", "straight_through", "shardable")}
    kind = type("ObservedUpdater", (ObservedUpdater,), {"__module__": __name__, **traits})
    observer: ObservedUpdater = kind(inner=updater)
    return observer.logging_to(logs)


def memory_of(view: StepView) -> dict[tuple[str, str], Tensor]:
    """Copies of what the optimizer remembers of each weight in scope, such as its momentum."""
    state: Mapping[Tensor, Mapping[str, object]] = getattr(getattr(view, "optimizer", None), "state", {})
    parameters: Mapping[str, Tensor] = getattr(view, "parameters", {})
    return {
        (part, name): values.clone()
        for name, weight in parameters.items()
        for part, values in state.get(weight, {}).items()
        if isinstance(values, Tensor) and values.shape == weight.shape
    }


def unpruned_count(masks: Mapping[str, Tensor]) -> int:
    """Number of unpruned weights over all masks."""
    return sum(int(mask.sum()) for mask in masks.values())


def density_after_each_step(first: float, steps: int, changes: Mapping[int, float]) -> list[float]:
    """The density after each step, from the first density and the announced changes by step."""
    density, densities = changes.get(-1, first), list[float]()
    for step in range(steps):
        density = changes.get(step, density)
        densities.append(density)
    return densities
