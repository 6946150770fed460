"""Tuned GMP: longer for sparser nets, with the dense net as teacher, embeddings unpruned."""

from __future__ import annotations

from pathlib import Path

import pytest

from smc_eval.errors import UsageError
from smc_eval.methods.dense import Dense
from smc_eval.methods.gmp import Cubic
from smc_eval.methods.gmp_tuned import TunedGmp
from smc_eval.planning.plan import describe_stage, steps_of
from smc_eval.recipe import Recipe
from smc_eval.stages import Distillation, Rewind, Train
from smc_eval.target import Target
from smc_eval.testing import Toy, chain_of, run_chain

NINTH = Target(sparsity=0.9)


def test_its_plan_is_that_of_the_paper() -> None:
    assert list(TunedGmp().plan(NINTH)) == [
        Train(name="dense"),
        Rewind(),
        Train(
            updater=Cubic(to=NINTH, since=0.07, until=0.87),
            distil=Distillation(teacher="dense", hardness=1.0, temperature=2.0),
            length=3.32,
        ),
    ]
    assert describe_stage(list(TunedGmp().plan(NINTH))[2]).startswith(
        "train by the task's recipe, 3.32 times as long with the cubic GMP schedule (to=0.9, "
    )


@pytest.mark.parametrize(
    ("word", "pace", "length"),
    [
        ("0", 1.0, 1.0),
        ("0.2", 1.0, 1.0),
        ("0.5", 1.0, 1.0),
        ("0.75", 1.0, 2.0),
        ("0.875", 1.0, 3.0),
        ("2:4", 1.0, 1.0),
        ("1:4", 1.0, 2.0),
        ("0.75", 0.5, 1.0),
        ("0.75", 2.0, 4.0),
    ],
)
def test_each_halving_of_the_remaining_weights_adds_one_recipe(word: str, pace: float, length: float) -> None:
    assert TunedGmp(pace=pace).length(Target.parse(word)) == length


def test_the_teacher_is_the_shared_dense_net() -> None:
    chain = chain_of(TunedGmp(), NINTH)
    assert chain.links[0].digest == chain_of(Dense(), Target()).links[0].digest == chain.links[2].back


def test_the_recipe_of_the_sparse_training_is_stretched() -> None:
    recipe = Recipe(epochs=2, batch_size=8, schedule="step", period=3, warmup=5)
    link = chain_of(TunedGmp(), Target(sparsity=0.75), Toy(recipe=recipe)).links[2]
    assert isinstance(link.stage, Train)
    assert link.stage.recipe == recipe.model_copy(update={"epochs": 4.0, "period": 6})
    assert (link.stage.length, steps_of(link.stage, 52)) == (1.0, 28)


def test_embeddings_and_head_stay_dense() -> None:
    with pytest.raises(UsageError, match="'gmp-tuned' does not support scope 'all-2d'; it supports: body"):
        TunedGmp().accept(Target(sparsity=0.5, scope="all-2d"))


def test_each_of_its_three_parts_can_be_left_out() -> None:
    everything = Target(sparsity=0.9, scope="all-2d")
    pruned = TunedGmp(embeddings="pruned")
    pruned.accept(everything)
    with pytest.raises(UsageError, match="'gmp-tuned:embeddings=pruned' does not support scope 'body'"):
        pruned.accept(NINTH)
    assert TunedGmp(pace=0.01).length(NINTH) == 1.0
    untaught = Train(updater=Cubic(to=NINTH, since=0.07, until=0.87), length=3.32)
    assert list(TunedGmp(hardness=0).plan(NINTH)) == [untaught]


def test_a_schedule_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"pruning begins at 0.9 and ends at 0.87; since must be below until"
    ):
        TunedGmp(since=0.9)


def test_the_cost_counts_the_teacher_and_the_length(tmp_path: Path) -> None:
    record = run_chain(chain_of(TunedGmp(), Target(sparsity=0.75)), tmp_path)[0]
    assert (record.cost.steps, record.cost.teacher_passes) == (12 + 24, 24)


def test_a_recipe_of_0_steps_is_refused() -> None:
    with pytest.raises(UsageError, match="method 'gmp-tuned' makes its masks"):
        chain_of(TunedGmp(), NINTH, Toy(recipe=Recipe(steps=0)))
