"""Commands of a block of shell, as a shell would see their words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping

ASSIGNMENT = re.compile(r"(\w+)=(.*)", re.DOTALL)


def commands_of(text: str, variables: Mapping[str, str] | None = None) -> Iterator[list[str]]:
    """The words of each command: comments and redirections are left out, variables are put in.

    A variable that an earlier line sets is known from there on; `variables` has those of other blocks.
    """
    known = dict(variables or {})
    for line in text.replace("\\\n", " ").splitlines():
        for name in sorted(known, key=len, reverse=True):
            line = re.sub(rf"\$\{{?{name}\b\}}?", lambda _, name=name: known[name], line)  # type: ignore[misc]
        words = _words(line)
        command: list[str] = []
        for word in [*words, ";"]:
            if word not in {"&&", "||", ";", "|"}:
                command.append(word)
                continue
            if command and (assigned := ASSIGNMENT.fullmatch(command[0])) and len(command) == 1:
                known[assigned[1]] = assigned[2]
            elif command:
                yield _without_redirection(command)
            command = []


def variables_of(text: str) -> dict[str, str]:
    """The variables that the lines of a block set."""
    known: dict[str, str] = {}
    for line in text.replace("\\\n", " ").splitlines():
        words = _words(line)
        if len(words) == 1 and (assigned := ASSIGNMENT.fullmatch(words[0])):
            value = assigned[2]
            for name, other in known.items():
                value = re.sub(rf"\$\{{?{name}\b\}}?", lambda _, other=other: other, value)
            known[assigned[1]] = value
    return known


def _words(line: str) -> list[str]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
    lexer.whitespace_split, lexer.commenters = True, ""
    words = list(lexer)
    comment = next((place for place, word in enumerate(words) if word.startswith("#")), len(words))
    return words[:comment]


def _without_redirection(words: list[str]) -> list[str]:
    place = next((n for n, word in enumerate(words) if re.match(r"\d?[<>]", word)), len(words))
    return words[:place]
