"""Pickles of HotProtein's splits, read without executing any code in them."""

from __future__ import annotations

import io
import pickle
import pickletools
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

from smc_eval.errors import DataError
from smc_eval.tasks.folder import open_file

FIELDS = ("train_names", "train_labels", "test_names", "test_labels")

BROKEN_PICKLE = (
    pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError,
    OverflowError, MemoryError,
)  # fmt: skip
"""Exceptions of the unpickler for files that are truncated or not pickles."""


@dataclass(frozen=True)
class Names:
    """Names and answers of both parts, in file order."""

    train: list[tuple[str, int | float]]
    test: list[tuple[str, int | float]]


class _Forbidden(Exception):
    """A pickle refers to a Python object; the message names it."""


class _Plain(pickle.Unpickler):
    """Builds lists, dicts, strings and numbers. Other objects need a class or function, and are refused."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise _Forbidden(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise _Forbidden(f"an object stored elsewhere, {pid!r}")


def read_names(path: Path) -> Names:
    """The split in a pickle, plain or `.gz`: a dict of the lists `FIELDS`.

    Raises:
        DataError: the pickle holds anything but strings and numbers, or other lists. No code in it is
            executed.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    return _names_in(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)  # each fold reads the names of all others; a file that changed is read again
def _names_in(path: Path, _size: int, _changed: int) -> Names:
    split = _load(path)
    missing = [name for name in FIELDS if name not in split] if isinstance(split, dict) else list(FIELDS)
    if missing:
        raise DataError(
            f"{path} holds {_type_name(split)} without {', '.join(missing)}; "
            f"wanted a dict of {', '.join(FIELDS)}"
        )
    return Names(_part(path, split, "train"), _part(path, split, "test"))


def _load(path: Path) -> Any:
    with open_file(path) as stream:
        content = stream.read()
        try:
            _check_size(content)
            return _Plain(io.BytesIO(content)).load()
        except _Forbidden as error:
            raise DataError(
                f"{path} holds {error}, which is not a string, number, list or dict; it was not executed\n"
                "a pickle can run any program: if you trust the file, convert it to CSV and JSON"
            ) from None
        except BROKEN_PICKLE as error:
            raise DataError(f"{path} is truncated or not a pickle ({type(error).__name__})") from None


def _check_size(content: bytes) -> None:
    """Refuse pickles that need far more memory than their size: a few bytes can allocate gigabytes."""
    for code, number, _ in pickletools.genops(content):
        if code.name.endswith("PUT") and int(number or 0) > len(content):
            raise ValueError("a memo larger than the file")


def _part(path: Path, split: dict[str, Any], part: str) -> list[tuple[str, int | float]]:
    names, labels = split[f"{part}_names"], split[f"{part}_labels"]
    for field, values, kinds in (("names", names, (str,)), ("labels", labels, (int, float))):
        if not isinstance(values, list):
            raise DataError(f"{path}: {part}_{field} is {_type_name(values)}; wanted a list")
        for place, value in enumerate(values):
            if not isinstance(value, kinds) or isinstance(value, bool):
                wanted = " or ".join(kind.__name__ for kind in kinds)
                raise DataError(f"{path}: {part}_{field}[{place}] is {_type_name(value)}; wanted {wanted}")
    if len(names) != len(labels):
        raise DataError(f"{path}: {len(names)} {part}_names, but {len(labels)} {part}_labels")
    return list(zip(names, labels, strict=True))


def _type_name(value: object) -> str:
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
