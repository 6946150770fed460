"""Attention under autocast on a CPU: in fp32, whose backward pass is several times as fast."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

LOWERED = {torch.float32, torch.bfloat16, torch.float16}
"""Types of tensors that autocast would give a lower precision, or has given one."""

_LOCK, _HERE = threading.Lock(), threading.local()
_REPLACED: list[tuple[Callable[..., Tensor], Callable[..., Tensor]]] = []
"""For each block that any thread is in: torch's function, and the one that stands for it."""


@contextmanager
def attention_in_fp32() -> Iterator[None]:
    """Within, `torch.nn.functional.scaled_dot_product_attention` is computed in fp32 under a CPU's autocast.

    This holds for this thread, and for code that looks the function up there when it calls it, as
    transformers and torch's own layers do.

    torch 2.13 has a fused kernel for it. On a processor with bf16 products for vectors, but none for tiles
    (AVX512_BF16 without AMX), its backward pass in bf16 takes four to five times that in fp32, for 100 tokens
    and heads of 16 features; see `findings/bf16-attention-backward.sh`.
    """
    with _LOCK:
        if not _REPLACED:
            attention = F.scaled_dot_product_attention
            _REPLACED.append((attention, _in_fp32(attention)))
            F.scaled_dot_product_attention = _REPLACED[0][1]
        else:
            _REPLACED.append(_REPLACED[0])
    _HERE.depth = getattr(_HERE, "depth", 0) + 1
    try:
        yield
    finally:
        _HERE.depth -= 1
        with _LOCK:
            attention, ours = _REPLACED.pop()
            if not _REPLACED and F.scaled_dot_product_attention is ours:  # else someone replaced it meanwhile
                F.scaled_dot_product_attention = attention


def _in_fp32(attention: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function, in fp32 within the block of this thread where autocast is on."""

    @wraps(attention)
    def in_fp32(query: Tensor, key: Tensor, value: Tensor, *others: Any, **settings: Any) -> Tensor:
        parts = (query, key, value, *others)
        lowered = torch.is_autocast_enabled("cpu") and query.device.type == "cpu"
        if not (lowered and getattr(_HERE, "depth", 0) > 0):
            return attention(*parts, **settings)
        with torch.autocast("cpu", enabled=False):
            raised = {name: _raised(setting) for name, setting in settings.items()}
            return attention(*map(_raised, parts), **raised)

    return in_fp32


def _raised(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in LOWERED else value
