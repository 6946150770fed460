"""Parsing of flags: the meaning of each form, and the errors of wrong ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from smc_eval import spec
from smc_eval.errors import UnknownName, UsageError
from smc_eval.experiment import parsing, spec_text
from smc_eval.recipe import Recipe
from smc_eval.spec import Spec
from smc_eval.target import SMC_GRID, Target


class Options(Spec):
    share: float = Field(0.2, gt=0, lt=1)
    """Share of the weights
    that each round prunes."""
    rounds: int = 1
    grow: Literal["gradient", "random"] = "gradient"
    clip: float | None = 1.0
    betas: tuple[float, float] = (0.9, 0.999)
    finetune: Recipe | None = None
    short: Recipe = Recipe(epochs=1, lr=0.5)


def parsed(**given: Any) -> Options:
    return spec_text.parse_spec(Options, given, "option", "method 'toy'")


def test_options_follow_the_name_of_their_method() -> None:
    assert parsing.parse_named(["lth:share=0.1,early=0.05,dense", "omp-after"], "method") == [
        ("lth", {"share": "0.1", "early": "0.05"}),
        ("dense", {}),
        ("omp-after", {}),
    ]


def test_an_option_may_be_a_pattern_or_a_list() -> None:
    assert parsing.parse_named(["x:mask=2:4,betas=[0.9,0.98],y:a=1"], "method") == [
        ("x", {"mask": "2:4", "betas": "[0.9,0.98]"}),
        ("y", {"a": "1"}),
    ]


def test_one_method_with_two_sets_of_options_is_two_methods() -> None:
    assert [options for _, options in parsing.parse_named(["lth:share=0.1", "lth:share=0.3"], "method")] == [
        {"share": "0.1"},
        {"share": "0.3"},
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("share=0.1,lth", "gives option 'share=0.1' to no method"),
        ("lth:share", "option 'share' of method 'lth' has no value; write share=VALUE"),
        ("lth:share=1,share=2", "option 'share' of method 'lth' is given twice"),
    ],
)
def test_wrong_options_of_a_method_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parsing.parse_named(["dense", text], "method")


def test_a_model_may_be_for_one_group() -> None:
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
def test_wrong_seeds_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--seeds"):
        parsing.parse_seeds(text)


def test_folds_are_all_or_a_list() -> None:
    assert parsing.parse_folds("all") is None
    assert parsing.parse_folds("0,2") == (0, 2)
    assert parsing.parse_folds("3") == (3,)


@pytest.mark.parametrize("text", ["", "every", "-1", "1.0"])
def test_wrong_folds_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--folds .* write all, or a list"):
        parsing.parse_folds(text)


def test_smc_is_the_ten_exact_sparsities_of_the_paper() -> None:
    targets = parsing.parse_targets(["smc"], "all-2d")
    assert tuple(target.sparsity for target in targets) == SMC_GRID
    assert {target.scope for target in targets} == {"all-2d"}
    assert targets[2].sparsity == 1 - 0.8**3


def test_numbers_and_patterns_can_be_mixed_and_come_once() -> None:
    assert parsing.parse_targets(["0.5,2:4", "0.5,.5"], "body") == (
        Target(sparsity=0.5),
        Target(sparsity=0.5, pattern="2:4", distribution="uniform"),
    )


@pytest.mark.parametrize("text", ["1", "1.5", "-0.1", "90%", "4:2", "2:4:8", "0:4", "nan", "inf", ",", "2:"])
def test_wrong_sparsities_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="sparsity"):
        parsing.parse_targets([text], "body")


@given(st.floats(0, 1, exclude_max=True))
def test_every_sparsity_below_one_is_read_exactly(share: float) -> None:
    assert parsing.parse_targets([repr(share)], "body")[0].sparsity == share


@given(st.text(alphabet="0123456789.,:-abce[]= ", max_size=12))
def test_every_text_is_parsed_or_refused_in_at_most_three_lines(text: str) -> None:
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
    read(
        lambda: spec_text.amend_recipe(Recipe(epochs=1), parsing.parse_pairs([text], "--recipe"), "--recipe")
    )
    read(lambda: parsed(share=text, betas=text, clip=text))


def test_options_are_converted_to_the_types_of_their_fields() -> None:
    options = parsed(share="0.1", rounds="3", grow="random", clip="none", betas="[0.8,0.9]")
    assert (options.share, options.rounds, options.grow, options.clip, options.betas) == (
        0.1,
        3,
        "random",
        None,
        (0.8, 0.9),
    )


def test_a_field_of_a_recipe_in_an_option_has_a_dot() -> None:
    assert parsed(**{"finetune.epochs": "2", "finetune.lr": "0.1"}).finetune == Recipe(epochs=2, lr=0.1)
    assert parsed(**{"short.steps": "7"}).short == Recipe(steps=7, lr=0.5)


def test_an_unknown_option_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UnknownName, match="no option of method 'toy' is named 'shere'; did you mean 'share'"):
        parsed(shere="0.1")
    with pytest.raises(
        UnknownName, match="no field of 'finetune' of method 'toy' is named 'epoch'; did you mean 'epochs'"
    ):
        parsed(**{"finetune.epoch": "1", "finetune.steps": "3"})
    with pytest.raises(UnknownName, match=r"named 'share.x'"):
        parsed(**{"share.x": "1"})


def test_a_wrong_value_is_refused_with_the_description_of_the_option() -> None:
    with pytest.raises(UsageError) as caught:
        parsed(share="much")
    assert str(caught.value) == (
        "option 'share' of method 'toy' is 'much'; it should be a valid number, unable to parse string as a "
        "number (share: Share of the weights that each round prunes.)"
    )
    with pytest.raises(UsageError, match="'1.0'; it should be less than 1"):
        parsed(share="1.0")
    with pytest.raises(UsageError, match="'up'; it should be 'gradient' or 'random'"):
        parsed(grow="up")
    with pytest.raises(UsageError, match=r"option 'betas' of method 'toy' is '\[0.9', not a list"):
        parsed(betas="[0.9")


def test_epochs_replace_steps_and_steps_replace_epochs() -> None:
    own = Recipe(epochs=50, lr=0.1)
    assert spec_text.amend_recipe(own, {"steps": "12"}, "--recipe") == Recipe(steps=12, lr=0.1)
    assert spec_text.amend_recipe(Recipe(steps=3), {"epochs": "0.5"}, "--recipe") == Recipe(epochs=0.5)
    assert spec_text.amend_recipe(own, {"lr": "0.2"}, "--recipe") == Recipe(epochs=50, lr=0.2)


def test_an_unknown_recipe_field_is_refused() -> None:
    with pytest.raises(
        UnknownName, match="no field of --recipe is named 'batchsize'; did you mean 'batch_size'"
    ):
        spec_text.amend_recipe(Recipe(epochs=1), {"batchsize": "4"}, "--recipe")
    with pytest.raises(UsageError, match="--recipe 'lr' is not of the form key=value"):
        parsing.parse_pairs(["lr"], "--recipe")


def test_the_label_of_a_spec_is_parsed_into_the_same_spec() -> None:
    class Listing(Spec):
        names: tuple[str, ...] = ()
        rate: float | None = 0.1

    chosen = Listing(names=("fr", "de"), rate=None)
    label = spec.label("listing", chosen)
    assert label == 'listing:names=["fr","de"],rate=none'
    ((_, options),) = parsing.parse_named([label], "task")
    assert spec_text.parse_spec(Listing, options, "option", "it") == chosen
