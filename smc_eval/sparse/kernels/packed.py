"""A packed map: predictions of a linear module with 2:4 weights on a GPU, by torch's semi-structured tensors.

The GPU skips half of the products. It reads fp16 or bf16, so a map is packed where such a type is used.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from smc_eval.sparse.kernels.choice import ALL_DENSE, Choice, Choose, KernelQuestion
from smc_eval.sparse.kernels.crossover import GAIN, ROUNDS
from smc_eval.sparse.kernels.forms import SemiStructured, is_two_of_four
from smc_eval.sparse.kernels.served import StandIn, is_turned
from smc_eval.sparse.operations import unseen
from smc_eval.sparse.pattern import fits, grouped

PACKED = SemiStructured.name
"""The name of the kernel, `2:4`."""
HALF_TYPES = (torch.float16, torch.bfloat16)
CALLS = 10
"""Products in each of the times, of which the shortest counts."""
PRODUCT_TOLERANCE = 0.01
"""Largest difference of its products, as a share of the largest: bf16 rounds by 0.004."""


class PackedMap(StandIn):
    """Stands for the `forward` of a module whose weights are 2:4, in passes without gradients."""

    def __init__(self, name: str, module: nn.Linear, choose: Choose) -> None:
        super().__init__(name, module)
        self._choose = choose
        self._choices: dict[tuple[int, torch.dtype], Choice] = {}
        self._form: SemiStructured | None = None
        self._packed_from: tuple[int, int, torch.dtype] | None = None
        """The versions of the weight and the bias that were packed, and the type."""

    def __call__(self, input: Tensor) -> Tensor:  # noqa: A002  torch's modules name it so
        """The outputs [..., O] of inputs [..., I]."""
        weight: Tensor = self.module.weight
        with unseen() if self.counting else nullcontext():
            outputs = self._sparse(input, weight)
        if outputs is None:
            return self.dense(input)
        self.ran = True
        if self.counting:
            self.counting.add_linear(weight, input.numel() // weight.shape[1])
        return outputs

    def forget(self) -> None:
        """Free the packed weights: they are those of one prediction."""
        self._form = self._packed_from = None

    def _sparse(self, input: Tensor, weight: Tensor) -> Tensor | None:  # noqa: A002
        """The outputs, unless dense products are faster or the weights are not 2:4."""
        dtype = _computed_type(weight)
        if weight is not self.weight or not self._pays(input, weight, dtype):
            return None
        form = self._packed(weight, dtype)
        return None if form is None else form(input.to(dtype))

    def _pays(self, input: Tensor, weight: Tensor, dtype: torch.dtype) -> bool:  # noqa: A002
        """Whether this is an ordinary product without gradients, and faster packed."""
        rows = input.numel() // weight.shape[1]
        if (
            type(input) not in {Tensor, nn.Parameter}
            or input.device != weight.device
            or input.shape[-1:] != weight.shape[1:]
            or dtype not in HALF_TYPES
            or torch.is_grad_enabled()
            or torch._C._are_functorch_transforms_active()  # noqa: SLF001  torch has no public test
            or not rows
        ):
            return False
        key = rows.bit_length(), dtype
        if key not in self._choices:
            self._choices[key] = self._choose(_question(weight, rows, dtype))
        return self._choices[key].predicting == PACKED

    def _packed(self, weight: Tensor, dtype: torch.dtype) -> SemiStructured | None:
        """The weights as they are now, packed once for a whole prediction; None if they are not 2:4."""
        bias: Tensor | None = self.module.bias
        now = weight._version, -1 if bias is None else bias._version, dtype  # noqa: SLF001 - counts writes
        if self._packed_from != now:
            half_OI = weight.detach().to(dtype)
            self._packed_from, self._form = now, None
            if is_two_of_four(half_OI):
                self._form = SemiStructured(half_OI, None if bias is None else bias.to(dtype))
        return self._form


def is_on_gpu(mask: Tensor) -> bool:
    """Whether maps with this mask are packed, and not served as on a CPU."""
    return mask.is_cuda


def why_not_packed(module: nn.Module, mask: Tensor) -> str:
    """Why the weights of a linear module under this mask are not packed; empty if they may be."""
    if is_turned(module):
        return "stored turned"
    return SemiStructured.why_not_shape(*mask.shape) if fits(mask, 2, 4) else "not 2:4"


def measured_packing(question: KernelQuestion, device: torch.device) -> Choice:
    """The packed form if it is faster on this device, on a made-up 2:4 matrix, and its products are right.

    Draws nothing from a random generator.
    """
    dtype: torch.dtype = getattr(torch, question.dtype)
    weight_OI = _waves(question.outputs, question.inputs, dtype, device)
    weight_OI = weight_OI * grouped(weight_OI.float().abs(), 2, 4)
    bias_O = _waves(1, question.outputs, dtype, device)[0]
    x_NI = _waves(question.rows + 1, question.inputs, dtype, device)  # most numbers of rows need padding
    try:
        with torch.no_grad():
            form = SemiStructured(weight_OI, bias_O)
            dense_NO, packed_NO = nn.functional.linear(x_NI, weight_OI, bias_O), form(x_NI)
            apart, largest = float((dense_NO - packed_NO).abs().max()), float(dense_NO.abs().max())
            if not apart <= PRODUCT_TOLERANCE * largest:  # also where it is no number
                return ALL_DENSE
            dense, packed = _times(
                lambda: nn.functional.linear(x_NI, weight_OI, bias_O), lambda: form(x_NI), device
            )
    except torch.OutOfMemoryError:  # says nothing of the kernel
        raise
    except (RuntimeError, ValueError):  # this device or this build of torch lacks it
        return ALL_DENSE
    return Choice(predicting=PACKED) if packed <= GAIN * dense else ALL_DENSE


def _question(weight: Tensor, rows: int, dtype: torch.dtype) -> KernelQuestion:
    name = torch.cuda.get_device_name(weight.device) if weight.is_cuda else weight.device.type
    outputs, inputs = weight.shape
    return KernelQuestion(
        outputs,
        inputs,
        turned=False,
        rows=2 ** (rows.bit_length() - 1),
        density=0.5,
        kernels=(PACKED,),
        dtype=str(dtype).removeprefix("torch."),
        threads=1,
        torch_version=torch.__version__,
        processor=name,
    )


def _computed_type(weight: Tensor) -> torch.dtype:
    """The type in which a linear map with this weight is computed here."""
    kind = weight.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype


def _waves(rows: int, columns: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A matrix of varied numbers between -1 and 1."""
    return (
        torch.arange(rows * columns, device=device, dtype=torch.float64)
        .mul_(0.7)
        .sin_()
        .to(dtype)
        .view(rows, -1)
    )


def _times(dense: Callable[[], Any], packed: Callable[[], Any], device: torch.device) -> tuple[float, float]:
    """The shortest wall time of each, in turns; the first turn warms up."""
    turns = [(_seconds(dense, device), _seconds(packed, device)) for _ in range(ROUNDS + 1)][1:]
    return min(a for a, _ in turns), min(b for _, b in turns)


def _seconds(product: Callable[[], Any], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    since = time.perf_counter()
    for _ in range(CALLS):
        product()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - since
