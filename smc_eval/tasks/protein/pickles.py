"""Pickles of HotProtein's splits, read without ever running what they hold."""

from __future__ import annotations

import io
import pickle
import pickletools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from smc_eval.errors import DataError
from smc_eval.tasks.folder import open_file

FIELDS = ("train_names", "train_labels", "test_names", "test_labels")

BROKEN_PICKLE = (
    pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError,
    OverflowError, MemoryError,
)  # fmt: skip
"""What a pickle that is cut short, or is none, makes the unpickler raise."""


@dataclass(frozen=True)
class Names:
    """Names and answers of both parts, as the file has them."""

    train: list[tuple[str, int | float]]
    test: list[tuple[str, int | float]]


class _Forbidden(Exception):
    """A pickle asks for something of Python's; its text says what."""


class _Plain(pickle.Unpickler):
    """Builds lists, dicts, strings and numbers. Whatever else there is needs a name, and no name is found."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise _Forbidden(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise _Forbidden(f"an object stored elsewhere, {pid!r}")


def read_names(path: Path) -> Names:
    """The split of a pickle, plain or `.gz`: a dict of the lists `FIELDS`.

    Raises:
        DataError: it holds anything but strings and numbers, which is never executed; or other lists.
    """
    found = _plain(path)
    missing = [name for name in FIELDS if name not in found] if isinstance(found, dict) else list(FIELDS)
    if missing:
        raise DataError(
            f"{path} holds {_what(found)} without {', '.join(missing)}; wanted a dict of {', '.join(FIELDS)}"
        )
    return Names(_part(path, found, "train"), _part(path, found, "test"))


def _plain(path: Path) -> Any:
    with open_file(path) as stream:
        content = stream.read()
        try:
            _measure(content)
            return _Plain(io.BytesIO(content)).load()
        except _Forbidden as error:
            raise DataError(
                f"{path} holds {error}, which is no string, number, list or dict; it was not executed\n"
                "a pickle can run any program: convert it to CSV and JSON where you trust it"
            ) from None
        except BROKEN_PICKLE as error:
            raise DataError(f"{path} is cut short or no pickle ({type(error).__name__})") from None


def _measure(content: bytes) -> None:
    """Refuse what would take memory out of proportion to the file: a few bytes can ask for gigabytes."""
    for code, number, _ in pickletools.genops(content):
        if code.name.endswith("PUT") and int(number or 0) > len(content):
            raise ValueError("a memo larger than the file")


def _part(path: Path, found: dict[str, Any], part: str) -> list[tuple[str, int | float]]:
    names, labels = found[f"{part}_names"], found[f"{part}_labels"]
    for field, values, kinds in (("names", names, (str,)), ("labels", labels, (int, float))):
        if not isinstance(values, list):
            raise DataError(f"{path}: {part}_{field} is {_what(values)}; wanted a list")
        for place, value in enumerate(values):
            if not isinstance(value, kinds) or isinstance(value, bool):
                wanted = " or ".join(kind.__name__ for kind in kinds)
                raise DataError(f"{path}: {part}_{field}[{place}] is {_what(value)}; wanted {wanted}")
    if len(names) != len(labels):
        raise DataError(f"{path}: {len(names)} {part}_names, but {len(labels)} {part}_labels")
    return list(zip(names, labels, strict=True))


def _what(value: object) -> str:
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
