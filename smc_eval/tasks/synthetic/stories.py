"""Synthetic MAWPS, ASDiv-A and SVAMP: word problems from templates, in the official CSV layouts."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle, islice
from typing import NamedTuple

from smc_eval.tasks.equation import value
from smc_eval.tasks.synthetic.draws import Draws

STORY_FOLDS = 5

STORY_NAMES = ("Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Henry")
STORY_THINGS = ("apples", "books", "coins", "marbles", "shells", "stamps")


class Template(NamedTuple):
    """A kind of story. Its words alone decide its equation, so that a net can learn it."""

    body: str
    ask: str
    """The question at its end."""
    equation: str
    kind: str
    sizes: tuple[tuple[int, int], ...]
    """Smallest and largest value of each number."""
    whole: bool = False
    """Multiply the first number by the second, so that their quotient is an integer."""


class Story(NamedTuple):
    """A template with name, thing and numbers filled in."""

    template: Template
    name: str
    thing: str
    numbers: tuple[int, ...]
    """In the order of the template."""

    @property
    def body(self) -> str:
        return self.template.body.format(name=self.name, thing=self.thing)

    @property
    def ask(self) -> str:
        return self.template.ask.format(name=self.name, thing=self.thing)


WITHOUT_CONSTANT = (
    Template(
        "{name} has number0 {thing} in a box and number1 {thing} in a bag .",
        "How many {thing} does {name} have altogether ?",
        "+ number0 number1",
        "Addition",
        ((2, 60), (2, 60)),
    ),
    Template(
        "{name} had number0 {thing} and gave number1 of them away .",
        "How many {thing} are left ?",
        "- number0 number1",
        "Subtraction",
        ((20, 90), (2, 19)),
    ),
    Template(
        "{name} owns number0 {thing} while a neighbour owns number1 {thing} .",
        "How many more {thing} than {name} does the neighbour own ?",
        "- number1 number0",
        "Subtraction",
        ((2, 19), (20, 90)),
    ),
    Template(
        "{name} filled number0 shelves with number1 {thing} on each shelf .",
        "How many {thing} are on the shelves ?",
        "* number0 number1",
        "Multiplication",
        ((2, 12), (2, 19)),
    ),
    Template(
        "{name} shares number0 {thing} equally among number1 children .",
        "How many {thing} does each child get ?",
        "/ number0 number1",
        "Common-Division",
        ((2, 15), (2, 9)),
        whole=True,
    ),
    Template(
        "{name} counted number0 red {thing} , number1 green {thing} and number2 blue {thing} .",
        "How many {thing} did {name} count in total ?",
        "+ + number0 number1 number2",
        "Sum",
        ((2, 40), (2, 40), (2, 40)),
    ),
    Template(
        "{name} started with number0 {thing} , bought number1 more and then lost number2 .",
        "How many {thing} did {name} end with ?",
        "- + number0 number1 number2",
        "Addition",
        ((20, 60), (2, 40), (2, 19)),
    ),
    Template(
        "There are number0 {thing} and number1 spoons here . {name} brings number2 more {thing} .",
        "How many {thing} are here now ?",
        "+ number0 number2",
        "Addition",
        ((2, 60), (2, 60), (2, 60)),
    ),
)

WITH_CONSTANT = (
    Template(
        "{name} paid number0 dollars for the {thing} .",
        "How many cents did the {thing} cost ?",
        "* number0 100.0",
        "Multiplication",
        ((2, 40),),
    ),
    Template(
        "{name} ordered number0 dozen {thing} .",
        "How many is that ?",
        "* number0 12.0",
        "Multiplication",
        ((2, 30),),
    ),
)

STORY_RARE = Template(
    "{name} saved number0 quarters by selling {thing} .",
    "How many cents were saved ?",
    "* number0 25.0",
    "Multiplication",
    ((2, 30),),
)
"""Its constant is too rare to become a symbol. In SVAMP, 16 training targets have such constants."""


def mawps() -> dict[str, bytes]:
    """Five folds of 80 training and 20 test problems.

    In each fold, four test questions are also in the training part with other numbers, as many
    questions of MAWPS are.
    """
    draws = Draws("cv_mawps, version 1")
    stories = draws.shuffled(
        _stories(draws, [*islice(cycle(WITH_CONSTANT + WITHOUT_CONSTANT), 88), STORY_RARE, STORY_RARE])
    )
    # the repeated story at 90 + k falls into another fold than its original at k + 1
    stories += [story._replace(numbers=_numbers(draws, story.template)) for story in stories[1:11]]
    return _folds("cv_mawps", [_row(story, float) for story in stories])


def asdiv() -> dict[str, bytes]:
    """Five folds of 80 training and 20 test problems, in lower case and without constants, as in ASDiv-A."""
    draws = Draws("cv_asdiv-a, version 1")
    stories = draws.shuffled(_stories(draws, islice(cycle(WITHOUT_CONSTANT), 100)))
    return _folds("cv_asdiv-a", [_row(story, int, Grade="1", Type=story.template.kind) for story in stories])


def svamp() -> dict[str, bytes]:
    """80 training problems, 51 in the style of MAWPS and 29 in that of ASDiv-A; 20 test problems."""
    draws = Draws("mawps-asdiv-a_svamp, version 1")
    stories = _stories(
        draws,
        [
            *islice(cycle(WITH_CONSTANT + WITHOUT_CONSTANT), 50),
            STORY_RARE,
            *islice(cycle(WITHOUT_CONSTANT), 49),
        ],
    )
    train = [_row(story, float, "Ques") for story in stories[:51]]
    train += [_row(story, int, "Ques") for story in stories[51:80]]
    variation = {"Variation Type": "11"}
    test = [_row(story, int, "Ques", Type=story.template.kind, **variation) for story in stories[80:]]
    return {
        "mawps-asdiv-a_svamp/train.csv": _csv(draws.shuffled(train)),
        "mawps-asdiv-a_svamp/dev.csv": _csv(test),
    }


def _stories(draws: Draws, templates: Iterable[Template]) -> list[Story]:
    """One story for each template; no two have the same words."""
    stories: dict[tuple[str, str], Story] = {}
    for template in templates:
        story = Story(template, draws.pick(STORY_NAMES), draws.pick(STORY_THINGS), _numbers(draws, template))
        while (story.body, story.ask) in stories:
            story = story._replace(name=draws.pick(STORY_NAMES), thing=draws.pick(STORY_THINGS))
        stories[story.body, story.ask] = story
    return list(stories.values())


def _numbers(draws: Draws, template: Template) -> tuple[int, ...]:
    """Numbers within the template's sizes, all different, so that a wrong equation has a wrong value."""
    while True:
        numbers = [draws.between(low, high) for low, high in template.sizes]
        if template.whole:
            numbers[0] *= numbers[1]
        if len(set(numbers)) == len(numbers):
            return tuple(numbers)


def _row(
    story: Story, written: type[int | float], ask: str = "Ques_Statement", **further: str
) -> dict[str, str]:
    """A row in the style of MAWPS (numbers as `8.0`), or of ASDiv-A (`8`, and lower case).

    `ask` is the column of the question's last sentence: its name differs between the official files.
    """
    texts = {"Body": story.body, ask: story.ask}
    if written is int:
        texts = {column: text.lower() for column, text in texts.items()}
    question = " ".join(texts.values())
    equation = story.template.equation.replace("number", "N").split()
    return {
        "Question": question,
        "Numbers": " ".join(str(written(number)) for number in story.numbers),
        "Equation": story.template.equation,
        "Answer": str(value(equation, [float(number) for number in story.numbers])),
        "group_nums": str(_groups(question.split(), story)),
        **further,
        **texts,
    }


def _groups(words: Sequence[str], story: Story) -> list[int]:
    """Windows of three words around each number and around the thing that the question asks for.

    If the question names no thing, the last window reaches past the end, as some of MAWPS do.
    """
    target = len(words) - 1
    if story.thing in story.ask:
        target = max(at for at, word in enumerate(words) if word == story.thing)
    centres = [at for at, word in enumerate(words) if word.startswith("number")]
    return [at for centre in [*centres, target] for at in range(centre - 1, centre + 2) if at >= 0]


def _folds(name: str, rows: Sequence[Mapping[str, str]]) -> dict[str, bytes]:
    files = {}
    for fold in range(STORY_FOLDS):
        train = [row for at, row in enumerate(rows) if at % STORY_FOLDS != fold]
        files[f"{name}/fold{fold}/train.csv"] = _csv(train)
        files[f"{name}/fold{fold}/dev.csv"] = _csv(rows[fold::STORY_FOLDS])
    return files


def _csv(rows: Sequence[Mapping[str, str]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
