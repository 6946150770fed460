"""Attention under autocast on a CPU: in fp32, whose backward pass is several times as fast."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

LOWERED = {torch.float32, torch.bfloat16, torch.float16}
"""Types of tensors that autocast would give a lower precision, or has given one."""


@contextmanager
def attention_in_fp32() -> Iterator[None]:
    """Within, torch's `scaled_dot_product_attention` computes in fp32 where a CPU's autocast is on.

    torch 2.13 has a fused kernel for it. On a processor with bf16 products for vectors, but none for tiles
    (AVX512_BF16 without AMX), its backward pass in bf16 takes four times that in fp32, for 100 tokens and
    heads of 16 features. The forward pass takes as long. See `findings/bf16-attention-backward.sh`.
    """
    attention = F.scaled_dot_product_attention
    F.scaled_dot_product_attention = _in_fp32(attention)
    try:
        yield
    finally:
        F.scaled_dot_product_attention = attention


def _in_fp32(attention: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function, in fp32 where autocast is on."""

    @wraps(attention)
    def in_fp32(query: Tensor, key: Tensor, value: Tensor, *others: Any, **settings: Any) -> Tensor:
        parts = (query, key, value, *others)
        if not torch.is_autocast_enabled("cpu") or query.device.type != "cpu":
            return attention(*parts, **settings)
        with torch.autocast("cpu", enabled=False):
            raised = {name: _raised(setting) for name, setting in settings.items()}
            return attention(*map(_raised, parts), **raised)

    return in_fp32


def _raised(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in LOWERED else value
