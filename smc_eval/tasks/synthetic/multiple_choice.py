"""Synthetic CommonsenseQA, WinoGrande and RACE: questions that the text of a choice alone answers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import cycle, islice
from typing import Any

from smc_eval.tasks.synthetic.draws import Draws

CHOICE_NAMES = ("Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Henry")

CHOICE_THINGS = ("apple", "book", "coin", "cup", "hat", "key", "lamp", "shell")

CHOICE_PLACES = (
    "in the attic",
    "in the garden",
    "in the kitchen",
    "on the shelf",
    "under the bed",
    "by the door",
)

NOT_PLACES = (
    "very slowly", "last summer", "a red one", "seven of them", "because of rain", "twice a year",
    "a blue one", "with a hammer", "ten of them", "rather loudly", "next winter", "out of joy",
)  # fmt: skip
"""Choices that are no places, and so never the answer."""

WHERE_QUESTIONS = (
    "Where is the {thing}?",
    "Where did {name} leave the {thing}?",
    "{name} looks for the {thing}. Where may it be?",
)

OBJECT_PAIRS = (
    ("fish", "bird", "swam through the sea", "flew over the sea"),
    ("stone", "feather", "was so heavy", "was so light"),
    ("knife", "pillow", "was so sharp", "was so soft"),
    ("oven", "fridge", "was hot inside", "was cold inside"),
    ("lamp", "bell", "shone at night", "rang at night"),
    ("car", "boat", "drove down the road", "sailed down the river"),
)
"""Two things, a statement about the first alone, and a statement about the second alone."""

TRAIN_ROWS = {"xs": 16, "s": 32, "m": 64, "l": 96, "xl": 128}

ARTICLE_SENTENCES = (
    "{name} came home late and was tired.",
    "{name} had bought a {thing} in town.",
    "Nobody knew where the {thing} came from.",
    "{name} put the {thing} away.",
    "It was a quiet evening.",
)

BLANK_QUESTIONS = ("The {thing} is _ .", "{name} found the {thing} _ at last.")


def csqa() -> dict[str, bytes]:
    """96 training and 40 test questions about a place. Only the right choice is a place."""
    draws = Draws("commonsenseqa, version 1")
    rows = [_csqa_row(draws, number) for number in range(136)]
    return {
        "commonsenseqa/train_rand_split.jsonl": _lines(rows[:96]),
        "commonsenseqa/dev_rand_split.jsonl": _lines(rows[96:]),
    }


def _csqa_row(draws: Draws, number: int) -> dict[str, Any]:
    thing, (right, choices) = draws.pick(CHOICE_THINGS), _choices(draws, 5)
    labelled = zip("ABCDE", choices, strict=True)
    return {
        "answerKey": right,
        "id": f"{number:032x}",
        "question": {
            "question_concept": thing,
            "choices": [{"label": label, "text": words} for label, words in labelled],
            "stem": draws.pick(WHERE_QUESTIONS).format(thing=thing, name=draws.pick(CHOICE_NAMES)),
        },
    }


def _choices(draws: Draws, count: int) -> tuple[str, list[str]]:
    """The letter of the one choice that is a place, and all `count` choices."""
    place = draws.pick(CHOICE_PLACES)
    choices = draws.shuffled([place, *draws.shuffled(NOT_PLACES)[: count - 1]])
    return "ABCDE"[choices.index(place)], choices


def winogrande() -> dict[str, bytes]:
    """Training files of five sizes, each the beginning of the next, and 40 test sentences.

    Both sentences of a pair are in the same file, as in WinoGrande.
    """
    draws = Draws("winogrande_1.1, version 1")
    rows = [
        row
        for number, pair in enumerate(islice(cycle(OBJECT_PAIRS), 84))
        for row in _winogrande_pair(draws, pair, number)
    ]
    files = {f"winogrande_1.1/train_{size}.jsonl": _lines(rows[:count]) for size, count in TRAIN_ROWS.items()}
    return files | {"winogrande_1.1/dev.jsonl": _lines(rows[128:])}


def _winogrande_pair(draws: Draws, pair: tuple[str, str, str, str], number: int) -> Iterable[dict[str, Any]]:
    """Two sentences that differ only in the words that decide the answer."""
    options, name = draws.shuffled(pair[:2]), draws.pick(CHOICE_NAMES)
    for which, (thing, truth) in enumerate(zip(pair[:2], pair[2:], strict=True), 1):
        yield {
            "qID": f"TWIN{number:026}-{which}",
            "sentence": f"{name} took the {options[0]} and not the {options[1]} because the _ {truth}.",
            "option1": options[0],
            "option2": options[1],
            "answer": str(options.index(thing) + 1),
        }


def race() -> dict[str, bytes]:
    """Articles of two levels with two questions each: 24 for training, 4 for dev and 20 for testing."""
    draws = Draws("RACE, version 1")
    files = {}
    for part, count in (("train", 24), ("dev", 4), ("test", 20)):
        for level, length in (("middle", 2), ("high", 3)):
            for number in range(1, count // 2 + 1):
                name = f"{level}{number}.txt"
                content = json.dumps(_article(draws, length) | {"id": name}, ensure_ascii=False)
                files[f"RACE/{part}/{level}/{number}.txt"] = content.encode()
    return files


def _article(draws: Draws, length: int) -> dict[str, Any]:
    """An article of `length` sentences, and two questions about a place, the second with a blank."""
    name, thing = draws.pick(CHOICE_NAMES), draws.pick(CHOICE_THINGS)
    questions = [draws.pick(WHERE_QUESTIONS), draws.pick(BLANK_QUESTIONS)]
    both = [_choices(draws, 4) for _ in questions]
    return {
        "answers": [right for right, _ in both],
        "options": [choices for _, choices in both],
        "questions": [question.format(name=name, thing=thing) for question in questions],
        "article": " ".join(
            sentence.format(name=name, thing=thing) for sentence in draws.shuffled(ARTICLE_SENTENCES)[:length]
        ),
    }


def _lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
