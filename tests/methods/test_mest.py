"""MEST: changes by hand under both bounds, the stages of the schedule, and the target at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smc_eval.errors import UsageError
from smc_eval.methods.mest import Mest, Mutation
from smc_eval.sparse.allocate import budgets
from smc_eval.target import Target
from smc_eval.testing import MethodContract, chain_of, run_chain, step_view

HALF = Target(sparsity=0.5, distribution="uniform")
WEIGHT = torch.tensor([[0.5, -0.1, 0.2, 0.9, 0.0, 0.0, 0.0, 0.0]])
GRADIENT = torch.tensor([[0.0, 20.0, 5.0, 0.0, 50.0, 0.0, 0.0, 0.0]])


class TestHardBound(MethodContract):
    method = Mest(bound="hard", share=0.9, end=0.5)


def changed(bound: Any, at: int, mask: torch.Tensor = WEIGHT != 0, **options: Any) -> Any:
    """The view after a step of 160, with a change every 5."""
    view = step_view({"a": WEIGHT}, {"a": GRADIENT}, at=at, steps=160)
    view.net.masks = view.forward_masks = {"a": mask}
    Mutation(to=HALF, bound=bound, every=5, **{"share": 0.5, "end": 0.25, **options}).update(view, {})
    return view


def test_under_a_hard_bound_the_least_important_go_and_random_ones_come() -> None:
    # |w| + 0.01 |g| is 0.5, 0.3, 0.25, 0.9: 0.2 and -0.1 are least. By |w| alone they are too, but for one
    # weight alone -0.1 would go, and 0.2 goes
    assert changed("hard", 5).net.masks["a"][0, [0, 3]].all()
    one = changed("hard", 90)  # the second stage: a quarter of four weights
    assert one.net.masks["a"][0, [0, 1, 3]].all()
    by_magnitude = changed("hard", 90, gradient=0.0)
    assert by_magnitude.net.masks["a"][0, [0, 2, 3]].all()
    assert int(one.net.masks["a"].sum()) == 4 and not one.skipped and not one.read


def test_all_that_grows_starts_at_zero_also_what_the_same_change_pruned() -> None:
    returned = 0
    for at in range(0, 90, 5):  # the step seeds the generator of the view
        view = changed("hard", at)
        mask, weights = view.net.masks["a"][0], view.net.weights["a"][0]
        assert int(mask.sum()) == 4
        assert weights[mask & (WEIGHT[0].abs() < 0.4)].abs().sum() == 0
        assert weights[[0, 3]].tolist() == WEIGHT[0, [0, 3]].tolist()
        returned += int(mask[[1, 2]].sum())
    assert returned  # of the six places, two are those of the pruned weights


def test_under_a_soft_bound_weights_come_on_top_and_go_at_the_next_change() -> None:
    first = changed("soft", 0).net.masks["a"]
    assert int(first.sum()) == 6 and first[0, :4].all()  # nothing goes at first; half of four weights come
    # of six weights, the four most important stay, new ones or old; then one comes, in the second stage
    six = torch.tensor([[1, 1, 1, 1, 1, 0, 1, 0]]).bool()
    later = changed("soft", 90, six).net.masks["a"]
    assert int(later.sum()) == 5
    # |w| + 0.01 |g| is 0.5, 0.3, 0.25, 0.9, 0.5, 0: the new weight of gradient 50 stays, 0.25 and 0 go
    assert later[0, [0, 1, 3, 4]].all()
    last = changed("soft", 120, six).net.masks["a"]
    assert last.int().tolist() == [[1, 1, 0, 1, 1, 0, 0, 0]]


def test_it_reads_only_gradients_of_unpruned_weights() -> None:
    view = changed("hard", 5)
    assert not view.read and view.read_shares == {"a": 0.5}  # not more than a sparse backward pass computes
    updater = Mutation(to=HALF)
    assert not updater.dense_gradient_steps(100) and updater.gradient_density(0.5) == 0.5


def test_the_stages_are_those_of_the_authors_scripts() -> None:
    # 160 epochs, a mutation every 5, the ratio halved at 90, none from 120 on
    updater = Mutation(to=HALF, every=5, share=0.2, end=0.1)
    shares = {step: share for step in range(160) if (share := updater.due(step, 160)) is not None}
    assert shares == {
        **dict.fromkeys(range(0, 90, 5), 0.2),
        **dict.fromkeys(range(90, 120, 5), 0.1),
        120: 0.0,
    }
    short = [step for step in range(12) if updater.due(step, 12) is not None]
    assert short == [0, 2, 4, 6, 8, 9]
    assert [updater.due(step, 1) for step in range(1)] == [0.0]
    assert [*Mutation(to=HALF, bound="hard").densities(160, 0.5)] == []
    assert [*Mutation(to=HALF, stop=1.0, half=1.0).densities(4, 0.5)] == [(0, 0.6), (2, 0.6), (3, 0.5)]


@settings(max_examples=30)
@given(
    st.integers(1, 9), st.integers(1, 9), st.floats(0.05, 0.9), st.sampled_from(["hard", "soft"]), st.data()
)
def test_counts_are_exact_at_each_change(
    rows: int, columns: int, sparsity: float, bound: Any, data: st.DataObject
) -> None:
    shapes = {"a": (rows, columns), "b": (5, 7)}
    target = Target(sparsity=sparsity, distribution=data.draw(st.sampled_from(["uniform", "erk"])))
    counts = budgets(shapes, target)
    weights = {name: torch.randn(shape) for name, shape in shapes.items()}
    size = 35 + rows * columns
    masks = {
        name: (torch.arange(weight.numel()) < counts[name]).view(weight.shape)
        for name, weight in weights.items()
    }
    density = sum(counts.values()) / size
    updater = Mutation(to=target, bound=bound, share=data.draw(st.floats(0.01, 1)), every=2)
    announced = dict(updater.densities(9, density))
    for step in range(9):
        view = step_view(weights, weights, at=step, steps=9)
        view.net.set_masks(masks)
        updater.update(view, {})
        masks = view.net.masks
        density = announced.get(step, density)
        assert abs(view.net.density - density) <= 0.5 / size + 1e-9
    assert {name: int(mask.sum()) for name, mask in masks.items()} == counts


def test_the_extra_weights_cost_and_the_end_is_exact(tmp_path: Path) -> None:
    target = Target(sparsity=0.8, distribution="uniform")
    hard, soft = (
        run_chain(chain_of(Mest(bound=bound, share=1.0, end=1.0), target), tmp_path / bound)[0]
        for bound in ("hard", "soft")
    )
    assert soft.certificate.ok and hard.certificate.ok
    assert soft.certificate.remaining == hard.certificate.remaining == soft.certificate.expected
    assert soft.cost.flops.train.sparse > 1.1 * hard.cost.flops.train.sparse


def test_it_refuses_stages_in_the_wrong_order_and_distributions_without_budgets() -> None:
    with pytest.raises(ValueError, match=r"half 0.9 is after stop 0.75"):
        Mest(half=0.9)
    with pytest.raises(UsageError, match="mest"):
        Mest().accept(Target(sparsity=0.5))
