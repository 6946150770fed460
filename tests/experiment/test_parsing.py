"""The small languages of the command line: what each word means, and what is said of a wrong one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from smc_eval import spec
from smc_eval.errors import UnknownName, UsageError
from smc_eval.experiment import parsing
from smc_eval.recipe import Recipe
from smc_eval.spec import Spec
from smc_eval.target import SMC_GRID, Target


class Options(Spec):
    share: float = Field(0.2, gt=0, lt=1)
    """Share of the survivors
    that each round drops."""
    rounds: int = 1
    grow: Literal["gradient", "random"] = "gradient"
    clip: float | None = 1.0
    betas: tuple[float, float] = (0.9, 0.999)
    finetune: Recipe | None = None
    short: Recipe = Recipe(epochs=1, lr=0.5)


def parsed(**given: Any) -> Options:
    return parsing.parse_spec(Options, given, "option", "method 'toy'")


def test_methods_and_their_options() -> None:
    assert parsing.parse_named(["lth:share=0.1,early=0.05,dense", "omp-after"], "method") == [
        ("lth", {"share": "0.1", "early": "0.05"}),
        ("dense", {}),
        ("omp-after", {}),
    ]


def test_an_option_may_hold_a_pattern_and_a_list() -> None:
    assert parsing.parse_named(["x:mask=2:4,betas=[0.9,0.98],y:a=1"], "method") == [
        ("x", {"mask": "2:4", "betas": "[0.9,0.98]"}),
        ("y", {"a": "1"}),
    ]


def test_one_method_twice_with_other_options_is_two() -> None:
    assert [options for _, options in parsing.parse_named(["lth:share=0.1", "lth:share=0.3"], "method")] == [
        {"share": "0.1"},
        {"share": "0.3"},
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("share=0.1,lth", "gives option 'share=0.1' to no method"),
        ("lth:share", "option 'share' of method 'lth' is no key=value"),
        ("lth:share=1,share=2", "option 'share' of method 'lth' is given twice"),
    ],
)
def test_wrong_method_words(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        parsing.parse_named(["dense", text], "method")


def test_models_by_group() -> None:
    assert parsing.parse_models(["tiny", "maths=scratch", "maths=org/name", "./odd=name", "pkg:esm"]) == {
        None: ["tiny", "./odd=name", "pkg:esm"],
        "maths": ["scratch", "org/name"],
    }


@pytest.mark.parametrize("text", ["", "maths="])
def test_a_model_has_a_name(text: str) -> None:
    with pytest.raises(UsageError, match="names no model"):
        parsing.parse_models([text])


def test_seeds_are_a_count_or_a_list() -> None:
    assert parsing.parse_seeds("3") == (0, 1, 2)
    assert parsing.parse_seeds("0,2,7") == (0, 2, 7)
    assert parsing.parse_seeds("5,") == (5,)
    assert parsing.parse_seeds("1,1") == (1,)


@pytest.mark.parametrize("text", ["", "0", "-1", "two", "1.5", "0-3", ",", "1234"])
def test_wrong_seeds(text: str) -> None:
    with pytest.raises(UsageError, match="--seeds"):
        parsing.parse_seeds(text)


def test_folds_are_all_or_a_list() -> None:
    assert parsing.parse_folds("all") is None
    assert parsing.parse_folds("0,2") == (0, 2)
    assert parsing.parse_folds("3") == (3,)


@pytest.mark.parametrize("text", ["", "every", "-1", "1.0"])
def test_wrong_folds(text: str) -> None:
    with pytest.raises(UsageError, match="--folds .* write all, or a list"):
        parsing.parse_folds(text)


def test_smc_is_the_ten_exact_points() -> None:
    found = parsing.parse_targets(["smc"], "all-2d")
    assert tuple(target.sparsity for target in found) == SMC_GRID
    assert {target.scope for target in found} == {"all-2d"}
    assert found[2].sparsity == 1 - 0.8**3


def test_numbers_and_patterns_mix_and_stand_once() -> None:
    assert parsing.parse_targets(["0.5,2:4", "0.5,.5"], "body") == (
        Target(sparsity=0.5),
        Target(sparsity=0.5, pattern="2:4", distribution="uniform"),
    )


@pytest.mark.parametrize("text", ["1", "1.5", "-0.1", "90%", "4:2", "2:4:8", "0:4", "nan", "inf", ",", "2:"])
def test_wrong_sparsities(text: str) -> None:
    with pytest.raises(UsageError, match="sparsity"):
        parsing.parse_targets([text], "body")


@given(st.floats(0, 1, exclude_max=True))
def test_any_share_below_one_is_read_exactly(share: float) -> None:
    assert parsing.parse_targets([repr(share)], "body")[0].sparsity == share


@given(st.text(alphabet="0123456789.,:-abce[]= ", max_size=12))
def test_no_text_breaks_the_reading(text: str) -> None:
    def read(verb: Callable[[], object]) -> None:
        try:
            verb()
        except UsageError as error:
            assert len(str(error).splitlines()) <= 3  # noqa: PT017

    read(lambda: parsing.parse_targets([text], "body"))
    read(lambda: parsing.parse_seeds(text))
    read(lambda: parsing.parse_folds(text))
    read(lambda: parsing.parse_named([text], "method"))
    read(lambda: parsing.parse_models([text]))
    read(lambda: parsing.amend_recipe(Recipe(epochs=1), parsing.parse_pairs([text], "--recipe"), "--recipe"))
    read(lambda: parsed(share=text, betas=text, clip=text))


def test_options_are_read_as_their_fields_want() -> None:
    found = parsed(share="0.1", rounds="3", grow="random", clip="none", betas="[0.8,0.9]")
    assert (found.share, found.rounds, found.grow, found.clip, found.betas) == (
        0.1,
        3,
        "random",
        None,
        (0.8, 0.9),
    )


def test_a_recipe_within_an_option_is_said_with_a_dot() -> None:
    assert parsed(**{"finetune.epochs": "2", "finetune.lr": "0.1"}).finetune == Recipe(epochs=2, lr=0.1)
    assert parsed(**{"short.steps": "7"}).short == Recipe(steps=7, lr=0.5)


def test_an_unknown_option_is_told_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="no option of method 'toy' is named 'shere'; did you mean 'share'"):
        parsed(shere="0.1")
    with pytest.raises(
        UnknownName, match="no field of 'finetune' of method 'toy' is named 'epoch'; did you mean 'epochs'"
    ):
        parsed(**{"finetune.epoch": "1", "finetune.steps": "3"})
    with pytest.raises(UnknownName, match=r"named 'share.x'"):
        parsed(**{"share.x": "1"})


def test_a_wrong_value_is_told_with_what_the_option_means() -> None:
    with pytest.raises(UsageError) as caught:
        parsed(share="much")
    assert str(caught.value) == (
        "option 'share' of method 'toy' is 'much'; it should be a valid number, unable to parse string as a "
        "number (share: Share of the survivors that each round drops.)"
    )
    with pytest.raises(UsageError, match="'1.0'; it should be less than 1"):
        parsed(share="1.0")
    with pytest.raises(UsageError, match="'up'; it should be 'gradient' or 'random'"):
        parsed(grow="up")
    with pytest.raises(UsageError, match=r"option 'betas' of method 'toy' is '\[0.9', no list"):
        parsed(betas="[0.9")


def test_epochs_take_the_place_of_steps_and_back() -> None:
    own = Recipe(epochs=50, lr=0.1)
    assert parsing.amend_recipe(own, {"steps": "12"}, "--recipe") == Recipe(steps=12, lr=0.1)
    assert parsing.amend_recipe(Recipe(steps=3), {"epochs": "0.5"}, "--recipe") == Recipe(epochs=0.5)
    assert parsing.amend_recipe(own, {"lr": "0.2"}, "--recipe") == Recipe(epochs=50, lr=0.2)


def test_a_recipe_field_nobody_has_is_told() -> None:
    with pytest.raises(
        UnknownName, match="no field of --recipe is named 'batchsize'; did you mean 'batch_size'"
    ):
        parsing.amend_recipe(Recipe(epochs=1), {"batchsize": "4"}, "--recipe")
    with pytest.raises(UsageError, match="--recipe 'lr' is no key=value"):
        parsing.parse_pairs(["lr"], "--recipe")


def test_the_words_of_an_option_are_read_as_what_they_were_made_of() -> None:
    class Listing(Spec):
        names: tuple[str, ...] = ()
        rate: float | None = 0.1

    chosen = Listing(names=("fr", "de"), rate=None)
    said = spec.label("listing", chosen)
    assert said == 'listing:names=["fr","de"],rate=none'
    ((_, options),) = parsing.parse_named([said], "task")
    assert parsing.parse_spec(Listing, options, "option", "it") == chosen
