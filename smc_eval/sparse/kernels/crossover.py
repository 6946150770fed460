"""The crossover: measures which kernel of a linear map is fastest."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from smc_eval.sparse.kernels.choice import Choice, KernelQuestion
from smc_eval.sparse.kernels.layout import MaskLayout
from smc_eval.sparse.kernels.named import MAP_KERNELS
from smc_eval.sparse.kernels.products import Products

ROUNDS = 5
"""Times of each kernel, in turns; the shortest counts."""
GAIN = 0.94
"""A kernel serves if it takes at most this share of the dense time. The rest covers what is not measured."""


def measured_choice(question: KernelQuestion) -> Choice:
    """The fastest kernel, on a made-up matrix of the question's shape and density.

    Draws nothing from a random generator.
    """
    layout = MaskLayout(spread_mask(question), turned=question.turned)
    weight = torch.full(layout.mask.shape, 0.5) * layout.mask
    x_NI, g_NO = (torch.full((question.rows, width), 0.5) for width in (question.inputs, question.outputs))
    bias_O = torch.zeros(question.outputs)
    kernels = {name: MAP_KERNELS[name] for name in ("dense", *question.kernels)}

    def predicted(kernel: Products) -> None:
        kernel.outputs(layout, weight, bias_O, x_NI)

    def trained(kernel: Products) -> None:
        kept = kernel.prepared(x_NI)
        kernel.outputs_of(layout, weight, bias_O, kept, len(x_NI))
        kernel.gradients(layout, weight, g_NO, kept, of_x=True, of_weight=True)

    return Choice(_fastest(kernels, predicted), _fastest(kernels, trained))


def spread_mask(question: KernelQuestion) -> Tensor:
    """A mask of the question's density without a visible pattern, in the shape of the stored weight."""
    shape = question.outputs, question.inputs
    sizes = shape[::-1] if question.turned else shape
    rows, columns = (torch.arange(size, dtype=torch.int64) for size in sizes)
    mixed = rows[:, None] * 2_654_435_761 + columns * 40_503 + 12_345
    for shift in (16, 13, 16):  # a hash of 32 bits, after Murmur3's last step
        mixed = ((mixed ^ (mixed >> shift)) * 2_246_822_507) & 0xFFFFFFFF
    return mixed < question.density * 2**32


def _fastest(kernels: Mapping[str, Products], passes: Callable[[Products], None]) -> str:
    """The name of the fastest kernel; dense unless another is well below it."""
    times: dict[str, float] = {}
    with torch.no_grad():
        for number in range(ROUNDS + 1):  # the first round warms up
            for name, kernel in kernels.items():
                try:
                    seconds = _seconds(passes, kernel)
                except RuntimeError:  # this build of torch lacks it
                    seconds = float("inf")
                times[name] = seconds if number <= 1 else min(seconds, times[name])
    dense = times.pop("dense")
    best = min(times, key=times.__getitem__, default="dense")
    return best if best != "dense" and times[best] <= GAIN * dense else "dense"


def _seconds(passes: Callable[[Products], None], kernel: Products) -> float:
    """Processor time of one thread, which other programs lengthen little; wall time of several."""
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    since = clock()
    passes(kernel)
    return clock() - since
