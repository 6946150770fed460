"""CHTs and CHTss: changes by hand, the powers, the density decay, and starts."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from smc_eval.errors import UsageError
from smc_eval.methods.chts import Chts, Chtss, ReceptiveField, Topology
from smc_eval.sparse.allocate import budgets
from smc_eval.sparse.relative_importance import relative_importance
from smc_eval.stages import Prune, Train
from smc_eval.target import Target
from smc_eval.testing import MethodContract, chain_of, run_chain, step_view
from smc_eval.testing.cell_runs import nets_of_chain

HALF = Target(sparsity=0.5, distribution="uniform")
SPARSE = Target(sparsity=0.8, distribution="uniform")


class TestByPathsWithoutChance(MethodContract):
    method = Chts(score="ch3-l3p", draw="none", start="random", importance="relative")


class TestDecayFromADenseNet(MethodContract):
    method = Chtss(initial=0.0, draw="pruned")


def view_of(weight: torch.Tensor, at: int = 50, steps: int = 100) -> Any:
    view = step_view({"a": weight}, {"a": torch.full_like(weight, math.nan)}, at=at, steps=steps)
    view.net.masks = {"a": weight != 0}
    return view


def test_without_chance_a_change_is_as_by_hand() -> None:
    # links: a-x 3, b-x 2, b-y 1, b-z 0.5. Of four weights a quarter goes: b-z. The graph that is left has one
    # path of length three, a-x-b-y, so a-y has a score; a-z and b-z have none
    weight = torch.tensor([[3.0, 0.0, 0.0], [2.0, -1.0, 0.5]])
    view = view_of(weight)
    Topology(to=HALF, draw="none", share=0.25, end=0.25, every=50, events=1).update(view, {})
    assert view.net.masks["a"].int().tolist() == [[1, 1, 0], [1, 1, 0]]
    assert view.net.weights["a"].tolist() == [[3.0, 0.0, 0.0], [2.0, -1.0, 0.0]]
    assert view.skipped and not view.read


def test_with_a_high_power_the_smallest_go_and_only_linked_places_grow() -> None:
    weight = torch.tensor([[3.0, 0.0, 0.0], [2.0, -1.0, 0.5]])
    for at in range(2, 40, 2):  # the step seeds the generator of the view
        view = view_of(weight, at)
        options = {"share": 0.25, "end": 0.25, "every": 2, "power": 500.0, "last_power": 500.0}
        Topology(to=HALF, **options).update(view, {})
        assert view.net.masks["a"].int().tolist() == [[1, 1, 0], [1, 1, 0]]


def test_weights_grow_in_proportion_to_their_scores() -> None:
    # links a-x, b-x, b-y, b-z, c-z, and d-w of little weight, which goes. Four places have one path each,
    # over b (worth 2 / 2) and over x or z (worth 2 / 1): a-y, a-z, c-x and c-y. All others have none
    weight = torch.tensor([[3.0, 0, 0, 0], [3.0, 3.0, 3.0, 0], [0, 0, 3.0, 0], [0, 0, 0, 1e-3]])
    counts = torch.zeros(4, 4)
    for at in range(2, 402, 2):
        view = view_of(weight, at, 1000)
        options = {"share": 1 / 6, "end": 1 / 6, "every": 2, "power": 20.0, "last_power": 20.0}
        Topology(to=HALF, **options).update(view, {})
        counts += view.net.masks["a"] & (weight == 0)
    assert counts.sum() == 200
    assert counts.nonzero().tolist() == [[0, 1], [0, 2], [2, 0], [2, 1]]
    assert int(counts[counts > 0].min()) > 25 and int(counts.max()) < 75


def test_the_power_rises_in_proportion_to_time() -> None:
    updater = Topology(to=HALF)
    assert [updater.power_at(step, 1000) for step in (0, 375, 750, 999)] == [1.0, 5.0, 9.0, 9.0]


def test_at_the_first_power_weights_stay_in_proportion_to_their_size() -> None:
    weight = torch.tensor([[3.0, 1.0, 0.0, 0.0]])  # one of two stays: 3 with probability 3 / 4, if t = 1
    kept = {1.0: 0, 2.0: 0}
    for power, at in itertools.product(kept, range(2, 602, 2)):
        view = view_of(weight, at, 1000)
        options = {"share": 0.5, "end": 0.5, "every": 2, "power": power, "last_power": power}
        Topology(to=HALF, **options).update(view, {})
        # what grows is random, as no path leads there; so the weight 1 has 0 in it unless it stayed
        kept[power] += view.net.weights["a"][0, 0] == 3 and view.net.weights["a"][0, 1] == 0
    # a pruned weight grows back, with its value, in one of three cases
    assert kept[1.0] / 300 == pytest.approx(3 / 4 * 2 / 3, abs=0.1)
    assert kept[2.0] / 300 == pytest.approx(9 / 10 * 2 / 3, abs=0.1)


def test_relative_importance_is_the_share_of_the_row_and_of_the_column() -> None:
    weight = torch.tensor([[1.0, -3.0, 0.0], [1.0, 0.0, 0.0]])
    shares = relative_importance(weight)
    assert shares.tolist() == [[1 / 4 + 1 / 2, 3 / 4 + 1, 0.0], [1 + 1 / 2, 0.0, 0.0]]
    assert torch.equal(relative_importance(weight.view(2, 3, 1)).flatten(1), shares)
    assert not relative_importance(torch.zeros(2, 3)).any()


def test_a_density_decay_is_a_sigmoid_that_ends_at_the_target() -> None:
    updater = Topology(to=Target(sparsity=0.9, distribution="uniform"), initial=0.5, every=100)
    changes = [100, 200, 300, 400, 500, 600, 700]
    assert [*updater.changes(1000)] == changes
    curve = [1 / (1 + math.exp(6 - 12 * number / 7)) for number in range(8)]
    wanted = [0.5 + 0.4 * (value - curve[0]) / (curve[7] - curve[0]) for value in curve[1:]]
    assert [updater.sparsity(step, 1000) for step in changes] == pytest.approx(wanted)
    assert updater.sparsity(700, 1000) == 0.9
    assert [*updater.densities(1000, 0.5)] == [
        (step, pytest.approx(1 - sparsity)) for step, sparsity in zip(changes, wanted, strict=True)
    ]
    assert [*updater.changes(1)] == [0] and updater.sparsity(0, 1) == 0.9  # reached in any training
    assert not Topology(to=HALF).changes(1) and not [*Topology(to=HALF).densities(1000, 0.5)]


def test_a_decay_prunes_the_least_relative_importance_and_what_grows_again_starts_at_zero() -> None:
    # shares of row and column: 0.6 + 1, 0.4 + 0.8, 0.5 + 0.2, 0.5 + 1: the third is least, though not by |w|
    weight = torch.tensor([[0.3, 0.2, 0.0], [0.0, 0.05, 0.05]])
    updater = Topology(to=HALF, initial=0.0, draw="none", share=0.01, end=0.01, every=50, events=1)
    view = view_of(weight)
    view.net.masks = {"a": weight != 0}
    assert updater.sparsity(50, 100) == 0.5
    updater.update(view, {})
    assert int(view.net.masks["a"].sum()) == 3
    assert view.net.weights["a"][1, 1] == 0 and view.net.changes == 2


def test_the_soft_rule_and_its_opposite_have_the_options_of_the_authors() -> None:
    prune, train = Chts().plan(SPARSE)
    assert prune == Prune(by=ReceptiveField(randomness=0.25, degrees="uniform"), to=SPARSE)
    assert train == Train(
        updater=Topology(
            to=SPARSE,
            score="ch2-l3n",
            importance="magnitude",
            draw="both",
            power=1.0,
            last_power=9.0,
            share=0.3,
        )
    )
    assert next(iter(Chtss().plan(SPARSE))).to.sparsity == 0.5
    low = Target(sparsity=0.3, distribution="uniform")
    assert next(iter(Chtss().plan(low))).to == low
    for method in (Chts(), Chtss()):
        with pytest.raises(UsageError, match=method.card.name):
            method.accept(Target(sparsity=0.5))


@pytest.mark.parametrize("method", [Chts(), Chtss(), Chts(start="random"), Chtss(importance="relative")])
def test_each_tensor_has_its_budget_at_the_start_and_at_the_end(method: Any, tmp_path: Path) -> None:
    record, nets = nets_of_chain(chain_of(method, SPARSE), tmp_path)
    first = SPARSE if isinstance(method, Chts) else SPARSE.at(0.5)
    for (_, masks), target in zip(nets[-2:], (first, SPARSE), strict=True):
        shapes = {name: tuple(mask.shape) for name, mask in masks.items()}
        counted = {name: int(mask.sum()) for name, mask in masks.items()}
        if method.start == "brf" or target is SPARSE:
            assert counted == budgets(shapes, target)
    assert record.certificate.ok and record.certificate.regrown > 0


def test_the_density_decay_costs_more_than_none(tmp_path: Path) -> None:
    constant, decaying = (
        run_chain(chain_of(method, SPARSE), tmp_path / method.card.name)[0] for method in (Chts(), Chtss())
    )
    assert decaying.cost.flops.train.sparse > 1.1 * constant.cost.flops.train.sparse
