"""Block trace: where a pass over one batch uses weights, and which inputs it shows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from smc_eval.engine.block_calls import (
    METADATA,
)
from smc_eval.sparse.inputs import Region
from smc_eval.sparse.seal import seal


@dataclass(frozen=True)
class Place:
    """Where a weight is used."""

    time: int
    begun: int
    """How many blocks had begun."""
    inside: str | None
    """The block that runs."""


class Uses(TorchFunctionMode):
    """Notes in which places of a pass functions of torch get weights."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.names_at: dict[int, list[str]] = {}
        for name, weight in weights.items():  # those of a recurrent layer may share their memory
            self.names_at.setdefault(weight.untyped_storage().data_ptr(), []).append(name)
        self.places: dict[str, list[Place]] = {}
        self.time, self.begun, self.inside = 0, set[str](), list[str]()

    def begin(self, block: str) -> int:
        """A call of a block begins. Returns the time."""
        self.time += 1
        self.begun.add(block)
        self.inside.append(block)
        return self.time

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func not in METADATA:
            for tensor in _tensors((args, kwargs or {})):
                for name in self.names_at.get(tensor.untyped_storage().data_ptr(), ()):
                    self.time += 1
                    place = Place(self.time, len(self.begun), self.inside[-1] if self.inside else None)
                    self.places.setdefault(name, []).append(place)
        return func(*args, **(kwargs or {}))


def _tensors(values: Any) -> Iterator[Tensor]:
    """All tensors in nested tuples, lists and dicts."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, (tuple, list)):
        for value in values:
            yield from _tensors(value)
    elif isinstance(values, dict):
        yield from _tensors(tuple(values.values()))


class SeenInputs:
    """An observer that keeps a seal of each call's inputs, by weight."""

    def __init__(self) -> None:
        self.seals: dict[str, list[object]] = {}

    def __call__(self, name: str, region: Region, x_NI: Tensor) -> None:
        self._add(name, region, x_NI, turned=False)

    def transposed(self, name: str, region: Region, x_NI: Tensor) -> None:
        """The inputs of a weight whose rows are inputs."""
        self._add(name, region, x_NI, turned=True)

    def stacked(self, name: str, number: int, region: Region, x_NI: Tensor, *, turned: bool) -> None:
        """The inputs of one matrix of a stack."""
        self._add(name, region, x_NI, turned=turned, number=number)

    def _add(
        self, name: str, region: Region, x_NI: Tensor, *, turned: bool, number: int | None = None
    ) -> None:
        spans = tuple((span.start, span.stop) for span in region)
        self.seals.setdefault(name, []).append((number, turned, spans, tuple(x_NI.shape), seal(x_NI)))
