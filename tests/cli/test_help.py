"""The help of the program: complete, with defaults, and printed fast."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import pytest

import smc_eval
from smc_eval.cli import verbs
from smc_eval.cli.flags import METAVARS
from smc_eval.cli.verbs import verb_command
from smc_eval.experiment.config import RunConfig, keys
from smc_eval.experiment.meaning import meaning

VERBS = (
    "run",
    "work",
    "plan",
    "list",
    "show",
    "report",
    "compare",
    "score",
    "store",
    "export",
    "speed",
    "verify-sparsity",
    "new",
    "check",
    "doctor",
    "data",
)


@pytest.mark.parametrize("name", VERBS)
def test_the_summary_of_a_verb_is_the_first_line_of_its_help(name: str) -> None:
    assert verb_command(name).help.splitlines()[0] == verbs.VERBS[name].summary
    assert verb_command(name).name == name


def test_the_version_is_printed(invoke) -> None:
    assert invoke("--version").stdout == f"smc-eval {smc_eval.__version__}\n"


@pytest.mark.parametrize("words", [(), ("data",)])
def test_no_line_of_the_list_of_verbs_is_cut(invoke, words: tuple[str, ...], monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = invoke(*words, "--help").stdout
    assert "..." not in shown.partition("Commands:")[2]
    if not words:
        assert re.findall(r"^  ([\w-]+) {2}", shown.partition("Commands:")[2], re.MULTILINE) == list(VERBS)


@pytest.mark.parametrize("verb", ["run", "work", "plan"])
def test_every_field_of_a_run_configuration_is_a_flag_with_its_docstring(invoke, verb: str) -> None:
    shown = " ".join(invoke(verb, "--help").stdout.split())
    for key, name in keys().items():
        text = meaning(RunConfig, name)
        assert f"--{key} " in shown
        assert text
        assert text in shown or (verb, key) == ("plan", "json")


def test_every_flag_of_a_run_states_its_default() -> None:
    for name in RunConfig.model_fields:
        assert re.search(r"Default: .+\.$|Required[^.]*\.$", meaning(RunConfig, name)), name


def test_no_placeholder_is_left_of_a_flag_that_is_gone() -> None:
    assert METAVARS.keys() <= keys().keys()


@pytest.mark.parametrize("words", [(verb,) for verb in VERBS] + [("data", "list"), ("data", "verify")])
def test_help_shows_no_types_of_python(invoke, words: tuple[str, ...]) -> None:
    shown = invoke(*words, "--help").stdout
    assert not re.search(r"<(str|path|list|int|float)", shown), shown


@pytest.mark.parametrize("words", [("--help",), ("list",)])
def test_help_and_list_are_fast(words: tuple[str, ...]) -> None:
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "smc_eval", *words], check=True, capture_output=True)
    assert time.monotonic() - began < 5  # a tenth of that on an idle machine; torch alone takes longer
