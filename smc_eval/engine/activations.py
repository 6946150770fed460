"""Activations: kept for the backward pass, or computed anew to save memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from smc_eval.errors import UsageError


@contextmanager
def recomputed(model: nn.Module, *, wanted: bool) -> Iterator[None]:
    """Within, the transformers inside a model keep no activations of their layers, if that is wanted.

    Raises:
        UsageError: it is wanted, and nothing in the model can do it.
    """
    able: list[Any] = [
        module for module in model.modules() if getattr(module, "supports_gradient_checkpointing", False)
    ]
    outer = [one for one in able if not any(one is not other and one in other.modules() for other in able)]
    if wanted and not outer:
        raise UsageError(
            f"recipe checkpointing=True: no part of {type(model).__name__} can compute its activations anew; "
            "leave it out, or set a limit with --recipe tokens=N"
        )
    for module in outer if wanted else ():
        module.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    try:
        yield
    finally:
        for module in outer if wanted else ():
            module.gradient_checkpointing_disable()
