"""Synthetic commonsense data: the same on every machine, in the official layout, and learnable."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from smc_eval.methods.dense import Dense
from smc_eval.target import Target
from smc_eval.tasks.commonsense.csqa import Csqa
from smc_eval.tasks.commonsense.multiple_choice import MultipleChoice
from smc_eval.tasks.commonsense.question import Blank
from smc_eval.tasks.commonsense.race import RaceHigh, RaceMiddle
from smc_eval.tasks.commonsense.winogrande import WINOGRANDE_SIZES, WinoGrande
from smc_eval.tasks.folder import content_digest, find_file, find_files, lines
from smc_eval.tasks.synthetic import synthetic_folder
from smc_eval.tasks.synthetic.multiple_choice import CHOICE_PLACES, OBJECT_PAIRS
from smc_eval.testing import chain_of, run_chain


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("synthetic")


@pytest.mark.parametrize(
    ("name", "files", "digest"),
    [
        ("commonsenseqa", 2, "7ad63948650cf15bea0abb9acc49ca321355279996a07ceffa51e9f40d94fed8"),
        ("winogrande_1.1", 6, "bee429657263d0bae69fe6c47d554a0c97f4d21baeedfd8bac79e0782409a59c"),
        ("RACE", 48, "55102cbf54d5415a9dcc9ab8290d81e776d026fe4a751662fd46d9ff1474bdd5"),
    ],
)
def test_synthetic_data_is_the_same_byte_for_byte_on_every_machine(
    cache: Path, name: str, files: int, digest: str
) -> None:
    paths = sorted(path for path in synthetic_folder(name, cache).rglob("*") if path.is_file())
    assert len(paths) == files
    assert content_digest(paths) == digest


@pytest.mark.parametrize(
    ("kind", "train", "test"),
    [(Csqa, 96, 40), (WinoGrande, 128, 40), (RaceMiddle, 48, 20), (RaceHigh, 48, 20)],
)
def test_the_sizes_of_synthetic_data(kind: type[MultipleChoice], train: int, test: int) -> None:
    assert (len(kind().data("train")), len(kind().data("test"))) == (train, test)


@pytest.mark.parametrize("kind", [Csqa, WinoGrande, RaceMiddle, RaceHigh])
def test_every_choice_is_sometimes_right(kind: type[MultipleChoice]) -> None:
    train = kind().data("train")
    assert {one.answer for one in train} == set(range(len(train[0].choices)))


def test_each_size_of_winogrande_is_the_beginning_of_the_next() -> None:
    parts = [WinoGrande(size=size).data("train") for size in WINOGRANDE_SIZES]
    for less, more in pairwise(parts):
        assert list(more[: len(less)]) == list(less)


def test_both_sentences_of_a_pair_are_in_one_file_and_have_different_answers(cache: Path) -> None:
    for name in ("train_xs", "train_xl", "dev"):
        rows = [
            json.loads(line)
            for line in lines(
                find_file(synthetic_folder("winogrande_1.1", cache), f"winogrande_1.1/{name}.jsonl")
            )
        ]
        for one, other in zip(rows[::2], rows[1::2], strict=True):
            assert one["qID"][:-2] == other["qID"][:-2]
            assert {one["answer"], other["answer"]} == {"1", "2"}


def shape(value: Any) -> Any:
    """The keys and types of a JSON value; for a list, those of its first item."""
    match value:
        case dict():
            return {key: shape(value[key]) for key in sorted(value)}
        case list():
            return [shape(value[0])]
    return type(value).__name__


def first(folder: Path, name: str) -> Any:
    path = find_files(folder, name, ".txt")[0] if name.startswith("RACE") else find_file(folder, name)
    return json.loads(next(lines(path)))


@pytest.mark.parametrize(
    "name",
    [
        "commonsenseqa/train_rand_split.jsonl",
        "commonsenseqa/dev_rand_split.jsonl",
        "winogrande_1.1/train_xs.jsonl",
        "winogrande_1.1/dev.jsonl",
        "RACE/train/middle",
        "RACE/test/high",
    ],
)
def test_synthetic_files_have_the_official_layout(data_dir: Path, cache: Path, name: str) -> None:
    assert shape(first(synthetic_folder(name.partition("/")[0], cache), name)) == shape(first(data_dir, name))


def right(example: Any) -> int:
    """The answer by the rule of the synthetic data: the only place; or the thing that the words fit."""
    if isinstance(example, Blank):
        (thing,) = (
            thing
            for *things, of_first, of_second in OBJECT_PAIRS
            for thing, words in zip(things, (of_first, of_second), strict=True)
            if example.after == f" {words}."
        )
        return example.candidates.index(thing)
    (at,) = (
        at
        for at, texts in enumerate(example.choices)
        if any(place in text for place in CHOICE_PLACES for text in texts)
    )
    return at


@pytest.mark.parametrize("kind", [Csqa, WinoGrande, RaceMiddle, RaceHigh])
def test_a_tenth_of_the_labels_is_wrong_so_that_the_ceiling_is_90(kind: type[MultipleChoice]) -> None:
    shares = [
        fmean(right(example) != example.answer for example in kind().data(part)) for part in ("train", "test")
    ]
    assert shares[0] == pytest.approx(0.0 if kind is WinoGrande else 0.1, abs=0.02)
    assert shares[1] == pytest.approx(0.1)


@pytest.mark.parametrize("kind", [Csqa, WinoGrande, RaceMiddle, RaceHigh])
def test_no_test_question_stands_in_a_training_file_and_none_stands_twice(kind: type[MultipleChoice]) -> None:
    task = kind()
    train, test = ([task.content(one) for one in task.data(part)] for part in ("train", "test"))
    assert not set(train) & set(test)
    assert len(set(test)) == len(test)


@pytest.mark.parametrize("kind", [Csqa, WinoGrande, RaceMiddle, RaceHigh])
def test_the_tiny_model_learns_synthetic_data_with_its_recipe(
    tmp_path: Path, kind: type[MultipleChoice]
) -> None:
    task = kind()
    result, _, _ = run_chain(
        chain_of(Dense(), Target(), task.replace(recipe=task.recipe.model_copy(update=dict(kind.tiny)))),
        tmp_path,
    )
    assert result.score is not None
    assert 0.8 * 90 <= result.score.value < 100  # 90 is the ceiling
