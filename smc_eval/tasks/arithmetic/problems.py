"""Word problems, and reading them from CSV files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from smc_eval.errors import DataError
from smc_eval.tasks.csv_rows import quoted, read_csv_rows
from smc_eval.tasks.equation import number, prefix_error

CSV_COLUMNS = ("Question", "Numbers", "Equation", "group_nums")
"""The columns that are read. `Answer` is not: in some official rows it is not the equation's value."""

OVERHANG = 3
"""Words by which a group may reach past the end of the question. Some windows of MAWPS do."""

_NUMBERED = re.compile(r"number([0-9]{1,4})")
_GROUPS = re.compile(r"\[\s*(?:[0-9]{1,6}(?:\s*,\s*[0-9]{1,6})*)?\s*\]")


class Problem(NamedTuple):
    """A question, its numbers, and the equation that answers it."""

    words: tuple[str, ...]
    """The words of the question; every number is replaced by `NUM`."""
    number_at: tuple[int, ...]
    """Position in `words` of each number's first occurrence, in the order of `numbers`."""
    numbers: tuple[float, ...]
    equation: tuple[str, ...]
    """In prefix form: `+ - * /`, `N0`, `N1`, … for the numbers, constants as written (`100.0`)."""
    groups: tuple[int, ...]
    """Positions of the words near the numbers and of the words they count (Graph2Tree's `group_nums`)."""


def read_problems(path: Path) -> list[Problem]:
    """All problems of a CSV file, plain or `.gz`, in file order. The layout is the SVAMP repository's.

    Raises:
        DataError: the file cannot be read, or a row is invalid; the message names file and line.
    """
    problems = []
    for line, row in read_csv_rows(path, CSV_COLUMNS):
        try:
            problems.append(_problem(row))
        except ValueError as error:
            raise DataError(f"{path}, line {line}: {error}") from None
    if not problems:
        raise DataError(f"{path}: the file has no problems below the header")
    return problems


def _problem(row: dict[str, str]) -> Problem:
    """A problem from the columns of one row; a ValueError describes what is wrong."""
    words = row["Question"].split()
    values = [_value(text) for text in row["Numbers"].split()]
    matches = [(at, match) for at, word in enumerate(words) if (match := _NUMBERED.match(word))]
    first: dict[int, int] = {}
    for at, match in matches:
        words[at] = "NUM"
        first.setdefault(int(match[1]), at)
    if not first:
        raise ValueError(f"no number0 in Question {quoted(row['Question'])}")
    beyond = [k for k in first if k >= len(values)]
    if beyond:
        raise ValueError(
            f"Question has number{beyond[0]}, which has no value in Numbers {quoted(row['Numbers'])}"
        )
    if len(first) != len(values):
        raise ValueError(
            f"Numbers {quoted(row['Numbers'])} holds {len(values)} values, Question has {len(first)} numbers"
        )
    return Problem(
        words=tuple(words),
        number_at=tuple(first[k] for k in range(len(values))),
        numbers=tuple(values),
        equation=_equation(row["Equation"], len(values)),
        groups=_groups(row["group_nums"], len(words)),
    )


def _value(text: str) -> float:
    parsed = number(text)
    if parsed is None:
        raise ValueError(f"{quoted(text)} in Numbers is not a number")
    return parsed


def _equation(text: str, values: int) -> tuple[str, ...]:
    symbols = []
    for token in text.split():
        match = _NUMBERED.fullmatch(token)
        if match and int(match[1]) >= values:
            raise ValueError(f"Equation {quoted(text)} has {token}, but Numbers holds only {values} values")
        if re.fullmatch(r"N[0-9]+", token):  # our name for number0, not the files'
            raise ValueError(
                f"Equation {quoted(text)} has {token!r}; a number is written number0, number1, …"
            )
        symbols.append(f"N{int(match[1])}" if match else token)
    if error := prefix_error(symbols):
        raise ValueError(f"Equation {quoted(text)} is not a prefix expression: {error}")
    return tuple(symbols)


def _groups(text: str, words: int) -> tuple[int, ...]:
    if not _GROUPS.fullmatch(text.strip()):
        raise ValueError(f"group_nums {quoted(text)} is not a list of word indices such as [1, 2, 3]")
    indices = [int(index) for index in re.findall("[0-9]+", text)]
    if indices and max(indices) >= words + OVERHANG:
        raise ValueError(f"group_nums holds {max(indices)}, but Question has only {words} words")
    return tuple(index for index in indices if index < words)
