"""RIA: by hand, by numpy, and with its order of channels in a net."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from smc_eval.errors import UsageError
from smc_eval.methods.ria import RelativeImportance, Ria
from smc_eval.methods.wanda import WandaScore
from smc_eval.pruner import Probe
from smc_eval.sparse.allocate import expected
from smc_eval.sparse.pattern import fits
from smc_eval.sparse.relative_importance import relative_importance
from smc_eval.sparse.shard_group import UNSHARDED
from smc_eval.stages import Prune, Train
from smc_eval.target import Distribution, Target
from smc_eval.testing import Toy, chain_of, run_chain


class FixedProbe:
    """A probe with fixed weights and inputs, and hidden units if it is told so."""

    shards = UNSHARDED

    def __init__(
        self, weights: dict[str, Tensor], inputs: dict[str, Tensor], hidden: tuple[str, ...] = ()
    ) -> None:
        self.weights, self.fixed_inputs, self.hidden = dict(weights), inputs, hidden
        self.masks = {name: torch.ones_like(weight).bool() for name, weight in weights.items()}
        self.notes: list[str] = []

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

    def hidden_inputs(self) -> tuple[str, ...]:
        return self.hidden

    def reorder_hidden(self, orders: dict[str, Tensor]) -> None:
        for name, order in orders.items():
            self.weights[name] = self.weights[name][:, order]
            self.fixed_inputs[name] = self.fixed_inputs[name][:, order]

    def note(self, text: str) -> None:
        self.notes.append(text)


def pruned(probe: FixedProbe, target: Target, **options: Any) -> dict[str, Any]:
    masks = RelativeImportance(**options).prune(cast("Probe", probe), target)
    return {name: mask.int().tolist() for name, mask in masks.items()}


WEIGHT = torch.tensor([[4.0, -1.0], [2.0, 3.0]])
INPUTS = torch.tensor([[0.6, 0.0], [0.8, 16.0]])  # norms 1 and 16


def test_importances_and_masks_are_as_computed_by_hand() -> None:
    # Rows sum to 5 and 5, columns to 6 and 4: 4/5 + 4/6, 1/5 + 1/4; 2/5 + 2/6, 3/5 + 3/4.
    torch.testing.assert_close(relative_importance(WEIGHT), torch.tensor([[22 / 15, 0.45], [11 / 15, 1.35]]))
    # times the roots of the norms, 1 and 4: 1.467, 1.8; 0.733, 5.4
    half = Target(sparsity=0.5, distribution="uniform")
    assert pruned(FixedProbe({"a": WEIGHT}, {"a": INPUTS}), half) == {"a": [[0, 1], [0, 1]]}
    # without inputs: 1.467, 0.45; 0.733, 1.35
    assert pruned(FixedProbe({"a": WEIGHT}, {}), half) == {"a": [[1, 0], [0, 1]]}
    # with their norms, as in Wanda, 1.467, 7.2; 0.733, 21.6: of three weights the second row keeps both
    three = Target(sparsity=0.25, distribution="uniform")
    assert pruned(FixedProbe({"a": WEIGHT}, {"a": INPUTS}), three, exponent=1) == {"a": [[1, 1], [0, 1]]}


def test_within_rows_each_row_keeps_its_share() -> None:
    # 1.467 < 1.8 and 0.733 < 5.4
    rows = Target(sparsity=0.5, distribution="rows")
    assert pruned(FixedProbe({"a": WEIGHT}, {"a": INPUTS}), rows) == {"a": [[0, 1], [0, 1]]}


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_importances_are_those_of_numpy(exponent: float) -> None:
    generator = torch.Generator().manual_seed(0)
    weight, inputs = torch.randn(6, 8, generator=generator), torch.randn(30, 8, generator=generator)
    size, x = np.abs(weight.numpy().astype(np.float64)), inputs.numpy().astype(np.float64)
    score = np.empty_like(size)
    for i, j in np.ndindex(*size.shape):
        score[i, j] = size[i, j] / size[i].sum() + size[i, j] / size[:, j].sum()
        score[i, j] *= np.linalg.norm(x[:, j]) ** exponent
    kept = np.sort(score.ravel())[-20:].min()
    target = Target(sparsity=1 - 20 / 48, distribution="uniform")
    found = pruned(FixedProbe({"a": weight}, {"a": inputs}), target, exponent=exponent)
    assert found == {"a": (score >= kept).astype(int).tolist()}


def test_rows_and_columns_of_zeros_have_no_importance() -> None:
    weight = torch.tensor([[0.0, 0.0, 0.0], [0.0, 2.0, 2.0]])
    importance = relative_importance(weight)
    assert importance.tolist() == [[0, 0, 0], [0, 1.5, 1.5]]
    assert pruned(FixedProbe({"a": 0 * weight}, {}), Target(sparsity=0.5, distribution="uniform")) == {
        "a": [[1, 1, 1], [0, 0, 0]]
    }


def test_a_layer_of_width_1_is_pruned_as_asked() -> None:
    for weight in (torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0], [2.0], [3.0]])):
        mask = pruned(FixedProbe({"a": weight}, {}), Target(sparsity=2 / 3, distribution="uniform"))["a"]
        assert np.array(mask).ravel().tolist() == [0, 0, 1]


def test_hidden_units_are_put_into_the_order_in_which_the_pattern_keeps_most() -> None:
    # 1:2 keeps one of the two large inputs; in another order it keeps both. Inputs of `b` are not hidden.
    weight = torch.tensor([[9.0, 8.0, 1.0, 2.0], [9.0, 8.0, 2.0, 1.0]])
    inputs = {"a": torch.eye(4), "b": torch.eye(4)}
    plain = FixedProbe({"a": weight, "b": weight}, dict(inputs))
    masks = pruned(plain, Target.parse("1:2"), exponent=0.5)
    assert float((weight * torch.tensor(masks["a"])).sum()) == 9 + 9 + 2 + 2
    probe = FixedProbe({"a": weight, "b": weight}, dict(inputs), hidden=("a",))
    new = pruned(probe, Target.parse("1:2"), permute=True)
    assert float((probe.weights["a"] * torch.tensor(new["a"])).sum()) == 9 + 9 + 8 + 8
    assert new["b"] == masks["b"]
    assert torch.equal(probe.weights["b"], weight)
    note = (
        "permute: the inputs of 1 of 2 tensors are hidden units and were reordered, so there the change from "
    )
    assert probe.notes == [note + "the initial weights compares different units"]


class Residual(nn.Module):
    """Words, a feed-forward pair around a residual sum, and an output layer."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(12, 8)
        self.first, self.second, self.out = nn.Linear(8, 16), nn.Linear(16, 8), nn.Linear(8, 12)

    def forward(self, tokens_NL: Tensor) -> Tensor:
        x = self.words(tokens_NL)
        logits: Tensor = self.out((x + self.second(torch.relu(self.first(x)))).mean(1))
        return logits


class FeedForward(Toy):
    """The untrained pair."""

    recipe: Any = Toy().recipe.model_copy(update={"steps": 0})

    def model(self) -> nn.Module:
        return Residual()


def test_a_permuted_net_meets_the_pattern_as_stored_and_is_the_old_one_in_another_order(
    tmp_path: Path,
) -> None:
    target = Target.parse("2:4")
    dense = run_chain(chain_of(Ria(), Target(distribution="uniform"), FeedForward()), tmp_path)[1]
    record, tensors, masks = run_chain(
        chain_of(Ria(permute=True, batches=2), target, FeedForward()), tmp_path
    )
    assert record.certificate.ok
    assert all(fits(mask, 2, 4) for mask in masks.values())
    assert any(note.startswith("permute: the inputs of 1 of 3 tensors") for note in record.notes)
    # each hidden unit is an old one: its bias tells which
    order = torch.tensor([int((dense["first.bias"] == bias).nonzero()) for bias in tensors["first.bias"]])
    assert sorted(order.tolist()) == list(range(16)) != order.tolist()
    assert torch.equal(tensors["second.weight"], dense["second.weight"][:, order] * masks["second.weight"])
    assert torch.equal(tensors["first.weight"], dense["first.weight"][order] * masks["first.weight"])
    assert torch.equal(tensors["out.weight"], dense["out.weight"] * masks["out.weight"])
    # passes: one net as it is, at most two trials for each weight, two of the inputs, and two of the walk
    assert 2 + 2 + 2 <= record.cost.scoring_passes <= 1 + 6 + 2 + 2


def test_permutation_keeps_more_importance(tmp_path: Path) -> None:
    target, kept = Target.parse("1:4"), {}
    for permute in (False, True):
        chain = chain_of(Ria(permute=permute, exponent=0), target, FeedForward())
        _, tensors, _ = run_chain(chain, tmp_path / str(permute))
        kept[permute] = float(tensors["second.weight"].abs().sum())
    assert kept[True] > 1.02 * kept[False]


def test_to_permute_without_a_pattern_is_refused() -> None:
    with pytest.raises(UsageError, match="sparsity 0.5 has none; leave permute out, or ask for a pattern"):
        chain_of(Ria(permute=True), Target(sparsity=0.5, distribution="uniform"))


@pytest.mark.parametrize("distribution", ["global", "lamp"])
def test_distributions_over_all_tensors_are_refused(distribution: Distribution) -> None:
    with pytest.raises(UsageError, match=f"'ria' does not support distribution '{distribution}'"):
        chain_of(Ria(), Target(sparsity=0.5, distribution=distribution))


@pytest.mark.parametrize("distribution", ["uniform", "rows", "erk", "owl", "alpha"])
def test_counts_are_exact(tmp_path: Path, distribution: Distribution) -> None:
    target = Target(sparsity=0.7, distribution=distribution)
    record, _, masks = run_chain(chain_of(Ria(batches=2), target), tmp_path)
    assert record.certificate.ok
    shapes = {name: tuple(mask.shape) for name, mask in masks.items()}
    assert sum(int(mask.sum()) for mask in masks.values()) == expected(shapes, target)


def test_inputs_of_equal_norm_and_weights_of_equal_sums_give_the_order_of_wanda() -> None:
    weight = torch.tensor([[3.0, 1.0, 2.0], [1.0, 2.0, 3.0], [2.0, 3.0, 1.0]])  # all sums are 6
    target = Target(sparsity=1 / 3, distribution="rows")
    probe = FixedProbe({"a": weight}, {"a": torch.eye(3)})
    wanda = WandaScore().prune(cast("Probe", probe), target)["a"].int().tolist()
    assert pruned(probe, target) == {"a": wanda}


def test_the_plan_trains_prunes_and_trains() -> None:
    target = Target.parse("2:4")
    plan = list(Ria(batches=3, calibrate="once", exponent=1, permute=True).plan(target))
    by = RelativeImportance(batches=3, calibrate="once", exponent=1, permute=True)
    assert plan == [Train(), Prune(by=by, to=target), Train()]
