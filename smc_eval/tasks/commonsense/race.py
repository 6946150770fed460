"""RACE: questions about an article with four choices; trained on both levels, reported on each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar

from smc_eval.card import TaskCard
from smc_eval.data_file import DataFile
from smc_eval.errors import DataError
from smc_eval.recipe import Recipe
from smc_eval.spec import Outside
from smc_eval.task import Part, Sizes
from smc_eval.tasks.commonsense.json_rows import (
    JsonRow,
    any_field,
    list_field,
    parse_object,
    quoted_json,
    text_field,
    text_value,
)
from smc_eval.tasks.commonsense.multiple_choice import ROBERTA, MultipleChoice, choice_card
from smc_eval.tasks.commonsense.question import PairLayout, Question
from smc_eval.tasks.folder import find_files, lines
from smc_eval.tasks.hub import HUB, HubSet

RACE_LABELS = ("A", "B", "C", "D")

RACE_TRAIN = ("train/middle", "train/high")
DEV = ("dev/middle", "dev/high")
TEST = ("test/middle", "test/high")

RACE_COUNTS = {"train": 87_866, "dev/middle": 1436, "dev/high": 3451, "test/middle": 1436, "test/high": 3498}
"""Published numbers of questions of each part."""

LEVELS = {
    level: HubSet("ehovy/race", level, ("article", "question", "options", "answer"))
    for level in ("middle", "high")
}
"""The copy on the hub by level, with one question a row."""

LICENCE = "for non-commercial research only"

RACE_ADDRESS = "http://www.cs.cmu.edu/~glai1/data/race/RACE.tar.gz"

SHA256 = "b2769cc9fdc5c546a693300eb9a966cec6870bd349fbc44ed5225f8ad33006e5"

RACE_NOTE = "also on the hub, by --data-dir hub: ehovy/race"

SPLITS = {"train": "train", "dev": "validation", "test": "test"}
"""Names of the parts on the hub."""


class Race(MultipleChoice):
    """RACE as it is trained: on both levels. If a protocol selects an epoch, it is selected on dev."""

    tiny: ClassVar[Mapping[str, Any]] = {"epochs": 3, "batch_size": 4, "accumulation": 1, "lr": 1e-3}
    data_set: ClassVar[str] = "RACE"
    splits: ClassVar[Sequence[str]] = tuple(SPLITS.values())
    layout: ClassVar[PairLayout] = PairLayout(first_limit=128, truncate=True)
    reported: ClassVar[Sequence[str]] = DEV
    """Folders that make up the part `test`."""
    recipe: Annotated[Recipe, Outside()] = Recipe(
        epochs=5,
        batch_size=1,
        accumulation=8,
        eval_batch_size=16,
        **ROBERTA,
    )

    def data_files(self) -> tuple[DataFile, ...]:
        return tuple(
            DataFile(f"{self.data_set}/{part}/", LICENCE, RACE_ADDRESS, SHA256, note=RACE_NOTE)
            for part in (*RACE_TRAIN, *DEV, *TEST)
        )

    def sizes(self) -> Sizes:
        test = sum(RACE_COUNTS[part] for part in self.reported)
        source = "Lai et al., tables 2 and 3; tokens of four choices, from 322 words an article"
        return Sizes(RACE_COUNTS["train"], test, 1520, source)

    def files(self) -> Iterator[Path]:
        for part in (*RACE_TRAIN, *DEV, *TEST):
            yield from self._articles(part)

    def hub_sets(self) -> tuple[HubSet, ...]:
        """Both levels. The configuration `all` is not used: it has the questions in another order."""
        return tuple(LEVELS.values())

    def data(self, part: Part) -> Sequence[Question]:
        names = RACE_TRAIN if part == "train" else self.reported
        questions = (question for name in names for question in self._questions(name))
        return list(islice(questions, self.limit))

    def trained_as(self) -> Race:
        return Race.model_validate({name: getattr(self, name) for name in Race.model_fields})

    def _questions(self, name: str) -> Iterator[Question]:
        """The questions of one folder, such as `train/middle`."""
        if self.folder == HUB:
            split, level = name.split("/")
            yield from LEVELS[level].read(SPLITS[split], lambda row: parse_questions(official_article(row)))
        else:
            for path in self._articles(name):
                yield from read_article(path)

    def _articles(self, part: str) -> list[Path]:
        return find_files(self.root, f"{self.data_set}/{part}", ".txt")


def race_card(level: str) -> TaskCard:
    """The card of one level."""
    return choice_card(
        f"race/{level}",
        f"RACE: questions about an article; training on both levels, test on {level} school",
        "Lai et al., EMNLP 2017, arXiv:1704.04683",
        chance=25.0,
        licence=LICENCE,
        groups=("race",),
    )


class RaceMiddle(Race):
    """RACE: exam questions about an article, reported on the middle school level.

    The net gives each of four choices a score, and the highest score is its answer. Training uses
    both levels, so this task shares its trained nets with `race/high`.
    """

    card: ClassVar[TaskCard] = race_card("middle")
    reported: ClassVar[Sequence[str]] = TEST[:1]


class RaceHigh(Race):
    """RACE: exam questions about an article, reported on the high school level.

    The net gives each of four choices a score, and the highest score is its answer. Training uses
    both levels, so this task shares its trained nets with `race/middle`.
    """

    card: ClassVar[TaskCard] = race_card("high")
    reported: ClassVar[Sequence[str]] = TEST[1:]


def read_article(path: Path) -> list[Question]:
    """The questions of one official file, a JSON object with an article and its questions.

    Raises:
        DataError: the file cannot be read or is invalid; the message names the file and the question.
    """
    try:
        return list(parse_questions(parse_object("".join(lines(path)))))
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None


def official_article(row: JsonRow) -> JsonRow:
    """A row of the hub in the form of the official files: an article with one question."""
    lists = {f"{name}s": [any_field(row, name)] for name in ("question", "answer")}
    return {"article": any_field(row, "article"), "options": [any_field(row, "options")], **lists}


def parse_questions(row: JsonRow) -> Iterator[Question]:
    """All questions of an article; a ValueError describes what is wrong.

    Choices may be empty or equal: the official files have such choices.
    """
    article = " ".join(text_field(row, "article").split())
    questions, options, answers = (list_field(row, name) for name in ("questions", "options", "answers"))
    if not questions:
        raise ValueError("the article has no questions")
    if not len(questions) == len(options) == len(answers):
        raise ValueError(
            f"{len(questions)} questions, {len(options)} lists of options, {len(answers)} answers"
        )
    for number, (text, choices, answer) in enumerate(zip(questions, options, answers, strict=True), 1):
        question = text_value(text, f"question {number}")
        if not isinstance(choices, list) or len(choices) != len(RACE_LABELS):
            raise ValueError(f"options of question {number} are {quoted_json(choices)}; wanted a list of 4")
        if answer not in RACE_LABELS:
            raise ValueError(
                f"answer of question {number} is {quoted_json(answer)}; wanted one of A, B, C, D"
            )
        filled = [
            insert_option(question, text_value(choice, f"an option of question {number}"))
            for choice in choices
        ]
        yield Question(tuple((text, article) for text in filled), RACE_LABELS.index(answer))


def insert_option(question: str, option: str) -> str:
    """Put the option in each blank `_` of the question, or after a question without a blank."""
    return re.sub("_+", lambda _: option, question) if "_" in question else f"{question} {option}"
