"""Refined masks: SparseSwaps and DSnoT in nets, from every first mask and under every distribution."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast, get_args

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from smc_eval.errors import SparsityError, UsageError
from smc_eval.methods.dsnot import DynamicSparseNoTraining, NoTraining, NoTrainingOfGrams
from smc_eval.methods.omp import Magnitude
from smc_eval.methods.refinement import RefinedAfter, Refinement, Start
from smc_eval.methods.sparseswaps import BestSwaps, SparseSwaps
from smc_eval.methods.wanda import WandaScore
from smc_eval.pruner import Probe, Pruner
from smc_eval.sparse.allocate import expected
from smc_eval.sparse.reconstruct import reconstruct
from smc_eval.sparse.shard_group import UNSHARDED
from smc_eval.stages import Prune, Train
from smc_eval.target import Distribution, Target
from smc_eval.testing import assert_equal, chain_of, run_chain

STARTS: tuple[Start, ...] = get_args(Start)
METHODS: tuple[RefinedAfter, ...] = (SparseSwaps(), DynamicSparseNoTraining())


class FixedProbe:
    """A probe with fixed weights and inputs. The net has no blocks."""

    shards = UNSHARDED

    def __init__(self, weights: dict[str, Tensor], inputs: dict[str, Tensor], turned: str = "") -> None:
        self.weights, self.fixed_inputs, self.turned = weights, inputs, turned
        self.masks = {name: torch.ones_like(weight).bool() for name, weight in weights.items()}
        self.passes, self.notes = 0, list[str]()

    def inputs(self, batches: int, see: Any) -> None:
        self.passes += batches
        for name, x_NI in self.fixed_inputs.items():
            rows, columns = self.weights[name].flatten(1).shape
            look = see.transposed if name == self.turned else see
            look(name, (slice(0, rows), slice(0, columns)), x_NI)

    def note(self, text: str) -> None:
        self.notes.append(text)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def probe(turned: str = "") -> FixedProbe:
    weights = {"a": normal(6, 8, seed=0), "b": normal(4, 8, seed=1), "table": normal(5, 3, seed=2)}
    inputs = {
        "a": normal(40, 6 if turned == "a" else 8, seed=3) + 0.5,
        "b": normal(40, 8, seed=4) @ normal(8, 8, seed=5) + 1,
    }
    return FixedProbe(weights, inputs, turned)


def swaps(start: Start = "wanda", **options: Any) -> BestSwaps:
    return BestSwaps.model_validate({"start": start, "swaps": 100, "calibrate": "once", **options})


def turnover(start: Start = "wanda", **options: Any) -> NoTraining:
    kind = NoTrainingOfGrams if start == "sparsegpt" else NoTraining
    rule = {"start": start, "cycles": 50, "threshold": 0.1, "power": 1.0, "calibrate": "once"}
    return kind.model_validate({**rule, **options})


def pruned(by: Pruner, of: FixedProbe, target: Target) -> dict[str, Tensor]:
    return by.prune(cast("Probe", of), target)


def error(of: FixedProbe, masks: dict[str, Tensor], name: str) -> float:
    """Sum of the squared changes of a map's outputs, from the inputs themselves."""
    return float((of.fixed_inputs[name] @ (of.weights[name] * ~masks[name]).T).square().sum())


ROWS = Target(sparsity=0.5, distribution="rows")


def test_a_map_is_as_computed_by_hand() -> None:
    # Two equal tokens (1, 1, -1, 1) and w = (3, 2, 2.5, 1) have the shares 3, 2, -2.5 and 1 in the output.
    # Wanda keeps 3 and -2.5 and loses 2 + 1 = 3. Of the four swaps, pruning -2.5 and keeping 1 loses
    # 2 - 2.5 = -0.5, the others lose 4, 5 and -1.5. No swap is better after that: the error is 2 (-0.5)^2.
    x_NI = torch.tensor([[1.0, 1.0, -1.0, 1.0]] * 2)
    of = FixedProbe({"w": torch.tensor([[3.0, 2.0, 2.5, 1.0]])}, {"w": x_NI})
    assert pruned(WandaScore(calibrate="once"), of, ROWS)["w"].int().tolist() == [[1, 0, 1, 0]]
    masks = pruned(swaps(), of, ROWS)
    assert masks["w"].int().tolist() == [[1, 0, 0, 1]]
    assert error(of, masks, "w") == 0.5
    # The inputs are constant, so the mean error E is 3, and all growths are infinitely good: 2 grows first.
    # -2.5 is the only kept weight that takes from E: E = 3 - 2 - 2.5 = -1.5. No pruned share is below 0.
    assert pruned(turnover(), of, ROWS)["w"].int().tolist() == [[1, 1, 0, 0]]


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("word", ["0.5", "0.8", "2:4", "1:4"])
@pytest.mark.parametrize("by", [swaps, turnover])
def test_every_first_mask_keeps_the_counts_of_its_rows(start: Start, word: str, by: Any) -> None:
    target = Target.parse(word).with_distribution("rows")
    of = probe()
    masks, first = pruned(by(start), of, target), pruned(by(start, **least(by)), of, target)
    shapes = {name: tuple(mask.shape) for name, mask in masks.items()}
    assert sum(int(mask.sum()) for mask in masks.values()) == expected(shapes, target)
    for name, mask in masks.items():
        assert torch.equal(mask.sum(1), first[name].sum(1)), name
    assert torch.equal(masks["table"], first["table"])  # no inputs, so nothing to refine


def least(by: Any) -> dict[str, Any]:
    """Options under which it hardly refines."""
    return {"swaps": 1} if by is swaps else {"threshold": 1e9}


@pytest.mark.parametrize("word", ["0.5", "2:4"])
@pytest.mark.parametrize("start", STARTS)
def test_swaps_never_raise_the_error_of_the_first_mask(start: Start, word: str) -> None:
    target, of = Target.parse(word).with_distribution("rows"), probe()
    first = pruned(turnover(start, threshold=1e9), of, target)
    refined = pruned(swaps(start), of, target)
    assert all(error(of, refined, name) <= error(of, first, name) * (1 + 1e-6) for name in "ab")
    assert sum(error(of, refined, name) for name in "ab") < sum(error(of, first, name) for name in "ab")


def test_without_exchanges_the_mask_is_that_of_the_method_it_starts_from() -> None:
    of, still = probe(), {"threshold": 1e9}
    for target in (
        ROWS,
        Target.parse("2:4"),
        Target(sparsity=0.5, distribution="uniform"),
        Target(sparsity=0.7),
    ):
        wanda = pruned(WandaScore(calibrate="once"), of, target)
        assert_equal([pruned(turnover("wanda", **still), of, target)], [wanda])
        assert_equal([pruned(turnover("magnitude", **still), of, target)], [pruned(Magnitude(), of, target)])
    for quota, target in ((24, ROWS), ((2, 4), Target.parse("2:4"))):
        found = pruned(turnover("sparsegpt", **still), of, target)["a"]
        x_NI = of.fixed_inputs["a"]
        bands = [(slice(0, 6), x_NI.T @ x_NI)]
        unpruned = of.masks["a"]
        mask = reconstruct(of.weights["a"], unpruned, bands, cast("Any", quota), damping=0.01, block=128)[0]
        assert torch.equal(found, mask)


def test_ria_weighs_shares_of_rows_and_columns_by_the_root_of_the_norm() -> None:
    of = probe()
    size = of.weights["a"].abs().double()
    norm = of.fixed_inputs["a"].double().norm(dim=0)
    score = (size / size.sum(1, keepdim=True) + size / size.sum(0)) * norm.sqrt()
    kept = score.argsort(1, descending=True)[:, :4]
    found = pruned(turnover("ria", threshold=1e9), of, ROWS)["a"]
    assert torch.equal(found, torch.zeros_like(found).scatter(1, kept, True))


@pytest.mark.parametrize("distribution", ["global", "lamp"])
@pytest.mark.parametrize("by", [swaps, turnover])
def test_a_mask_that_compares_all_tensors_is_kept_by_row(distribution: Any, by: Any) -> None:
    target, of = Target(sparsity=0.6, distribution=distribution), probe()
    for start, first in (("magnitude", Magnitude()), ("wanda", WandaScore(calibrate="once"))):
        refined, given = pruned(by(start), of, target), pruned(first, of, target)
        assert any(not torch.equal(refined[name], given[name]) for name in "ab")
        for name, mask in refined.items():
            assert torch.equal(mask.sum(1), given[name].sum(1))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.card.name)
@pytest.mark.parametrize("start", ["ria", "sparsegpt"])
def test_a_start_without_a_mask_under_a_distribution_is_refused(method: RefinedAfter, start: str) -> None:
    by = type(method).model_validate({"start": start})
    with pytest.raises(UsageError, match=f"start={start} compares no tensors.*--distribution rows"):
        by.accept(Target(sparsity=0.5, distribution="global"))
    by.accept(Target(sparsity=0.5, distribution="erk"))
    by.accept(Target.parse("2:4"))


def test_rows_that_are_inputs_are_refined_by_output() -> None:
    of = probe(turned="a")
    masks = pruned(swaps(), of, ROWS)
    assert masks["a"].sum(0).tolist() == [3] * 8  # the columns of `x @ weight` are its outputs
    with pytest.raises(SparsityError, match="rows of 'a' are inputs"):
        pruned(swaps(), of, Target.parse("2:4"))


def test_pruned_weights_stay_pruned() -> None:
    for by in (swaps(), turnover()):
        of = probe()
        of.masks = pruned(by, of, Target(sparsity=0.3, distribution="rows"))
        of.weights = {name: weight * of.masks[name] for name, weight in of.weights.items()}
        assert all(not (mask & ~of.masks[name]).any() for name, mask in pruned(by, of, ROWS).items())


def test_a_target_of_0_keeps_every_weight() -> None:
    for by in (swaps(), turnover()):
        assert all(mask.all() for mask in pruned(by, probe(), Target(distribution="rows")).values())


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.card.name)
@pytest.mark.parametrize("distribution", ["global", "uniform", "rows", "erk", "owl"])
def test_the_target_is_met_and_only_the_passes_asked_for_are_run(
    tmp_path: Path, method: RefinedAfter, distribution: Any
) -> None:
    by = type(method).model_validate({"batches": 2})
    record, _, _ = run_chain(chain_of(by, Target(sparsity=0.7, distribution=distribution)), tmp_path)
    assert record.certificate.ok
    assert record.cost.scoring_passes == (4 if distribution in {"owl", "global"} else 2)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.card.name)
def test_the_plan_trains_prunes_and_trains(method: RefinedAfter) -> None:
    stages = list(method.plan(ROWS))
    assert stages[0] == stages[2] == Train()
    assert isinstance(stages[1], Prune) and isinstance(stages[1].by, Refinement)
    assert stages[1].by.start == "wanda"


def test_only_the_start_that_needs_gram_matrices_sums_them() -> None:
    for start, kind in (("wanda", NoTraining), ("sparsegpt", NoTrainingOfGrams)):
        assert type(DynamicSparseNoTraining.model_validate({"start": start}).pruner()) is kind


@pytest.mark.parametrize(
    ("method", "wrong"),
    [
        (SparseSwaps, {"start": "snip"}),
        (SparseSwaps, {"swaps": 0}),
        (DynamicSparseNoTraining, {"cycles": 0}),
        (DynamicSparseNoTraining, {"threshold": -1}),
        (DynamicSparseNoTraining, {"power": -1}),
    ],
)
def test_options_out_of_bounds_are_refused(method: Any, wrong: Any) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        method.model_validate(wrong)


@pytest.mark.parametrize(
    ("start", "distribution", "note"),
    [
        ("sparsegpt", "rows", "start=sparsegpt sets no budget for a row"),
        ("wanda", "global", "the first mask is that of the inputs of the net before pruning"),
        ("wanda", "rows", ""),
        ("magnitude", "global", ""),
    ],
)
def test_a_first_mask_that_is_not_what_its_options_say_is_noted(
    start: Start, distribution: Distribution, note: str
) -> None:
    net = probe()
    by = swaps(start, calibrate="sequential")
    by.quotas(cast("Probe", net), Target(sparsity=0.5, distribution=distribution))
    assert [note in text for text in net.notes] == [True] * bool(note)
