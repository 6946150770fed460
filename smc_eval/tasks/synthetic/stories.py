"""Synthetic MAWPS, ASDiv-A and SVAMP: word problems from templates, in the official CSV layouts.

"Ben had 31 coins in 4 bags and lost two. How many?" The verb decides the equation: one operator, or two of
them. Its operands are the first number and the constant 2; a second number is there to be ignored. Unlike the
real ASDiv-A, the synthetic one has a constant too.

One problem of twenty cannot be solved, in training and in testing, and no word tells which: its equation has
the opposite operator, or a constant that is too rare to become a symbol. So the ceiling is 95 %: a net that
has learned the verbs scores 95, and one that scores more was lucky. No test problem is in a training file.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle, islice
from typing import NamedTuple

from smc_eval.tasks.equation import value
from smc_eval.tasks.synthetic.draws import Draws

STORY_FOLDS = 5

STORY_NAMES = (
    "Anna",
    "Ben",
    "Clara",
    "David",
    "Emma",
    "Felix",
    "Grace",
    "Henry",
    "Iris",
    "Jack",
    "Kate",
    "Leo",
)
STORY_THINGS = ("apples", "books", "coins", "marbles", "shells", "stamps")


class Template(NamedTuple):
    """A kind of story. Its words decide its equation, but for the wrong ones."""

    body: str
    ask: str
    """The question at its end."""
    equation: str
    kind: str
    sizes: tuple[tuple[int, int], ...]
    """Smallest and largest value of each number."""


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
        return self.template.ask


CHANGES = (
    ("got two", "+ number0 2.0", "Addition"),
    ("lost two", "- number0 2.0", "Subtraction"),
    ("doubled them", "* number0 2.0", "Multiplication"),
    ("halved them", "/ number0 2.0", "Common-Division"),
    ("found two twice", "+ + number0 2.0 2.0", "Sum"),
)
"""What happens in a story, its equation, and its kind."""

PLACES = ("", "", " in number1 bags")
"""Where the things are: a third of the stories have a number that is to be ignored."""

STORY_TEMPLATES = tuple(
    Template(
        f"{{name}} had number0 {{thing}}{place} and {change} .",
        "How many ?",
        equation,
        kind,
        ((5, 80), (3, 9))[: 1 + bool(place)],
    )
    for place in PLACES
    for change, equation, kind in CHANGES
)

STORY_RARE = Template(
    "{name} saved number0 quarters by selling {thing} .",
    "How many cents were saved ?",
    "* number0 25.0",
    "Multiplication",
    ((2, 30),),
)
"""Its constant is too rare to become a symbol. In SVAMP, 16 training targets have such constants."""


WRONG_STORY_EVERY = 20
"""Of so many problems in a row, one cannot be solved."""

OPPOSITE = {"+": "-", "-": "+", "*": "/", "/": "*"}
"""The operator of a wrong equation."""

STORIES, TRAINED = 200, 160
"""Problems of a set, and those of them that a net is trained on: of each fold, or of the one split."""


def mawps() -> dict[str, bytes]:
    """Five folds of 160 training and 40 test problems. Two of the 200 have the rare constant."""
    draws = Draws("cv_mawps, version 2")
    stories = _mixed(draws, cycle(STORY_TEMPLATES), rare=2)
    return _folds("cv_mawps", [_row(story, float) for story in stories])


def asdiv() -> dict[str, bytes]:
    """Five folds of 160 training and 40 test problems, in lower case, as in ASDiv-A."""
    draws = Draws("cv_asdiv-a, version 2")
    stories = _mixed(draws, cycle(STORY_TEMPLATES), rare=0)
    return _folds("cv_asdiv-a", [_row(story, int, Grade="1", Type=story.template.kind) for story in stories])


def svamp() -> dict[str, bytes]:
    """160 training problems, 40 in the style of MAWPS and 120 in that of ASDiv-A; 40 test problems."""
    draws = Draws("mawps-asdiv-a_svamp, version 2")
    stories = _mixed(draws, cycle(STORY_TEMPLATES), rare=1)
    train = [_row(story, float, "Ques") for story in stories[: TRAINED // 4]]
    train += [_row(story, int, "Ques") for story in stories[TRAINED // 4 : TRAINED]]
    variation = {"Variation Type": "11"}
    test = [_row(story, int, "Ques", Type=story.template.kind, **variation) for story in stories[TRAINED:]]
    return {
        "mawps-asdiv-a_svamp/train.csv": _csv(draws.shuffled(train)),
        "mawps-asdiv-a_svamp/dev.csv": _csv(test),
    }


def _mixed(draws: Draws, templates: Iterable[Template], rare: int) -> list[Story]:
    """Stories in random order, with one of `WRONG_STORY_EVERY` that cannot be solved: first the rare ones.

    No two such stories have the same place in their row, so that each fold tests two of them.
    """
    stories = draws.shuffled(_stories(draws, islice(templates, STORIES - rare)))
    others = _stories(draws, [STORY_RARE] * rare)
    for row in range(STORIES // WRONG_STORY_EVERY):
        at = row * WRONG_STORY_EVERY + row
        if others:
            stories.insert(at, others.pop())
        else:
            stories[at] = _wrong(stories[at])
    return stories


def _wrong(story: Story) -> Story:
    """The same story with the opposite operator in its equation."""
    operator, *leaves = story.template.equation.split()
    equation = " ".join([OPPOSITE[operator], *leaves])
    return story._replace(template=story.template._replace(equation=equation))


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
        "group_nums": str(_groups(question.split())),
        **further,
        **texts,
    }


def _groups(words: Sequence[str]) -> list[int]:
    """Windows of three words around each number and the last word, past the end as some of MAWPS."""
    centres = [at for at, word in enumerate(words) if word.startswith("number")]
    return [at for centre in [*centres, len(words) - 1] for at in range(centre - 1, centre + 2) if at >= 0]


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
