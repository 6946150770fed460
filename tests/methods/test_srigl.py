"""SRigL: random starts and changes of constant fan-in, ablation, and the certificate that checks it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from smc_eval.engine.certify import check_fan_in, count_and_check
from smc_eval.errors import UsageError
from smc_eval.methods.rigl import RandomRigL
from smc_eval.methods.srigl import ConstantFanIn, StructuredRigL
from smc_eval.sparse.allocate import budgets
from smc_eval.sparse.fan_in import fan_in_range
from smc_eval.target import Target
from smc_eval.testing import MethodContract, chain_of, run_chain, step_view
from smc_eval.testing.cell_runs import nets_of_chain

SPARSE = Target(sparsity=0.7, distribution="erk")


class TestWithoutAblation(MethodContract):
    method = StructuredRigL(salient=0.0, share=0.9)


def test_a_change_is_that_of_each_tensor_and_the_last_one_is_never_ablated() -> None:
    # in both tensors the second neuron has no salient weight, and one is demanded
    weight = torch.tensor([[4.0, 3.0, 0.0, 0.0], [0.0, 0.0, 0.1, 0.0]])
    gradient = torch.tensor([[0.0, 0.0, 9.0, 0.0], [0.2, 0.1, 0.1, 0.0]])
    view = step_view({"a": weight, "b": weight}, {"a": gradient, "b": gradient}, at=50, steps=100)
    view.net.masks = dict.fromkeys("ab", weight != 0)
    ConstantFanIn(share=1 / 3, end=1 / 3, every=50, events=1, salient=1.0).update(view, {})
    assert view.net.masks["a"].int().tolist() == [[1, 1, 1, 0], [0, 0, 0, 0]]
    # three weights over two neurons are 2 and 1; the second lost 0.1 and grows the gradient 0.2
    assert view.net.masks["b"].int().tolist() == [[1, 1, 0, 0], [1, 0, 0, 0]]
    assert view.skipped
    assert view.net.weights["a"].tolist() == [[4.0, 3.0, 0.0, 0.0], [0.0] * 4]  # what grows starts at zero


def test_tensors_without_room_or_without_weights_stay() -> None:
    weights = {"full": torch.ones(2, 2), "empty": torch.ones(2, 2), "last": torch.ones(1, 1)}
    view = step_view(weights, {}, at=2, steps=100)
    view.net.set_masks(
        {name: torch.full_like(weight, name != "empty").bool() for name, weight in weights.items()}
    )
    before = dict(view.net.masks)
    ConstantFanIn(every=2).update(view, {})
    assert all(torch.equal(view.net.masks[name], mask) for name, mask in before.items())


def test_its_changes_are_those_of_rigl() -> None:
    srigl, rigl = ([*method.plan(SPARSE)][1].updater for method in (StructuredRigL(), RandomRigL()))
    for steps in (12, 300, 1000):
        assert [srigl.due(step, steps) for step in range(steps)] == [
            rigl.due(step, steps) for step in range(steps)
        ]
        assert srigl.dense_gradient_steps(steps) == rigl.dense_gradient_steps(steps)


@pytest.mark.parametrize("distribution", ["uniform", "rows", "erk"])
def test_each_net_of_the_chain_has_its_budgets_and_a_constant_fan_in(
    tmp_path: Path, distribution: str
) -> None:
    target = Target(sparsity=0.7, distribution=distribution)
    record, nets = nets_of_chain(chain_of(StructuredRigL(salient=0.95), target), tmp_path)
    for _, masks in nets[-2:]:
        shapes = {name: tuple(mask.shape) for name, mask in masks.items()}
        assert {name: int(mask.sum()) for name, mask in masks.items()} == budgets(shapes, target)
        for mask in masks.values():
            least, most = fan_in_range(mask)
            assert most - least <= 1
    start = nets[-2][1]
    assert all(mask.any(1).all() for mask in start.values() if mask.sum() >= len(mask))
    certificate = record.certificate
    assert certificate.ok and certificate.regrown > 0
    assert certificate.fan_in == {name: fan_in_range(mask) for name, mask in nets[-1][1].items()}


def test_the_certificate_of_another_method_has_no_fan_in(tmp_path: Path) -> None:
    record, _, _ = run_chain(chain_of(RandomRigL(), SPARSE), tmp_path)
    assert record.certificate.fan_in is None and "fan_in" not in record.to_json()["certificate"]


def test_the_certificate_names_a_tensor_whose_fan_in_is_not_constant() -> None:
    view = step_view({"a": torch.ones(3, 4)}, {}, at=0, steps=1)
    view.net.set_masks({"a": torch.tensor([[1, 1, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0]]).bool()})
    certificate = check_fan_in(count_and_check(view.net, None), view.net)
    assert not certificate.ok and certificate.fan_in == {"a": (1, 3)}
    assert certificate.failed == ("rows of 'a' have from 1 to 3 weights, where the fan-in is constant",)


def test_it_needs_a_distribution_that_sets_budgets() -> None:
    with pytest.raises(UsageError, match="srigl"):
        StructuredRigL().accept(Target(sparsity=0.5, distribution="global"))
