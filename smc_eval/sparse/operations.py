"""Operations: what passes through a net take, and which of its weights they are spent on."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop, sdpa_flop

aten = torch.ops.aten

FORMULAS: Mapping[Any, Callable[..., int]] = {
    **flop_registry,
    aten._scaled_dot_product_flash_attention_for_cpu: sdpa_flop,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: sdpa_backward_flop,
}
"""torch's own, and what stands for its attention on a CPU, which its counter passes over."""

FUSED = {
    aten.mkldnn_rnn_layer: slice(1, 3),
    aten.mkldnn_rnn_layer_backward: slice(1, 3),
    aten._cudnn_rnn: slice(1, 2),
    aten._cudnn_rnn_backward: slice(1, 2),
    aten._native_multi_head_attention: slice(5, 8),
    aten._transformer_encoder_layer_fwd: slice(3, 18),
}
"""Kernels that torch's counter passes over, and where their weights stand: each matrix there multiplies
every row of the first argument."""

ATTENDING = {aten._native_multi_head_attention, aten._transformer_encoder_layer_fwd}
"""Those that also multiply rows with rows, to attend."""

COPIES = {aten._to_copy, aten.clone, aten.stack, aten.cat}
"""What these make of weights alone is weights in another place."""

VIEWS = {"T", "Transpose", "View", "UnsafeView", "ReshapeAlias", "Permute", "Expand", "Slice", "Split"}
VIEWS |= {"Select", "Unbind", "Squeeze", "Unsqueeze", "ToCopy", "Clone", "Stack", "Cat"}
"""Nodes of a backward pass behind which the same weights lie, elsewhere or in another form."""

Shares = Mapping[str, float]
"""How much of a tensor is which weight; what is missing to 1 is none."""


@dataclass
class Operations:
    """Floating-point operations of some passes, a product and a sum being two."""

    total: float = 0.0
    """All, also those of no weight that is known."""
    products: dict[str, float] = field(default_factory=dict)
    """By weight: its products with what comes in, and with the slopes that come back."""
    slopes: dict[str, float] = field(default_factory=dict)
    """By weight: what its own gradient takes."""

    def add(self, count: float, shares: Shares, kind: dict[str, float]) -> None:
        """Count some that are spent on these weights; `kind` is `products` or `slopes`."""
        self.total += count
        for name, share in shares.items():
            kind[name] = kind.get(name, 0.0) + count * share


class Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within, operations are counted as `torch.utils.flop_counter` counts them, forward and backward.

    It is what torch's kernels are called with that tells whose they are, so that no module need be
    known. A product is a weight's if one of its factors lies where the weight lies in memory, or is a
    copy of it (as autocast makes): views, parts of a packed weight, tied weights and functional
    layers are all alike. A weight's own gradient is told by the node of the backward pass that takes
    it, whose inputs lead to the weight through nothing but views. A part counts as its whole. What is
    nobody's, such as attention of rows to rows, what is made of weights by arithmetic, or all that
    activations recomputed in the backward pass cost without a weight, is in the total alone.
    """

    def __init__(self, weights: Mapping[str, Tensor], into: Operations) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations = into
        self.places: dict[int, list[tuple[int, int, Shares]]] = {}
        self.kept: list[Tensor] = []
        for name, weight in weights.items():
            self.own(name, weight)

    def own(self, name: str, tensor: Tensor) -> None:
        """Take a tensor for the weight of this name, or for what stands for it in a pass."""
        self._own(tensor, {name: 1.0})

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        kind = func.overloadpacket
        out = func(*args, **kwargs)
        if kind in FORMULAS:
            self._count(kind, args, kwargs, out)
        elif kind in FUSED:
            self._fused(kind, args)
        elif kind in COPIES and (shares := self._shares(flat(args[:1]))):
            self._own(out, shares)
        return out

    def _count(self, kind: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> None:
        count, found = FORMULAS[kind](*args, **kwargs, out_val=out), self.operations
        factors = {name: share for x in flat(args) for name, share in self._of(x).items()}
        backward = None if torch.is_grad_enabled() else torch._C._current_autograd_node()
        if kind is aten.convolution_backward:  # both gradients in one
            part = count / max(1, sum(args[-1][:2]))
            found.add(part * args[-1][0], factors, found.products)
            found.add(part * args[-1][1], factors, found.slopes)
        elif factors or backward is None:
            found.add(count, factors, found.products)
        else:
            found.add(count, self._behind(backward), found.slopes)

    def _fused(self, kind: Any, args: tuple[Any, ...]) -> None:
        found, rows = self.operations, args[0].numel() // args[0].shape[-1]
        for matrix in flat(args[FUSED[kind]]):
            if matrix.ndim == 2:
                count = 2 * rows * matrix.numel()
                found.add(count, self._of(matrix), found.products)
                if "backward" in str(kind):
                    found.add(count, self._of(matrix), found.slopes)
        if kind in ATTENDING:
            found.total += 4 * rows * args[0].shape[-2] * args[0].shape[-1]

    def _own(self, tensor: Tensor, shares: Shares) -> None:
        """Remember whose a place in memory is; the tensor is kept, lest another takes the place."""
        store, start = place_of(tensor)
        held = self.places.setdefault(store, [])
        if tensor.numel() and all(start != other for other, _, _ in held):
            insort(held, (start, start + tensor.numel() * tensor.element_size(), shares))
            self.kept.append(tensor)

    def _of(self, tensor: Tensor) -> Shares:
        """The weights that lie where a tensor lies."""
        store, start = place_of(tensor)
        held = self.places.get(store, [])
        at = bisect_right(held, start, key=lambda where: where[0]) - 1
        return held[at][2] if at >= 0 and start < held[at][1] else {}

    def _shares(self, parts: Iterable[Tensor]) -> Shares:
        """The weights of tensors that are put together."""
        found, size = dict[str, float](), 0
        for part in parts:
            size += part.numel()
            for name, share in self._of(part).items():
                found[name] = found.get(name, 0.0) + share * part.numel()
        return {name: count / size for name, count in found.items()}

    def _behind(self, node: Any) -> Shares:
        """The weights whose gradient a node of the backward pass is to give."""
        found, ahead = dict[str, int](), [following for following, _ in node.next_functions]
        while ahead:
            node = ahead.pop()
            if node is None:
                continue
            if hasattr(node, "variable"):
                found |= {name: node.variable.numel() for name in self._of(node.variable)}
            elif node.name().removesuffix("0").removesuffix("Backward") in VIEWS:
                ahead += [following for following, _ in node.next_functions]
        return {name: size / sum(found.values()) for name, size in found.items()}


def place_of(tensor: Tensor) -> tuple[int, int]:
    """Where a tensor lies: in which storage, which stays itself when its memory goes and comes back, and at
    which byte of it."""
    return tensor.untyped_storage()._cdata, int(tensor.storage_offset()) * tensor.element_size()


def flat(values: Iterable[Any]) -> Iterator[Tensor]:
    """The tensors among arguments, and those in lists of them."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from flat(value)
