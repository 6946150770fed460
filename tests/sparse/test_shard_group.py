"""A shard group: tensors sharded by rows get the same masks as whole ones."""

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
from smc_eval.sparse.allocate import SHARDABLE_DISTRIBUTIONS, allocate
from smc_eval.sparse.regrow import grown, remaining_after_drop
from smc_eval.sparse.select import largest
from smc_eval.sparse.shard_group import UNSHARDED, ShardGroup
from smc_eval.target import Target

T = TypeVar("T")
Held = dict[str, Tensor]

values = st.sampled_from([0.0, -0.0, 1.0, 1.0, -1.0, 2.0, 1e-40, float("inf")])


class Exchange:
    """The numbers of all holders; each holder is a thread."""

    def __init__(self, size: int) -> None:
        self.barrier, self.values = threading.Barrier(size, timeout=60), dict[int, object]()


class Holder(ShardGroup):
    """One holder of an exchange."""

    def __init__(self, exchange: Exchange, rank: int, size: int) -> None:
        self.exchange, self.rank, self.size = exchange, rank, size

    def _all(self, mine: T) -> list[T]:
        self.exchange.values[self.rank] = mine
        self.exchange.barrier.wait()
        everything = [self.exchange.values[rank] for rank in range(self.size)]
        self.exchange.barrier.wait()
        return everything  # type: ignore[return-value]

    def gather(self, numbers: Sequence[int]) -> list[list[int]]:
        return self._all(list(numbers))

    def add(self, counts: Tensor) -> None:
        counts.copy_(torch.stack(self._all(counts.clone())).sum(0))


def shard_of(tensor: Tensor, rank: int, size: int) -> Tensor:
    """The rows of one holder: equally many, except for the last holders, which may have none."""
    each = -(-len(tensor) // size)
    return tensor[rank * each : (rank + 1) * each]


def together(size: int, act: Callable[[ShardGroup, Callable[[Mapping[str, Tensor]], Held]], Held]) -> Held:
    """The results of all holders, their rows joined."""
    exchange = Exchange(size)

    def act_as(rank: int) -> Held:
        return act(
            Holder(exchange, rank, size),
            lambda tensors: {name: shard_of(tensor, rank, size) for name, tensor in tensors.items()},
        )

    with ThreadPoolExecutor(size) as threads:
        parts = list(threads.map(act_as, range(size)))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


@st.composite
def matrices(draw: st.DrawFn) -> Held:
    shapes = draw(st.lists(st.tuples(st.integers(0, 7), st.integers(1, 3)), min_size=1, max_size=3))
    return {
        name: torch.tensor(
            draw(st.lists(values, min_size=rows * columns, max_size=rows * columns)), dtype=torch.float32
        ).reshape(rows, columns)
        for name, (rows, columns) in zip("bac", shapes, strict=False)
    }


def same(a: Held, b: Held) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@settings(deadline=None, max_examples=60)
@given(matrices(), st.integers(2, 4), st.data())
def test_the_largest_of_sharded_tensors_are_those_of_whole_ones_ties_included(
    whole: Held, holders: int, data: st.DataObject
) -> None:
    total = sum(tensor.numel() for tensor in whole.values())
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 9)))
    within = {name: torch.rand(tensor.shape, generator=generator) < 0.7 for name, tensor in whole.items()}
    masked = data.draw(st.booleans())
    most = sum(int(mask.sum()) for mask in within.values()) if masked else total
    keep = data.draw(st.integers(0, most))
    expected = largest(whole, keep, within if masked else None)
    found = together(
        holders, lambda shards, own: largest(own(whole), keep, own(within) if masked else None, shards)
    )
    assert same(found, expected)
    assert sum(int(mask.sum()) for mask in found.values()) == keep


@pytest.mark.parametrize("distribution", SHARDABLE_DISTRIBUTIONS)
@pytest.mark.parametrize("holders", [2, 3])
def test_masks_of_sharded_tensors_are_those_of_whole_ones(distribution: str, holders: int) -> None:
    generator = torch.Generator().manual_seed(0)
    whole = {"wide": torch.rand(5, 8, generator=generator), "tall": torch.rand(9, 2, generator=generator)}
    whole["full"] = torch.ones(1, 3)
    target = Target(sparsity=0.7, distribution=distribution)
    found = together(holders, lambda shards, own: allocate(own(whole), target, shards=shards))
    assert same(found, allocate(whole, target))


def test_pattern_masks_of_sharded_tensors_are_those_of_whole_ones() -> None:
    whole = {"a": torch.rand(5, 8, generator=torch.Generator().manual_seed(1))}
    found = together(2, lambda shards, own: allocate(own(whole), Target.parse("2:4"), shards=shards))
    assert same(found, allocate(whole, Target.parse("2:4")))


@pytest.mark.parametrize("distribution", ["rows", "lamp", "owl"])
def test_a_distribution_that_needs_whole_tensors_is_refused(distribution: str) -> None:
    whole = {"a": torch.rand(4, 2)}
    with pytest.raises(SparsityError, match=f"distribution '{distribution}' needs whole tensors"):
        together(
            2,
            lambda shards, own: allocate(
                own(whole), Target(sparsity=0.5, distribution=distribution), shards=shards
            ),
        )


def test_a_nan_of_one_holder_is_an_error_on_all() -> None:
    whole = {"a": torch.tensor([[1.0], [2.0], [float("nan")]])}
    refused = list[int]()

    def act(shards: ShardGroup, own: Callable[[Mapping[str, Tensor]], Held]) -> Held:
        with pytest.raises(SparsityError, match="a saliency of 'a' is NaN"):
            largest(own(whole), 1, shards=shards)
        refused.append(shards.rank)
        return own(whole)

    together(2, act)
    assert sorted(refused) == [0, 1]


@pytest.mark.parametrize("signs", [False, True])
@pytest.mark.parametrize("steep", [None, 1, 40])
def test_drop_and_grow_of_a_sharded_tensor_equal_those_of_a_whole_one(
    *, signs: bool, steep: int | None
) -> None:
    generator = torch.Generator().manual_seed(2)
    whole = {"w": torch.randn(9, 6, generator=generator), "m": torch.rand(9, 6, generator=generator) < 0.5}
    whole["w"] *= whole["m"]
    if steep is not None:  # number of places with a gradient
        whole["g"] = torch.zeros(54)
        whole["g"][torch.randperm(54, generator=generator)[:steep]] = 1.0
        whole["g"] = whole["g"].view(9, 6)

    def rewired(shards: ShardGroup, own: Callable[[Mapping[str, Tensor]], Held]) -> Held:
        part, draws = own(whole), torch.Generator().manual_seed(3)
        stays = remaining_after_drop(part["w"], part["m"], 0.4, signs=signs, shards=shards)
        before, after = shards.count([part["m"], stays])
        return {"m": stays | grown(part.get("g"), ~stays, before - after, draws, shards)}

    found = together(2, rewired)
    assert same(found, rewired(UNSHARDED, dict))
    assert int(found["m"].sum()) == int(whole["m"].sum())


def test_shapes_of_whole_tensors_are_known_to_all_holders() -> None:
    whole = {"a": torch.zeros(5, 2, 3), "b": torch.zeros(1)}

    def act(shards: ShardGroup, own: Callable[[Mapping[str, Tensor]], Held]) -> Held:
        assert shards.shapes(own(whole)) == {"a": (5, 2, 3), "b": (1,)}
        return own(whole)

    assert same(together(3, act), whole)
