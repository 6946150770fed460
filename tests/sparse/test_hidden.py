"""Hidden units: which maps have some, and that another order of them changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from smc_eval.sparse.hidden import find_hidden, mixed, wave
from smc_eval.sparse.inputs import InputObserver, observing


def found(model: nn.Module, run: Callable[[nn.Module], Tensor]) -> dict[str, tuple[tuple[str, ...], ...]]:
    """Writers and biases of each weight that reads hidden units. The model must be left as it was."""
    model.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    weights = {name: weight.detach() for name, weight in model.named_parameters() if weight.ndim == 2}

    def loss(see: InputObserver) -> float:
        with torch.no_grad(), observing(model, weights, see):
            return float(run(model).square().mean())

    units = find_hidden(model, weights, loss)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    return {name: (each.writers, each.biases) for name, each in units.items()}


class Pair(nn.Module):
    """A feed-forward pair around a residual sum, with something between the maps."""

    def __init__(self, between: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.between, self.second = nn.Linear(6, 8), between, nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.between(self.first(x)))


X = torch.randn(10, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("between", [nn.ReLU(), nn.GELU(), nn.Sequential(nn.Tanh(), nn.Dropout(0.5))])
def test_what_lies_between_may_see_each_unit_alone(between: nn.Module) -> None:
    assert found(Pair(between), lambda net: net(X)) == {"second.weight": (("first.weight",), ("first.bias",))}


def uneven_norm() -> nn.Module:
    """A norm whose gains are not equal, as those of a trained net."""
    norm = nn.LayerNorm(8)
    with torch.no_grad():
        norm.weight.copy_(torch.arange(1.0, 9.0))
    return norm


@pytest.mark.parametrize("between", [uneven_norm(), nn.Softmax(0).train(), nn.Linear(8, 8, bias=False)])
def test_what_lies_between_may_not_tell_units_apart(between: nn.Module) -> None:
    units = found(Pair(between), lambda net: net(X))
    if isinstance(between, nn.Softmax):  # over the rows of each unit: it does see each alone
        assert units.keys() == {"second.weight"}
    elif isinstance(between, nn.Linear):  # a chain of maps: both pairs are hidden units
        assert units.keys() == {"between.weight", "second.weight"}
        assert units["second.weight"] == (("between.weight",), ())
    else:
        assert not units


def test_units_that_another_map_reads_too_are_not_hidden() -> None:
    class Two(Pair):
        def __init__(self) -> None:
            super().__init__(nn.ReLU())
            self.third = nn.Linear(8, 6)

        def forward(self, x: Tensor) -> Tensor:
            units = self.between(self.first(x))
            return self.second(units) + self.third(units)

    assert not found(Two(), lambda net: net(X))


def test_units_of_a_residual_sum_are_not_hidden() -> None:
    class Sum(Pair):
        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x) + nn.functional.pad(x, (0, 2)))

    assert not found(Sum(nn.Identity()), lambda net: net(X))


def test_units_whose_outputs_are_read_outside_of_all_weights_are_not_hidden() -> None:
    class Leak(Pair):
        def forward(self, x: Tensor) -> Tensor:
            units = self.first(x)
            return self.second(units) + units[:, :6]

    assert not found(Leak(nn.Identity()), lambda net: net(X))


def test_units_of_which_nothing_passes_are_not_hidden() -> None:
    class Closed(Pair):
        def forward(self, x: Tensor) -> Tensor:
            return x + self.second(0 * self.first(x))

    assert not found(Closed(nn.Identity()), lambda net: net(X))


def test_in_a_transformer_the_feed_forward_pairs_have_hidden_units_and_heads_have_none() -> None:
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16
    )  # all maps are of one shape: only the computation tells them apart
    ids = torch.randint(3, 20, (3, 7))
    units = found(BertModel(config), lambda net: net(ids).last_hidden_state)
    feed_forward = "encoder.layer.{}.{}.dense.{}".format
    assert units == {
        feed_forward(layer, "output", "weight"): (
            (feed_forward(layer, "intermediate", "weight"),),
            (feed_forward(layer, "intermediate", "bias"),),
        )
        for layer in (0, 1)
    }


def test_a_gated_pair_has_two_writers() -> None:
    from transformers import T5Config, T5EncoderModel

    torch.manual_seed(0)
    options: dict[str, Any] = {"d_model": 16, "d_ff": 24, "num_layers": 1, "num_heads": 2, "d_kv": 8}
    config = T5Config(vocab_size=20, feed_forward_proj="gated-gelu", **options)
    ids = torch.randint(3, 20, (3, 7))
    units = found(T5EncoderModel(config), lambda net: net(ids).last_hidden_state)
    assert [(len(writers), biases) for writers, biases in units.values()] == [(2, ())]


def test_the_order_that_is_tried_moves_units_and_is_always_the_same() -> None:
    for size in range(2, 50):
        assert sorted(mixed(size).tolist()) == list(range(size))
        assert mixed(size).tolist() != list(range(size))
    assert torch.equal(wave(5), wave(9)[:5])
