"""The test kit as a plugin sees it: what it needs, and what it does not touch."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import SkipTest

import pytest

import smc_eval.testing
from smc_eval.errors import SparsityError
from smc_eval.testing import check_promise, promises_of
from smc_eval.testing.promise import refusal

FILES = sorted(Path(smc_eval.testing.__file__).parent.glob("*.py"))

WITHOUT_PYTEST = """
import sys
sys.modules["pytest"] = None
from smc_eval.methods.dense import Dense
from smc_eval.testing import MethodContract, Toy, check_promise, promises_of

class Contract(MethodContract):
    method = Dense()

print({check_promise(Contract(), promise).result for promise in promises_of(Contract)})
"""


def test_a_contract_is_checked_without_pytest() -> None:
    ran = subprocess.run([sys.executable, "-c", WITHOUT_PYTEST], capture_output=True, text=True, check=True)
    assert ran.stdout == "{'kept'}\n"


def test_a_promise_has_the_words_of_its_test() -> None:
    class First:
        def test_it_is_blue(self) -> None: ...

        def helps(self) -> None: ...

    class Second(First):
        def test_it_is_new(self, tmp_path: Path) -> None: ...

        def test_it_is_blue(self) -> None: ...

    assert [promise.words for promise in promises_of(Second)] == ["it is blue", "it is new"]


class Answers:
    """One promise of each verdict."""

    def test_a(self, tmp_path: Path) -> None:
        assert list(tmp_path.iterdir()) == []

    def test_b(self) -> None:
        assert sum([1, 1]) == 3, "two is not three\nand never was"

    def test_c(self) -> None:
        raise SkipTest("no answer is known")

    def test_d(self) -> None:
        {}["missing"]

    def test_e(self) -> None:
        sys.exit(3)

    def test_f(self) -> None:
        raise SparsityError("two weights too many\nsee above")

    def test_g(self) -> None:
        raise KeyboardInterrupt


def test_a_verdict_has_its_counter_example_in_one_line() -> None:
    *promises, stopped = promises_of(Answers)
    verdicts = [check_promise(Answers(), promise) for promise in promises]
    results = [(verdict.result, verdict.reason.partition(".py:")[0]) for verdict in verdicts]
    assert results == [
        ("kept", ""),
        ("broken", "two is not three"),
        ("not checked", "no answer is known"),
        ("broken", "KeyError: 'missing' (test_kit"),
        ("broken", "SystemExit: 3 (test_kit"),
        ("broken", "two weights too many"),
    ]
    with pytest.raises(KeyboardInterrupt):
        check_promise(Answers(), stopped)


def test_what_is_refused_is_refused_with_the_right_words() -> None:
    with refusal(ValueError, "no .* here", "nothing was refused"):
        raise ValueError("no room here")
    with (
        pytest.raises(AssertionError, match="nothing was refused"),
        refusal(ValueError, "", "nothing was refused"),
    ):
        pass
    with (
        pytest.raises(AssertionError, match="refused as 'full'; wanted 'no room'"),
        refusal(ValueError, "no room", "-"),
    ):
        raise ValueError("full")
    with pytest.raises(KeyError), refusal(ValueError, "", "-"):
        raise KeyError("other")


def private_names(source: str) -> Iterator[str]:
    """Names with an underscore that a file imports, or reads from another object than `self`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module != "__future__":
            parts = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            yield from (part for part in parts if part.startswith("_"))
        elif isinstance(node, ast.Attribute) and re.fullmatch("_.*[^_]", node.attr):
            own = isinstance(node.value, ast.Name) and node.value.id == "self"
            yield from () if own else (node.attr,)


def test_the_kit_uses_no_private_names_of_other_modules() -> None:
    names = {path.name: list(private_names(path.read_text(encoding="utf-8"))) for path in FILES}
    assert len(names) > 5
    assert {name: private for name, private in names.items() if private} == {}


def test_the_check_sees_private_names() -> None:
    source = (
        "from a import _b\nfrom a._c import d\nclass A:\n    def f(self, x):\n        return self._g + x._h\n"
    )
    assert sorted(private_names(source)) == ["_b", "_c", "_h"]


def test_every_name_of_the_kit_exists() -> None:
    assert all(hasattr(smc_eval.testing, name) for name in smc_eval.testing.__all__)
