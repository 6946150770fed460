"""Paths from a net's inputs to its outputs, and the unpruned weights that lie on one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from smc_eval.errors import SparsityError
from smc_eval.sparse.gates import curved
from smc_eval.sparse.net import Net
from smc_eval.sparse.shadow import ACTIVATIONS, positive, shadow
from smc_eval.sparse.tracing import Tracing
from smc_eval.sparse.varying import generic, moving_terms


class Untraceable(SparsityError):
    """The paths of this net are unknown. The message says why."""


def on_paths(
    net: Net,
    outputs: Callable[[nn.Module], Tensor],
    *,
    dense: bool = False,
    known: dict[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """For each tensor in scope, a mask of the weights on a path from inputs to outputs.

    A weight w lies on a path if ∂²out/∂w∂x of some output and some input x is not 0 for almost all
    values of the unpruned weights: what x moves depends on w. The net is traced (see `Tracing`) with
    positive weights, and R, the sum of its outputs, is a polynomial of which no term cancels. So w lies
    on a path exactly if some term of R has both w and an input.

    - A bias alone is a constant: it changes the outputs, but no input passes there. What reads only
      constants is on a path where it shifts a curve, such as a GELU, that inputs pass too.
    - Constants keep gates and softmaxes open: where all queries or keys are pruned, attention is
      uniform, and its values still count. Where all values are pruned, its queries and keys do not.
    - Of a residual branch and its shortcut one path is enough; so it is of the uses of a tied weight.
    - The mean and deviation of a norm make no path between units.
    - Tensors that the outputs do not use, on this batch, are left out.

    The model is not changed. `dense` ignores the masks. The masks that are `known` from other batches are
    added to, in place, to save memory. Costs one forward pass with moving terms, one backward pass, a copy
    of the parameters in double precision, and one derivative at a time.

    Raises:
        Untraceable: a function cannot be traced, or a number left the range of floats, as 0 would then
            not mean that there is no path.
    """
    dark = shadow(net.model)
    for module in dark.modules():
        if type(module).__module__ == ACTIVATIONS and "Linear" not in type(module).__name__:
            module.forward = curved
    named = dict(dark.named_parameters())
    masks = net.full_masks
    with torch.no_grad():
        for name, weight in net.model.named_parameters():
            if weight.is_floating_point():
                kept = masks[name] if name in masks and not dense else weight != 0
                _fill(named[name], torch.ones_like(kept) if name in masks and dense else kept)
    reached = {} if known is None else known
    with _collecting({name: named[name] for name in net.scope}, reached):
        moving = _moving_terms(partial(outputs, dark), Tracing(dark))
        if moving is not None and moving.requires_grad:
            torch.autograd.backward(moving, inputs=[named[name] for name in net.scope])
    for name in reached if not dense else ():
        reached[name].logical_and_(masks[name])
    return {name: reached[name] for name in net.scope if name in reached}


def _fill(weight: Tensor, mask: Tensor) -> None:
    """Write generic positive numbers where the mask is True, and 0 elsewhere."""
    weight.copy_(mask)
    for dim, size in enumerate(weight.shape):
        shape = [size if other == dim else 1 for other in range(weight.ndim)]
        weight.mul_(generic(shape, weight.dtype, weight.device))


def _moving_terms(outputs: Callable[[], Tensor], tracing: Tracing) -> Tensor | None:
    """The terms of R that have an input; None if there are none."""
    try:
        with forward_ad.dual_level(), torch.enable_grad():
            with tracing:
                result = outputs()
            moving = moving_terms(positive(result).sum())
            return None if moving is None else moving.clone()
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        reason = (str(error).strip() or "no reason given").splitlines()[0][:200]
        raise Untraceable(f"the net cannot be traced: {type(error).__name__}: {reason}") from error


@contextmanager
def _collecting(weights: Mapping[str, Tensor], reached: dict[str, Tensor]) -> Iterator[None]:
    """Within, each derivative becomes a mask as soon as it is known, and its memory is freed."""

    def collect(name: str, weight: Tensor) -> None:
        slope, weight.grad = weight.grad, None
        assert slope is not None
        if not bool(slope.isfinite().all()):
            raise Untraceable("numbers of the traced net leave the range of floats")
        mask = slope != 0
        reached[name] = reached[name].logical_or_(mask) if name in reached else mask

    handles = [
        weight.register_post_accumulate_grad_hook(partial(collect, name))  # type: ignore[no-untyped-call]
        for name, weight in weights.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
