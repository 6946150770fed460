"""One page for each task, from its card, its options and its recipes; and the list of all tasks."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from smc_eval.capabilities import data_files, published_sizes
from smc_eval.cli.option_words import options_in_words, pairs_in_words, recipe_in_words
from smc_eval.experiment.grid import recipe_of
from smc_eval.protocol import PROTOCOLS
from smc_eval.task import Task
from smc_eval_docs.cards import own_tasks, task_path
from smc_eval_docs.methods import option_row
from smc_eval_docs.page import Page, code, fenced, paragraphs, plain, sentence, table
from smc_eval_docs.published import published_by_method

LIST = "tasks.md"
"""The list of all tasks."""

INTRODUCTION = (
    "All built-in tasks. `--tasks` takes names and groups, and `--tasks all` takes all of them. Without "
    "`--data-dir` they read small made-up data: such scores are trials, not results. [Real data](data.md) "
    "says what to download."
)

MORE = (
    "The plugins [smc-eval-structures](plugins/smc-eval-structures.md) and "
    "[smc-eval-lm](plugins/smc-eval-lm.md) bring more. [A task in 60 lines](task.md) is about your own.\n"
)


def task_pages() -> Iterator[Page]:
    """The list of tasks, and a page for each."""
    yield Page(LIST, "All tasks", list_text())
    for kind in own_tasks():
        yield Page(task_path(kind.card.name), kind.card.name, task_text(kind))


def list_text() -> str:
    """The list of tasks."""
    rows = [
        (
            f"[{code(card.name)}]({task_path(card.name)})",
            plain(card.summary),
            plain(card.metric),
            str(card.folds or "one split"),
            ", ".join(map(code, card.groups)),
            plain(card.published),
        )
        for card in (kind.card for kind in own_tasks())
    ]
    return "\n\n".join(
        [
            "# Tasks",
            INTRODUCTION,
            table(("task", "what it asks", "metric", "folds", "groups", "published with"), rows),
            MORE,
        ]
    )


def task_text(kind: type[Task]) -> str:
    """The page of a task."""
    card = kind.card
    model = "tiny" if "tiny" in card.accepts else "scratch"
    blocks = [
        f"# {card.name}",
        sentence(card.summary),
        table(("", ""), _facts(kind)),
        fenced(f"smc-eval --model {model} --method omp-after --tasks {card.name} --sparsity 0.5,0.8", "sh"),
    ]
    if docstring := vars(kind).get("__doc__"):  # its own only: that of a base class is about other tasks
        blocks += ["## What it asks", paragraphs(inspect.cleandoc(docstring))]
    blocks += ["## Options", _options(kind)]
    if kind.paper:
        blocks.append(f"Under `--protocol paper`: {code(pairs_in_words(kind.paper))}.")
    blocks += ["## Recipe and cost", table(("", ""), _recipes(kind)), *_data(kind)]
    blocks += published_by_method(card.name)
    return "\n\n".join(blocks) + "\n"


def _facts(kind: type[Task]) -> Iterator[tuple[str, str]]:
    card = kind.card
    yield "source", plain(card.source)
    yield (
        "metric",
        f"{plain(card.metric) or 'that of the chosen task'}; a random guess scores {card.chance:g}",
    )
    yield "groups", ", ".join(map(code, card.groups)) or "none"
    yield "folds", str(card.folds or "none: one split")
    yield "models", ", ".join(map(code, card.accepts))
    yield "published with", code(card.published)
    yield "licence of the data", plain(card.licence)
    yield "class", code(kind.identity)


def _options(kind: type[Task]) -> str:
    options = options_in_words(kind, omit=Task.model_fields)
    if not options:
        return "None of its own."
    return table(("option", "values", "default", "meaning"), map(option_row, options))


def _recipes(kind: type[Task]) -> Iterator[tuple[str, str]]:
    """The recipes, and what a training of the dense net costs."""
    task, sizes = kind(), published_sizes(kind())
    for name, protocol in PROTOCOLS.items():
        recipe = recipe_of(kind, task.card.published, protocol)
        yield f"recipe, protocol {code(name)}", code(recipe_in_words(recipe))
        if sizes:
            steps = recipe.total(sizes.train)
            yield f"steps of a training, protocol {code(name)}", f"{steps:,}"
    if kind.tiny:
        yield "with `--model tiny`", code(pairs_in_words(kind.tiny))
    if sizes:
        yield "examples", f"{sizes.train:,} for training, {sizes.test:,} for the score"
        yield "tokens of an example", f"{sizes.tokens:,}, roughly"
        yield "source of these sizes", plain(sizes.source)


def _data(kind: type[Task]) -> list[str]:
    """The files that the task reads."""
    files = data_files(kind())
    if not files:
        return []
    rows = [(code(file.path), plain(file.licence), plain(file.address or file.note)) for file in files]
    return ["## Data", "See [Real data](../data.md).", table(("file or folder", "licence", "from"), rows)]
