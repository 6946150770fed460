"""Whole units: exact numbers of heads and neurons, masks that have no part of one, and their faults."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from smc_eval.errors import SparsityError
from smc_eval.sparse.allocate import allocate
from smc_eval.sparse.unit_layers import UnitLayer, UnitPart
from smc_eval.sparse.units import (
    expected_units,
    kept_units,
    masks_of,
    remaining_units,
    unit_faults,
    unit_means,
    within_scope,
)
from smc_eval.target import Target

FEED_FORWARD = UnitLayer(3, (UnitPart("down", False, 0, 1), UnitPart("up", True, 0, 1)))
"""Three neurons: the rows of `up`, 3 x 2, and the columns of `down`, 2 x 3."""

HEADS = UnitLayer(2, (UnitPart("mix", False, 0, 2), UnitPart("qkv", True, 0, 2), UnitPart("qkv", True, 4, 2)))
"""Two heads: columns 2u, 2u + 1 of `mix`, 4 x 4; rows 2u, 2u + 1, 4 + 2u and 5 + 2u of `qkv`, 8 x 4."""


def neurons(sparsity: float, distribution: str = "global") -> Target:
    return Target(pattern="neurons", sparsity=sparsity, distribution=distribution)


def rows(*texts: str) -> Tensor:
    return torch.tensor([[mark == "1" for mark in text] for text in texts])


def test_a_neuron_is_a_row_of_one_map_and_a_column_of_the_next() -> None:
    like = {"up": torch.zeros(3, 2), "down": torch.zeros(2, 3)}
    masks = masks_of({"down": torch.tensor([True, False, True])}, (FEED_FORWARD,), like)
    assert torch.equal(masks["up"], rows("11", "00", "11"))
    assert torch.equal(masks["down"], rows("101", "101"))


def test_a_head_has_rows_in_each_part_of_a_joint_matrix() -> None:
    like = {"mix": torch.zeros(4, 4), "qkv": torch.zeros(8, 4)}
    masks = masks_of({"mix": torch.tensor([False, True])}, (HEADS,), like)
    assert masks["mix"].any(0).tolist() == [False, False, True, True]
    assert masks["qkv"].any(1).tolist() == [False, False, True, True] * 2
    assert masks["qkv"].any(1).tolist() == masks["qkv"].all(1).tolist()


def test_a_weight_between_two_hidden_layers_stays_if_both_of_its_neurons_do() -> None:
    second = UnitLayer(2, (UnitPart("out", False, 0, 1), UnitPart("down", True, 0, 1)))
    like = {"up": torch.zeros(3, 2), "down": torch.zeros(2, 3), "out": torch.zeros(1, 2)}
    kept = {"down": torch.tensor([True, False, True]), "out": torch.tensor([False, True])}
    masks = masks_of(kept, (FEED_FORWARD, second), like)
    assert torch.equal(masks["down"], rows("000", "101"))
    assert remaining_units(masks, (FEED_FORWARD, second)) == 3


def test_the_units_of_the_highest_mean_saliency_stay() -> None:
    # (1 + 1 + 9 + 9) / 4 = 5, (4 + 4 + 1 + 1) / 4 = 2.5, (8 + 0 + 0 + 0) / 4 = 2
    saliency = {
        "up": torch.tensor([[1.0, 1.0], [4.0, 4.0], [8.0, 0.0]]),
        "down": torch.tensor([[9.0, 1.0, 0.0], [9.0, 1.0, 0.0]]),
    }
    assert unit_means(saliency, (FEED_FORWARD,))["down"].tolist() == [5.0, 2.5, 2.0]
    masks = allocate(saliency, neurons(1 / 3), units=(FEED_FORWARD,))
    assert torch.equal(masks["up"], rows("11", "11", "00"))
    assert torch.equal(masks["down"], rows("110", "110"))


def test_pruned_units_stay_pruned() -> None:
    saliency = {"up": torch.ones(3, 2), "down": torch.ones(2, 3)}
    within = {"up": rows("00", "11", "11"), "down": rows("011", "011")}
    masks = allocate(saliency, neurons(2 / 3), within, units=(FEED_FORWARD,))
    assert torch.equal(masks["up"], rows("00", "11", "00"))


def test_global_compares_all_layers_and_uniform_each_alone() -> None:
    other = UnitLayer(3, (UnitPart("reader", False, 0, 1),))
    scores = {"down": torch.tensor([5.0, 6.0, 7.0]), "reader": torch.tensor([1.0, 2.0, 3.0])}
    kept = kept_units(scores, neurons(0.5), (FEED_FORWARD, other))
    assert {name: mask.int().tolist() for name, mask in kept.items()} == {
        "down": [1, 1, 1],
        "reader": [0, 0, 0],
    }
    kept = kept_units(scores, neurons(1 / 3, "uniform"), (FEED_FORWARD, other))
    assert {name: mask.int().tolist() for name, mask in kept.items()} == {
        "down": [0, 1, 1],
        "reader": [0, 1, 1],
    }


@given(
    counts=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    sparsity=st.floats(0, 0.9),
    distribution=st.sampled_from(["global", "uniform"]),
    seed=st.integers(0, 99),
)
def test_any_number_of_units_is_met_exactly(
    counts: list[int], sparsity: float, distribution: str, seed: int
) -> None:
    units = tuple(UnitLayer(count, (UnitPart(f"{i}", False, 0, 1),)) for i, count in enumerate(counts))
    generator = torch.Generator().manual_seed(seed)
    scores = {layer.name: torch.randint(0, 3, (layer.count,), generator=generator).float() for layer in units}
    target, wanted = neurons(sparsity, distribution), round(sum(counts) * (1 - sparsity))
    if not wanted:
        with pytest.raises(SparsityError, match="leaves none"):
            kept_units(scores, target, units)
        return
    kept = kept_units(scores, target, units)
    masks = masks_of(kept, units, {layer.name: torch.zeros(2, layer.count) for layer in units})
    assert remaining_units(masks, units) == expected_units(units, target) == wanted
    assert unit_faults(masks, units, target) == ([], [])


def test_a_unit_that_is_pruned_in_part_is_a_fault() -> None:
    masks = {"up": rows("11", "01", "00"), "down": rows("110", "110")}
    assert unit_faults(masks, (FEED_FORWARD,), neurons(1 / 3)) == ([], ["up"])
    assert unit_faults(masks, (FEED_FORWARD,), neurons(2 / 3)) == (["2 neurons remain, 1 expected"], ["up"])


def test_parts_that_are_out_of_scope_belong_to_no_unit() -> None:
    assert within_scope((FEED_FORWARD,), {"down"}) == (UnitLayer(3, FEED_FORWARD.parts[:1]),)
    assert within_scope((FEED_FORWARD,), {"up"}) == ()


@pytest.mark.parametrize(
    ("units", "scores", "target", "words"),
    [
        ((), {}, neurons(0.5), "no neurons in scope"),
        ((FEED_FORWARD,), [1.0, float("nan"), 2.0], neurons(0.5), "not finite"),
        ((FEED_FORWARD,), [1.0, 2.0, 3.0], neurons(0.9), "leaves none of 3 neurons"),
        ((FEED_FORWARD,), [1.0, 2.0, 3.0], neurons(0.5, "erk"), "choose global or uniform"),
    ],
)
def test_targets_without_meaning_are_refused(
    units: tuple[UnitLayer, ...], scores: list[float], target: Target, words: str
) -> None:
    with pytest.raises(SparsityError, match=words):
        kept_units({"down": torch.tensor(scores)} if scores else {}, target, units)
