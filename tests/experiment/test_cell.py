"""Chains: the stages of a plan on a task, each named by its history."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import pytest
from torch import Tensor

from smc_eval import recipe as recipe_module
from smc_eval.card import MethodCard
from smc_eval.errors import DataError, PlanError, UsageError
from smc_eval.experiment.ablation import Inverse
from smc_eval.experiment.cell import Chain
from smc_eval.method import Method
from smc_eval.methods.chts import Chts
from smc_eval.methods.dense import Dense
from smc_eval.methods.from_checkpoint import FromCheckpoint
from smc_eval.methods.gmp import Gmp
from smc_eval.methods.lth import LotteryTicket, round_sparsities
from smc_eval.methods.omp import Magnitude, MagnitudeAfter, MagnitudeBefore
from smc_eval.methods.random import RandomAfter, RandomBefore
from smc_eval.methods.snip import Sensitivity, Snip
from smc_eval.methods.srigl import StructuredRigL
from smc_eval.recipe import Recipe
from smc_eval.spec import digest
from smc_eval.stages import Prune, Rewind, Stage, Train
from smc_eval.target import SMC_GRID, Target
from smc_eval.task import Part
from smc_eval.testing import Example, PrunedToy, Toy, chain_of
from smc_eval.updater import StepView, Updater

HALF = Target(sparsity=0.5)


def verbs(chain: Chain) -> str:
    """The stages of a chain in one word: T, P, R."""
    return "".join(type(link.stage).__name__[0] for link in chain.links)


def test_plans_have_the_stages_of_the_papers() -> None:
    assert verbs(chain_of(Dense(), Target())) == "T"
    assert verbs(chain_of(MagnitudeBefore(), HALF)) == verbs(chain_of(RandomBefore(), HALF)) == "PT"
    assert verbs(chain_of(MagnitudeAfter(), HALF)) == verbs(chain_of(RandomAfter(), HALF)) == "TPT"
    assert verbs(chain_of(LotteryTicket(), Target(sparsity=0.36))) == "TPRTPRT"
    assert verbs(chain_of(LotteryTicket(early=0.1), Target(sparsity=0.2))) == "TTPRT"


def test_the_rounds_of_lth_are_exactly_the_sparsities_of_the_paper() -> None:
    assert list(round_sparsities(0.2, SMC_GRID[-1])) == list(SMC_GRID)
    assert list(round_sparsities(0.2, 0.5)) == [*SMC_GRID[:3], 0.5]
    assert list(round_sparsities(0.5, 0.75)) == [0.5, 0.75]
    assert list(round_sparsities(0.2, 0.0)) == []


@pytest.mark.parametrize(
    ("validation", "examples", "held_out"), [(0.9, 2, 2), (0.1, 3, 0), (0.5, 1, 0), (0.999, 52, 52)]
)
def test_a_validation_share_that_leaves_one_side_empty_is_refused(
    validation: float, examples: int, held_out: int
) -> None:
    task = Toy(limit=examples, recipe=Recipe(epochs=1, keep="best", validation=validation))
    message = f"validation={validation:g} holds out {held_out} of {examples} training examples"
    for method in (Dense(), MagnitudeBefore(), LotteryTicket()):
        with pytest.raises(UsageError, match=message):
            chain_of(method, HALF if method.card.when != "none" else Target(), task)
    assert chain_of(
        Dense(), Target(), task.replace(limit=None, recipe=Recipe(epochs=1, validation=0.5))
    ).links


def test_a_task_without_training_examples_is_refused() -> None:
    class Empty(Toy):
        def data(self, part: Part) -> Sequence[Example]:
            return [] if part == "train" else super().data(part)

    with pytest.raises(DataError, match="task 'toy' has no training examples; check its data"):
        chain_of(Dense(), Target(), Empty())


class Endless(Method):
    card: ClassVar[MethodCard] = MethodCard(name="endless", summary="a toy", source="none", when="during")

    def plan(self, target: Target) -> Iterator[Stage]:
        while True:
            yield Train()


@pytest.mark.parametrize("method", [Endless(), LotteryTicket(share=1e-9), LotteryTicket(share=1e-17)])
def test_a_plan_without_an_end_is_refused(method: Method) -> None:
    with pytest.raises(
        PlanError, match=r"for sparsity 0\.5 has more than 10,000 stages; choose larger steps"
    ):
        chain_of(method, HALF)


def test_methods_share_equal_stages() -> None:
    dense = chain_of(Dense(), Target()).links[0].digest
    assert chain_of(MagnitudeAfter(), HALF).links[0].digest == dense
    assert chain_of(RandomAfter(), Target(sparsity=0.9)).links[0].digest == dense
    assert chain_of(LotteryTicket(), HALF).links[0].digest == dense
    early, late = (
        chain_of(LotteryTicket(), Target(sparsity=SMC_GRID[2])),
        chain_of(LotteryTicket(), Target(sparsity=SMC_GRID[5])),
    )
    shared = [link.digest for link in early.links]
    assert [link.digest for link in late.links][: len(shared)] == shared


def test_every_change_that_matters_changes_the_digest() -> None:
    task = Toy()
    recipe = task.recipe.model_copy(update={"lr": 0.02})
    chains = [
        chain_of(MagnitudeAfter(), HALF),
        chain_of(MagnitudeAfter(), Target(sparsity=0.6)),
        chain_of(MagnitudeAfter(), HALF, seed=1),
        chain_of(MagnitudeAfter(), HALF, Toy(limit=20)),
        chain_of(MagnitudeAfter(), HALF, Toy(recipe=recipe)),
        chain_of(MagnitudeAfter(), HALF.model_copy(update={"scope": "all-2d"})),
        chain_of(MagnitudeAfter(), HALF.model_copy(update={"include": ("*.weight",)})),
        chain_of(MagnitudeAfter(), HALF.model_copy(update={"exclude": ("*.weight",)})),
        chain_of(RandomAfter(), HALF),
    ]
    assert len({chain.digest for chain in chains}) == len(chains)


def with_recipe(**changes: Any) -> Toy:
    """The toy task with some fields of its recipe changed."""
    return Toy(recipe=Toy().recipe.model_copy(update=changes))


def mask_digests(method: Method, **changes: Any) -> list[str]:
    """Digests of the pruned nets of a method, with some fields of the recipe changed."""
    target = HALF.model_copy(update={"distribution": method.card.distribution})
    links = chain_of(method, target, with_recipe(**changes)).links
    return [link.digest for link in links if isinstance(link.stage, Prune)]


READ = [{"batch_size": 3}, {"tokens": 64}, {"validation": 0.5}, {"precision": "bf16"}]


@pytest.mark.parametrize("changes", READ)
def test_a_pruner_before_training_is_named_by_the_batches_that_it_reads(changes: dict[str, Any]) -> None:
    assert mask_digests(Snip()) != mask_digests(Snip(), **changes)


@pytest.mark.parametrize("changes", READ)
@pytest.mark.parametrize("method", [MagnitudeBefore(), RandomBefore(), Chts(), StructuredRigL()])
def test_a_pruner_that_reads_no_batches_is_named_by_none(method: Method, changes: dict[str, Any]) -> None:
    assert mask_digests(method) == mask_digests(method, **changes)


def test_an_inverted_criterion_reads_batches_where_the_criterion_does() -> None:
    assert [Inverse(of=of).reads_batches for of in (Magnitude(), Sensitivity())] == [False, True]


class Unaimed(Updater):
    """An updater without a target: it masks the weights in scope as it likes."""

    def init(self, weights: Any, masks: Any) -> dict[str, Tensor]:
        return {}

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return state


class UnaimedTraining(Method):
    """It begins with an updater that has no target."""

    card: ClassVar[MethodCard] = MethodCard(name="unaimed", summary="a toy", source="none", when="during")

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Train(updater=Unaimed())


def test_a_training_that_sets_masks_without_a_target_is_named_by_its_scope() -> None:
    targets = [HALF, HALF.model_copy(update={"scope": "all-2d"})]
    assert len({chain_of(UnaimedTraining(), target).links[0].digest for target in targets}) == 2
    assert len({chain_of(MagnitudeAfter(), target).links[0].digest for target in targets}) == 1  # dense


def test_masks_without_a_target_are_named_by_their_scope() -> None:
    targets = [Target(), Target(scope="all-2d"), Target(exclude=("down*",)), Target(include=("*.weight",))]
    chains = [chain_of(FromCheckpoint(), target, PrunedToy()) for target in targets]
    assert len({chain.links[0].digest for chain in chains}) == len(targets)
    plain = chains[0]
    assert plain.links[0].digest == digest(plain.start, plain.links[0].stage)


@pytest.mark.parametrize("changes", [{"lr": 0.5}, {"steps": 3}, {"bucket": 4}, {"accumulation": 2}])
def test_recipes_share_a_mask_where_they_differ_in_nothing_that_it_reads(changes: dict[str, Any]) -> None:
    assert mask_digests(Snip()) == mask_digests(Snip(), **changes)


@pytest.mark.parametrize("changes", [{}, *READ])
def test_after_a_training_with_the_same_recipe_a_pruner_needs_no_other_name(changes: dict[str, Any]) -> None:
    trained, pruned, _ = chain_of(MagnitudeAfter(), HALF, with_recipe(**changes)).links
    assert pruned.digest == digest(trained.digest, pruned.stage)


class OtherBatches(Method):
    """It trains with batches of its own, and prunes with those of the task's recipe."""

    card: ClassVar[MethodCard] = MethodCard(name="other", summary="a toy", source="none", when="after")

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Train(recipe=Recipe(steps=2, batch_size=5))
        yield Prune(by=Snip().pruner(), to=target)


def test_a_pruner_after_a_training_with_other_batches_is_named_by_its_own() -> None:
    chains = [chain_of(OtherBatches(), HALF, with_recipe(batch_size=size)) for size in (5, 4, 8)]
    assert len({chain.links[0].digest for chain in chains}) == 1
    assert len({chain.links[1].digest for chain in chains}) == 3


def test_the_precision_of_predictions_is_part_of_the_digest_also_without_a_training() -> None:
    for method, target in ((Dense(), Target()), (MagnitudeBefore(), HALF)):
        tasks = [with_recipe(steps=0, precision=word) for word in ("fp32", "bf16")]
        assert len({chain_of(method, target, task).digest for task in tasks}) == 2


def test_a_low_precision_has_the_version_of_how_it_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    def digests() -> list[str]:
        words = ("fp32", "bf16", "fp16")
        return [chain_of(Dense(), Target(), with_recipe(precision=word)).digest for word in words]

    before = digests()
    monkeypatch.setattr(recipe_module, "LOW_PRECISION_VERSION", 99)
    assert [old == new for old, new in zip(before, digests(), strict=True)] == [True, False, False]


def test_start_and_order_of_batches_do_not_depend_on_method_target_or_recipe() -> None:
    recipe = Toy().recipe.model_copy(update={"lr": 0.02})
    starts = {
        chain_of(Dense(), Target()).start,
        chain_of(LotteryTicket(), HALF).start,
        chain_of(RandomBefore(), Target(sparsity=0.9)).start,
        chain_of(Dense(), Target(), Toy(recipe=recipe)).start,
    }
    assert len(starts) == 1
    assert chain_of(Dense(), Target(), seed=1).start not in starts


def test_a_recipe_without_steps_scores_the_net_as_it_is() -> None:
    task = Toy(recipe=Toy().recipe.model_copy(update={"steps": 0}))
    assert verbs(chain_of(Dense(), Target(), task)) == ""
    assert verbs(chain_of(MagnitudeAfter(), HALF, task)) == "P"


def test_a_rewind_to_an_unknown_name_is_refused() -> None:
    class Lost(Method):
        card: ClassVar[MethodCard] = MethodCard(name="lost", summary="lost", source="none", when="after")

        def plan(self, target: Target) -> Iterator[Stage]:
            yield Train(name="here")
            yield Rewind(to="there")

    with pytest.raises(PlanError, match="stage 2 of 'lost' goes back to 'there'; names so far: start, here"):
        chain_of(Lost(), HALF)


def test_a_method_refuses_a_pattern_before_anything_runs() -> None:
    with pytest.raises(UsageError, match="method 'lth' does not support pattern '2:4'; it supports: free"):
        chain_of(LotteryTicket(), Target.parse("2:4"))


def test_a_longer_training_equals_one_with_a_longer_recipe() -> None:
    class Long(Method):
        card: ClassVar[MethodCard] = MethodCard(name="long", summary="long", source="none", when="none")
        length: float = 1.0

        def plan(self, target: Target) -> Iterator[Stage]:
            yield Train(length=self.length)

    twice = chain_of(Long(length=2.0), Target()).links[0]
    assert isinstance(twice.stage, Train)
    assert twice.stage.recipe is not None and twice.stage.recipe.steps == 24
    longer = Toy(recipe=Toy().recipe.model_copy(update={"steps": 24, "period": 40}))
    assert chain_of(Dense(), Target(), longer).links[0].digest == twice.digest
    assert chain_of(Long(), Target()).links[0].digest == chain_of(Dense(), Target()).links[0].digest


def test_a_method_with_an_updater_and_no_steps_is_refused_by_name() -> None:
    with pytest.raises(
        UsageError, match="method 'gmp' makes its masks during training, and the recipe has 0"
    ):
        chain_of(Gmp(), HALF, Toy(recipe=Recipe(steps=0)))
