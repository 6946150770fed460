"""Operations of passes through a net, and the weights that they belong to."""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop, sdpa_flop

aten = torch.ops.aten


def _product(matrix: int, other: int | None = None) -> Callable[..., int]:
    """Operations of a product: two for each number of an argument, times the columns of another."""

    def count(*args: Any, **_: Any) -> int:
        return 2 * int(args[matrix].numel()) * (1 if other is None else int(args[other].shape[-1]))

    return count


def _bilinear_flop(left: Tensor, weight: Tensor, right: Tensor, *dims: Any, **_: Any) -> int:
    """Operations of `_trilinear`, which `nn.Bilinear` and its gradients call: sum of a · b · c.

    Each cell of the common shape of the three factors takes two multiplications and an addition.
    """
    sizes: list[int] = []
    for factor, expanded in zip((left, weight, right), dims[:3], strict=True):
        shape = list(factor.shape)
        for dim in sorted(expanded):
            shape.insert(dim, 1)
        sizes = [max(pair) for pair in zip(sizes or shape, shape, strict=True)]
    return 3 * math.prod(sizes)


FORMULAS: Mapping[Any, Callable[..., int]] = {
    **flop_registry,
    aten.mm: _product(0, 1),
    aten.bmm: _product(0, 1),
    aten.addmm: _product(1, 2),
    aten.baddbmm: _product(1, 2),
    aten.mv: _product(0),
    aten.addmv: _product(1),
    aten.dot: _product(0),
    aten.vdot: _product(0),
    aten.addr: _product(1, 2),
    aten.addbmm: _product(1, 2),
    aten._trilinear: _bilinear_flop,
    aten._scaled_dot_product_flash_attention_for_cpu: sdpa_flop,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: sdpa_backward_flop,
}
"""torch's own formulas, those for kernels that its counter does not know, such as attention on a CPU, and
quicker ones for the commonest products."""

FUSED = {
    aten.mkldnn_rnn_layer: slice(1, 3),
    aten.mkldnn_rnn_layer_backward: slice(1, 3),
    aten._cudnn_rnn: slice(1, 2),
    aten._cudnn_rnn_backward: slice(1, 2),
    aten._native_multi_head_attention: slice(5, 8),
    aten._transformer_encoder_layer_fwd: slice(3, 18),
}
"""Kernels that torch's counter does not know, and the positions of their weights: each matrix there
multiplies every row of the first argument."""

FUSED_ATTENTION = {aten._native_multi_head_attention, aten._transformer_encoder_layer_fwd}
"""Fused kernels that also multiply rows with rows, for attention."""

MULTIPLYING = {
    "mm",
    "bmm",
    "addmm",
    "baddbmm",
    "mv",
    "dot",
    "matmul",
    "linear",
    "conv",
    "convolution",
    "addmv",
    "addbmm",
    "addr",
    "vdot",
}
MULTIPLYING |= {"rnn", "lstm", "gru", "attention", "cdist", "euclidean", "fft", "linalg"}
NOT_MULTIPLYING = {"cell", "check", "cross", "diagonal", "flatten", "norm"}
"""Words in the names of torch's kernels that multiply and add, and in the names of those that do not."""

TORCHS = {
    "aten",
    "c10d",
    "_c10d_functional",
    "_c10d_functional_autograd",
    "fsdp",
    "prim",
    "prims",
    "profiler",
}
"""Namespaces of torch's own kernels. What another kernel does is not known."""

COPIES = {aten._to_copy, aten.clone, aten.stack, aten.cat}
"""Results of these, made of weights alone, count as the weights."""

VIEWS = {"T", "Transpose", "View", "UnsafeView", "ReshapeAlias", "Permute", "Expand", "Slice", "Split"}
VIEWS |= {"Select", "Unbind", "Squeeze", "Unsqueeze", "ToCopy", "Clone", "Stack", "Cat"}
"""Nodes of a backward pass that only copy or reshape a weight."""

Shares = Mapping[str, float]
"""Share of each weight in a tensor, by name; together at most 1."""


@dataclass
class Operations:
    """Floating-point operations of some passes. A multiplication and an addition count as two."""

    total: float = 0.0
    """All, also those of no known weight."""
    products: dict[str, float] = field(default_factory=dict)
    """By weight: its products with inputs, and with the gradients of outputs."""
    slopes: dict[str, float] = field(default_factory=dict)
    """By weight: the operations of its own gradient."""
    uncounted: dict[str, int] = field(default_factory=dict)
    """Kernels that multiply, or may multiply, and have no formula: how often each ran. They count as 0."""

    def add(self, count: float, shares: Shares, kind: dict[str, float]) -> None:
        """Count operations of these weights; `kind` is `products` or `slopes`."""
        self.total += count
        for name, share in shares.items():
            kind[name] = kind.get(name, 0.0) + count * share


class Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within, operations are counted as `torch.utils.flop_counter` counts them, forward and backward.

    The arguments of torch's kernels show the weights, so any kind of module may be used. A product belongs
    to a weight if one of its factors shares the weight's memory, or is a copy of it (autocast makes such
    copies). This holds for views, parts of a packed weight, tied weights and functional layers. The
    operations of a weight's own gradient belong to the weight that the node of the backward pass reaches
    through views alone. A part counts as the whole. The total alone counts the operations of no weight:
    attention of rows to rows, arithmetic results of weights, and recomputed activations without a weight.
    Kernels that multiply and have no formula are listed as uncounted. Elementwise arithmetic counts as 0.
    """

    def __init__(self, weights: Mapping[str, Tensor], into: Operations) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations = into
        self.regions: dict[int, list[tuple[int, int, Shares]]] = {}
        self.references: list[Tensor] = []
        for name, weight in weights.items():
            self.register(name, weight)

    def register(self, name: str, tensor: Tensor) -> None:
        """Count a tensor as the weight of this name: the weight itself, or its replacement in a pass."""
        self._register(tensor, {name: 1.0})

    def add_linear(self, weight: Tensor, rows: int) -> None:
        """Count the dense product of a linear map over so many rows, which a kernel computes `unseen`."""
        self.operations.add(2 * rows * weight.numel(), self._shares_of(weight), self.operations.products)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **kwargs) if kwargs else func(*args)
        if (kind := seen_kind(func)) is not None:
            self._see(kind, args, kwargs or {}, out)
        return out

    def _see(self, kind: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> None:
        """Count a call of a kernel, or remember a copy of weights that it made."""
        if kind in FORMULAS:
            self._count(kind, args, kwargs, out)
        elif kind in FUSED:
            self._count_fused(kind, args)
        elif kind in COPIES:
            if shares := self._joined_shares(flat_tensors(args[:1])):
                self._register(out, shares)
        else:
            name = str(kind)
            self.operations.uncounted[name] = self.operations.uncounted.get(name, 0) + 1

    def _count(self, kind: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> None:
        count, operations = FORMULAS[kind](*args, **kwargs, out_val=out), self.operations
        factors = {name: share for x in flat_tensors(args) for name, share in self._shares_of(x).items()}
        backward = None if torch.is_grad_enabled() else torch._C._current_autograd_node()
        if kind is aten.convolution_backward:  # both gradients in one
            part = count / max(1, sum(args[-1][:2]))
            operations.add(part * args[-1][0], factors, operations.products)
            operations.add(part * args[-1][1], factors, operations.slopes)
        elif factors or backward is None:
            operations.add(count, factors, operations.products)
        else:
            operations.add(count, self._shares_behind(backward), operations.slopes)

    def _count_fused(self, kind: Any, args: tuple[Any, ...]) -> None:
        operations, rows = self.operations, args[0].numel() // args[0].shape[-1]
        for matrix in flat_tensors(args[FUSED[kind]]):
            if matrix.ndim == 2:
                count = 2 * rows * matrix.numel()
                operations.add(count, self._shares_of(matrix), operations.products)
                if "backward" in str(kind):
                    operations.add(count, self._shares_of(matrix), operations.slopes)
        if kind in FUSED_ATTENTION:
            operations.total += 4 * rows * args[0].shape[-2] * args[0].shape[-1]

    def _register(self, tensor: Tensor, shares: Shares) -> None:
        """Record the weights at a place in memory. A reference keeps the memory from being reused."""
        storage, start = memory_place(tensor)
        regions = self.regions.setdefault(storage, [])
        if tensor.numel() and all(start != other for other, _, _ in regions):
            insort(regions, (start, start + tensor.numel() * tensor.element_size(), shares))
            self.references.append(tensor)

    def _shares_of(self, tensor: Tensor) -> Shares:
        """The weights at a tensor's place in memory."""
        storage, start = memory_place(tensor)
        regions = self.regions.get(storage, [])
        at = bisect_right(regions, start, key=lambda region: region[0]) - 1
        return regions[at][2] if at >= 0 and start < regions[at][1] else {}

    def _joined_shares(self, parts: Iterable[Tensor]) -> Shares:
        """The weights of tensors that are joined into one."""
        counts, size = dict[str, float](), 0
        for part in parts:
            size += part.numel()
            for name, share in self._shares_of(part).items():
                counts[name] = counts.get(name, 0.0) + share * part.numel()
        return {name: count / size for name, count in counts.items()}

    def _shares_behind(self, node: Any) -> Shares:
        """The weights whose gradient a node of the backward pass computes."""
        sizes, ahead = dict[str, int](), [following for following, _ in node.next_functions]
        while ahead:
            node = ahead.pop()
            if node is None:
                continue
            if hasattr(node, "variable"):
                sizes |= {name: node.variable.numel() for name in self._shares_of(node.variable)}
            elif node.name().removesuffix("0").removesuffix("Backward") in VIEWS:
                ahead += [following for following, _ in node.next_functions]
        return {name: size / sum(sizes.values()) for name, size in sizes.items()}


def unseen() -> AbstractContextManager[None]:
    """Within, nothing is counted, and nothing pays for counting."""
    return cast("AbstractContextManager[None]", _disable_current_modes())


@cache
def seen_kind(func: Any) -> Any:
    """The kernel of a call, where calls of it are counted, copy weights or have no formula; else None."""
    kind = out_of_place(func.overloadpacket)
    seen = kind in FORMULAS or kind in FUSED or kind in COPIES or is_uncounted(kind)
    return kind if seen else None


def out_of_place(kind: Any) -> Any:
    """The kernel that an in-place kernel such as `addmm_` computes: `addmm`. Others are themselves."""
    namespace, _, name = str(kind).partition(".")
    if namespace != "aten" or not name.endswith("_") or name.startswith("_"):
        return kind
    return getattr(aten, name.removesuffix("_"), kind)


def is_uncounted(kind: Any) -> bool:
    """Whether a kernel without a formula multiplies and adds, by the words of its name; or is not torch's."""
    namespace, _, name = str(kind).partition(".")
    words = set(name.split("_"))
    return namespace not in TORCHS or bool(words & MULTIPLYING and not words & NOT_MULTIPLYING)


def memory_place(tensor: Tensor) -> tuple[int, int]:
    """A tensor's storage and its first byte there. A storage stays the same when its memory is freed and
    allocated again."""
    return tensor.untyped_storage()._cdata, int(tensor.storage_offset()) * tensor.element_size()


def flat_tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """The tensors among arguments, and those in lists of arguments."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from flat_tensors(value)
