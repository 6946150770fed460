"""The built-in criteria, on nets that are small enough to compute by hand."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from smc_eval.errors import PluginError
from smc_eval.methods.omp import Magnitude
from smc_eval.methods.random import RandomSaliency
from smc_eval.pruner import Criterion, Probe
from smc_eval.sparse.shard_group import UNSHARDED
from smc_eval.target import Target

WEIGHTS = {"a": torch.tensor([[0.1, -0.9], [0.2, -0.5]]), "b": torch.tensor([[0.3, 0.4]])}


def probe(
    weights: Mapping[str, Tensor] = WEIGHTS, masks: Mapping[str, Tensor] | None = None, seed: int = 0
) -> Probe:
    unpruned = masks or {name: torch.ones_like(weight).bool() for name, weight in weights.items()}
    generator = torch.Generator().manual_seed(seed)
    parts = SimpleNamespace(weights=weights, masks=unpruned, generator=generator, shards=UNSHARDED)
    return cast("Probe", parts)


def test_magnitude_prunes_the_smallest_weights_of_all_tensors() -> None:
    masks = Magnitude().prune(probe(), Target(sparsity=0.5))
    assert {name: mask.int().tolist() for name, mask in masks.items()} == {
        "a": [[0, 1], [0, 1]],
        "b": [[0, 1]],
    }


def test_uniform_magnitude_prunes_the_smallest_weights_of_each_tensor() -> None:
    masks = Magnitude().prune(probe(), Target(sparsity=0.5, distribution="uniform"))
    assert {name: mask.int().tolist() for name, mask in masks.items()} == {
        "a": [[0, 1], [0, 1]],
        "b": [[0, 1]],
    }
    masks = Magnitude().prune(probe(), Target(sparsity=2 / 3, distribution="uniform"))
    assert sum(int(mask.sum()) for mask in masks.values()) == 2


def test_pruned_weights_stay_pruned_even_if_they_are_large() -> None:
    masks = {"a": torch.tensor([[1, 0], [1, 1]]).bool(), "b": torch.ones(1, 2).bool()}
    again = Magnitude().prune(probe(masks=masks), Target(sparsity=0.5))
    assert again["a"].int().tolist() == [[0, 0], [0, 1]] and again["b"].int().tolist() == [[1, 1]]


def test_random_masks_depend_on_the_generator_and_meet_the_count() -> None:
    weights = {"a": torch.zeros(40, 50), "b": torch.zeros(60, 50)}
    first, again, other = (
        RandomSaliency().prune(probe(weights, seed=s), Target(sparsity=0.7)) for s in (1, 1, 2)
    )
    assert sum(int(mask.sum()) for mask in first.values()) == 1500
    assert torch.equal(first["a"], again["a"]) and not torch.equal(first["a"], other["a"])
    assert float(first["a"].float().mean()) == pytest.approx(0.3, abs=0.04)  # 4 standard deviations


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"a": WEIGHTS["a"]}, "missing or unexpected: b"),
        ({**WEIGHTS, "b": torch.zeros(3)}, r"'b' saliencies of shape \(3,\)"),
        ({**WEIGHTS, "b": torch.tensor([[1.0, float("nan")]])}, "'b' saliencies that are not finite"),
        ({**WEIGHTS, "b": torch.tensor([[1.0, -float("inf")]])}, "'b' saliencies that are not finite"),
    ],
)
def test_the_error_of_wrong_saliencies_names_the_class_and_the_tensor(wrong: Any, message: str) -> None:
    class Wrong(Criterion):
        def saliency(self, probe: Probe) -> dict[str, Tensor]:
            return cast("dict[str, Tensor]", wrong)

    with pytest.raises(PluginError, match=message) as raised:
        Wrong().prune(probe(), Target(sparsity=0.5))
    assert "Wrong" in str(raised.value)
