"""Batches: which examples share a forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from smc_eval.engine.batches import Batches, length_key, pass_ranges
from smc_eval.engine.device import Device
from smc_eval.engine.predict import predict
from smc_eval.errors import DataError, UsageError
from smc_eval.methods.dense import Dense
from smc_eval.recipe import Recipe
from smc_eval.target import Target
from smc_eval.testing import Example, Toy, ToyNet, chain_of, run_chain


class Uneven(Toy):
    """A toy whose examples have different lengths, and whose net has no dropout."""

    def length(self, example: Example) -> int:
        return 1 + sum(example[0]) % 7

    def model(self) -> nn.Module:
        net = ToyNet()
        net.drop.p = 0.0
        return net


def batches(recipe: Recipe, start: str = "a") -> Batches:
    return Batches(Uneven(), recipe, start, Device("cpu", threads=1))


def places(lengths: Sequence[int], size: int, tokens: int | None) -> list[list[int]]:
    return [list(part) for part in pass_ranges(lengths, size, tokens)]


def test_a_pass_has_at_most_so_many_examples_in_order() -> None:
    assert places([3, 1, 2, 5, 4], 2, None) == [[0, 1], [2, 3], [4]]
    assert places([3, 1, 2, 5], 2, None) == [[0, 1], [2, 3]]
    assert places([], 2, None) == []


def test_batches_of_no_examples_are_refused_and_not_looked_for_without_end() -> None:
    with pytest.raises(DataError, match="task 'toy' has no training examples"):
        batches(Recipe(steps=1, validation=0.995))


def test_a_limit_of_tokens_counts_padding_in_any_order() -> None:
    assert places([1, 2, 3, 4, 5], 3, 6) == [[0, 1], [2], [3], [4]]  # 2 x 2, 3, 4 and 5 tokens
    assert places([5, 1, 1, 4], 8, 10) == [[0, 1], [2, 3]]  # the third example would be padded to 5 too
    assert places([1, 2, 3], 8, 9) == [[0, 1, 2]]
    assert places([9, 1], 8, 6) == [[0], [1]]


def test_examples_with_one_side_are_sorted_by_length() -> None:
    assert sorted([(7,), (2,), (5,)], key=length_key) == [(2,), (5,), (7,)]


def test_examples_with_two_sides_are_sorted_by_the_longer_side_and_then_by_their_difference() -> None:
    # the band of 64 runs from a longer second side to a longer first side, the band of 71 backwards
    pairs = [(64, 10), (10, 64), (64, 64), (10, 71), (71, 10), (71, 71)]
    assert sorted(pairs, key=length_key) == [
        (10, 64), (64, 64), (64, 10), (71, 10), (71, 71), (10, 71),
    ]  # fmt: skip


@given(st.lists(st.tuples(st.integers(1, 200), st.integers(1, 200)), min_size=64, max_size=200))
def test_longer_sides_in_one_band_differ_by_less_than_a_tenth(sides: list[tuple[int, int]]) -> None:
    bands: dict[int, list[int]] = {}
    for pair in sides:
        bands.setdefault(length_key(pair)[0], []).append(max(pair))
    assert all(max(lengths) < 1.1 * min(lengths) for lengths in bands.values())


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.integers(1, 8), st.integers(1, 60))
def test_every_example_is_in_one_pass_and_only_a_long_one_exceeds_the_limit(
    lengths: list[int], size: int, tokens: int
) -> None:
    ranges = list(pass_ranges(lengths, size, tokens))
    assert [place for part in ranges for place in part] == list(range(len(lengths)))
    for part in ranges:
        padded = max(lengths[place] for place in part) * len(part)
        assert len(part) <= size and (padded <= tokens or len(part) == 1)


def test_buckets_have_the_same_examples_and_less_padding() -> None:
    plain, bucketed = (batches(Recipe(epochs=1, batch_size=5, bucket=bucket)) for bucket in (1, 6))
    assert sorted(plain._epoch_order(0)) == sorted(bucketed._epoch_order(0)) == list(range(52))

    def padded(made: Batches) -> int:
        order = made._epoch_order(0)
        lengths = [[made.lengths[i] for i in order[first : first + 5]] for first in range(0, 52, 5)]
        assert [len(batch) for batch in lengths] == [5] * 10 + [2]
        return sum(max(batch) * len(batch) for batch in lengths)

    assert padded(bucketed) < padded(plain)


def test_the_order_of_buckets_depends_on_the_seed_and_the_epoch() -> None:
    recipe = Recipe(epochs=1, batch_size=5, bucket=4)
    assert (
        batches(recipe)._epoch_order(3)
        == batches(recipe)._epoch_order(3)
        != batches(recipe, "b")._epoch_order(3)
    )
    assert batches(recipe)._epoch_order(3) != batches(recipe)._epoch_order(4)


def test_a_limit_of_tokens_changes_no_optimizer_step(tmp_path: Path) -> None:
    recipe = Toy().recipe
    whole, limited = (
        run_chain(
            chain_of(Dense(), Target(), Uneven(recipe=recipe.model_copy(update={"tokens": tokens}))), tmp_path
        )
        for tokens in (None, 9)
    )
    assert whole[0].digest != limited[0].digest and whole[0].cost.steps == limited[0].cost.steps
    for name, weight in whole[1].items():
        torch.testing.assert_close(weight, limited[1][name], rtol=1e-3, atol=1e-5)


class TwoSided(Uneven):
    """Examples with two sides; predicting reads the first."""

    def side_lengths(self, example: Example) -> tuple[int, int]:
        return self.length(example), 8 - self.length(example)

    def collate(self, examples: Sequence[Example]) -> Any:
        return list(examples)

    def predict(self, model: nn.Module, batch: Any) -> list[Any]:
        lengths = [self.length(example) for example in batch]
        assert lengths == sorted(lengths)
        return [len(batch) * max(lengths)] * len(batch)


def test_predicting_counts_the_first_side_and_takes_twice_the_limit() -> None:
    task, recipe = TwoSided(), Recipe(epochs=1, eval_batch_size=20, tokens=9)
    sizes = predict(task, nn.Identity(), task.data("test"), recipe, Device("cpu", threads=1))
    assert 9 < max(sizes) <= 18


def test_on_a_cpu_passes_are_as_large_as_is_fast_unless_the_task_generates() -> None:
    class Long(TwoSided):
        def length(self, example: Example) -> int:
            return 900

    class Generating(Long):
        generates: ClassVar[bool] = True

    def pass_size(task: Long, threads: int, tokens: int | None = None) -> int:
        recipe, device = Recipe(epochs=1, eval_batch_size=8, tokens=tokens), Device("cpu", threads=threads)
        return int(predict(task, nn.Identity(), task.data("test"), recipe, device)[0] / 900)

    try:
        assert [pass_size(Long(), threads) for threads in (1, 2)] == [2, 4]  # 2,048 tokens a thread
        assert pass_size(Generating(), 1) == 8
        assert [pass_size(task, 2, tokens=1400) for task in (Long(), Generating())] == [3, 3]
    finally:
        torch.set_num_threads(1)


def test_a_training_step_counts_the_longer_side() -> None:
    task, recipe = TwoSided(), Recipe(epochs=1, batch_size=20, tokens=21)
    passes = list(Batches(task, recipe, "a", Device("cpu", threads=1)).step(0))
    assert sum(share for _, share in passes) == pytest.approx(1)
    for batch, _ in passes:
        assert max(max(task.side_lengths(example)) for example in batch) * len(batch) <= 21


@pytest.mark.parametrize(("size", "tokens"), [(1, None), (4, None), (20, 11)])
def test_predictions_are_in_the_order_of_the_examples(size: int, tokens: int | None) -> None:
    class Echo(Uneven):
        def collate(self, examples: Sequence[Example]) -> Any:
            return list(examples)

        def predict(self, model: nn.Module, batch: Any) -> list[Any]:
            return [list(example) for example in batch]

    task = Echo()
    recipe = Recipe(epochs=1, eval_batch_size=size, tokens=tokens)
    examples = task.data("test")
    predicted = predict(task, nn.Identity(), examples, recipe, Device("cpu", threads=1))
    assert predicted == [list(example) for example in examples]


def test_recomputing_activations_is_refused_if_no_part_of_the_net_supports_it(tmp_path: Path) -> None:
    recipe = Toy().recipe.model_copy(update={"checkpointing": True})
    with pytest.raises(UsageError, match="no part of ToyNet can recompute its activations"):
        run_chain(chain_of(Dense(), Target(), Toy(recipe=recipe)), tmp_path)
