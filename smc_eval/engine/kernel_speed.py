"""Kernel speed: the wall time of a net's predictions with dense products and with kernels, in turns."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields, is_dataclass
from statistics import median, quantiles
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from smc_eval.engine.device import Device
from smc_eval.engine.predict import predict
from smc_eval.errors import SparsityError, UsageError
from smc_eval.sparse.kernels import KERNELS, with_kernel
from smc_eval.store.speeds import KernelSpeed, Speeds
from smc_eval.task import Task

OUTPUT_TOLERANCE = 1e-3
"""Largest difference of an output from the dense one, as a share of the largest output. Sums of floats in
another order differ by less in every net seen; a kernel that is wrong differs by more."""


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
        SparsityError: the outputs with a kernel differ from the dense ones by more than `OUTPUT_TOLERANCE`.
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
        difference, same = _compared(dense, kernel, name)
        if not replaced.called:
            absent[name] = "the net reads the weights of its linear layers, and calls none of them"
            continue
        times = [_pair(dense, kernel, number) for number in range(pairs)]
        ratios = [before / after for before, after in times]
        low, _, high = quantiles(ratios, n=4) if pairs > 1 else [ratios[0]] * 3
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
                difference=difference,
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

    def outputs(self) -> tuple[list[Any], list[Tensor]]:
        """The predictions, and the floating-point outputs of each call of the whole net."""
        seen: list[Tensor] = []
        with _seeing(self.model, seen):
            return self.run(), seen


def _pair(dense: Timed, kernel: Timed, number: int) -> tuple[float, float]:
    """Seconds of the dense net and of the kernel."""
    if number % 2:
        after = kernel.seconds()
        return dense.seconds(), after
    return dense.seconds(), kernel.seconds()


def _compared(dense: Timed, kernel: Timed, name: str) -> tuple[float | None, float]:
    """The largest difference of outputs, relative to the largest, and the share of equal predictions.

    Raises:
        SparsityError: the difference is above the tolerance.
    """
    (wanted, outputs), (found, others) = dense.outputs(), kernel.outputs()
    same = sum(same_prediction(a, b) for a, b in zip(wanted, found, strict=True)) / max(1, len(wanted))
    if not outputs or [output.shape for output in outputs] != [other.shape for other in others]:
        return None, same  # the net is not called as a whole, or it decides how often it is called
    largest = max(float(output.abs().max()) for output in outputs)
    apart = max(float((a - b).abs().max()) for a, b in zip(outputs, others, strict=True))
    difference = apart / largest if largest else apart
    if not difference <= OUTPUT_TOLERANCE:  # also where it is no number
        raise SparsityError(
            f"the outputs with kernel {name!r} differ by {difference:.2g} of the largest output; at most "
            f"{OUTPUT_TOLERANCE:g} is expected of sums in another order"
        )
    return difference, same


def same_prediction(a: Any, b: Any) -> bool:
    """Whether two predictions are the same; numbers in them may differ as much as outputs may."""
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=OUTPUT_TOLERANCE) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, Tensor | np.ndarray) and isinstance(b, Tensor | np.ndarray):
        return same_prediction(a.tolist(), b.tolist())
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same_prediction, a, b))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same_prediction(value, b[key]) for key, value in a.items())
    if is_dataclass(a) and not isinstance(a, type) and type(a) is type(b):
        return all(same_prediction(getattr(a, field.name), getattr(b, field.name)) for field in fields(a))
    return bool(a == b)


@contextmanager
def _seeing(model: nn.Module, seen: list[Tensor]) -> Iterator[None]:
    """Within, the floating-point outputs of the net are collected."""

    def note(_module: nn.Module, _given: Any, output: Any) -> None:
        seen.extend(_floats(output))

    handle = model.register_forward_hook(note)
    try:
        yield
    finally:
        handle.remove()


def _floats(value: Any) -> Iterator[Tensor]:
    """All floating-point tensors in an output."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value.detach().float()
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _floats(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _floats(part)
    elif is_dataclass(value) and not isinstance(value, type):
        yield from _floats(asdict(value))
