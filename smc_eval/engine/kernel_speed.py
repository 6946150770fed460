"""Kernel speed: the wall time of a net's predictions with dense products and with kernels, in turns."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from statistics import median, quantiles
from typing import Any

import torch
from torch import Tensor, nn

from smc_eval.engine.device import Device
from smc_eval.engine.predict import predict
from smc_eval.errors import SparsityError, UsageError
from smc_eval.sparse.kernels.forms import KERNELS, Replaced, with_kernel
from smc_eval.store.speeds import KernelSpeed, Speeds
from smc_eval.task import Task

OUTPUT_TOLERANCE = 1e-3
"""Largest difference of an output of a layer from the dense one, as a share of the largest. Sums of floats
in another order differ by less in every net seen; a kernel that is wrong differs by more."""


def measure_speeds(
    task: Task,
    model: nn.Module,
    masks: Mapping[str, Tensor],
    device: Device,
    *,
    examples: Sequence[Any],
    pairs: int,
    machine: dict[str, Any],
) -> Speeds:
    """The speed of every kernel beside dense products, over some examples of the reported split.

    Each pair runs the dense net and the net with a kernel one after the other, the order changing from pair
    to pair, so that what else the machine does meets both.

    Raises:
        SparsityError: the outputs of a layer differ from the dense ones by more than `OUTPUT_TOLERANCE`.
    """
    found, absent = list[KernelSpeed](), dict[str, str]()
    dense = Timed(task, model, device, examples)
    for name in KERNELS:
        try:
            served, replaced = with_kernel(model, masks, name)
        except UsageError as error:
            absent[name] = str(error).partition(": ")[2]
            continue
        kernel = Timed(task, served, device, examples)
        same = _compared(dense, kernel, replaced, name)
        if not replaced.called:
            absent[name] = "the net reads the weights of its linear layers, and calls none of them"
            continue
        times = [_pair(dense, kernel, number) for number in range(pairs)]
        ratios = [before / after for before, after in times]
        low, _, high = quantiles(ratios, n=4, method="inclusive") if pairs > 1 else [ratios[0]] * 3
        found.append(
            KernelSpeed(
                kernel=name,
                layers=len(replaced.called),
                speed=median(ratios),
                low=low,
                high=high,
                dense_seconds=median(before for before, _ in times),
                seconds=median(after for _, after in times),
                dense_bytes=replaced.dense_bytes,
                bytes=replaced.bytes,
                difference=replaced.difference,
                same=same,
            )
        )
    return Speeds(tuple(found), absent, len(examples), pairs, machine)


class Timed:
    """A net with the examples that it predicts."""

    def __init__(self, task: Task, model: nn.Module, device: Device, examples: Sequence[Any]) -> None:
        self.task, self.model, self.device, self.examples = task, model, device, examples

    def run(self) -> list[Any]:
        """Predict all examples once."""
        predicted = predict(self.task, self.model, self.examples, self.task.recipe, self.device)
        if self.device.torch_device.type == "cuda":
            torch.cuda.synchronize(self.device.torch_device)
        return predicted

    def seconds(self) -> float:
        """Wall time of predicting all examples once."""
        begin = time.perf_counter()
        self.run()
        return time.perf_counter() - begin


def _pair(dense: Timed, kernel: Timed, number: int) -> tuple[float, float]:
    """Seconds of the dense net and of the kernel."""
    if number % 2:
        after = kernel.seconds()
        return dense.seconds(), after
    return dense.seconds(), kernel.seconds()


def _compared(dense: Timed, kernel: Timed, replaced: Replaced, name: str) -> float:
    """Compare each served layer with its dense product. Returns the share of equal predictions.

    Raises:
        SparsityError: a difference is above the tolerance.
    """
    wanted = dense.run()
    with replaced.checking():
        found = kernel.run()
    if not replaced.difference <= OUTPUT_TOLERANCE:  # also where it is no number
        raise SparsityError(
            f"outputs of a layer with kernel {name!r} differ by {replaced.difference:.2g} of the largest; "
            f"at most {OUTPUT_TOLERANCE:g} is expected of sums in another order"
        )
    return sum(same_prediction(a, b) for a, b in zip(wanted, found, strict=True)) / max(1, len(wanted))


def same_prediction(a: Any, b: Any) -> bool:
    """Whether two predictions, plain JSON, are the same; numbers may differ as much as outputs may."""
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=OUTPUT_TOLERANCE) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same_prediction, a, b))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same_prediction(value, b[key]) for key, value in a.items())
    return bool(a == b)
