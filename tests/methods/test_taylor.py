"""Taylor: the first-order change of the loss by each head or neuron."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import torch
from torch import Tensor

from smc_eval.methods.taylor import Normalization, UnitSensitivity
from smc_eval.pruner import Probe
from smc_eval.sparse.unit_layers import UnitLayer, UnitPart
from smc_eval.target import Target

UNITS = (
    UnitLayer(3, (UnitPart("down", False, 0, 1), UnitPart("up", True, 0, 1))),
    UnitLayer(2, (UnitPart("last", False, 0, 1),)),
)
WEIGHTS = {
    "up": torch.ones(3, 1),
    "down": torch.tensor([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]]),
    "last": torch.tensor([[10.0, 1.0]]),
}
GRADIENTS = [
    {
        "up": torch.ones(3, 1),
        "down": torch.tensor([[2.0, 1, 0], [1, 0, 1]]),
        "last": torch.tensor([[1.0, 2]]),
    },
    {
        "up": torch.ones(3, 1),
        "down": torch.tensor([[-2.0, 1, 0], [1, 0, 1]]),
        "last": torch.tensor([[-1.0, 2]]),
    },
]
"""Of two batches. Gates of `down`: (3, 2, 1) and (-1, 2, 1); of `last`: (10, 2) and (-10, 2)."""


def probe(weights: dict[str, Tensor] = WEIGHTS) -> Probe:
    def each_gradient(batches: int, size: int | None, *, dropout: bool) -> Iterator[dict[str, Tensor]]:
        assert (batches, size, dropout) == (2, None, False)
        yield from GRADIENTS

    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}
    return cast(
        "Probe", SimpleNamespace(weights=weights, masks=masks, units=UNITS, each_gradient=each_gradient)
    )


def kept(normalize: Normalization, sparsity: float) -> dict[str, list[int]]:
    pruner = UnitSensitivity(batches=2, size=None, normalize=normalize)
    masks = pruner.prune(probe(), Target(pattern="neurons", sparsity=sparsity))
    return {name: masks[name].any(0).int().tolist() for name in ("down", "last")}


def test_absolute_derivatives_by_the_gates_are_averaged_over_batches() -> None:
    # means: down (2, 2, 1), last (10, 2); the two largest of five are 10, and the first of the three 2
    assert kept("none", 0.6) == {"down": [1, 0, 0], "last": [1, 0]}


def test_scores_of_a_layer_are_divided_by_their_norm() -> None:
    # down / 3: (0.67, 0.67, 0.33); last / sqrt(104): (0.98, 0.20)
    assert kept("layer", 0.4) == {"down": [1, 1, 0], "last": [1, 0]}


def test_the_score_is_the_derivative_by_a_gate_on_the_output() -> None:
    torch.manual_seed(0)
    up, down = (
        torch.randn(4, 3, dtype=torch.double),
        torch.randn(2, 4, dtype=torch.double, requires_grad=True),
    )
    gate, x = torch.ones(4, dtype=torch.double, requires_grad=True), torch.randn(9, 3, dtype=torch.double)
    loss = ((gate * torch.tanh(x @ up.T)) @ down.T).square().mean()
    by_gate, by_weight = torch.autograd.grad(loss, [gate, down])
    part = UnitPart("down", False, 0, 1)
    torch.testing.assert_close(part.of(down.detach() * by_weight, 4).flatten(1).sum(1), by_gate)


def test_a_layer_without_any_effect_is_pruned_and_has_no_nan() -> None:
    quiet = {**WEIGHTS, "last": torch.zeros(1, 2)}
    pruner = UnitSensitivity(batches=2, size=None, normalize="layer")
    masks = pruner.prune(probe(quiet), Target(pattern="neurons", sparsity=0.4))
    assert not masks["last"].any() and masks["down"].all()
