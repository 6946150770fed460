"""Paths that users name: any text may be one, and none of them is a surprise."""

from __future__ import annotations

import os
from pathlib import Path

from smc_eval.errors import UsageError, named_value


def user_path(text: str) -> Path:
    """The path of a text, with `~` replaced where it names a home."""
    try:
        return Path(text).expanduser()
    except RuntimeError:  # there is no such user
        return Path(text)


def is_folder(path: str | Path) -> bool:
    """Whether there is a folder. A text that can name no file, such as a very long one, is none."""
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):  # ValueError: a zero byte
        return False


def is_file(path: str | Path) -> bool:
    """Whether there is a file. A text that can name no file, such as a very long one, is none."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def as_path(value: object, what: str) -> Path:
    """The path of an argument of a function. `what` names the argument.

    Raises:
        UsageError: it is no path.
    """
    try:
        text = os.fspath(value)  # type: ignore[call-overload]
    except TypeError:
        text = None
    if not isinstance(text, str) or "\0" in text:
        raise UsageError(f"{what} is {named_value(value)}; wanted a path")
    return Path(text)
