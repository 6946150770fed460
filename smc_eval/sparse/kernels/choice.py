"""A choice of kernels: which one computes a linear map, and the question that it answers."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from smc_eval.sparse.kernels.layout import MaskLayout

CPU_INFO = Path("/proc/cpuinfo")
STEPS_OF_DENSITY = 4
"""Classes of density between one and its half."""
FEWEST_WEIGHTS = 2**14
"""Maps of fewer weights stay dense: calls take longer than products there."""
FEWEST_OPERATIONS = 2**23
"""Products of fewer operations stay dense; they take about 0.1 ms."""


@dataclass(frozen=True)
class KernelQuestion:
    """All that decides which kernel is faster. Of a class, the highest density, the fewest rows."""

    outputs: int
    inputs: int
    turned: bool
    rows: int
    """A power of two."""
    density: float
    kernels: tuple[str, ...]
    """Those that are installed."""
    dtype: str
    threads: int
    torch_version: str
    processor: str

    @classmethod
    def of(
        cls, layout: MaskLayout, rows: int, kernels: tuple[str, ...], dtype: torch.dtype
    ) -> KernelQuestion:
        """The question of a map and a number of rows, on this machine."""
        step = math.floor(-STEPS_OF_DENSITY * math.log2(max(layout.density, 2**-20)))
        return cls(
            layout.outputs,
            layout.inputs,
            layout.turned,
            2 ** (rows.bit_length() - 1),
            round(2 ** (-step / STEPS_OF_DENSITY), 6),
            kernels,
            str(dtype).removeprefix("torch."),
            torch.get_num_threads(),
            torch.__version__,
            processor(),
        )


@dataclass(frozen=True)
class Choice:
    """The name of the fastest kernel."""

    predicting: str = "dense"
    """Of a pass without gradients."""
    training: str = "dense"
    """Of a forward and a backward pass."""


ALL_DENSE = Choice()

Choose = Callable[[KernelQuestion], Choice]
"""Gives the same answer to the same question, always."""


@cache
def processor() -> str:
    """The processor as the system names it."""
    try:
        lines = CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
