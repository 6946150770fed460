"""One page for each method, from its card, its options, its plan and the table of methods."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import get_args

from smc_eval.cli.option_words import TYPES, OptionWords, options_in_words, pairs_in_words
from smc_eval.cli.show import NOT_COMPARED, WHEN, sample_plan
from smc_eval.method import Method
from smc_eval.target import Distribution
from smc_eval_docs.cards import method_path, own_methods
from smc_eval_docs.page import ROOT, Page, code, fenced, paragraphs, plain, sentence, table
from smc_eval_docs.published import published_by_task

WORDS = {word for kind, word in TYPES.items() if kind is not bool}
"""Words for types; all else in a type is a value that users type."""

SAMPLES = {"custom": "--model DIR --recipe steps=0", "none": "--model tiny"}
"""Flags of the command of a page, where they are not those of a method that prunes."""


def method_pages() -> Iterator[Page]:
    """All pages of methods."""
    for kind in own_methods():
        yield Page(method_path(kind.card.name), kind.card.name, method_text(kind))


def method_text(kind: type[Method]) -> str:
    """The page of a method."""
    card = kind.card
    word, stages = sample_plan(kind())
    flags = SAMPLES.get(card.when, f"--model tiny --sparsity {word}")
    blocks = [
        f"# {card.name}",
        sentence(card.summary),
        table(("", ""), _facts(kind)),
        fenced(f"smc-eval {flags} --method {card.name} --tasks csqa", "sh"),
        "## What it does",
        paragraphs(inspect.cleandoc(vars(kind).get("__doc__") or card.summary)),
        "## Options",
        option_table(kind),
    ]
    if kind.paper:
        blocks.append(f"Under `--protocol paper`: {code(pairs_in_words(kind.paper))}.")
    if word:
        steps = "\n".join(f"{n}. {plain(text)}" for n, text in enumerate(stages, 1))
        blocks += [f"## Plan at {word}", steps]
    blocks += published_by_task(card.name)
    return "\n\n".join(blocks) + "\n"


def _facts(kind: type[Method]) -> Iterator[tuple[str, str]]:
    """What the card says, and the columns of the table of methods."""
    card = kind.card
    yield "source", plain(card.source)
    yield "prunes", WHEN[card.when]
    measured = measured_columns().get(card.name, {})
    if card.when not in {"none", "custom"}:
        yield "what decides", plain(card.criterion)
        yield "patterns", ", ".join(map(code, card.patterns))
        others = [one for one in card.distributions or get_args(Distribution) if one != card.distribution]
        also = f"; also {', '.join(map(code, others))}" if others else ""
        yield "distribution", f"{code(card.distribution)} by default{also}"
        if card.scopes:
            yield "scopes", ", ".join(map(code, card.scopes))
        yield "cost", measured.get("cost", "")
        yield "cannot", measured.get("cannot") or "nothing is refused"
        yield "equals", plain(card.equals or NOT_COMPARED)
    yield "class", code(kind.identity)


@cache
def measured_columns() -> Mapping[str, Mapping[str, str]]:
    """Cost and limits of each method, from the table in docs/methods.md: counting them needs torch.

    `benchmarks/methods.py` writes that table, and a test compares it with the code.
    """
    text = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    columns: dict[str, dict[str, str]] = {}
    head: list[str] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells[:1] == ["method"]:
            head = cells
        elif head and len(cells) == len(head) and (name := re.fullmatch(r"`([^`]+)`", cells[0])):
            columns.setdefault(name[1], {}).update(zip(head, cells, strict=True))
    return columns


def option_table(kind: type[Method]) -> str:
    """The options of a method."""
    options = options_in_words(kind)
    if not options:
        return "None."
    return table(("option", "values", "default", "meaning"), map(option_row, options))


def option_row(option: OptionWords) -> tuple[str, str, str, str]:
    """The row of an option."""
    kinds = option.kind.split("|")
    values = " or ".join(
        kind if kind in WORDS or kind.startswith("list of") else code(kind) for kind in kinds
    )
    return code(option.name), values, code(option.default), plain(option.text)
