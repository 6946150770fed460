"""What the documents say is what the code does."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

import smc_eval
from smc_eval import hookspecs, registry
from smc_eval.card import Card

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("benchmarks/*.md"), *ROOT.glob("plugins/*/*.md")])
SHELVES = registry.load().checked()
KINDS = (*SHELVES.methods.values(), *SHELVES.tasks.values())
CARDS = [kind.card for kind in KINDS if kind.__module__.startswith("smc_eval.")]


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def signatures() -> Iterator[str]:
    """The hooks as they are written, without what only a type checker reads."""
    source = Path(hookspecs.__file__).read_text(encoding="utf-8")
    for line in re.findall(r"^@hookspec\n(def .*)$", source, flags=re.MULTILINE):
        yield line.partition("  #")[0]


def test_both_hooks_are_found_by_this_check() -> None:
    assert len(list(signatures())) == 2


@pytest.mark.parametrize("signature", list(signatures()))
def test_every_hook_is_shown_with_its_exact_signature(signature: str) -> None:
    assert any(signature in block for block in blocks(README, "python"))


def test_the_example_of_the_readme_is_the_plugin_that_is_tested() -> None:
    plugin = ROOT / "plugins" / "smc-eval-hello"
    assert (plugin / "smc_eval_hello.py").read_text(encoding="utf-8") in blocks(README, "python")
    whole = (plugin / "pyproject.toml").read_text(encoding="utf-8")
    (shown,) = (tomllib.loads(block) for block in blocks(README, "toml"))
    assert shown["project"].items() <= tomllib.loads(whole)["project"].items()


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_every_card_has_a_source(card: Card) -> None:
    baseline = getattr(card, "moment", "") == "none"  # nothing was published there
    assert baseline or re.search(r"\(\d{4}\)|arXiv:\d{4}\.\d{4,5}|https://\S+", card.source)


def test_the_changelog_knows_this_version() -> None:
    log = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[{re.escape(smc_eval.__version__)}\]", log, flags=re.MULTILINE)


def test_ci_runs_the_second_command_of_the_readme() -> None:
    _main, tests, *_ = blocks(README, "sh")
    assert tests.strip() in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_the_first_command_runs_in_every_shelf() -> None:
    main, *_ = blocks(README, "sh")
    assert "smc-eval --model tiny --method omp-after --tasks all --sparsity 0.5,0.8" in main


def test_every_flag_the_readme_names_is_one() -> None:
    from smc_eval.cli import app

    command = get_command(app)
    commands = [command, *getattr(command, "commands", {}).values()]
    known = {
        flag for one in commands for option in one.params for flag in (*option.opts, *option.secondary_opts)
    }
    shown = {flag for block in blocks(README, "sh") for flag in re.findall(r"smc-eval[^\n]*", block)}
    named = {flag for line in shown for flag in re.findall(r"(?<=\s)--[a-z][a-z-]*", line)}
    assert named <= known | {"--help"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_inside_the_house_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#\s]+)", document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_the_table_of_the_readme_names_every_task_and_method() -> None:
    assert [card.name for card in CARDS if f"`{card.name}`" not in README] == []
