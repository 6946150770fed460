"""Ablated methods: masks, values or order are replaced, everything else stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar, cast, get_args

import pytest
import torch
from torch import Tensor

from smc_eval.card import MethodCard
from smc_eval.errors import UnknownName, UsageError
from smc_eval.experiment.ablation import Ablated, How, Inverse
from smc_eval.experiment.config import RunConfig
from smc_eval.experiment.grid import Grid
from smc_eval.method import Method
from smc_eval.methods.dense import Dense
from smc_eval.methods.from_checkpoint import FromCheckpoint
from smc_eval.methods.gmp import Gmp
from smc_eval.methods.gmp_tuned import TunedGmp
from smc_eval.methods.lth import LotteryTicket
from smc_eval.methods.omp import Magnitude, MagnitudeAfter, MagnitudeBefore
from smc_eval.methods.random import RandomBefore
from smc_eval.planning.plan import describe_stage
from smc_eval.planning.resolve import Resolver
from smc_eval.pruner import Probe
from smc_eval.registry import Registry
from smc_eval.sparse.shard_group import UNSHARDED
from smc_eval.stages import Prune, Rewind, Stage, Train
from smc_eval.target import Target
from smc_eval.testing import PrunedToy, Toy, chain_of, run_chain

HALF = Target(sparsity=0.5)
MASK_SOURCE = type(next(FromCheckpoint().plan(Target())).by).__name__


def plan_of(method: Method, how: How, target: Target = HALF) -> list[str]:
    """The stages of an ablated method in words."""
    return [describe_stage(stage) for stage in Ablated(method=method, how=how).plan(target)]


def test_before_training_the_net_goes_back_to_the_start_and_trains() -> None:
    assert plan_of(MagnitudeBefore(), "shuffle") == [
        "prune by magnitude to 0.5",
        "prune by shuffle to 0.5",
        "rewind weights to 'start'",
        "train by the task's recipe",
    ]
    assert plan_of(MagnitudeBefore(), "random")[1] == "prune by redraw to 0.5"


def test_after_training_the_net_goes_back_to_the_trained_net_before_pruning() -> None:
    assert plan_of(MagnitudeAfter(), "shuffle") == [
        "train by the task's recipe (point 'unpruned')",
        "prune by magnitude to 0.5",
        "prune by shuffle to 0.5",
        "rewind weights to 'unpruned'",
        "train by the task's recipe",
    ]


def test_of_lth_only_the_last_masks_are_altered_and_its_own_rewind_follows() -> None:
    assert plan_of(LotteryTicket(), "shuffle", Target(sparsity=0.36)) == [
        "train by the task's recipe (point 'unpruned')",
        "prune by magnitude to 0.2",
        "rewind weights to 'start'",
        "train by the task's recipe",
        "prune by magnitude to 0.36",
        "prune by shuffle to 0.36",
        "rewind weights to 'unpruned'",
        "rewind weights to 'start'",
        "train by the task's recipe",
    ]


def test_reinit_of_late_rewinding_comes_after_the_rewind_to_the_early_net() -> None:
    plan = plan_of(LotteryTicket(early=0.1), "reinit", Target(sparsity=0.2))
    assert plan[-4:] == [
        "rewind weights to 'unpruned'",
        "rewind weights to 'early'",
        "prune by renew to 0.2",  # after the last rewind, which would undo it
        "train by the task's recipe, 10% to 100%",
    ]


def test_one_training_follows_an_updater_if_the_method_has_none() -> None:
    assert plan_of(Gmp(), "random") == [
        describe_stage(next(Gmp().plan(HALF))),
        "prune by redraw to 0.5",
        "rewind weights to 'start'",
        "train by the task's recipe",
    ]


def test_that_training_keeps_the_length_and_the_teacher_of_the_updaters_training() -> None:
    *_, gradual = TunedGmp().plan(Target(sparsity=0.75))
    *_, again = Ablated(method=TunedGmp(), how="shuffle").plan(Target(sparsity=0.75))
    assert isinstance(again, Train) and isinstance(gradual, Train)
    assert (again.updater, again.length, again.distil) == (None, 2.0, gradual.distil)


def test_unpruned_weights_get_new_values_after_the_rewind() -> None:
    assert plan_of(MagnitudeAfter(), "reinit") == [
        "train by the task's recipe (point 'unpruned')",
        "prune by magnitude to 0.5",
        "rewind weights to 'unpruned'",
        "prune by renew to 0.5",
        "train by the task's recipe",
    ]


def test_a_method_that_rewinds_before_it_prunes_goes_back_to_that_net() -> None:
    class Returning(Method):
        card: ClassVar[MethodCard] = MethodCard(name="back", summary="back", source="none", when="before")

        def plan(self, target: Target) -> Iterator[Stage]:
            yield Train(name="taught")
            yield Rewind()
            yield Prune(by=Magnitude(), to=target)
            yield Train(name="taught")

    assert plan_of(Returning(), "shuffle")[4] == "rewind weights to 'start'"


@pytest.mark.parametrize("how", get_args(How))
def test_the_stages_before_the_choice_are_shared_with_the_method(how: How) -> None:
    own = chain_of(MagnitudeAfter(), HALF)
    other = chain_of(Ablated(method=MagnitudeAfter(), how=how), HALF)
    count = 1 if how == "invert" else 2
    assert [link.digest for link in own.links[:count]] == [link.digest for link in other.links[:count]]
    assert own.digest != other.digest


def nets(
    method: Method, tmp_path: Path, target: Target = HALF, steps: int = 0
) -> tuple[dict[str, Tensor], ...]:
    """The net and masks a method ends with."""
    task = Toy(recipe=Toy().recipe.model_copy(update={"steps": steps}))
    return run_chain(chain_of(method, target, task), tmp_path)[1:]


@pytest.mark.parametrize("how", ["shuffle", "random"])
@pytest.mark.parametrize("word", ["0.7", "2:4"])
def test_each_tensor_keeps_its_count_and_unpruned_weights_their_start_values(
    tmp_path: Path, how: How, word: str
) -> None:
    target = Target.parse(word)
    start = nets(MagnitudeBefore(), tmp_path, Target())[0]
    own = nets(MagnitudeBefore(), tmp_path, target)[1]
    tensors, masks = nets(Ablated(method=MagnitudeBefore(), how=how), tmp_path, target)
    for name, mask in masks.items():
        assert int(mask.sum()) == int(own[name].sum())
        assert torch.equal(tensors[name], start[name] * mask)
    assert any(not torch.equal(masks[name], own[name]) for name in masks)
    if word == "2:4":
        whole = masks["down.weight"][:, :8].reshape(8, 2, 4)
        assert bool((whole.sum(-1) == 2).all())


def test_after_training_unpruned_weights_have_their_trained_values(tmp_path: Path) -> None:
    dense = nets(Dense(), tmp_path, Target(), steps=12)[0]

    class Unfinished(MagnitudeAfter):
        """Without a second training, to see the weights that it would begin with."""

        def plan(self, target: Target) -> Iterator[Stage]:
            yield Train()
            yield Prune(by=Magnitude(), to=target)
            yield Train(recipe=Toy().recipe.model_copy(update={"steps": 0}))

    tensors, masks = nets(Ablated(method=Unfinished(), how="shuffle"), tmp_path, steps=12)
    for name, mask in masks.items():
        assert torch.equal(tensors[name], dense[name] * mask)


def test_reinit_keeps_the_masks_and_draws_new_values(tmp_path: Path) -> None:
    own, kept = nets(MagnitudeBefore(), tmp_path)
    tensors, masks = nets(Ablated(method=MagnitudeBefore(), how="reinit"), tmp_path)
    for name, mask in masks.items():
        assert torch.equal(mask, kept[name])
        assert float((tensors[name][mask] == own[name][mask]).float().mean()) < 0.1
        assert not tensors[name][~mask].any()
    outside = own.keys() - masks.keys()
    assert all(torch.equal(tensors[name], own[name]) for name in outside)


def test_invert_keeps_the_smallest() -> None:
    weights = {"a": torch.tensor([[0.1, -0.9], [0.2, -0.5]]), "b": torch.tensor([[0.3, 0.4]])}
    masks = {name: torch.ones_like(weight).bool() for name, weight in weights.items()}
    probe = cast("Probe", SimpleNamespace(weights=weights, masks=masks, shards=UNSHARDED))
    kept = Inverse(of=Magnitude()).prune(probe, HALF)
    assert {n: m.int().tolist() for n, m in kept.items()} == {"a": [[1, 0], [1, 0]], "b": [[1, 0]]}


def test_invert_changes_every_round_of_a_criterion() -> None:
    plan = plan_of(LotteryTicket(), "invert", Target(sparsity=0.36))
    assert [line for line in plan if line.startswith("prune")] == [
        "prune by inverse(of=magnitude) to 0.2",
        "prune by inverse(of=magnitude) to 0.36",
    ]


@pytest.mark.parametrize(
    ("method", "target", "message"),
    [
        (Gmp(), HALF, "method 'gmp' cannot be inverted: Cubic gives no saliencies"),
        (FromCheckpoint(), Target(), f"method 'from-checkpoint' cannot be inverted: {MASK_SOURCE} gives no"),
        (
            MagnitudeBefore(),
            Target(sparsity=0.5, distribution="lamp"),
            r"'omp-before\+invert' does not support distribution 'lamp', which needs saliencies of 0 or more",
        ),
    ],
)
def test_a_method_that_cannot_be_inverted_is_refused_by_name(
    method: Method, target: Target, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        Ablated(method=method, how="invert").accept(target)
    Ablated(method=method, how="shuffle").accept(target)


def test_an_ablation_refuses_the_targets_that_the_method_refuses() -> None:
    with pytest.raises(UsageError, match="'lth' does not support pattern '2:4'"):
        Ablated(method=LotteryTicket(), how="shuffle").accept(Target.parse("2:4"))


def test_an_ablated_method_is_named_after_method_and_ablation() -> None:
    ablated = Ablated(method=LotteryTicket(share=0.3), how="reinit")
    assert (ablated.card.name, ablated.label) == ("lth+reinit", "lth:share=0.3+reinit")
    assert ablated.card.when == LotteryTicket.card.when
    assert "2009.08576" in ablated.card.source
    assert ablated.digest() != Ablated(method=LotteryTicket(), how="reinit").digest()


def test_custom_masks_are_shuffled_too(tmp_path: Path) -> None:
    task = PrunedToy(recipe=Toy().recipe.model_copy(update={"steps": 0}))
    own, _, kept = run_chain(chain_of(FromCheckpoint(), Target(), task), tmp_path)
    result, _, masks = run_chain(
        chain_of(Ablated(method=FromCheckpoint(), how="shuffle"), Target(), task), tmp_path
    )
    assert result.certificate.ok and result.sparsity == own.sparsity
    assert result.target.sparsity == own.target.sparsity == pytest.approx(0.5, abs=0.01)
    assert result.certificate.regrown > 0
    assert any(not torch.equal(masks[name], kept[name]) for name in masks)


REGISTRY = Registry((), {k.card.name: k for k in (Dense, Gmp, RandomBefore)}, {"toy": Toy})


def grid(*ablate: str, **fields: tuple[str, ...]) -> Grid:
    return Grid.of(
        RunConfig(tasks=("toy",), method=("gmp,random-before",), sparsity=("0.5",), ablate=ablate, **fields),
        REGISTRY,
    )


def test_every_method_that_prunes_runs_ablated_after_itself() -> None:
    assert [cell.method.card.name for cell in grid("shuffle,invert", "shuffle").cells()] == [
        "dense", "gmp", "gmp+shuffle", "gmp+invert",
        "random-before", "random-before+shuffle", "random-before+invert",
    ]  # fmt: skip


def test_an_ablation_that_a_method_does_not_support_is_skipped_by_name() -> None:
    resolved = Resolver().resolve_all(grid("invert").cells())
    (record,) = [cell.record for cell in resolved if not cell.chain]
    assert (record.method, record.status) == ("gmp+invert", "skipped")
    assert "Cubic gives no saliencies" in record.reason


def test_an_unknown_ablation_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UnknownName, match="no ablation is named 'shufle'; did you mean 'shuffle'"):
        grid("shufle")
