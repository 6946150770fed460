"""Recipes: lengths in steps, learning rates at each step, and the changes of a protocol."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from smc_eval.protocol import PAPER, SOUND
from smc_eval.recipe import Recipe


def test_a_smaller_last_batch_counts_as_a_step() -> None:
    assert Recipe(epochs=1, batch_size=4).steps_per_epoch(1537) == 385  # PROTOCOL: MAWPS, GTS
    assert Recipe(epochs=50, batch_size=4).total(1537) == 19_250
    assert Recipe(epochs=50, batch_size=8).total(1537) == 9_650
    assert Recipe(epochs=1, batch_size=4, accumulation=2).steps_per_epoch(10) == 2


def test_held_out_examples_shorten_the_epoch() -> None:
    recipe = Recipe(epochs=2, batch_size=10, validation=0.1)
    assert recipe.held_out(100) == 10 and recipe.total(100) == 18


@pytest.mark.parametrize(
    ("recipe", "rates"),
    [
        (Recipe(steps=4), [1, 1, 1, 1]),
        (Recipe(steps=4, schedule="linear"), [1, 0.75, 0.5, 0.25]),
        (Recipe(steps=6, schedule="linear", warmup=2), [0.5, 1, 1, 0.75, 0.5, 0.25]),
        (Recipe(epochs=3, batch_size=4, schedule="step", period=1, gamma=0.5), [1, 1, 0.5, 0.5, 0.25, 0.25]),
    ],
)
def test_the_learning_rate_at_each_step(recipe: Recipe, rates: list[float]) -> None:
    assert [recipe.rate(step, 8) for step in range(len(rates))] == rates


def test_a_recipe_has_either_epochs_or_steps() -> None:
    with pytest.raises(ValidationError, match="either epochs or steps"):
        Recipe(epochs=1, steps=2)
    with pytest.raises(ValidationError, match="either epochs or steps"):
        Recipe()


def test_the_sound_protocol_decouples_weight_decay_and_keeps_the_last_net() -> None:
    own = Recipe(epochs=1, optimizer="adam", keep="best")
    assert (SOUND.recipe(own).optimizer, SOUND.recipe(own).keep) == ("adamw", "last")
    assert (PAPER.recipe(own).optimizer, PAPER.recipe(own).keep) == ("adam", "best")
    assert SOUND.recipe(Recipe(epochs=1, optimizer="sgd")).optimizer == "sgd"


def test_a_stretched_recipe_reduces_its_rate_later_and_keeps_its_warmup() -> None:
    recipe = Recipe(epochs=4, batch_size=8, schedule="step", period=2, gamma=0.5, warmup=3)
    longer = recipe.stretched(2.5)
    assert (longer.epochs, longer.period, longer.warmup) == (10.0, 5, 3)
    assert longer.rate(5 * 7, 52) == recipe.rate(2 * 7, 52) == 0.5
    linear = Recipe(steps=10, schedule="linear").stretched(3)
    assert [linear.rate(step, 52) for step in (0, 15, 30)] == [1.0, 0.5, 0.0]


@pytest.mark.parametrize(
    ("steps", "length", "total"), [(10, 1.1, 11), (10, 0.01, 1), (0, 5.0, 0), (7, 1.0, 7)]
)
def test_a_stretched_length_is_a_whole_number_and_zero_stays_zero(
    steps: int, length: float, total: int
) -> None:
    assert Recipe(steps=steps).stretched(length).total(52) == total


def test_a_recipe_can_be_stretched_to_an_exact_number_of_steps() -> None:
    recipe = Recipe(epochs=2, batch_size=8, schedule="linear")
    assert recipe.total(52) == 14
    longer = recipe.lasting(33, 52)
    assert (longer.epochs, longer.steps, longer.total(52)) == (None, 33, 33)
    assert recipe.lasting(14, 52) is recipe
