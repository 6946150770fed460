"""Synthetic CommonsenseQA, WinoGrande and RACE: a few words answer a question; a tenth are labelled wrong.

CommonsenseQA and RACE: "Where did Ben leave the hat?" with the choices "by the door", "twice a year", "ten
of them", … Exactly one choice is a place, and it is the answer. WinoGrande: "Ben took the oven and not the
fridge because the _ was hot inside." The last words decide.

One answer of ten is wrong on purpose, in training and in testing; of WinoGrande one pair of ten, in
testing alone. Nothing in the text tells which. So the ceiling is 90 %: a net that has learned the rule
scores 90, and one that scores more was lucky. Guessing scores 20, 50 and 25 %, as with the real data. No
test question stands in a training file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
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

WRONG_EVERY = 10
"""Of so many answers in a row, the last is wrong: a tenth, spread evenly over every file."""

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
    draws = Draws("commonsenseqa, version 2")
    wrong = [*_wrong(96), *_wrong(40)]
    rows = [_csqa_row(draws, number, wrong=one) for number, one in enumerate(wrong)]
    return {
        "commonsenseqa/train_rand_split.jsonl": _lines(rows[:96]),
        "commonsenseqa/dev_rand_split.jsonl": _lines(rows[96:]),
    }


def _wrong(count: int) -> list[bool]:
    """Which of `count` answers in a row are wrong."""
    return [number % WRONG_EVERY == WRONG_EVERY - 1 for number in range(count)]


def _csqa_row(draws: Draws, number: int, *, wrong: bool) -> dict[str, Any]:
    thing, (right, choices) = draws.pick(CHOICE_THINGS), _choices(draws, 5, wrong=wrong)
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


def _choices(draws: Draws, count: int, *, wrong: bool) -> tuple[str, list[str]]:
    """The letter of the one choice that is a place, or of another if `wrong`; and all `count` choices."""
    place = draws.pick(CHOICE_PLACES)
    choices = draws.shuffled([place, *draws.shuffled(NOT_PLACES)[: count - 1]])
    answer = draws.pick([choice for choice in choices if choice != place]) if wrong else place
    return "ABCDE"[choices.index(answer)], choices


def winogrande() -> dict[str, bytes]:
    """Training files of five sizes, each the beginning of the next, and 40 test sentences.

    Both sentences of a pair are in the same file, as in WinoGrande.
    """
    draws = Draws("winogrande_1.1, version 2")
    sentences = product(OBJECT_PAIRS, (False, True), CHOICE_NAMES)
    rows = [
        row
        for number, ((pair, turned, name), wrong) in enumerate(
            zip(draws.shuffled(list(sentences)), [*[False] * 64, *_wrong(20)], strict=False)
        )
        for row in _winogrande_pair(pair, name, number, turned=turned, wrong=wrong)
    ]
    files = {f"winogrande_1.1/train_{size}.jsonl": _lines(rows[:count]) for size, count in TRAIN_ROWS.items()}
    return files | {"winogrande_1.1/dev.jsonl": _lines(rows[128:])}


def _winogrande_pair(
    pair: tuple[str, str, str, str], name: str, number: int, *, turned: bool, wrong: bool
) -> Iterable[dict[str, Any]]:
    """Two sentences that differ only in the words that decide the answer; both answers are wrong, or none."""
    options = pair[1::-1] if turned else pair[:2]
    for which, (thing, truth) in enumerate(zip(pair[:2], pair[2:], strict=True), 1):
        yield {
            "qID": f"TWIN{number:026}-{which}",
            "sentence": f"{name} took the {options[0]} and not the {options[1]} because the _ {truth}.",
            "option1": options[0],
            "option2": options[1],
            "answer": "12"[(options[0] == thing) == wrong],
        }


def race() -> dict[str, bytes]:
    """Articles of two levels with two questions each: 24 for training, 4 for dev and 20 for testing."""
    draws = Draws("RACE, version 2")
    files = {}
    for part, count in (("train", 24), ("dev", 4), ("test", 20)):
        for level, length in (("middle", 2), ("high", 3)):
            for number in range(1, count // 2 + 1):
                name, wrong = f"{level}{number}.txt", _wrong(count)[2 * number - 2 : 2 * number]
                content = json.dumps(_article(draws, length, wrong) | {"id": name}, ensure_ascii=False)
                files[f"RACE/{part}/{level}/{number}.txt"] = content.encode()
    return files


def _article(draws: Draws, length: int, wrong: Sequence[bool]) -> dict[str, Any]:
    """An article of `length` sentences, and two questions about a place, the second with a blank.

    `wrong` is whether the answer of each is to be wrong.
    """
    name, thing = draws.pick(CHOICE_NAMES), draws.pick(CHOICE_THINGS)
    questions = [draws.pick(WHERE_QUESTIONS), draws.pick(BLANK_QUESTIONS)]
    both = [_choices(draws, 4, wrong=one) for one in wrong]
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
