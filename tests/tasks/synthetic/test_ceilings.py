"""The ceilings of synthetic data: the scores of oracles that know the rules, as the documents state them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from math import comb
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from typer.testing import CliRunner

from smc_eval.cli import app
from smc_eval.experiment.grid import recipe_of
from smc_eval.methods.dense import Dense
from smc_eval.protocol import SOUND
from smc_eval.score import Score
from smc_eval.target import Target
from smc_eval.task import Task
from smc_eval.tasks.arithmetic.datasets import (
    AsdivAGraph2Tree,
    AsdivAGts,
    MawpsGraph2Tree,
    MawpsGts,
    SvampGraph2Tree,
    SvampGts,
)
from smc_eval.tasks.protein.datasets import HpS, HpS2C2, HpS2C2Tm, HpS2C5, HpS2C5Tm, HpSTm, Meltome
from smc_eval.tasks.synthetic import parallel_text, proteins, stories
from smc_eval.tasks.translation.translation import FiveToFive, TenToTen, TwoToTwo
from smc_eval.testing import chain_of, run_chain

ARITHMETIC = (MawpsGts, MawpsGraph2Tree, AsdivAGts, AsdivAGraph2Tree, SvampGts, SvampGraph2Tree)
TEMPERATURES = {HpSTm: 0.94, HpS2C2Tm: 0.91, HpS2C5Tm: 0.92, Meltome: 0.94}
CLASSES = {HpS: 75.0, HpS2C2: 90.0, HpS2C5: 84.0}
TRANSLATION = {TwoToTwo: 87.7, FiveToFive: 87.7, TenToTen: 87.9}


def folds(kind: type[Task]) -> Iterator[Task]:
    for fold in range(kind.card.folds or 1):
        yield kind(fold=fold if kind.card.folds else None)


def oracle_score(kind: type[Task], oracle: Callable[[Any], Any]) -> Score:
    """The score of an oracle on the test parts of all folds together."""
    tests = [example for task in folds(kind) for example in task.data("test")]
    return kind().score([oracle(example) for example in tests], tests)


def solved(problem: Any) -> list[str]:
    """The equation that the verb of a problem means; a rare constant is no symbol, so none is written."""
    text = " ".join(problem.words)
    (equation,) = [own for change, own, _ in stories.CHANGES if change in text] or ["* number0 2.0"]
    return equation.replace("number0", "N0").split()


def celsius(protein: Any) -> float:
    """The temperature that the residues of the first half mean."""
    half = protein.sequence[: len(protein.sequence) // 2]
    return proteins.DEGREES_BY_EARLY[half.count(proteins.EARLY)]


def probable_class(limits: Sequence[float]) -> Callable[[Any], int]:
    """The most probable class of a protein, given how many of its residues mean heat."""

    def most_probable(protein: Any) -> int:
        chances = [0.0] * (len(limits) + 1)
        letters = protein.sequence[1:]
        hot = sum(letter in proteins.HOT for letter in letters)
        for degrees in proteins.DEGREES:
            p = int(2 + 0.95 * degrees) / 100
            chances[sum(degrees >= limit for limit in limits)] += (
                comb(len(letters), hot) * p**hot * (1 - p) ** (len(letters) - hot)
            )
        return chances.index(max(chances))

    return most_probable


def translated(sentence: Any) -> str:
    """The translation word for word."""
    source, target = (
        parallel_text._lexicon(code) for code in (sentence.direction.source, sentence.direction.target)
    )
    meaning = {word: concept for concept, word in source.items()}
    return " ".join(target[meaning[word]] for word in sentence.source.split(" "))


@pytest.mark.parametrize("kind", ARITHMETIC)
def test_the_ceiling_of_word_problems_is_95(kind: type[Task]) -> None:
    assert oracle_score(kind, solved).value == 95
    for task in folds(kind):
        examples = task.data("test")
        assert task.score([solved(example) for example in examples], examples).value == 95


@pytest.mark.parametrize(("kind", "ceiling"), TEMPERATURES.items())
def test_the_ceiling_of_temperatures_is_what_the_generator_says(kind: type[Task], ceiling: float) -> None:
    assert oracle_score(kind, celsius).value == pytest.approx(ceiling, abs=0.005)


@pytest.mark.parametrize(("kind", "ceiling"), CLASSES.items())
def test_the_ceiling_of_classes_is_that_of_the_most_probable_class(kind: type[Task], ceiling: float) -> None:
    limits = proteins.TWO_CLASSES if kind is HpS2C2 else proteins.FIVE_CLASSES
    assert oracle_score(kind, probable_class(limits)).value == ceiling


@pytest.mark.parametrize(("kind", "ceiling"), TRANSLATION.items())
def test_the_ceiling_of_translation_is_what_the_generator_says(kind: type[Task], ceiling: float) -> None:
    assert oracle_score(kind, translated).value == pytest.approx(ceiling, abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "ceiling"),
    [*((kind, 95.0) for kind in ARITHMETIC), *CLASSES.items(), *TEMPERATURES.items(), *TRANSLATION.items()],
)
def test_the_dense_net_reaches_four_fifths_of_the_ceiling_and_stays_below_100(
    tmp_path: Path, kind: type[Task], ceiling: float
) -> None:
    scores = []
    for number, task in enumerate(folds(kind)):
        recipe = recipe_of(kind, "tiny", SOUND)
        result, _, _ = run_chain(
            chain_of(Dense(), Target(), task.replace(recipe=recipe)), tmp_path / str(number)
        )
        assert result.score is not None
        scores.append(result.score.value)
    assert 0.8 * ceiling <= fmean(scores) < (1 if ceiling < 1 else 100)


@pytest.mark.slow
def test_most_rows_of_the_main_job_lose_more_than_their_interval_at_four_fifths(tmp_path: Path) -> None:
    output = str(tmp_path / "runs")
    flags = ["--model", "tiny", "--method", "snip", "--tasks", "all", "--sparsity", "0.8", "--quiet"]
    run = CliRunner().invoke(app, [*flags, "--output", output], catch_exceptions=False)
    assert run.exit_code == 0
    compared = CliRunner().invoke(app, ["compare", "snip", "dense", output, "--format", "json"])
    rows = json.loads(compared.stdout)
    lost = [row["task"] for row in rows if row["interval"] and row["interval"][1] < 0]
    assert len(rows) == 20 and len(lost) >= 11, lost
