"""Parameters by name are always those of the model, however its modules change."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import nn

from smc_eval.sparse.named_parameters import NamedParameters


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 3), nn.ReLU()))


def replace_a_parameter(model: nn.Sequential) -> None:
    model[0].weight = nn.Parameter(torch.ones(3, 2))


def remove_a_parameter(model: nn.Sequential) -> None:
    model[0].register_parameter("bias", None)


def replace_a_module(model: nn.Sequential) -> None:
    model[1][0] = nn.Linear(3, 4)


def add_a_module(model: nn.Sequential) -> None:
    model[1].append(nn.Linear(3, 1))


def rename_a_module(model: nn.Sequential) -> None:
    model[1].other = model[1]._modules.pop("0")


def tie_two(model: nn.Sequential) -> None:
    model[1][0].bias = model[0].bias


def parametrize(model: nn.Sequential) -> None:
    nn.utils.parametrizations.weight_norm(model[0])


CHANGES = [
    replace_a_parameter,
    remove_a_parameter,
    replace_a_module,
    add_a_module,
    rename_a_module,
    tie_two,
    parametrize,
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_modules_is_seen(change: Callable[[nn.Sequential], None]) -> None:
    model = net()
    named = NamedParameters(model)
    before = named.current()
    assert [*before] == ["0.weight", "0.bias", "1.0.weight", "1.0.bias"]
    change(model)
    found, wanted = named.current(), dict(model.named_parameters())
    assert [*found] == [*wanted] and all(found[name] is weight for name, weight in wanted.items())
    assert [*found] != [*before] or any(found[name] is not before[name] for name in found)


def test_without_a_change_the_model_is_not_searched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model = net()
    named = NamedParameters(model)
    named.current().clear()  # what is given out is a copy
    monkeypatch.setattr(model, "named_parameters", lambda: pytest.fail("it searched again"))
    assert len(named.current()) == 4


def test_a_copy_of_it_looks_at_the_copy_of_the_model() -> None:
    named = NamedParameters(net())
    named.current()
    other = deepcopy(named)
    assert all(other.current()[name] is not weight for name, weight in named.current().items())
