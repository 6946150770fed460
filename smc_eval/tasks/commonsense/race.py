"""RACE: questions about an article, four choices each; trained once, reported on two levels."""

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
from smc_eval.tasks.commonsense.multiple_choice import CHOICE_ACCURACY, MultipleChoice
from smc_eval.tasks.commonsense.question import PairLayout, Question
from smc_eval.tasks.folder import find_files, lines
from smc_eval.tasks.hub import HUB, HubSet

RACE_LABELS = ("A", "B", "C", "D")

RACE_TRAIN = ("train/middle", "train/high")
DEV = ("dev/middle", "dev/high")
TEST = ("test/middle", "test/high")

RACE_COUNTS = {"train": 87_866, "dev/middle": 1436, "dev/high": 3451, "test/middle": 1436, "test/high": 3498}
"""Questions of each part, as published."""

LEVELS = {
    level: HubSet("ehovy/race", level, ("article", "question", "options", "answer"))
    for level in ("middle", "high")
}
"""Its copy on the hub, one question a row, by level."""

LICENCE = "for non-commercial research only"

RACE_ADDRESS = "http://www.cs.cmu.edu/~glai1/data/race/RACE.tar.gz"

SHA256 = "b2769cc9fdc5c546a693300eb9a966cec6870bd349fbc44ed5225f8ad33006e5"

RACE_NOTE = "also on the hub, by --data-dir hub: ehovy/race"

SPLITS = {"train": "train", "dev": "validation", "test": "test"}
"""What its parts are called on the hub."""


class Race(MultipleChoice):
    """RACE as it is trained: on both levels at once. Where a protocol selects an epoch, dev selects it."""

    tiny: ClassVar[Mapping[str, Any]] = {"epochs": 3, "batch_size": 4, "accumulation": 1, "lr": 1e-3}
    data_set: ClassVar[str] = "RACE"
    splits: ClassVar[Sequence[str]] = tuple(SPLITS.values())
    layout: ClassVar[PairLayout] = PairLayout(first=128, cut=True)
    reported: ClassVar[Sequence[str]] = DEV
    """Folders of the part `test`."""
    recipe: Annotated[Recipe, Outside()] = Recipe(
        epochs=5,
        batch_size=1,
        accumulation=8,
        eval_batch_size=16,
        lr=1e-5,
        betas=(0.9, 0.98),
        eps=1e-6,
        weight_decay=0.01,
    )

    def data_files(self) -> tuple[DataFile, ...]:
        return tuple(
            DataFile(f"{self.data_set}/{part}/", LICENCE, RACE_ADDRESS, SHA256, note=RACE_NOTE)
            for part in (*RACE_TRAIN, *DEV, *TEST)
        )

    def sizes(self) -> Sizes:
        tested = sum(RACE_COUNTS[part] for part in self.reported)
        about = "Lai et al., tables 2 and 3; tokens of four choices, from 322 words an article"
        return Sizes(RACE_COUNTS["train"], tested, 1520, about)

    def files(self) -> Iterator[Path]:
        for part in (*RACE_TRAIN, *DEV, *TEST):
            yield from self._articles(part)

    def on_hub(self) -> tuple[HubSet, ...]:
        """Both levels. Its configuration `all` is the two of them, in an order of its own."""
        return tuple(LEVELS.values())

    def data(self, part: Part) -> Sequence[Question]:
        names = RACE_TRAIN if part == "train" else self.reported
        found = (one for name in names for one in self._questions(name))
        return list(islice(found, self.limit))

    def trained_as(self) -> Race:
        return Race.model_validate({name: getattr(self, name) for name in Race.model_fields})

    def _questions(self, name: str) -> Iterator[Question]:
        """Those of a level's split, such as `train/middle`."""
        if self.folder == HUB:
            split, level = name.split("/")
            yield from LEVELS[level].read(SPLITS[split], lambda row: questions(official_article(row)))
        else:
            for path in self._articles(name):
                yield from read_article(path)

    def _articles(self, part: str) -> list[Path]:
        return find_files(self.root, f"{self.data_set}/{part}", ".txt")


def race_card(level: str) -> TaskCard:
    """The card of a level."""
    return TaskCard(
        name=f"race/{level}",
        summary=f"RACE: questions about an article, trained on both levels, tested on {level} school's",
        source="Lai et al., EMNLP 2017, arXiv:1704.04683; SMC-Bench, ICLR 2023, arXiv:2303.02141",
        groups=("race", "commonsense"),
        metric=CHOICE_ACCURACY,
        chance=25.0,
        accepts=("text-encoder", "tiny"),
        published="roberta-large",
        licence=LICENCE,
    )


class RaceMiddle(Race):
    """RACE, reported on the questions of middle schools."""

    card: ClassVar[TaskCard] = race_card("middle")
    reported: ClassVar[Sequence[str]] = TEST[:1]


class RaceHigh(Race):
    """RACE, reported on the questions of high schools."""

    card: ClassVar[TaskCard] = race_card("high")
    reported: ClassVar[Sequence[str]] = TEST[1:]


def read_article(path: Path) -> list[Question]:
    """The questions of one official file: a JSON object with an article and what is asked of it.

    Raises:
        DataError: the file cannot be read or makes no sense; names it and the question.
    """
    try:
        return list(questions(parse_object("".join(lines(path)))))
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None


def official_article(row: JsonRow) -> JsonRow:
    """A row of the hub, which is one question, as an article of the official files that asks no more."""
    asked = {f"{name}s": [any_field(row, name)] for name in ("question", "answer")}
    return {"article": any_field(row, "article"), "options": [any_field(row, "options")], **asked}


def questions(row: JsonRow) -> Iterator[Question]:
    """Every question of an article; ValueError says what is wrong with it.

    Choices may be empty or alike: exams are as they are, and the official files hold such.
    """
    article = " ".join(text_field(row, "article").split())
    asked, options, answers = (list_field(row, name) for name in ("questions", "options", "answers"))
    if not asked:
        raise ValueError("an article without questions")
    if not len(asked) == len(options) == len(answers):
        raise ValueError(f"{len(asked)} questions, {len(options)} lists of options, {len(answers)} answers")
    for number, (said, choices, answer) in enumerate(zip(asked, options, answers, strict=True), 1):
        whole = text_value(said, f"question {number}")
        if not isinstance(choices, list) or len(choices) != len(RACE_LABELS):
            raise ValueError(f"options of question {number} are {quoted_json(choices)}; wanted a list of 4")
        if answer not in RACE_LABELS:
            raise ValueError(
                f"answer of question {number} is {quoted_json(answer)}; wanted one of A, B, C, D"
            )
        filled = [asking(whole, text_value(choice, f"an option of question {number}")) for choice in choices]
        yield Question(tuple((one, article) for one in filled), RACE_LABELS.index(answer))


def asking(question: str, option: str) -> str:
    """Question and option in one: the option in the question's blank, or behind a question without one."""
    return re.sub("_+", lambda _: option, question) if "_" in question else f"{question} {option}"
