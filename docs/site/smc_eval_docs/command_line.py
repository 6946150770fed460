"""All verbs of the program with their arguments and flags, from the commands themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from smc_eval.cli.verbs import VERBS, verb_command
from smc_eval_docs.page import Page, code, plain, table

PATH = "verbs.md"
"""The page of verbs and flags."""

INTRODUCTION = (
    "Made from the program itself; `smc-eval VERB --help` prints the same. Flags without a verb mean `run`. "
    "[Command line](command-line.md) explains the most important ones with examples."
)


def command_line_page() -> Page:
    """The page of verbs and flags."""
    rows = [(f"[`smc-eval {name}`](#smc-eval-{name})", verb.summary) for name, verb in VERBS.items()]
    blocks = [
        "# Verbs and flags",
        INTRODUCTION,
        table(("verb", "what it does"), rows),
    ]
    for name in VERBS:
        blocks += verb_blocks(name, verb_command(name), "##")
    return Page(PATH, "Verbs and flags", "\n\n".join(blocks) + "\n")


def verb_blocks(words: str, command: Any, level: str) -> Iterator[str]:
    """The section of a verb, and those of its own verbs."""
    yield f"{level} smc-eval {words}"
    yield _help(command.help or "")
    inner = getattr(command, "commands", {})
    for name, verb in inner.items():
        yield from verb_blocks(f"{words} {name}", verb, f"{level}#")
    if inner:
        return
    with command.make_context(words, [], resilient_parsing=True) as context:
        for title, kind in (("argument", "argument"), ("flag", "option")):
            records = [
                parameter.get_help_record(context)
                for parameter in command.get_params(context)
                if parameter.param_type_name == kind and "--help" not in parameter.opts
            ]
            rows = [(code(_name(name)), plain(text)) for name, text in filter(None, records)]
            if rows:
                yield table((title, "meaning"), rows)


def _name(record: str) -> str:
    """A flag with its placeholder, without the Python type that click adds to some."""
    return re.sub(r" <.*>$", "", record)


def _help(text: str) -> str:
    """The help of a verb, which ends at a form feed."""
    return "\n\n".join(plain(" ".join(part.split())) for part in text.partition("\f")[0].split("\n\n"))
