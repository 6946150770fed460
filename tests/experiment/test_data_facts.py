"""Repeated test examples are counted for every task, and the score without them is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from smc_eval.experiment.data_facts import Repeats, count_repeats, data_facts, full_score, score_ceiling
from smc_eval.methods.omp import MagnitudeBefore
from smc_eval.recipe import Recipe
from smc_eval.registry import registry
from smc_eval.score import Score
from smc_eval.target import Target
from smc_eval.task import Part, Task
from smc_eval.tasks.arithmetic.datasets import MawpsGts
from smc_eval.tasks.commonsense.csqa import Csqa
from smc_eval.tasks.commonsense.question import Blank, Question
from smc_eval.tasks.commonsense.winogrande import WinoGrande
from smc_eval.tasks.protein.datasets import PROTEIN_TASKS
from smc_eval.tasks.protein.example import Protein
from smc_eval.tasks.translation.corpus import Sentence
from smc_eval.tasks.translation.languages import Direction
from smc_eval.tasks.translation.translation import TwoToTwo
from smc_eval.testing import Toy, chain_of, run_chain


class Letters(Toy):
    """Examples of a letter and its answer. Of five test examples, two stand in train and one twice."""

    def data(self, part: Part) -> Sequence[Any]:
        if part == "train":
            return [(letter, 0) for letter in "abcc"][: self.limit]
        return [("x", 0), ("a", 1), ("y", 1), ("x", 1), ("b", 0)]

    def content(self, example: Any) -> str:
        return str(example[0])

    def score(self, predicted: Sequence[Any], examples: Sequence[Any]) -> Score:
        right = [100.0 * (a == b) for a, (_, b) in zip(predicted, examples, strict=True)]
        return Score("accuracy (%)", sum(right) / len(right), len(right), also={"own": 7.0})


class Known(Letters):
    """All test examples stand in train."""

    def data(self, part: Part) -> Sequence[Any]:
        return [("a", 0), ("b", 1)]


class New(Letters):
    """No test example is repeated."""

    def data(self, part: Part) -> Sequence[Any]:
        return [(f"{part} {number}", 0) for number in range(3)]


def test_repeats_are_counted_and_the_score_without_them_keeps_the_first_of_two() -> None:
    task = Letters()
    assert data_facts(task, "letters").repeats == Repeats(in_train=2, in_test=1)
    score = full_score(task, [0, 0, 0, 1, 0], task.data("test"), "letters")
    assert (score.value, score.n) == (60.0, 5)
    # x (the first one, right) and y (wrong) are left
    assert score.also == {"own": 7.0, "without_repeats": 50.0} and score.also_n == {"without_repeats": 2}


def test_what_the_net_trains_on_counts_and_nothing_else() -> None:
    assert count_repeats(Letters(limit=1), "letters") == Repeats(in_train=1, in_test=1)


def test_a_score_has_no_further_number_if_nothing_is_repeated_or_everything_is() -> None:
    for task, repeats in ((New(), Repeats(0, 0)), (Known(), Repeats(2, 0))):
        examples = task.data("test")
        assert count_repeats(task, task.identity) == repeats
        assert full_score(task, [0] * len(examples), examples, task.identity).also == {"own": 7.0}


def test_a_cell_records_the_repeats_of_its_data(tmp_path: Path) -> None:
    record = run_chain(chain_of(MagnitudeBefore(), Target(sparsity=0.5), Toy()), tmp_path)[0]
    train, test = Toy().data("train"), Toy().data("test")
    assert record.data.repeats == Repeats(sum(row in train for row in test), len(test) - len(set(test)))
    assert record.to_json()["data"]["repeats"] == {"in_train": record.data.repeats.in_train, "in_test": 0}


QUESTION = Question((("Q: which?", "A: one"), ("Q: which?", "A: two")), 0)
SHUFFLED = Question((("Q: which?", "A: two"), ("Q: which?", "A: one")), 1)
BLANK = Blank("The ", " is big.", ("cup", "box"), 0)


@pytest.mark.parametrize(
    ("task", "first", "same", "other"),
    [
        (Csqa(), QUESTION, SHUFFLED, Question((("Q: who?", "A: one"), ("Q: who?", "A: two")), 0)),
        (
            WinoGrande(),
            BLANK,
            Blank("The ", " is big.", ("box", "cup"), 1),
            Blank("The ", ".", ("a", "b"), 0),
        ),
        (PROTEIN_TASKS[0](fold=0), Protein("P1", "MKV", 1), Protein("P2", "MKV", 0), Protein("P1", "MK", 1)),
        (
            TwoToTwo(),
            Sentence(Direction("en", "fr"), "yes", "oui"),
            Sentence(Direction("en", "fr"), "yes", "si"),
            Sentence(Direction("en", "cs"), "yes", "ano"),
        ),
    ],
    ids=["csqa", "winogrande", "protein", "translation"],
)
def test_two_examples_are_the_same_if_the_net_reads_the_same(
    task: Any, first: object, same: object, other: object
) -> None:
    assert task.content(first) == task.content(same) != task.content(other)


@pytest.mark.parametrize("kind", registry().tasks.values(), ids=lambda kind: kind.card.name)
def test_repeats_are_counted_for_every_task(kind: type[Task]) -> None:
    task = kind(fold=0 if kind.card.folds else None, limit=20)
    data = next(source.digest for source in task.sources() if source.role == "data")
    repeats = count_repeats(task, data)
    train, test = [[repr(example) for example in task.data(part)] for part in ("train", "test")]
    assert repeats is not None
    assert repeats.in_train >= sum(row in train for row in test)  # equal in all parts, not in the input alone
    assert 0 <= repeats.in_test < len(test)


@pytest.mark.parametrize(("fold", "leaked"), [(0, 128), (1, 110), (2, 112), (3, 118), (4, 114)])
def test_mawps_has_the_known_leaks(data_dir: Path, fold: int, leaked: int) -> None:
    task = MawpsGts(backbone="scratch", folder=str(data_dir), fold=fold)
    repeats = count_repeats(task, task.sources()[0].digest)
    assert repeats is not None and repeats.in_train == leaked


def test_the_ceiling_is_the_score_of_references_that_went_through_the_tokenizer() -> None:
    assert score_ceiling(Toy(), "toy") == {}
    task = TwoToTwo(longest=12, limit=40)
    data = task.sources()[0].digest
    found = score_ceiling(task, data)
    assert found.keys() == {"en-fr", "fr-en", "en-cs", "cs-en"}
    perfect = task.score([task._codec.rewritten(s.target) for s in task.data("test")], task.data("test"))
    assert dict(found) == {name: perfect.also[name] for name in found}
    assert score_ceiling(task.replace(longest=None), data)["en-fr"] >= found["en-fr"]


def test_a_cell_of_translation_records_what_its_tokenizer_loses_and_its_data_leaves_out(
    tmp_path: Path,
) -> None:
    home = tmp_path / "data" / "translation"
    home.mkdir(parents=True)
    texts = {"en": "one man\ntwo men\n\n", "fr": "un homme\ndeux hommes\ntrois\n", "cs": "muž\n\nmuži\n"}
    for part in ("train", "test"):
        for code, text in texts.items():
            (home / f"{part}.{code}").write_text(text, encoding="utf-8")
    task = TwoToTwo(folder=str(tmp_path / "data"), longest=9, recipe=Recipe(steps=1, batch_size=2))
    record = run_chain(chain_of(MagnitudeBefore(), Target(sparsity=0.5), task), tmp_path / "runs")[0]
    assert record.data.left_out == {"train": 6, "test": 6}
    assert record.data.unknown_tokens == {"en": 0.0, "fr": 0.0, "cs": 0.0}
    assert record.data.repeats == Repeats(in_train=6, in_test=0) and record.score is not None
    assert record.score.ceiling.keys() == {"en-fr", "fr-en", "en-cs", "cs-en"}
