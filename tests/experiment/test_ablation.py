"""Ablated methods: one choice is undone, and everything else is as it was."""

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


def said(method: Method, how: How, target: Target = HALF) -> list[str]:
    """The plan of an ablated method in words."""
    return [describe_stage(stage) for stage in Ablated(method=method, how=how).plan(target)]


def test_before_training_the_net_goes_back_to_the_start_and_trains() -> None:
    assert said(MagnitudeBefore(), "shuffle") == [
        "prune by magnitude to 0.5",
        "prune by shuffle to 0.5",
        "rewind weights to 'start'",
        "train by the task's recipe",
    ]
    assert said(MagnitudeBefore(), "random")[1] == "prune by redraw to 0.5"


def test_after_training_the_net_goes_back_to_what_was_trained_before_pruning() -> None:
    assert said(MagnitudeAfter(), "shuffle") == [
        "train by the task's recipe (point 'unpruned')",
        "prune by magnitude to 0.5",
        "prune by shuffle to 0.5",
        "rewind weights to 'unpruned'",
        "train by the task's recipe",
    ]


def test_of_a_lottery_only_the_last_ticket_is_altered_and_its_own_rewind_follows() -> None:
    assert said(LotteryTicket(), "shuffle", Target(sparsity=0.36)) == [
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


def test_of_a_late_lottery_values_are_the_early_ones() -> None:
    plan = said(LotteryTicket(early=0.1), "reinit", Target(sparsity=0.2))
    assert plan[-4:] == [
        "rewind weights to 'unpruned'",
        "rewind weights to 'early'",
        "prune by renew to 0.2",  # after the last rewind, or it would be undone
        "train by the task's recipe, 10% to 100%",
    ]


def test_after_a_rule_one_training_follows_where_the_method_has_none() -> None:
    assert said(Gmp(), "random") == [
        describe_stage(next(Gmp().plan(HALF))),
        "prune by redraw to 0.5",
        "rewind weights to 'start'",
        "train by the task's recipe",
    ]


def test_what_else_a_rules_training_had_stays() -> None:
    *_, gradual = TunedGmp().plan(Target(sparsity=0.75))
    *_, again = Ablated(method=TunedGmp(), how="shuffle").plan(Target(sparsity=0.75))
    assert isinstance(again, Train) and isinstance(gradual, Train)
    assert (again.updater, again.length, again.distil) == (None, 2.0, gradual.distil)


def test_survivors_are_renewed_after_the_way_back_and_not_before() -> None:
    assert said(MagnitudeAfter(), "reinit") == [
        "train by the task's recipe (point 'unpruned')",
        "prune by magnitude to 0.5",
        "rewind weights to 'unpruned'",
        "prune by renew to 0.5",
        "train by the task's recipe",
    ]


def test_a_method_that_leads_back_before_it_prunes_is_taken_at_its_word() -> None:
    class Returning(Method):
        card: ClassVar[MethodCard] = MethodCard(name="back", summary="back", source="none", when="before")

        def plan(self, target: Target) -> Iterator[Stage]:
            yield Train(name="taught")
            yield Rewind()
            yield Prune(by=Magnitude(), to=target)
            yield Train(name="taught")

    assert said(Returning(), "shuffle")[4] == "rewind weights to 'start'"


@pytest.mark.parametrize("how", get_args(How))
def test_all_that_comes_before_the_choice_is_shared_with_the_method(how: How) -> None:
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
def test_every_tensor_keeps_its_number_and_survivors_their_first_values(
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


def test_after_training_survivors_have_the_values_they_were_trained_to(tmp_path: Path) -> None:
    dense = nets(Dense(), tmp_path, Target(), steps=12)[0]

    class Unfinished(MagnitudeAfter):
        """Without a second training, so that one sees what it would begin with."""

        def plan(self, target: Target) -> Iterator[Stage]:
            yield Train()
            yield Prune(by=Magnitude(), to=target)
            yield Train(recipe=Toy().recipe.model_copy(update={"steps": 0}))

    tensors, masks = nets(Ablated(method=Unfinished(), how="shuffle"), tmp_path, steps=12)
    for name, mask in masks.items():
        assert torch.equal(tensors[name], dense[name] * mask)


def test_reinit_keeps_the_masks_and_draws_the_survivors_anew(tmp_path: Path) -> None:
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


def test_invert_turns_every_round_of_a_criterion() -> None:
    plan = said(LotteryTicket(), "invert", Target(sparsity=0.36))
    assert [line for line in plan if line.startswith("prune")] == [
        "prune by inverse(of=magnitude) to 0.2",
        "prune by inverse(of=magnitude) to 0.36",
    ]


@pytest.mark.parametrize(
    ("method", "target", "told"),
    [
        (Gmp(), HALF, "method 'gmp.invert' cannot be: Cubic gives no saliencies"),
        (FromCheckpoint(), Target(), "method 'from-checkpoint.invert' cannot be: Given gives no saliencies"),
        (
            MagnitudeBefore(),
            Target(sparsity=0.5, distribution="lamp"),
            "'omp-before.invert' cannot spread 'lamp', which needs saliencies of 0 or more",
        ),
    ],
)
def test_what_cannot_be_inverted_is_refused_by_name(method: Method, target: Target, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Ablated(method=method, how="invert").accept(target)
    Ablated(method=method, how="shuffle").accept(target)


def test_what_the_method_refuses_its_ablation_refuses() -> None:
    with pytest.raises(UsageError, match="'lth' cannot make pattern '2:4'"):
        Ablated(method=LotteryTicket(), how="shuffle").accept(Target.parse("2:4"))


def test_it_is_named_after_method_and_ablation() -> None:
    ablated = Ablated(method=LotteryTicket(share=0.3), how="reinit")
    assert (ablated.card.name, ablated.label) == ("lth+reinit", "lth:share=0.3+reinit")
    assert ablated.card.when == LotteryTicket.card.when
    assert "2009.08576" in ablated.card.source
    assert ablated.digest() != Ablated(method=LotteryTicket(), how="reinit").digest()


def test_given_masks_are_shuffled_too(tmp_path: Path) -> None:
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


def grid(*ablate: str, **said: tuple[str, ...]) -> Grid:
    return Grid.of(
        RunConfig(tasks=("toy",), method=("gmp,random-before",), sparsity=("0.5",), ablate=ablate, **said),
        REGISTRY,
    )


def test_every_method_that_prunes_runs_ablated_after_itself() -> None:
    assert [cell.method.card.name for cell in grid("shuffle,invert", "shuffle").cells()] == [
        "dense", "gmp", "gmp+shuffle", "gmp+invert",
        "random-before", "random-before+shuffle", "random-before+invert",
    ]  # fmt: skip


def test_an_ablation_that_cannot_be_is_skipped_by_name() -> None:
    squares = Resolver().resolve_all(grid("invert").cells())
    (record,) = [square.record for square in squares if not square.chain]
    assert (record.method, record.status) == ("gmp+invert", "skipped")
    assert "Cubic gives no saliencies" in record.reason


def test_an_unknown_ablation_is_told_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="no ablation is named 'shufle'; did you mean 'shuffle'"):
        grid("shufle")
