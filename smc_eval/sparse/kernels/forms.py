"""Kernels: products of a sparse matrix with rows of inputs, each in a form that may be faster than dense."""

from __future__ import annotations

import copy
import math
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Tensor, nn

from smc_eval.errors import UsageError

TILE = 64
"""Rows of inputs that `tiles` multiplies at once, transposed: they stay in the cache of a core."""


class Kernel(nn.Linear):
    """A linear map x_..I → x W^T + b whose weight has zeros, computed in a form of its own.

    It is a linear layer with its dense weight, because a net may read the weight instead of calling the
    layer. What is read so stays dense.
    """

    name: ClassVar[str]

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None) -> None:
        """The weight with its zeros written."""
        outputs, inputs = weight_OI.shape
        super().__init__(inputs, outputs, bias=bias_O is not None, device="meta")
        self.weight = nn.Parameter(weight_OI.detach(), requires_grad=False)
        if bias_O is not None:
            self.bias = nn.Parameter(bias_O.detach(), requires_grad=False)
        self.called = False
        """Whether the net has called it."""
        self.checked = False
        """Whether calls are compared with dense products."""
        self.difference = 0.0
        """Largest difference of an output from the dense one in a checked call, as a share of its largest."""
        self.prepare(weight_OI.detach())

    @classmethod
    def why_not(cls, weight_OI: Tensor) -> str:  # noqa: ARG003  subclasses look at it
        """Why this kernel cannot serve a weight, in words; empty if it can."""
        return ""

    @abstractmethod
    def prepare(self, weight_OI: Tensor) -> None:
        """Store the weight in its form."""

    @abstractmethod
    def multiply(self, input_NI: Tensor) -> Tensor:
        """The product X W^T [N, O], without the bias."""

    @property
    @abstractmethod
    def bytes(self) -> int:
        """Bytes of the stored weight, indices included."""

    def forward(self, input_XI: Tensor) -> Tensor:
        """The outputs [..., O] of inputs [..., I]."""
        self.called = True
        output_NO = self.multiply(input_XI.reshape(-1, self.in_features))
        if self.bias is not None:
            output_NO = output_NO + self.bias
        output_XO = output_NO.view(*input_XI.shape[:-1], self.out_features)
        if self.checked and output_XO.numel():
            dense_XO = nn.functional.linear(input_XI, self.weight, self.bias)
            apart, largest = (float(each.abs().max()) for each in (output_XO - dense_XO, dense_XO))
            share = apart / largest if largest else apart
            if not share <= self.difference:  # also where it is no number
                self.difference = share
        return output_XO


class Csr(Kernel):
    """torch's compressed sparse rows, as `torch.nn.functional.linear` takes them."""

    name: ClassVar[str] = "csr"

    def prepare(self, weight_OI: Tensor) -> None:
        self.weight_OI = compressed(weight_OI)

    def multiply(self, input_NI: Tensor) -> Tensor:
        return nn.functional.linear(input_NI, self.weight_OI)

    @property
    def bytes(self) -> int:
        return csr_bytes(self.weight_OI)


class Tiles(Csr):
    """Compressed sparse rows times transposed tiles of the inputs: W X^T, some rows of X at a time."""

    name: ClassVar[str] = "tiles"

    def multiply(self, input_NI: Tensor) -> Tensor:
        output_NO = input_NI.new_empty(len(input_NI), self.out_features)
        for output_TO, input_TI in zip(
            *(torch.split(each, TILE) for each in (output_NO, input_NI)), strict=True
        ):
            output_TO.copy_((self.weight_OI @ input_TI.T).T)
        return output_NO


class Cut(Kernel):
    """A dense product without the rows and columns that have no unpruned weight."""

    name: ClassVar[str] = "cut"

    @classmethod
    def why_not(cls, weight_OI: Tensor) -> str:
        live = weight_OI != 0
        return "no row or column is dead" if bool(live.any(1).all() and live.any(0).all()) else ""

    def prepare(self, weight_OI: Tensor) -> None:
        live = weight_OI != 0
        self.rows, self.columns = (live.any(dim).nonzero().flatten() for dim in (1, 0))
        self.weight_RC = weight_OI[self.rows][:, self.columns].contiguous()

    def multiply(self, input_NI: Tensor) -> Tensor:
        few = len(self.columns) < self.in_features
        product_NR = (input_NI.index_select(1, self.columns) if few else input_NI) @ self.weight_RC.T
        if len(self.rows) == self.out_features:
            return product_NR
        output_NO = input_NI.new_zeros(len(input_NI), self.out_features)
        return output_NO.index_copy_(1, self.rows, product_NR)

    @property
    def bytes(self) -> int:
        return self.weight_RC.nbytes + self.rows.nbytes + self.columns.nbytes


class SemiStructured(Kernel):
    """2:4 of a device that has it, through torch's semi-structured tensors."""

    name: ClassVar[str] = "2:4"

    @classmethod
    def why_not(cls, weight_OI: Tensor) -> str:
        if weight_OI.device.type != "cuda":
            return f"a {weight_OI.device.type} device has no 2:4 kernel in torch"
        if weight_OI.dtype not in (torch.float16, torch.bfloat16):
            return f"it takes fp16 or bf16, not {weight_OI.dtype}"
        if why := cls.why_not_shape(*weight_OI.shape):
            return why
        return "" if is_two_of_four(weight_OI) else "its weights are not 2:4"

    @classmethod
    def why_not_shape(cls, rows: int, columns: int) -> str:
        """Why no weight of this shape is served; empty if some are."""
        return f"it takes multiples of 32 × 64, not {rows} × {columns}" if rows % 32 or columns % 64 else ""

    def prepare(self, weight_OI: Tensor) -> None:
        from torch.sparse import to_sparse_semi_structured

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*prototype")  # torch says so once for each process
            self.weight_OI = to_sparse_semi_structured(weight_OI.contiguous())

    def multiply(self, input_NI: Tensor) -> Tensor:
        # the kernel takes rows that are no neighbours in memory for others
        return nn.functional.linear(input_NI.contiguous(), self.weight_OI)

    @property
    def bytes(self) -> int:
        # half of the values, and two bits of place for each of them
        return self.out_features * self.in_features * 2 // 2 + self.out_features * self.in_features // 8


def is_two_of_four(weight_OI: Tensor) -> bool:
    """Whether at most two of each four neighbours in a row are not zero; rows have whole fours."""
    return bool(((weight_OI != 0).reshape(len(weight_OI), -1, 4).sum(-1) <= 2).all())


KERNELS: Mapping[str, type[Kernel]] = {kind.name: kind for kind in (Csr, Tiles, Cut, SemiStructured)}
"""All kernels by name; `dense` is the net as it is."""


def compressed(weight_OI: Tensor) -> Tensor:
    """A weight in compressed sparse rows, with indices of 32 bits."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        whole = weight_OI.to_sparse_csr()
    return torch.sparse_csr_tensor(
        whole.crow_indices().int(),
        whole.col_indices().int(),
        whole.values(),
        size=tuple(whole.shape),
        check_invariants=True,
    )


def csr_bytes(weight: Tensor) -> int:
    """Bytes of a weight in compressed sparse rows."""
    return weight.crow_indices().nbytes + weight.col_indices().nbytes + weight.values().nbytes


def with_kernel(model: nn.Module, masks: Mapping[str, Tensor], name: str) -> tuple[nn.Module, Replaced]:
    """A copy of a net in which a kernel serves every linear layer with a mask that it can serve.

    Raises:
        UsageError: it serves none; says why.
    """
    kind, found = KERNELS[name], Replaced()
    linear = {
        f"{path}.weight" if path else "weight": module
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear)
    }
    memo: dict[int, object] = {}
    for weight_name, module in linear.items():
        if weight_name not in masks:
            continue
        weight = module.weight.detach()
        if reason := kind.why_not(weight):
            found.reasons.setdefault(reason, weight_name)
            continue
        memo[id(module)] = found.kernels[weight_name] = kind(weight, module.bias)
    if not found.kernels:
        reasons = "; ".join(f"{reason} ({first})" for reason, first in found.reasons.items())
        raise UsageError(f"kernel {name!r} serves no layer: {reasons or 'no linear layer has a mask'}")
    return copy.deepcopy(model, memo), found


class Replaced:
    """The layers that a kernel can serve, and why it does not serve others."""

    def __init__(self) -> None:
        self.kernels: dict[str, Kernel] = {}
        """The kernels by the names of their weights."""
        self.reasons: dict[str, str] = {}
        """Why a layer is not served, with the first of these layers."""

    @property
    def called(self) -> list[Kernel]:
        """The kernels that the net has called."""
        return [kernel for kernel in self.kernels.values() if kernel.called]

    @contextmanager
    def checking(self) -> Iterator[None]:
        """Within, each call of a kernel is compared with the dense product of the same inputs."""
        for kernel in self.kernels.values():
            kernel.checked = True
        try:
            yield
        finally:
            for kernel in self.kernels.values():
                kernel.checked = False

    @property
    def difference(self) -> float:
        """Largest difference of an output of a layer, as a share of the largest of the same call."""
        differences = [kernel.difference for kernel in self.called]
        return next((share for share in differences if math.isnan(share)), max(differences, default=0.0))

    @property
    def bytes(self) -> int:
        """Bytes of the weights of called kernels, as these store them."""
        return sum(kernel.bytes for kernel in self.called)

    @property
    def dense_bytes(self) -> int:
        """Bytes of the same weights, dense."""
        return sum(kernel.weight.nbytes for kernel in self.called)
