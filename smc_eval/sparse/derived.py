"""Derived weights: matrices that a module computes from its parameters before each use.

torch makes them by `torch.nn.utils.parametrize` (weight norm, spectral norm, orthogonal and other maps) and,
in its older form, by hooks before the forward pass. A mask lies on the parameter, not on the matrix that the
module uses. So it means something only where a zero of the parameter is a zero of the matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from smc_eval.errors import SparsityError


@dataclass(frozen=True)
class Derived:
    """A matrix that a module computes from parameters of its own."""

    label: str
    """Its name, as if it were a parameter: `encoder.weight`."""
    by: str
    """The class that computes it."""
    module: nn.Module
    parameters: dict[str, nn.Parameter]
    """The parameters that it is computed from, by canonical name."""
    compute: Callable[[], Tensor]
    """Its value from the present parameters."""
    stale: bool = False
    """Whether its module uses it without computing it anew."""


def scale_parameters(model: nn.Module) -> frozenset[str]:
    """Names of parameters that scale or change a derived matrix and are not of its shape.

    They are no matrices of weights, and are in no scope: the lengths of weight norm.
    """
    return frozenset(
        name
        for derived in derived_weights(model)
        for name, parameter in derived.parameters.items()
        if parameter.shape != derived.compute().shape
    )


def refuse_lost_zeros(model: nn.Module, scope: Collection[str]) -> None:
    """Refuse a net in scope of which a zero of a parameter is no zero of the matrix that the module uses.

    Each such parameter gets some zeros, and then its own values again.

    Raises:
        SparsityError: the module computes its matrix in such a way; names it.
    """
    for derived in derived_weights(model):
        for name in derived.parameters.keys() & set(scope):
            if reason := _fault(derived, derived.parameters[name]):
                raise SparsityError(
                    f"{name!r} cannot be pruned: {derived.by} makes {derived.label!r} of it, {reason}; "
                    f"make it an ordinary weight, or leave it out by --exclude"
                )


def not_finite(model: nn.Module) -> list[str]:
    """The derived matrices that are not finite, in words: a norm divides by the length of an emptied row."""
    return [
        f"{derived.label!r}, which {derived.by} makes of {' and '.join(derived.parameters)}"
        for derived in derived_weights(model)
        if not bool(derived.compute().isfinite().all())
    ]


@torch.no_grad()
def _fault(derived: Derived, parameter: nn.Parameter) -> str:
    """Why a mask of this parameter would not be one of the matrix; empty if it would."""
    if derived.stale:
        return "and its module uses the old matrix after the parameter has changed"
    before = parameter.detach().clone()
    stays = _pattern(parameter).to(parameter.device)
    try:
        parameter.masked_fill_(~stays, 0)
        matrix = derived.compute()
    finally:
        parameter.copy_(before)
        derived.compute()
    if bool(matrix[~stays].count_nonzero()):
        return "where its zeros are not zeros"
    if bool((matrix.eq(0) & before.ne(0))[stays].any()):
        return "with further zeros, which no mask of ours has"
    return ""


def _pattern(parameter: Tensor) -> Tensor:
    """An irregular mask of half of a tensor, which leaves something of each row and column."""
    stays = torch.rand(parameter.shape, generator=torch.Generator().manual_seed(0)) > 0.5
    matrix = stays.view(len(stays), -1)
    rows, columns = matrix.shape
    for place in range(max(rows, columns)):
        matrix[place % rows, place % columns] = True
    return stays


def derived_weights(model: nn.Module) -> Iterator[Derived]:
    """The derived matrices of a model."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    attention = {id(m.out_proj) for m in model.modules() if isinstance(m, nn.MultiheadAttention)}
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        for label, maps in _parametrizations(module):
            originals = {names[id(p)]: p for p in maps.parameters(recurse=False) if id(p) in names}
            by = ", ".join(type(step).__name__ for step in maps)
            yield Derived(prefix + label, by, module, originals, _evaluated(maps, maps))
        for hook in module._forward_pre_hooks.values():  # noqa: SLF001  torch has no other list of them
            made = _made_by(module, hook)
            if made is None:
                continue
            own = module.named_parameters(recurse=False)
            originals = {names[id(p)]: p for name, p in own if name.startswith(f"{made}_") and id(p) in names}
            # attention reads the weight of its last layer and never calls that layer, so no hook runs
            stale, compute = id(module) in attention, _by_hook(module, hook, made)
            yield Derived(prefix + made, type(hook).__name__, module, originals, compute, stale)


def _made_by(module: nn.Module, hook: object) -> str | None:
    """The name of the tensor that a hook of torch's older norms and masks makes; None for another hook."""
    names: list[object] = [getattr(hook, attribute, None) for attribute in ("name", "_tensor_name")]
    made = [
        name for name in names if isinstance(name, str) and isinstance(getattr(module, name, None), Tensor)
    ]
    return made[0] if made else None


def _parametrizations(module: nn.Module) -> Iterator[tuple[str, ParametrizationList]]:
    maps = getattr(module, "parametrizations", None)
    if isinstance(maps, nn.ModuleDict):
        for label, steps in maps.items():
            if isinstance(steps, ParametrizationList):
                yield label, steps


def _evaluated(module: nn.Module, compute: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """The computation in evaluation mode, in which spectral norm keeps its own state."""

    def run() -> Tensor:
        with _evaluating(module), torch.no_grad():
            return compute()

    return run


def _by_hook(module: nn.Module, hook: Callable[..., object], label: str) -> Callable[[], Tensor]:
    def run() -> Tensor:
        hook(module, ())
        matrix: Tensor = getattr(module, label)
        return matrix.detach()

    return _evaluated(module, run)


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training
