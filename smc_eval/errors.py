"""All errors of smc-eval, as one tree.

SmcError
├── UsageError          the command line, or a file that it names, is wrong
│   ├── UnknownName     no task, method, option or field has this name
│   ├── DataError       a data folder, file or line is missing or malformed
│   │   └── DownloadError  a file could not be downloaded
│   └── ModelError      a checkpoint is missing, broken or of the wrong kind
├── PluginError         a plugin cannot be loaded or breaks its contract
├── PlanError           the stages of a method's plan contradict each other
├── SparsityError       a sparsity target cannot be reached, or was missed
├── TrainingError       a loss or a gradient is not finite
├── RankLost            another process of the same cell has ended, so this one ends too
└── StoreError          a file of the store is broken or cannot be written
    ├── Busy            another process works on the same item
    ├── LeaseLost       this process renewed its lease too late, and another took over
    └── StoreGone       the folder of the store no longer exists
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class SmcError(Exception):
    """Base class of the errors that smc-eval raises on purpose. The message is written for users."""


class UsageError(SmcError):
    """The command line, or a file that it names, is wrong."""


class UnknownName(UsageError):
    """Nothing has this name. The message gives near names, and all known names if they are few.

    Args:
        what: what is named: a method, a task.
        name: the unknown name.
        names: all known names.
        see: where to find the known names if they are too many for a message: `smc-eval list`.
    """

    def __init__(self, what: str, name: str, names: Iterable[str], *, see: str = "") -> None:
        known = sorted(names)
        near = _near(name, known)
        *others, last = map(repr, near or [""])
        choice = f"{', '.join(others)} or {last}" if others else last
        hint = f"did you mean {choice}?" if near else ""
        every = f"known: {', '.join(known) or 'none'}"
        if see and len(every) > KNOWN_LENGTH:
            every = f"see {see}"
        super().__init__(f"no {what} is named {name!r}; {hint}{' ' * bool(hint)}{every}")


KNOWN_LENGTH = 100
"""Characters of a list of known names that fits into a message."""


def _near(name: str, known: Sequence[str]) -> list[str]:
    """At most three known names: those of which the name is a whole part, or else the nearest."""
    part = re.compile(rf"\b{re.escape(name)}\b")
    longer = [other for other in known if len(name) > 1 and part.search(other)]
    first = sorted(longer, key=lambda other: not other.startswith(name))
    return first[:3] or get_close_matches(name, known, n=1)


class DataError(UsageError):
    """A data folder, file or line is missing or malformed."""


class DownloadError(DataError):
    """A file could not be downloaded. The command line is not at fault."""


class ModelError(UsageError):
    """A checkpoint is missing, broken or of the wrong kind."""


class PluginError(SmcError):
    """A plugin cannot be loaded or breaks its contract."""


class PlanError(SmcError):
    """The stages of a method's plan contradict each other."""


class SparsityError(SmcError):
    """A sparsity target cannot be reached, or was missed."""


class TrainingError(SmcError):
    """A loss or a gradient is not finite."""


class RankLost(SmcError):
    """Another process of the same cell has ended, so this one ends too."""

    def __init__(self, why: str, *, reported: bool = False) -> None:
        self.reported = reported
        """Whether another process reports it to the user."""
        super().__init__(f"{why}; finished work is kept: run the same command again to continue")


class StoreError(SmcError):
    """A file of the store is broken or cannot be written."""


class Busy(StoreError):
    """Another process works on the same item. This is no fault."""


class LeaseLost(StoreError):
    """This process renewed its lease too late, and another took over. No result is lost."""


class StoreGone(StoreError):
    """The folder of the store no longer exists."""


def message_of(error: object) -> str:
    """The text of an error or of any value of a plugin; where it cannot be made, that in words."""
    try:
        return str(error)
    except Exception as fault:  # noqa: BLE001  the class of a plugin can raise anything
        return f"its text cannot be made: {type(fault).__name__}"


def first_line(text: object) -> str:
    """The first line of an error or of a text; empty if there is none."""
    lines = message_of(text).strip().splitlines()
    return lines[0] if lines else ""


def named_value(value: object) -> str:
    """A value with its type, in one short line: `nan (float)`, `3.5 (numpy.float32)`."""
    kind = type(value)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    text = " ".join(message_of(value).split())
    return f"{text if len(text) <= 40 else text[:37] + '...'} ({name})"


def counted(number: int, noun: str) -> str:
    """A number and its noun, in the plural unless the number is 1: `1 cell`, `0 cells`, `3 matches`."""
    ending = "es" if noun.endswith(("ch", "sh", "s", "x")) else "s"
    return f"{number} {noun}{'' if number == 1 else ending}"
