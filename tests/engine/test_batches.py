"""Which examples stand in which forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from smc_eval.engine.batches import Batches, length_key, pass_ranges, predict
from smc_eval.engine.device import Device
from smc_eval.errors import UsageError
from smc_eval.methods.dense import Dense
from smc_eval.recipe import Recipe
from smc_eval.target import Target
from smc_eval.testing import Example, Toy, ToyNet, chain_of, run_chain


class Uneven(Toy):
    """A toy whose examples pretend to be of unlike lengths, and whose net draws nothing by lot."""

    def length(self, example: Example) -> int:
        return 1 + sum(example[0]) % 7

    def model(self) -> nn.Module:
        net = ToyNet()
        net.drop.p = 0.0
        return net


def batches(recipe: Recipe, start: str = "a") -> Batches:
    return Batches(Uneven(), recipe, start, Device("cpu", threads=1))


def parted(lengths: Sequence[int], size: int, tokens: int | None) -> list[list[int]]:
    return [list(part) for part in pass_ranges(lengths, size, tokens)]


def test_parts_have_so_many_examples_in_their_order() -> None:
    assert parted([3, 1, 2, 5, 4], 2, None) == [[0, 1], [2, 3], [4]]
    assert parted([3, 1, 2, 5], 2, None) == [[0, 1], [2, 3]]
    assert parted([], 2, None) == []


def test_under_a_limit_of_tokens_padding_counts_whatever_the_order() -> None:
    assert parted([1, 2, 3, 4, 5], 3, 6) == [[0, 1], [2], [3], [4]]  # 2 x 2, 3, 4 and 5 tokens
    assert parted([5, 1, 1, 4], 8, 10) == [[0, 1], [2, 3]]  # the third would be padded to 5 as well
    assert parted([1, 2, 3], 8, 9) == [[0, 1, 2]]
    assert parted([9, 1], 8, 6) == [[0], [1]]


def test_examples_of_one_side_stand_by_their_length() -> None:
    assert sorted([(7,), (2,), (5,)], key=length_key) == [(2,), (5,), (7,)]


def test_examples_of_two_sides_stand_by_the_longer_and_then_by_which_it_is() -> None:
    # the strip of 64 is run through from a longer first side to a longer second, that of 71 back
    pairs = [(64, 10), (10, 64), (64, 64), (10, 71), (71, 10), (71, 71)]
    assert sorted(pairs, key=length_key) == [
        (10, 64), (64, 64), (64, 10), (71, 10), (71, 71), (10, 71),
    ]  # fmt: skip


@given(st.lists(st.tuples(st.integers(1, 200), st.integers(1, 200)), min_size=64, max_size=200))
def test_strips_hold_longer_sides_that_differ_by_less_than_a_tenth(sides: list[tuple[int, int]]) -> None:
    strips: dict[int, list[int]] = {}
    for one in sides:
        strips.setdefault(length_key(one)[0], []).append(max(one))
    assert all(max(own) < 1.1 * min(own) for own in strips.values())


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.integers(1, 8), st.integers(1, 60))
def test_every_example_stands_once_and_only_a_longer_one_passes_the_limit(
    lengths: list[int], size: int, tokens: int
) -> None:
    found = list(pass_ranges(lengths, size, tokens))
    assert [place for part in found for place in part] == list(range(len(lengths)))
    for part in found:
        padded = max(lengths[place] for place in part) * len(part)
        assert len(part) <= size and (padded <= tokens or len(part) == 1)


def test_buckets_hold_the_same_examples_and_pad_less() -> None:
    plain, bucketed = (batches(Recipe(epochs=1, batch_size=5, bucket=bucket)) for bucket in (1, 6))
    assert sorted(plain._epoch(0)) == sorted(bucketed._epoch(0)) == list(range(52))

    def padded(one: Batches) -> int:
        order = one._epoch(0)
        cut = [[one.lengths[i] for i in order[at : at + 5]] for at in range(0, 52, 5)]
        assert [len(batch) for batch in cut] == [5] * 10 + [2]
        return sum(max(batch) * len(batch) for batch in cut)

    assert padded(bucketed) < padded(plain)


def test_the_order_of_buckets_is_a_function_of_the_seed() -> None:
    recipe = Recipe(epochs=1, batch_size=5, bucket=4)
    assert batches(recipe)._epoch(3) == batches(recipe)._epoch(3) != batches(recipe, "b")._epoch(3)
    assert batches(recipe)._epoch(3) != batches(recipe)._epoch(4)


def test_a_limit_of_tokens_changes_no_step(tmp_path: Path) -> None:
    recipe = Toy().recipe
    whole, parted = (
        run_chain(
            chain_of(Dense(), Target(), Uneven(recipe=recipe.model_copy(update={"tokens": tokens}))), tmp_path
        )
        for tokens in (None, 9)
    )
    assert whole[0].digest != parted[0].digest and whole[0].cost.steps == parted[0].cost.steps
    for name, weight in whole[1].items():
        torch.testing.assert_close(weight, parted[1][name], rtol=1e-3, atol=1e-5)


class TwoSided(Uneven):
    """Examples of two sides; what is predicted reads the first."""

    def side_lengths(self, example: Example) -> tuple[int, int]:
        return self.length(example), 8 - self.length(example)

    def collate(self, examples: Sequence[Example]) -> Any:
        return list(examples)

    def predict(self, model: nn.Module, batch: Any) -> list[Any]:
        lengths = [self.length(example) for example in batch]
        assert lengths == sorted(lengths)
        return [len(batch) * max(lengths)] * len(batch)


def test_predicting_counts_the_side_that_it_reads_and_takes_twice_as_much_of_it() -> None:
    task, recipe = TwoSided(), Recipe(epochs=1, eval_batch_size=20, tokens=9)
    read = predict(task, nn.Identity(), task.data("test"), recipe, Device("cpu", threads=1))
    assert 9 < max(read) <= 18


def test_on_a_cpu_passes_are_as_large_as_it_is_fast_with_but_those_of_what_writes() -> None:
    class Long(TwoSided):
        def length(self, example: Example) -> int:
            return 900

    class Writing(Long):
        generates: ClassVar[bool] = True

    def shared(task: Long, threads: int, tokens: int | None = None) -> int:
        recipe, device = Recipe(epochs=1, eval_batch_size=8, tokens=tokens), Device("cpu", threads=threads)
        return int(predict(task, nn.Identity(), task.data("test"), recipe, device)[0] / 900)

    try:
        assert [shared(Long(), threads) for threads in (1, 2)] == [2, 4]  # of 2,048 tokens a thread
        assert shared(Writing(), 1) == 8
        assert [shared(task, 2, tokens=1400) for task in (Long(), Writing())] == [3, 3]
    finally:
        torch.set_num_threads(1)


def test_a_step_of_two_sides_counts_the_longer() -> None:
    task, recipe = TwoSided(), Recipe(epochs=1, batch_size=20, tokens=21)
    one = Batches(task, recipe, "a", Device("cpu", threads=1))
    passes = list(one.step(0))
    assert sum(share for _, share in passes) == pytest.approx(1)
    for batch, _ in passes:
        assert max(max(task.side_lengths(example)) for example in batch) * len(batch) <= 21


@pytest.mark.parametrize(("size", "tokens"), [(1, None), (4, None), (20, 11)])
def test_answers_come_in_the_order_of_the_questions(size: int, tokens: int | None) -> None:
    class Echo(Uneven):
        def collate(self, examples: Sequence[Example]) -> Any:
            return list(examples)

        def predict(self, model: nn.Module, batch: Any) -> list[Any]:
            return [list(example) for example in batch]

    task = Echo()
    recipe = Recipe(epochs=1, eval_batch_size=size, tokens=tokens)
    examples = task.data("test")
    found = predict(task, nn.Identity(), examples, recipe, Device("cpu", threads=1))
    assert found == [list(example) for example in examples]


def test_activations_cannot_be_computed_anew_where_no_part_knows_how(tmp_path: Path) -> None:
    recipe = Toy().recipe.model_copy(update={"checkpointing": True})
    with pytest.raises(UsageError, match="no part of ToyNet can compute its activations anew"):
        run_chain(chain_of(Dense(), Target(), Toy(recipe=recipe)), tmp_path)
