"""Everything that can go wrong, as one tree.

SmcError
├── UsageError          the command line or a file it names is wrong
│   ├── UnknownName     a task, method, option or recipe field nobody has
│   ├── DataError       a data folder, file or line is missing or malformed
│   └── ModelError      a checkpoint is missing, broken or of the wrong kind
├── PluginError         a plugin cannot be loaded or breaks its word
├── PlanError           a method's plan does not make sense
├── SparsityError       a target that cannot be reached, or was not
├── TrainingError       a loss or gradient that is not a number
├── RankLost            another process of the same cell is gone, and this one ends too
└── StoreError          a file of the store is broken or cannot be written
    ├── Busy            another process works on the same thing
    ├── LeaseLost       this process was silent too long, and another took over
    └── StoreGone       the store's folder is not there any more
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class SmcError(Exception):
    """Base of all errors that smc-eval raises on purpose; its text is meant for users."""


class UsageError(SmcError):
    """The command line, or a file it names, is wrong."""


class UnknownName(UsageError):
    """A name that nobody has, with the nearest that somebody has."""

    def __init__(self, what: str, name: str, names: Iterable[str]) -> None:
        known = sorted(names)
        near = get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ";"
        super().__init__(f"no {what} is named {name!r}{hint} known: {', '.join(known) or 'none'}")


class DataError(UsageError):
    """A data folder, file or line is missing or malformed."""


class ModelError(UsageError):
    """A checkpoint is missing, broken or of the wrong kind."""


class PluginError(SmcError):
    """A plugin cannot be loaded or breaks its word."""


class PlanError(SmcError):
    """A method's plan does not make sense."""


class SparsityError(SmcError):
    """A sparsity target that cannot be reached, or was not."""


class TrainingError(SmcError):
    """A loss or a gradient that is not a number."""


class RankLost(SmcError):
    """Another process of the same cell is gone, and this one ends too."""

    def __init__(self, why: str, *, spoken: bool = False) -> None:
        self.spoken = spoken
        """Whether another process tells of it."""
        super().__init__(f"{why}; what is finished is kept: issue the same command again to go on")


class StoreError(SmcError):
    """A file of the store is broken or cannot be written."""


class Busy(StoreError):
    """Another process works on the same thing; nothing is wrong."""


class LeaseLost(StoreError):
    """This process was silent too long, and another took over; nothing is lost."""


class StoreGone(StoreError):
    """The store's folder is not there any more."""


def first_line(text: object) -> str:
    """The first line of an error or of any text; empty where it has none."""
    lines = str(text).strip().splitlines()
    return lines[0] if lines else ""
