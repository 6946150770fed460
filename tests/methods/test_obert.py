"""oBERT on nets small enough to work out by hand, on quadratics, and through the engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from smc_eval.methods import obert
from smc_eval.methods.obert import OptimalBertSurgeon, Surgeon
from smc_eval.methods.omp import Magnitude
from smc_eval.pruner import Probe
from smc_eval.sparse import fisher
from smc_eval.sparse.allocate import allocate, expected
from smc_eval.sparse.shard_group import UNSHARDED
from smc_eval.stages import Prune, Train
from smc_eval.target import Target
from smc_eval.testing import assert_equal, chain_of, run_chain, without_time

seeds = st.integers(0, 10**6)


class Given(Probe):
    """A net whose gradients are given; what it is mended to is its weights from then on."""

    shards = UNSHARDED

    def __init__(self, weights: Mapping[str, Tensor], gradients: Sequence[Mapping[str, Tensor]]) -> None:
        self.now = dict(weights)
        self.given = gradients
        self.alive = {name: torch.ones_like(weight).bool() for name, weight in weights.items()}
        self.passes = 0

    @property
    def weights(self) -> Mapping[str, Tensor]:
        return self.now

    @property
    def masks(self) -> Mapping[str, Tensor]:
        return self.alive

    def each_gradient(self, batches: int, size: int | None = None) -> Iterator[Mapping[str, Tensor]]:
        for gradient in self.given[:batches]:
            self.passes += 1
            yield gradient

    def mend(self, weights: Mapping[str, Tensor]) -> None:
        self.now = dict(weights)

    def set_masks(self, masks: Mapping[str, Tensor]) -> None:
        """What the engine does with the masks of a pruner."""
        self.alive = dict(masks)
        self.now = {name: weight * masks[name] for name, weight in self.now.items()}


def surgeon(**options: Any) -> Surgeon:
    return Surgeon.model_validate({"block": 50, "gradients": 256, "damping": 1e-7, "memory": 64, **options})


def noise(seed: int, count: int = 40, **shapes: tuple[int, ...]) -> Given:
    """Weights and gradients drawn by lot; the gradients of neighbours go together."""
    chance = torch.Generator().manual_seed(seed)
    weights = {name: torch.randn(shape, generator=chance) for name, shape in shapes.items()}
    gradients = [
        {name: torch.randn(shape, generator=chance).cumsum(-1) for name, shape in shapes.items()}
        for _ in range(count)
    ]
    return Given(weights, gradients)


def rise(probe: Given, before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> float:
    """By how much the quadratic of the whole Fisher matrix rises from one net to another."""
    moves = torch.cat([(after[name] - before[name]).double().reshape(-1) for name in before])
    g_KN = torch.stack([torch.cat([g[name].double().reshape(-1) for name in before]) for g in probe.given])
    return float((g_KN @ moves).square().mean() / 2)


def test_two_weights_by_hand() -> None:
    # g = (1, 1), damping 1: F = [[2, 1], [1, 2]], [F^-1]_ii = 2/3; the costs are 27/4 and 3/4
    probe = Given({"w": torch.tensor([[3.0, 1.0]])}, [{"w": torch.ones(1, 2)}])
    masks = surgeon(gradients=1, damping=1.0).prune(probe, Target(sparsity=0.5))
    assert masks["w"].tolist() == [[True, False]]
    assert probe.now["w"].tolist() == [[pytest.approx(3.5), 0.0]]


def test_a_large_weight_that_its_neighbour_can_stand_in_for_goes_before_a_small_one_that_none_can() -> None:
    # a: gradients (1, 1) alone, so a's two weights are one to the loss; b: gradients (1, 0) and (0, 1)
    first, second = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    probe = Given(
        {"a": torch.tensor([[2.0, 3.0]]), "b": torch.tensor([[0.5, 0.6]])},
        [{"a": torch.ones(1, 2), "b": first}, {"a": torch.ones(1, 2), "b": second}],
    )
    masks = surgeon(gradients=2).prune(probe, Target(sparsity=0.25))
    assert masks["a"].tolist() == [[False, True]] and masks["b"].tolist() == [[True, True]]
    assert probe.now["a"].tolist() == [[0.0, pytest.approx(5.0)]]  # 3 + 2: the loss never knew them apart


@given(seeds, st.sampled_from([0.3, 0.6, 0.9]))
def test_blocks_of_one_are_the_diagonal_alone_and_mend_nothing(seed, sparsity) -> None:
    probe = noise(seed, a=(7, 5), b=(4, 6))
    before, damping = dict(probe.now), 1e-3
    masks = surgeon(block=1, gradients=40, damping=damping).prune(probe, Target(sparsity=sparsity))
    worth = {
        name: weight.square() * (damping + torch.stack([g[name] for g in probe.given]).square().mean(0)) / 2
        for name, weight in before.items()
    }
    assert_equal([masks], [allocate(worth, Target(sparsity=sparsity))])
    assert_equal([probe.now], [{name: weight * masks[name] for name, weight in before.items()}])


@given(seeds, st.sampled_from([0.2, 0.5, 0.8]))
def test_survivors_move_and_the_loss_rises_less_than_had_they_not(seed, sparsity) -> None:
    probe = noise(seed, w=(10, 10))
    before = dict(probe.now)
    masks = surgeon(block=100).prune(probe, Target(sparsity=sparsity))
    stayed = {"w": before["w"] * masks["w"]}
    assert not probe.now["w"][~masks["w"]].any()
    assert bool((probe.now["w"] != before["w"])[masks["w"]].all())
    assert rise(probe, before, probe.now) < rise(probe, before, stayed)


@pytest.mark.parametrize("sparsity", [0.2, 0.5, 0.8])
def test_a_quadratic_rises_less_than_under_magnitude_pruning(sparsity: float) -> None:
    probe = noise(0, a=(20, 10), b=(10, 10))
    before, target = dict(probe.now), Target(sparsity=sparsity)
    masks = Magnitude().prune(probe, target)
    by_magnitude = rise(probe, before, {name: weight * masks[name] for name, weight in before.items()})
    surgeon(block=10).prune(probe, target)
    assert rise(probe, before, probe.now) < 0.5 * by_magnitude


def test_the_dead_stay_dead_and_silent_in_later_rounds() -> None:
    probe = noise(3, w=(6, 10))
    probe.set_masks(surgeon(block=10).prune(probe, Target(sparsity=0.4)))
    dead = ~probe.alive["w"]
    quiet = Given(probe.now, [{"w": g["w"].masked_fill(dead, 0)} for g in probe.given])
    quiet.alive = probe.alive
    loud = Given(probe.now, [{"w": g["w"].masked_fill(dead, 1e3 * n)} for n, g in enumerate(probe.given)])
    loud.alive = probe.alive
    target = Target(sparsity=0.7)
    masks, same = surgeon(block=10).prune(loud, target), surgeon(block=10).prune(quiet, target)
    assert not (masks["w"] & dead).any() and int(masks["w"].sum()) == 18
    assert not loud.now["w"][~masks["w"]].any()
    assert_equal([masks, loud.now], [same, quiet.now])


@pytest.mark.parametrize("word", ["0.5", "2:4", "4:8", "1:4"])
@pytest.mark.parametrize("spread", ["global", "uniform", "erk", "lamp"])
def test_every_spread_and_pattern_is_met_exactly(word: str, distribution: Any) -> None:
    target = Target.parse(word).with_distribution(distribution)
    probe = noise(1, a=(7, 5), b=(3, 2, 8))
    masks = surgeon(block=6).prune(probe, target)
    kept = sum(int(mask.sum()) for mask in masks.values())
    assert kept == expected({name: tuple(mask.shape) for name, mask in masks.items()}, target)
    assert all(not probe.now[name][~mask].any() for name, mask in masks.items())


def test_a_target_that_takes_nothing_changes_nothing() -> None:
    probe = noise(1, w=(7, 5))
    before = dict(probe.now)
    assert surgeon().prune(probe, Target())["w"].all()
    assert_equal([probe.now], [before])
    assert probe.passes == 40


def test_less_memory_costs_passes_and_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fisher, "VALUES", 2 * 10**2)  # tiles of two blocks of ten
    monkeypatch.setattr(obert, "MIB", 1)
    found: list[tuple[Mapping[str, Tensor], Mapping[str, Tensor]]] = []
    # a tile takes 20 weights x (10 x 8 + 2 x 4) = 1760 bytes; there are 4 of `a` and 2 of `b`
    for memory, parts in ((10_000_000, 1), (3 * 1760, 2), (2 * 1760 + 1, 3), (0, 6)):
        probe = noise(5, a=(7, 11), b=(3, 13))
        found.append((surgeon(block=10, memory=memory).prune(probe, Target(sparsity=0.6)), probe.now))
        assert probe.passes == 40 * (2 * parts - 1)
    for other in found[1:]:
        assert_equal(other, found[0])


def test_less_memory_ends_in_the_same_net_dropout_and_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fisher, "VALUES", 50**2)
    monkeypatch.setattr(obert, "MIB", 1)
    ends = []
    # the GRU, down and odd have 5 + 6 + 2 + 1 blocks of 50 weights, at 448 bytes a weight; 3 a part
    for memory, parts in ((10_000_000, 1), (3 * 50 * 448, 5)):
        method = OptimalBertSurgeon(gradients=8, memory=memory)
        result, tensors, masks = run_chain(chain_of(method, Target(sparsity=0.7)), tmp_path / str(memory))
        assert result.cost.scoring_passes == 8 * (2 * parts - 1)
        ends.append((result.digest, tensors, masks))
    assert ends[0][0] == ends[1][0]
    assert_equal(ends[0][1:], ends[1][1:])


def test_rounds_see_the_net_that_the_round_before_has_mended(tmp_path: Path) -> None:
    results = [
        without_time(
            run_chain(chain_of(OptimalBertSurgeon(gradients=8, rounds=r), Target(sparsity=0.7)), tmp_path)[0]
        )
        for r in (1, 3)
    ]
    assert [result["cost"]["scoring_passes"] for result in results] == [8, 24]
    assert results[0]["certificate"]["mask_digest"] != results[1]["certificate"]["mask_digest"]


def words(method: OptimalBertSurgeon, target: Target) -> str:
    """A plan, said in short."""
    said = []
    for stage in method.plan(target):
        assert isinstance(stage, Train | Prune)
        if isinstance(stage, Prune):
            assert stage.to and isinstance(stage.by, Surgeon)
            pattern = stage.to.pattern
            said.append(f"{stage.to.sparsity:.4g}" if pattern == "free" else pattern)
        else:
            said.append("train")
    return " ".join(said)


def test_plans_read_like_the_paper() -> None:
    target = Target(sparsity=0.9375)
    assert words(OptimalBertSurgeon(), target) == "train 0.9375 train"
    assert words(OptimalBertSurgeon(rounds=2), target) == "train 0.75 0.9375 train"
    assert words(OptimalBertSurgeon(levels=2), target) == "train 0.75 train 0.9375 train"
    assert words(OptimalBertSurgeon(levels=2, rounds=2), target) == (
        "train 0.5 0.75 train 0.875 0.9375 train"
    )


def test_levels_between_two_patterns_are_passed_over() -> None:
    assert words(OptimalBertSurgeon(levels=4), Target.parse("2:4")) == "train 3:4 train 2:4 train"
    assert words(OptimalBertSurgeon(levels=2, rounds=3), Target.parse("2:4")) == "train 3:4 train 2:4 train"


def test_the_paper_takes_the_diagonal_of_an_epoch() -> None:
    method = OptimalBertSurgeon.model_validate(OptimalBertSurgeon.paper)
    assert method.label == "obert:block=1,gradients=609"


def test_how_much_memory_it_may_take_is_no_part_of_its_name() -> None:
    less, more = OptimalBertSurgeon(memory=16), OptimalBertSurgeon(memory=100)
    assert less.digest() == more.digest()
    target = Target(sparsity=0.5)
    assert [s.digest() for s in less.plan(target)] == [s.digest() for s in more.plan(target)]


@pytest.mark.parametrize(
    "wrong", [{"block": 0}, {"block": 2000}, {"damping": 0}, {"gradients": 0}, {"memory": 1}]
)
def test_options_out_of_bounds_are_refused(wrong: Any) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        OptimalBertSurgeon.model_validate(wrong)
