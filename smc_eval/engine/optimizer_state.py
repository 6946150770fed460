"""The state of an optimizer, tried on two small weights: whether it can be saved, cleared and shared."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from smc_eval.engine.perturbation import checked_changes
from smc_eval.errors import SmcError, UsageError, first_line
from smc_eval.experiment.cell import Chain
from smc_eval.optimizer import OPTIMIZERS, Optimizer
from smc_eval.recipe import Recipe
from smc_eval.stages import Train

TRIAL_STEPS = 3
"""Steps of a trial before the optimizer is saved."""


def refuse_unfit_optimizers(chains: Iterable[Chain]) -> None:
    """Refuse cells whose optimizer cannot be saved, or not be cleared where weights may grow back.

    Raises:
        UsageError: names the first, with its optimizer.
    """
    for chain in chains:
        for link in chain.links:
            if isinstance(link.stage, Train) and link.stage.recipe:
                try:
                    check_optimizer(link.stage, link.stage.recipe)
                except UsageError as error:
                    raise UsageError(f"{chain.cell.label}: {error}") from None


def check_optimizer(stage: Train, recipe: Recipe, *, shards: bool = False) -> None:
    """Refuse an optimizer whose state cannot be saved; or, where that is needed, not cleared or sharded.

    Raises:
        UsageError: it is one; names what it keeps.
    """
    chosen = recipe.chosen_optimizer
    if isinstance(chosen, OPTIMIZERS):
        return
    regrows = stage.updater is not None and not stage.updater.soft
    strange = odd_state(chosen, recipe)
    if strange and regrows:
        raise UsageError(
            f"optimizer {chosen.label!r} keeps {strange}, which cannot be cleared of weights that grow "
            "back; take another optimizer, or a method that lets no weight grow back"
        )
    if strange and shards:
        raise UsageError(
            f"optimizer {chosen.label!r} keeps {strange}; its rows cannot be shared; leave out --shard"
        )


@lru_cache(maxsize=64)
def odd_state(chosen: Optimizer, recipe: Recipe) -> str:
    """A part of its state that has not the shape of its weight, in words; empty if there is none.

    Raises:
        UsageError: it cannot step, be saved, or go on from what was saved.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            return _tried(chosen, recipe)
        except SmcError:
            raise
        except Exception as error:  # noqa: BLE001  a plugin can raise anything
            raise UsageError(
                f"optimizer {chosen.label!r} failed in a trial on two small weights: {type(error).__name__}: "
                f"{first_line(error)}; its step takes no closure, and its state is saved and loaded"
            ) from None


def _tried(chosen: Optimizer, recipe: Recipe) -> str:
    first, optimizer = _made(chosen, recipe)
    for step in range(TRIAL_STEPS):
        _step(first, optimizer, step)
    file = io.BytesIO()
    torch.save({"weights": [w.detach().clone() for w in first], "state": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    second, resumed = _made(chosen, recipe)
    with torch.no_grad():
        for weight, value in zip(second, saved["weights"], strict=True):
            weight.copy_(value)
    resumed.load_state_dict(saved["state"])
    draws = torch.get_rng_state()
    _step(first, optimizer, TRIAL_STEPS)
    torch.set_rng_state(draws)
    _step(second, resumed, TRIAL_STEPS)
    if not all(torch.equal(one, other) for one, other in zip(first, second, strict=True)):
        raise UsageError(
            f"optimizer {chosen.label!r} goes on in another way from a checkpoint: "
            "part of what it keeps is not in its state_dict()"
        )
    if chosen.further_passes:
        _try_perturbation(chosen, first)
    parts = (part for weight in first for part in optimizer.state.get(weight, {}).items())
    shapes = {weight.shape for weight in first}
    return next((f"{name!r} as {what}" for name, value in parts if (what := _odd(value, shapes))), "")


def _try_perturbation(chosen: Optimizer, parameters: list[nn.Parameter]) -> None:
    """Refuse an optimizer that gives no finite perturbation, or writes into weights unseen by torch.

    Raises:
        UsageError: it does.
    """
    weights = {name: weight.detach() for name, weight in zip(("weight", "bias"), parameters, strict=True)}
    gradients = {name: torch.ones_like(weight) for name, weight in weights.items()}
    before = {name: weight.clone() for name, weight in weights.items()}
    changes = checked_changes(
        chosen, weights, gradients, lambda tensors: torch.cat([t.flatten() for t in tensors.values()]).norm()
    )
    if touched := [name for name, weight in weights.items() if not torch.equal(weight, before[name])]:
        raise UsageError(
            f"optimizer {chosen.label!r} wrote into the {touched[0]} of a trial in `perturb`; "
            "it returns what is to be added, and the engine adds it"
        )
    if wild := [name for name, change in changes.items() if not bool(change.isfinite().all())]:
        raise UsageError(
            f"optimizer {chosen.label!r} perturbs the {wild[0]} of a trial by numbers that are not finite"
        )


def _odd(value: Any, shapes: set[torch.Size]) -> str:
    """What a part of a state is, if it is neither a number nor of the shape of its weight."""
    if value is None or isinstance(value, int | float | str):
        return ""
    if not isinstance(value, Tensor):
        return type(value).__name__
    return (
        "" if value.ndim == 0 or value.shape in shapes else f"a tensor of another shape, {tuple(value.shape)}"
    )


def _made(chosen: Optimizer, recipe: Recipe) -> tuple[list[nn.Parameter], torch.optim.Optimizer]:
    weights = [nn.Parameter(torch.linspace(-1, 1, 35).view(5, 7)), nn.Parameter(torch.linspace(0, 1, 5))]
    common = {"lr": recipe.lr, "peak": recipe.lr}
    groups = [
        {"params": [weight], "weight_decay": decay, **common}
        for weight, decay in zip(weights, (recipe.weight_decay, 0.0), strict=True)
    ]
    return weights, chosen.make(groups, recipe)


def _step(weights: list[nn.Parameter], optimizer: torch.optim.Optimizer, number: int) -> None:
    for weight in weights:
        weight.grad = torch.cos(weight.detach() * (number + 1)) / 10
    step: Callable[[], Any] = optimizer.step
    step()
