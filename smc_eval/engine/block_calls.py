"""Block calls: the calls of a net's blocks, which can be watched, answered with kept outputs, or ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map

PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size)
"""Types of values in an output that hold no state."""

METADATA = {Tensor.size, Tensor.dim, Tensor.numel, Tensor.is_floating_point, Tensor.is_complex} | {
    vars(torch._C.TensorBase)[name].__get__  # noqa: SLF001 - how torch names the reading of an attribute
    for name in ("shape", "dtype", "device", "ndim", "is_cuda", "requires_grad", "layout")
}
"""Functions of a tensor that read none of its values."""


class OutputNotKept(RuntimeError):
    """Something reads a block's output that was not kept."""

    def __init__(self, block: str) -> None:
        super().__init__(f"the output of block {block!r} is read outside of the next block")
        self.block = block


class Absent(Tensor):
    """The place of an output that was not kept: it has the shape and type, and refuses every reading."""

    block: str

    @classmethod
    def of(cls, tensor: Tensor, block: str) -> Absent:
        """The place of a tensor in an output of this block."""
        absent: Absent = Tensor._make_wrapper_subclass(  # noqa: SLF001 - torch's way to one without values
            cls, tensor.shape, dtype=tensor.dtype, device=tensor.device
        )
        absent.block = block
        return absent

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in METADATA:
            with torch._C.DisableTorchFunctionSubclass():  # noqa: SLF001 - torch's own way
                return func(*args, **(kwargs or {}))
        raise OutputNotKept(cls._block_in((args, kwargs)))

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        raise OutputNotKept(cls._block_in((args, kwargs)))

    @classmethod
    def _block_in(cls, arguments: Any) -> str:
        """The block of the first such place among arguments."""
        return next(value.block for value in tree_flatten(arguments)[0] if isinstance(value, cls))


@dataclass(frozen=True)
class Call:
    """One call of a block."""

    block: str
    number: int
    """How often the block was called before, while it is watched."""
    forward: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def run(self) -> Any:
        """Call it as it was meant."""
        return self.forward(*self.args, **self.kwargs)

    def tensors(self) -> list[Tensor]:
        """All tensors among its arguments."""
        return [value for value in tree_flatten((self.args, self.kwargs))[0] if isinstance(value, Tensor)]


Act = Callable[[Call], Any]
"""What becomes of a call."""


class BlockCalls:
    """The blocks of a model whose `forward` can be watched."""

    def __init__(self, model: nn.Module, names: Iterable[str]) -> None:
        self.modules = {name: model.get_submodule(name) for name in names}

    @contextmanager
    def through(self, act: Act) -> Iterator[None]:
        """Within, each call of a block returns what `act` makes of it."""
        usual: dict[str, Any] = {name: vars(module).get("forward") for name, module in self.modules.items()}
        for name, module in self.modules.items():
            module.forward = _through(name, module.forward, act)
        try:
            yield
        finally:
            for name, module in self.modules.items():
                del module.forward
                if usual[name] is not None:
                    module.forward = usual[name]


def _through(name: str, forward: Callable[..., Any], act: Act) -> Callable[..., Any]:
    """A `forward` whose calls `act` decides."""
    calls = 0

    @wraps(forward)  # others read its signature
    def called(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        return act(Call(name, calls - 1, forward, args, kwargs))

    return called


def copied(output: Any) -> Any:
    """An output with copies of its tensors: what writes into them leaves the others as they are."""
    return tree_map(
        lambda value: (
            value.detach().clone() if isinstance(value, Tensor) and not isinstance(value, Absent) else value
        ),
        output,
    )


def absent(output: Any, block: str) -> Any:
    """An output without the values of its tensors."""
    return tree_map(
        lambda value: (
            Absent.of(value, block) if isinstance(value, Tensor) and not isinstance(value, Absent) else value
        ),
        output,
    )


def halved(output: Any) -> Any:
    """An output with half the values of its floats."""
    return tree_map(
        lambda value: value * 0.5 if isinstance(value, Tensor) and value.is_floating_point() else value,
        output,
    )


def is_plain(output: Any) -> bool:
    """Whether an output is made of tensors and values without a state."""
    return all(isinstance(value, (Tensor, *PLAIN)) for value in tree_flatten(output)[0])


def size(output: Any) -> int:
    """Bytes of the tensors of an output."""
    values = [value for value in tree_flatten(output)[0] if isinstance(value, Tensor)]
    return sum(value.nbytes for value in values if not isinstance(value, Absent))


def is_absent(output: Any) -> bool:
    """Whether an output has tensors without values."""
    return any(isinstance(value, Absent) for value in tree_flatten(output)[0])


def equal(first: Any, second: Any) -> bool:
    """Whether two outputs have the same form and equal tensors."""
    (values, form), (others, other_form) = tree_flatten(first), tree_flatten(second)
    return form == other_form and all(
        torch.equal(value, other)
        if isinstance(value, Tensor) and isinstance(other, Tensor)
        else value is other or value == other
        for value, other in zip(values, others, strict=True)
    )
