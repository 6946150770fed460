"""A Promise: one test of a contract. It is checked here without pytest, and has a verdict in words."""

from __future__ import annotations

import inspect
import re
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from unittest import SkipTest

from smc_eval.errors import SmcError, first_line

TEST_PREFIX = "test_"
"""How the names of the tests of a contract begin, so that pytest finds them too."""

Result = Literal["kept", "broken", "not checked"]


@dataclass(frozen=True)
class Promise:
    """A promise of a contract, by the name of its test."""

    test: str

    @property
    def words(self) -> str:
        """The promise as a sentence: the name of its test."""
        return self.test.removeprefix(TEST_PREFIX).replace("_", " ")


@dataclass(frozen=True)
class PromiseVerdict:
    """Whether something keeps a promise."""

    promise: Promise
    result: Result
    seconds: float
    reason: str = ""
    """The smallest counter-example, in one line; or why the promise was not checked. Empty if it is kept."""


def promises_of(contract: type) -> list[Promise]:
    """The promises of a contract, in the order in which they are written."""
    names = (
        name for base in reversed(contract.__mro__) for name in vars(base) if name.startswith(TEST_PREFIX)
    )
    return [Promise(name) for name in dict.fromkeys(names)]


def check_promise(contract: object, promise: Promise) -> PromiseVerdict:
    """The verdict about one promise of a contract, which is an instance as pytest would make it.

    Whatever it raises breaks the promise, `sys.exit` too; but a `SkipTest` says that it cannot be checked.
    """
    test, began = getattr(contract, promise.test), time.perf_counter()
    result: Result = "kept"
    reason = ""
    with tempfile.TemporaryDirectory(prefix="smc-eval-check-") as folder:
        given = {"tmp_path": Path(folder)} if "tmp_path" in inspect.signature(test).parameters else {}
        try:
            test(**given)
        except SkipTest as skip:
            result, reason = "not checked", first_line(skip)
        except (Exception, SystemExit) as error:  # noqa: BLE001  a plugin can raise anything
            result, reason = "broken", counter_example(error)
    return PromiseVerdict(promise, result, time.perf_counter() - began, reason)


def counter_example(error: BaseException) -> str:
    """What went wrong, in one line: the words of a failed assertion or of our own errors; else also where."""
    if isinstance(error, AssertionError | SmcError) and (words := first_line(error)):
        return words
    last = traceback.extract_tb(error.__traceback__)[-1]
    words = first_line(error) or last.line or ""
    return f"{type(error).__name__}: {words} ({Path(last.filename).name}:{last.lineno})"


@contextmanager
def refusal(
    error: type[Exception] | tuple[type[Exception], ...], words: str, otherwise: str
) -> Iterator[None]:
    """Within, something is refused with such an error, whose message matches the words.

    Raises:
        AssertionError: nothing was refused, with the words of `otherwise`; or the message has other words.
    """
    message = ""
    try:
        yield
    except error as refused:
        message = str(refused) or type(refused).__name__
    assert message, otherwise
    assert re.search(words, message), (
        f"it is refused as {first_line(message)!r}; wanted {words!r} in the message"
    )
