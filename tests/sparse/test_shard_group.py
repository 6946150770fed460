"""A crowd: tensors cut by rows among holders come to the masks of whole ones."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from smc_eval.errors import SparsityError
from smc_eval.sparse.allocate import BY_ROWS, allocate
from smc_eval.sparse.regrow import grown, survivors
from smc_eval.sparse.select import largest
from smc_eval.sparse.shard_group import UNSHARDED, ShardGroup
from smc_eval.target import Target

T = TypeVar("T")
Held = dict[str, Tensor]

values = st.sampled_from([0.0, -0.0, 1.0, 1.0, -1.0, 2.0, 1e-40, float("inf")])


class Table:
    """Where holders, a thread each, lay down what they have."""

    def __init__(self, size: int) -> None:
        self.met, self.laid = threading.Barrier(size, timeout=60), dict[int, object]()


class Holder(ShardGroup):
    """One of those around a table."""

    def __init__(self, table: Table, rank: int, size: int) -> None:
        self.table, self.rank, self.size = table, rank, size

    def _all(self, mine: T) -> list[T]:
        self.table.laid[self.rank] = mine
        self.table.met.wait()
        found = [self.table.laid[rank] for rank in range(self.size)]
        self.table.met.wait()
        return found  # type: ignore[return-value]

    def gather(self, numbers: Sequence[int]) -> list[list[int]]:
        return self._all(list(numbers))

    def add(self, counts: Tensor) -> None:
        counts.copy_(torch.stack(self._all(counts.clone())).sum(0))


def cut(tensor: Tensor, rank: int, size: int) -> Tensor:
    """The rows of one holder: equally many, but for the last ones, who may have none."""
    each = -(-len(tensor) // size)
    return tensor[rank * each : (rank + 1) * each]


def together(size: int, act: Callable[[ShardGroup, Callable[[Mapping[str, Tensor]], Held]], Held]) -> Held:
    """What all holders come to, their rows put together."""
    table = Table(size)

    def one(rank: int) -> Held:
        return act(
            Holder(table, rank, size),
            lambda tensors: {name: cut(tensor, rank, size) for name, tensor in tensors.items()},
        )

    with ThreadPoolExecutor(size) as threads:
        found = list(threads.map(one, range(size)))
    return {name: torch.cat([part[name] for part in found]) for name in found[0]}


@st.composite
def matrices(draw: st.DrawFn) -> Held:
    shapes = draw(st.lists(st.tuples(st.integers(0, 7), st.integers(1, 3)), min_size=1, max_size=3))
    return {
        name: torch.tensor(
            draw(st.lists(values, min_size=rows * columns, max_size=rows * columns)), dtype=torch.float32
        ).reshape(rows, columns)
        for name, (rows, columns) in zip("bac", shapes, strict=False)
    }


def same(one: Held, other: Held) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@settings(deadline=None, max_examples=60)
@given(matrices(), st.integers(2, 4), st.data())
def test_the_largest_of_split_tensors_are_those_of_whole_ones_ties_included(
    whole: Held, holders: int, data: st.DataObject
) -> None:
    total = sum(tensor.numel() for tensor in whole.values())
    chance = torch.Generator().manual_seed(data.draw(st.integers(0, 9)))
    within = {name: torch.rand(tensor.shape, generator=chance) < 0.7 for name, tensor in whole.items()}
    alive = data.draw(st.booleans())
    most = sum(int(mask.sum()) for mask in within.values()) if alive else total
    keep = data.draw(st.integers(0, most))
    expected = largest(whole, keep, within if alive else None)
    found = together(
        holders, lambda shards, own: largest(own(whole), keep, own(within) if alive else None, shards)
    )
    assert same(found, expected)
    assert sum(int(mask.sum()) for mask in found.values()) == keep


@pytest.mark.parametrize("spread", BY_ROWS)
@pytest.mark.parametrize("holders", [2, 3])
def test_budgets_are_those_of_whole_tensors(distribution: str, holders: int) -> None:
    chance = torch.Generator().manual_seed(0)
    whole = {"wide": torch.rand(5, 8, generator=chance), "tall": torch.rand(9, 2, generator=chance)}
    whole["full"] = torch.ones(1, 3)
    target = Target(sparsity=0.7, distribution=distribution)
    found = together(holders, lambda shards, own: allocate(own(whole), target, shards=shards))
    assert same(found, allocate(whole, target))


def test_a_pattern_is_met_in_rows_as_in_the_whole() -> None:
    whole = {"a": torch.rand(5, 8, generator=torch.Generator().manual_seed(1))}
    found = together(2, lambda shards, own: allocate(own(whole), Target.parse("2:4"), shards=shards))
    assert same(found, allocate(whole, Target.parse("2:4")))


@pytest.mark.parametrize("spread", ["rows", "lamp", "owl"])
def test_a_spread_that_needs_whole_tensors_is_refused(distribution: str) -> None:
    whole = {"a": torch.rand(4, 2)}
    with pytest.raises(SparsityError, match=f"spread '{distribution}' needs whole tensors"):
        together(
            2,
            lambda shards, own: allocate(
                own(whole), Target(sparsity=0.5, distribution=distribution), shards=shards
            ),
        )


def test_a_number_that_is_none_is_told_to_all_holders() -> None:
    whole = {"a": torch.tensor([[1.0], [2.0], [float("nan")]])}
    told = list[str]()

    def act(shards: ShardGroup, own: Callable[[Mapping[str, Tensor]], Held]) -> Held:
        with pytest.raises(SparsityError, match="a saliency of 'a' is NaN"):
            largest(own(whole), 1, shards=shards)
        told.append("a")
        return own(whole)

    together(2, act)
    assert told == ["a", "a"]


@pytest.mark.parametrize("signs", [False, True])
@pytest.mark.parametrize("steep", [None, 1, 40])
def test_what_drops_and_grows_in_rows_is_what_does_in_the_whole(*, signs: bool, steep: int | None) -> None:
    chance = torch.Generator().manual_seed(2)
    whole = {"w": torch.randn(9, 6, generator=chance), "m": torch.rand(9, 6, generator=chance) < 0.5}
    whole["w"] *= whole["m"]
    if steep is not None:  # so many places have a gradient
        whole["g"] = torch.zeros(54)
        whole["g"][torch.randperm(54, generator=chance)[:steep]] = 1.0
        whole["g"] = whole["g"].view(9, 6)

    def rewired(shards: ShardGroup, own: Callable[[Mapping[str, Tensor]], Held]) -> Held:
        part, lots = own(whole), torch.Generator().manual_seed(3)
        stays = survivors(part["w"], part["m"], 0.4, signs=signs, shards=shards)
        before, after = shards.count([part["m"], stays])
        return {"m": stays | grown(part.get("g"), ~stays, before - after, lots, shards)}

    found = together(2, rewired)
    assert same(found, rewired(UNSHARDED, dict))
    assert int(found["m"].sum()) == int(whole["m"].sum())


def test_whole_shapes_are_known_by_rows() -> None:
    whole = {"a": torch.zeros(5, 2, 3), "b": torch.zeros(1)}

    def act(shards: ShardGroup, own: Callable[[Mapping[str, Tensor]], Held]) -> Held:
        assert shards.shapes(own(whole)) == {"a": (5, 2, 3), "b": (1,)}
        return own(whole)

    assert same(together(3, act), whole)
