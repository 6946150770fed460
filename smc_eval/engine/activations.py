"""Activations: kept for the backward pass, or recomputed to save memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from smc_eval.errors import UsageError


@contextmanager
def recomputed(model: nn.Module, *, wanted: bool) -> Iterator[None]:
    """Within, if `wanted`: the transformers inside a model recompute the activations of their layers.

    Raises:
        UsageError: it is wanted, and no part of the model supports it.
    """
    able: list[Any] = [
        module
        for module in model.modules()
        if getattr(module, "supports_gradient_checkpointing", False)
        and hasattr(module, "activation_checkpointing_enable")
    ]
    outer = [
        module
        for module in able
        if not any(module is not other and module in other.modules() for other in able)
    ]
    if wanted and not outer:
        raise UsageError(
            f"recipe checkpointing=True: no part of {type(model).__name__} can recompute its activations; "
            "leave it out, or set a limit with --recipe tokens=N"
        )
    for module in outer if wanted else ():
        module.activation_checkpointing_enable({"use_reentrant": False})
    try:
        yield
    finally:
        for module in outer if wanted else ():
            module.activation_checkpointing_disable()
