"""Wanda: by hand, and on nets with known inputs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from smc_eval.methods.omp import Magnitude
from smc_eval.methods.wanda import Wanda, WandaScore, saliency
from smc_eval.pruner import Probe
from smc_eval.sparse.input_stats import Squares
from smc_eval.sparse.shard_group import UNSHARDED
from smc_eval.stages import Prune, Train
from smc_eval.target import Target
from smc_eval.testing import Toy, chain_of, run_chain


class FixedProbe:
    """A probe with fixed weights and inputs."""

    shards = UNSHARDED

    def __init__(self, weights: dict[str, Tensor], inputs: dict[str, Tensor]) -> None:
        self.weights, self.fixed_inputs = weights, inputs
        self.masks = {name: torch.ones_like(weight).bool() for name, weight in weights.items()}

    def inputs(self, batches: int, see: Any) -> None:
        for name, x_NI in self.fixed_inputs.items():
            rows, columns = self.weights[name].flatten(1).shape
            see(name, (slice(0, rows), slice(0, columns)), x_NI)

    def walk(self, batches: int) -> Iterator[Any]:
        """The whole net as one section."""
        yield SimpleNamespace(
            names=tuple(self.weights),
            inputs=partial(self.inputs, batches),
            settle=lambda masks, values: masks,
        )

    def note(self, text: str) -> None:
        pass


def pruned(probe: FixedProbe, target: Target) -> dict[str, Any]:
    masks = WandaScore().prune(cast("Probe", probe), target)
    return {name: mask.int().tolist() for name, mask in masks.items()}


WEIGHTS = {"a": torch.tensor([[4.0, -1.0, 3.0, 2.0], [0.4, 0.3, -0.2, 0.1]])}
INPUTS = {"a": torch.tensor([[0.6, 3.0, 0.0, 2.0], [0.8, 4.0, 1.0, 0.0]])}  # norms 1, 5, 1, 2


def test_saliencies_and_masks_are_as_computed_by_hand() -> None:
    # saliencies 4, 5, 3, 4 and 0.4, 1.5, 0.2, 0.2
    probe = FixedProbe(WEIGHTS, INPUTS)
    squares = Squares(WEIGHTS, WEIGHTS)
    probe.inputs(1, squares)
    torch.testing.assert_close(
        saliency(squares, "a"), torch.tensor([[4.0, 5.0, 3.0, 4.0], [0.4, 1.5, 0.2, 0.2]])
    )
    assert pruned(probe, Target(sparsity=0.5, distribution="rows")) == {"a": [[1, 1, 0, 0], [1, 1, 0, 0]]}


def test_compared_over_all_outputs_only_the_largest_output_remains() -> None:
    assert pruned(FixedProbe(WEIGHTS, INPUTS), Target(sparsity=0.5, distribution="uniform")) == {
        "a": [[1, 1, 1, 1], [0, 0, 0, 0]]
    }


def test_the_highest_saliencies_of_each_group_remain() -> None:
    assert pruned(FixedProbe(WEIGHTS, INPUTS), Target.parse("1:2")) == {"a": [[0, 1, 0, 1], [0, 1, 1, 0]]}


def test_without_inputs_the_magnitude_decides() -> None:
    probe = FixedProbe({"table": torch.tensor([[1.0, -3.0], [2.0, 0.5]])}, {})
    assert pruned(probe, Target(sparsity=0.5, distribution="rows")) == {"table": [[0, 1], [1, 0]]}
    assert pruned(probe, Target(sparsity=0.5)) == {"table": [[0, 1], [1, 0]]}


def test_inputs_of_equal_norm_give_magnitude_pruning() -> None:
    weights = {"a": torch.randn(5, 8)}
    probe = FixedProbe(weights, {"a": torch.eye(8) * 3})
    for target in (Target(sparsity=0.6, distribution="rows"), Target(sparsity=0.6), Target.parse("2:4")):
        masks = Magnitude().prune(cast("Probe", probe), target)
        assert pruned(probe, target) == {"a": masks["a"].int().tolist()}


def test_every_row_keeps_its_share_and_the_count_is_exact(tmp_path: Path) -> None:
    target = Target(sparsity=0.7, distribution="rows")
    record, _, masks = run_chain(chain_of(Wanda(batches=2), target), tmp_path)
    assert record.certificate.ok and record.cost.scoring_passes == 2
    for mask in masks.values():
        count_R = mask.sum(1)
        assert int(count_R.max() - count_R.min()) <= 1


def test_the_weights_of_an_input_that_is_always_zero_are_pruned(tmp_path: Path) -> None:
    class ZeroFeature(Toy):
        """The first input of `down` is always zero."""

        def model(self) -> nn.Module:
            net = super().model()
            with torch.no_grad():
                net.norm.weight[0] = net.norm.bias[0] = 0.0
            return net

        recipe: Any = Toy().recipe.model_copy(update={"steps": 0})

    masks = run_chain(chain_of(Wanda(), Target(sparsity=0.3, distribution="rows"), ZeroFeature()), tmp_path)[
        2
    ]
    assert not masks["down.weight"][:, 0].any()


def test_the_plan_trains_prunes_and_trains() -> None:
    target = Target(sparsity=0.5, distribution="rows")
    assert list(Wanda(batches=3).plan(target)) == [
        Train(),
        Prune(by=WandaScore(batches=3), to=target),
        Train(),
    ]


@pytest.mark.parametrize("distribution", ["global", "uniform", "erk", "lamp", "owl"])
def test_every_other_distribution_can_be_chosen(tmp_path: Path, distribution: Any) -> None:
    assert run_chain(chain_of(Wanda(batches=1), Target(sparsity=0.8, distribution=distribution)), tmp_path)[
        0
    ].certificate.ok
