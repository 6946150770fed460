"""oBERT: on nets that are computed by hand, on quadratics, and in the engine."""

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
from smc_eval.testing import assert_equal, chain_of, run_chain

seeds = st.integers(0, 10**6)


class FixedProbe(Probe):
    """A net with fixed gradients. `mend` replaces its weights."""

    shards = UNSHARDED

    def __init__(self, weights: Mapping[str, Tensor], gradients: Sequence[Mapping[str, Tensor]]) -> None:
        self.now = dict(weights)
        self.fixed = gradients
        self.unpruned = {name: torch.ones_like(weight).bool() for name, weight in weights.items()}
        self.passes = 0

    @property
    def weights(self) -> Mapping[str, Tensor]:
        return self.now

    @property
    def masks(self) -> Mapping[str, Tensor]:
        return self.unpruned

    def each_gradient(
        self, batches: int, size: int | None = None, *, dropout: bool = True
    ) -> Iterator[Mapping[str, Tensor]]:
        for gradient in self.fixed[:batches]:
            self.passes += 1
            yield gradient

    def mend(self, weights: Mapping[str, Tensor]) -> None:
        self.now = dict(weights)

    def set_masks(self, masks: Mapping[str, Tensor]) -> None:
        """Apply the masks, as the engine does."""
        self.unpruned = dict(masks)
        self.now = {name: weight * masks[name] for name, weight in self.now.items()}


def surgeon(**options: Any) -> Surgeon:
    defaults = {
        "block": 50,
        "gradients": 256,
        "damping": 1e-7,
        "memory": 64,
        "mend": "joint",
        "dropout": False,
    }
    return Surgeon.model_validate({**defaults, **options})


def noise(seed: int, count: int = 40, **shapes: tuple[int, ...]) -> FixedProbe:
    """Random weights and gradients. Gradients of neighbours are correlated."""
    generator = torch.Generator().manual_seed(seed)
    weights = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    gradients = [
        {name: torch.randn(shape, generator=generator).cumsum(-1) for name, shape in shapes.items()}
        for _ in range(count)
    ]
    return FixedProbe(weights, gradients)


def rise(probe: FixedProbe, before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> float:
    """Increase of the quadratic of the whole Fisher matrix from one net to another."""
    moves = torch.cat([(after[name] - before[name]).double().reshape(-1) for name in before])
    g_KN = torch.stack([torch.cat([g[name].double().reshape(-1) for name in before]) for g in probe.fixed])
    return float((g_KN @ moves).square().mean() / 2)


def test_two_weights_are_as_computed_by_hand() -> None:
    # g = (1, 1), damping 1: F = [[2, 1], [1, 2]], [F^-1]_ii = 2/3; the costs are 27/4 and 3/4
    probe = FixedProbe({"w": torch.tensor([[3.0, 1.0]])}, [{"w": torch.ones(1, 2)}])
    masks = surgeon(gradients=1, damping=1.0).prune(probe, Target(sparsity=0.5))
    assert masks["w"].tolist() == [[True, False]]
    assert probe.now["w"].tolist() == [[pytest.approx(3.5), 0.0]]


@pytest.mark.parametrize(("mend", "last"), [("joint", 5.5), ("single", 5.0)])
def test_both_formulas_for_three_weights_by_hand(mend: str, last: float) -> None:
    # g = (1, 1, 1), damping 1: F = I + J, its inverse I - J / 4: 3/4 on the diagonal, -1/4 elsewhere.
    # costs w^2 / (2 * 3/4): 2/3, 8/3 and 32/3, so 1 and 2 are pruned, and 4 stays.
    # joint: 4 + F[s, s]^-1 F[s, q] w_q = 4 + (1 + 2) / 2; single: 4 + (1 + 2) / (3/4) * 1/4
    probe = FixedProbe({"w": torch.tensor([[1.0, 2.0, 4.0]])}, [{"w": torch.ones(1, 3)}])
    surgeon(gradients=1, damping=1.0, mend=mend).prune(probe, Target(sparsity=2 / 3))
    assert probe.now["w"].tolist() == [[0.0, 0.0, pytest.approx(last)]]


def test_a_large_weight_that_a_neighbour_can_replace_is_pruned_before_a_small_one() -> None:
    # a: gradients (1, 1), so only the sum of its weights matters; b: gradients (1, 0) and (0, 1)
    first, second = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    probe = FixedProbe(
        {"a": torch.tensor([[2.0, 3.0]]), "b": torch.tensor([[0.5, 0.6]])},
        [{"a": torch.ones(1, 2), "b": first}, {"a": torch.ones(1, 2), "b": second}],
    )
    masks = surgeon(gradients=2).prune(probe, Target(sparsity=0.25))
    assert masks["a"].tolist() == [[False, True]] and masks["b"].tolist() == [[True, True]]
    assert probe.now["a"].tolist() == [[0.0, pytest.approx(5.0)]]  # 3 + 2


@given(seeds, st.sampled_from([0.3, 0.6, 0.9]))
def test_blocks_of_one_use_the_diagonal_and_update_no_weight(seed, sparsity) -> None:
    probe = noise(seed, a=(7, 5), b=(4, 6))
    before, damping = dict(probe.now), 1e-3
    masks = surgeon(block=1, gradients=40, damping=damping).prune(probe, Target(sparsity=sparsity))
    worth = {
        name: weight.square() * (damping + torch.stack([g[name] for g in probe.fixed]).square().mean(0)) / 2
        for name, weight in before.items()
    }
    assert_equal([masks], [allocate(worth, Target(sparsity=sparsity))])
    assert_equal([probe.now], [{name: weight * masks[name] for name, weight in before.items()}])


@given(seeds, st.sampled_from([0.2, 0.5, 0.8]))
def test_masks_do_not_depend_on_the_formula_and_the_joint_one_costs_less(seed, sparsity) -> None:
    ends = []
    for mend in ("joint", "single"):
        probe = noise(seed, w=(10, 10))
        before = dict(probe.now)
        masks = surgeon(block=100, mend=mend).prune(probe, Target(sparsity=sparsity))
        ends.append((masks, rise(probe, before, probe.now)))
    assert_equal([ends[0][0]], [ends[1][0]])
    assert ends[0][1] < ends[1][1]


@given(seeds, st.integers(2, 9))
def test_a_single_pruned_weight_moves_the_others_alike_by_both_formulas(seed, block) -> None:
    ends = []
    for mend in ("joint", "single"):
        probe = noise(seed, w=(1, block))
        surgeon(block=block, damping=1e-2, mend=mend).prune(probe, Target(sparsity=1 / block))
        ends.append(probe.now["w"])
    torch.testing.assert_close(ends[0], ends[1])


@pytest.mark.parametrize("dropout", [True, False])
def test_dropout_is_passed_to_the_probe(*, dropout: bool) -> None:
    class Asked(FixedProbe):
        def each_gradient(self, batches: int, size: int | None = None, *, dropout: bool = True) -> Any:
            asked.append(dropout)
            return super().each_gradient(batches, size)

    asked: list[bool] = []
    probe = noise(0, w=(3, 3))
    surgeon(dropout=dropout).prune(Asked(probe.now, probe.fixed), Target(sparsity=0.5))
    assert asked == [dropout]


@given(seeds, st.sampled_from([0.2, 0.5, 0.8]))
def test_the_update_of_remaining_weights_reduces_the_loss(seed, sparsity) -> None:
    probe = noise(seed, w=(10, 10))
    before = dict(probe.now)
    masks = surgeon(block=100).prune(probe, Target(sparsity=sparsity))
    stayed = {"w": before["w"] * masks["w"]}
    assert not probe.now["w"][~masks["w"]].any()
    assert bool((probe.now["w"] != before["w"])[masks["w"]].all())
    assert rise(probe, before, probe.now) < rise(probe, before, stayed)


@pytest.mark.parametrize("sparsity", [0.2, 0.5, 0.8])
def test_a_quadratic_rises_less_than_with_magnitude_pruning(sparsity: float) -> None:
    probe = noise(0, a=(20, 10), b=(10, 10))
    before, target = dict(probe.now), Target(sparsity=sparsity)
    masks = Magnitude().prune(probe, target)
    by_magnitude = rise(probe, before, {name: weight * masks[name] for name, weight in before.items()})
    surgeon(block=10).prune(probe, target)
    assert rise(probe, before, probe.now) < 0.5 * by_magnitude


def test_pruned_weights_stay_pruned_and_their_gradients_are_ignored() -> None:
    probe = noise(3, w=(6, 10))
    probe.set_masks(surgeon(block=10).prune(probe, Target(sparsity=0.4)))
    pruned = ~probe.unpruned["w"]
    quiet = FixedProbe(probe.now, [{"w": g["w"].masked_fill(pruned, 0)} for g in probe.fixed])
    quiet.unpruned = probe.unpruned
    loud = FixedProbe(
        probe.now, [{"w": g["w"].masked_fill(pruned, 1e3 * n)} for n, g in enumerate(probe.fixed)]
    )
    loud.unpruned = probe.unpruned
    target = Target(sparsity=0.7)
    masks, same = surgeon(block=10).prune(loud, target), surgeon(block=10).prune(quiet, target)
    assert not (masks["w"] & pruned).any() and int(masks["w"].sum()) == 18
    assert not loud.now["w"][~masks["w"]].any()
    assert_equal([masks, loud.now], [same, quiet.now])


@pytest.mark.parametrize("word", ["0.5", "2:4", "4:8", "1:4"])
@pytest.mark.parametrize("distribution", ["global", "uniform", "erk", "lamp"])
def test_every_distribution_and_pattern_is_met_exactly(word: str, distribution: Any) -> None:
    target = Target.parse(word).with_distribution(distribution)
    probe = noise(1, a=(7, 5), b=(3, 2, 8))
    masks = surgeon(block=6).prune(probe, target)
    count = sum(int(mask.sum()) for mask in masks.values())
    assert count == expected({name: tuple(mask.shape) for name, mask in masks.items()}, target)
    assert all(not probe.now[name][~mask].any() for name, mask in masks.items())


def test_a_target_of_0_changes_nothing() -> None:
    probe = noise(1, w=(7, 5))
    before = dict(probe.now)
    assert surgeon().prune(probe, Target())["w"].all()
    assert_equal([probe.now], [before])
    assert probe.passes == 40


def test_less_memory_costs_passes_and_gives_equal_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fisher, "TILE_ENTRIES", 2 * 10**2)  # tiles of two blocks of ten
    monkeypatch.setattr(obert, "MIB", 1)
    results: list[tuple[Mapping[str, Tensor], Mapping[str, Tensor]]] = []
    # a tile takes 20 weights x (10 x 8 + 2 x 4) = 1760 bytes; `a` has 4 tiles and `b` has 2
    for memory, parts in ((10_000_000, 1), (3 * 1760, 2), (2 * 1760 + 1, 3), (0, 6)):
        probe = noise(5, a=(7, 11), b=(3, 13))
        results.append((surgeon(block=10, memory=memory).prune(probe, Target(sparsity=0.6)), probe.now))
        assert probe.passes == 40 * (2 * parts - 1)
    for other in results[1:]:
        assert_equal(other, results[0])


def test_less_memory_ends_in_the_same_net_with_dropout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fisher, "TILE_ENTRIES", 50**2)
    monkeypatch.setattr(obert, "MIB", 1)
    ends = []
    # the GRU, down and odd have 5 + 6 + 2 + 1 blocks of 50 weights, at 448 bytes a weight; 3 a part
    for memory, parts in ((10_000_000, 1), (3 * 50 * 448, 5)):
        method = OptimalBertSurgeon(gradients=8, memory=memory, dropout=True)
        record, tensors, masks = run_chain(chain_of(method, Target(sparsity=0.7)), tmp_path / str(memory))
        assert record.cost.scoring_passes == 8 * (2 * parts - 1)
        ends.append((record.digest, tensors, masks))
    assert ends[0][0] == ends[1][0]
    assert_equal(ends[0][1:], ends[1][1:])


def test_each_round_uses_the_net_of_the_round_before(tmp_path: Path) -> None:
    records = [
        run_chain(chain_of(OptimalBertSurgeon(gradients=8, rounds=rounds), Target(sparsity=0.7)), tmp_path)[0]
        for rounds in (1, 3)
    ]
    assert [record.cost.scoring_passes for record in records] == [8, 24]
    assert records[0].certificate.mask_digest != records[1].certificate.mask_digest


def plan_of(method: OptimalBertSurgeon, target: Target) -> str:
    """A plan in short."""
    parts = []
    for stage in method.plan(target):
        assert isinstance(stage, Train | Prune)
        if isinstance(stage, Prune):
            assert stage.to and isinstance(stage.by, Surgeon)
            pattern = stage.to.pattern
            parts.append(f"{stage.to.sparsity:.4g}" if pattern == "free" else pattern)
        else:
            parts.append("train")
    return " ".join(parts)


def test_plans_are_those_of_the_paper() -> None:
    target = Target(sparsity=0.9375)
    assert plan_of(OptimalBertSurgeon(), target) == "train 0.9375 train"
    assert plan_of(OptimalBertSurgeon(rounds=2), target) == "train 0.75 0.9375 train"
    assert plan_of(OptimalBertSurgeon(levels=2), target) == "train 0.75 train 0.9375 train"
    assert plan_of(OptimalBertSurgeon(levels=2, rounds=2), target) == (
        "train 0.5 0.75 train 0.875 0.9375 train"
    )


def test_levels_without_a_pattern_are_left_out() -> None:
    assert plan_of(OptimalBertSurgeon(levels=4), Target.parse("2:4")) == "train 3:4 train 2:4 train"
    assert plan_of(OptimalBertSurgeon(levels=2, rounds=3), Target.parse("2:4")) == "train 3:4 train 2:4 train"


def test_the_paper_protocol_takes_the_diagonal_over_an_epoch() -> None:
    method = OptimalBertSurgeon.model_validate(OptimalBertSurgeon.paper)
    assert method.label == "obert:block=1,gradients=609,dropout=true"


def test_the_defaults_are_the_published_formula_and_gradients_without_dropout() -> None:
    stage = [*OptimalBertSurgeon().plan(Target(sparsity=0.5))][1]
    assert isinstance(stage, Prune) and isinstance(stage.by, Surgeon)
    assert (stage.by.mend, stage.by.dropout, stage.by.block, stage.by.damping) == ("single", False, 50, 1e-7)


def test_the_memory_limit_is_not_part_of_the_digest() -> None:
    less, more = OptimalBertSurgeon(memory=16), OptimalBertSurgeon(memory=100)
    assert less.digest() == more.digest()
    target = Target(sparsity=0.5)
    assert [s.digest() for s in less.plan(target)] == [s.digest() for s in more.plan(target)]


@pytest.mark.parametrize(
    "wrong",
    [{"block": 0}, {"block": 2000}, {"damping": 0}, {"gradients": 0}, {"memory": 1}, {"mend": "none"}],
)
def test_options_out_of_bounds_are_refused(wrong: Any) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        OptimalBertSurgeon.model_validate(wrong)
