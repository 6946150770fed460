"""CommonsenseQA: questions with five choices, trained by ranking the choices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from smc_eval.card import TaskCard
from smc_eval.data_file import DataFile
from smc_eval.recipe import Recipe
from smc_eval.spec import OmitDefault, Outside, digest
from smc_eval.task import Part, Sizes
from smc_eval.tasks.commonsense.json_rows import (
    JsonRow,
    any_field,
    list_field,
    object_field,
    quoted_json,
    read_rows,
    text_field,
)
from smc_eval.tasks.commonsense.multiple_choice import ROBERTA, MultipleChoice, choice_card
from smc_eval.tasks.commonsense.question import PairLayout, Question
from smc_eval.tasks.folder import find_file
from smc_eval.tasks.hub import HUB, HubSet

CSQA_LABELS = ("A", "B", "C", "D", "E")

FILES = {"train": "train_rand_split.jsonl", "test": "dev_rand_split.jsonl"}
"""The random split. The answers of its test file are hidden, so the dev file is reported."""

CSQA_HUB = HubSet("tau/commonsense_qa", "default", ("question", "choices", "answerKey"))
"""The same split on the hub."""

CSQA_ADDRESS = "https://s3.amazonaws.com/commensenseqa"

PINNED = (
    (FILES["train"], "58ffa3c8472410e24b8c43f423d89c8a003d8284698a6ed7874355dedd09a2fb", 3_785_890),
    (FILES["test"], "3210497fdaae614ac085d9eb873dd7f4d49b6f965a93adadc803e1229fd8a02a", 471_653),
)
"""Files in the authors' bucket: name, sha256 and bytes."""

CSQA_NOTE = f"also on the hub, by --data-dir hub: {CSQA_HUB.name}"


class Csqa(MultipleChoice):
    """CommonsenseQA: questions about everyday knowledge, with five choices.

    The net gives each choice a score, and the highest score is its answer. Scores are those of the
    dev file, because the answers of the test file are not public.
    """

    choices: Annotated[int, OmitDefault()] = Field(len(CSQA_LABELS), ge=2, le=len(CSQA_LABELS))
    """Number of choices in training and testing, the right one among them. Fewer make the task easier.
    Every net sees the same ones, and those of `choices=2` are among those of `choices=3`."""

    card: ClassVar[TaskCard] = choice_card(
        "csqa",
        "CommonsenseQA: which of five choices answers a question",
        "Talmor et al., NAACL 2019, arXiv:1811.00937",
        chance=20.0,
        licence="MIT",
    )
    tiny: ClassVar[Mapping[str, Any]] = {"steps": 50, "warmup": 5, "batch_size": 8, "lr": 1e-3}
    data_set: ClassVar[str] = "commonsenseqa"
    layout: ClassVar[PairLayout] = PairLayout(single_separator=True)
    recipe: Annotated[Recipe, Outside()] = Recipe(
        steps=3000,
        batch_size=16,
        bucket=50,
        schedule="linear",
        warmup=150,
        **ROBERTA,
    )

    def data_files(self) -> tuple[DataFile, ...]:
        return tuple(
            DataFile(
                f"{self.data_set}/{name}",
                self.card.licence,
                f"{CSQA_ADDRESS}/{name}",
                sha256,
                size,
                CSQA_NOTE,
            )
            for name, sha256, size in PINNED
        )

    def sizes(self) -> Sizes:
        tokens = 24 * self.choices
        return Sizes(9741, 1221, tokens, "Talmor et al., random split; tokens of all choices, measured")

    def chance(self) -> float:
        return 100 / self.choices

    def files(self) -> tuple[Path, ...]:
        return tuple(self._file(part) for part in FILES)

    def hub_sets(self) -> tuple[HubSet]:
        return (CSQA_HUB,)

    def data(self, part: Part) -> Sequence[Question]:
        if self.folder == HUB:
            split = "train" if part == "train" else "validation"
            found = CSQA_HUB.read(split, lambda row: [parse_question(official_question(row))])
            questions = list(islice(found, self.limit))
        else:
            questions = read_rows(self._file(part), parse_question)[: self.limit]
        return [fewer_choices(question, self.choices) for question in questions]

    def _file(self, part: str) -> Path:
        return find_file(self.root, f"{self.data_set}/{FILES[part]}")


def fewer_choices(question: Question, count: int) -> Question:
    """A question with so many choices: the right one and wrong ones of the least digests, in their order."""
    choices = question.choices
    if count >= len(choices):
        return question
    wrong = [place for place in range(len(choices)) if place != question.answer]
    wrong.sort(key=lambda place: digest(choices[place]))
    places = sorted([question.answer, *wrong[: count - 1]])
    return Question(tuple(choices[place] for place in places), places.index(question.answer))


def official_question(row: JsonRow) -> JsonRow:
    """A row of the hub in the form of the official files; a ValueError describes what is wrong."""
    choices = object_field(row, "choices")
    labels, texts = list_field(choices, "label"), list_field(choices, "text")
    if len(labels) != len(texts):
        raise ValueError(f"{len(labels)} labels of choices, {len(texts)} texts")
    paired = [{"label": label, "text": text} for label, text in zip(labels, texts, strict=True)]
    return {**row, "question": {"stem": any_field(row, "question"), "choices": paired}}


def parse_question(row: JsonRow) -> Question:
    """The question of a row of the official files; a ValueError describes what is wrong."""
    fields = object_field(row, "question")
    stem = text_field(fields, "stem")
    texts = dict[str, str]()
    for choice in list_field(fields, "choices"):
        match choice:
            case {"label": label, "text": _}:
                if label not in CSQA_LABELS:
                    raise ValueError(
                        f"a choice is labelled {quoted_json(label)}; wanted {', '.join(CSQA_LABELS)}"
                    )
                if label in texts:
                    raise ValueError(f"two choices are labelled {label!r}")
                texts[label] = text_field(choice, "text")
            case _:
                raise ValueError(f"a choice is {quoted_json(choice)}; wanted an object with label and text")
    if missing := [label for label in CSQA_LABELS if label not in texts]:
        raise ValueError(f"no choice is labelled {', '.join(missing)}; wanted {', '.join(CSQA_LABELS)}")
    if not row.get("answerKey"):
        raise ValueError("no 'answerKey', as in the official test file; wanted one of A, B, C, D, E")
    if (key := any_field(row, "answerKey")) not in CSQA_LABELS:
        raise ValueError(f"'answerKey' is {quoted_json(key)}; wanted one of {', '.join(CSQA_LABELS)}")
    choices = tuple((f"Q: {stem}", f"A: {text}") for text in texts.values())
    return Question(choices, list(texts).index(key))
