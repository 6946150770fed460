"""The test kit as a plugin sees it: what it needs, and what it does not touch."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import smc_eval.testing

FILES = sorted(Path(smc_eval.testing.__file__).parent.glob("*.py"))

WITHOUT_PYTEST = """
import sys
sys.modules["pytest"] = None
try:
    import {module}
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize("module", ["smc_eval.testing", "smc_eval.testing.toy"])
def test_without_pytest_one_line_names_the_package_to_install(module: str) -> None:
    code = WITHOUT_PYTEST.format(module=module)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "smc_eval.testing needs pytest: pip install pytest\n"


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
