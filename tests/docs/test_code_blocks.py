"""Every block of code in the documents is run, parsed, or named here as unchecked."""

from __future__ import annotations

import ast
import builtins
import importlib
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from smc_eval_docs.blocks import Block, blocks_of
from smc_eval_docs.shell import commands_of, variables_of
from typer.testing import CliRunner

import smc_eval
from smc_eval.cli import app
from smc_eval.cli.program import PROGRAM_FLAGS
from smc_eval.cli.verbs import VERBS, verb_command
from smc_eval.experiment.config import RunConfig, configured
from smc_eval.experiment.grid import Grid
from smc_eval.experiment.parsing import parse_named
from smc_eval.optimizer import OPTIMIZERS
from smc_eval.protocol import PROTOCOLS
from smc_eval.registry import Registry, load_registry

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/*.md", "plugins/*/*.md")
    for path in ROOT.glob(pattern)
)
BLOCKS = [
    (name, block) for name in DOCUMENTS for block in blocks_of((ROOT / name).read_text(encoding="utf-8"))
]

UNCHECKED = {
    ("README.md", "text"): "a table of real data, whose records are not in the repository; the page is full",
    ("ARCHITECTURE.md", "text"): "drawings",
}
"""Blocks that no test checks, of pages that should not have comments about it."""

KNOWN_UNCHECKED = {
    "docs/command-line.md": "printed by release 0.1.0, whose records are not in the repository",
    "docs/contracts.md": "an example of the form",
    "docs/findings.md": "printed by release 0.1.0, whose records are not in the repository",
}
"""Pages with blocks whose comment says that they are unchecked, and why. A new one needs a line here."""

PROGRAMS = {"accelerate", "cd", "mkdir", "pip", "python", "python3", "tensorboard", "torchrun", "tox", "zcat"}
"""Other programs of the documents."""

STAND_INS = {"method": {"hello", "in-two-steps", "row-norm"}, "task": {"largest"}}
"""Names of the examples of the documents: plugins that a reader writes."""


def of_language(language: str) -> list[Any]:
    """The blocks of a language, each with the name of its place."""
    return [
        pytest.param(name, block, id=f"{name}:{block.line}")
        for name, block in BLOCKS
        if block.language == language
    ]


def test_the_documents_have_many_blocks_of_each_language() -> None:
    counts = {language: len(of_language(language)) for language in ("python", "sh", "toml", "text")}
    assert counts["python"] >= 20 and counts["sh"] >= 35 and counts["toml"] >= 2 and counts["text"] >= 10


def test_every_block_says_its_language() -> None:
    other = [
        f"{name}:{block.line} {block.language!r}"
        for name, block in BLOCKS
        if block.language not in {"json", "python", "sh", "text", "toml"}
    ]
    assert other == []


def test_blocks_that_no_test_checks_are_known_with_the_reason() -> None:
    found = {name: block.unchecked for name, block in BLOCKS if block.unchecked}
    assert found == KNOWN_UNCHECKED
    assert all(block.language == "text" for _, block in BLOCKS if block.unchecked)


@pytest.mark.parametrize(("name", "block"), of_language("toml"))
def test_every_block_of_toml_can_be_read(name: str, block: Block) -> None:
    assert tomllib.loads(block.text)


def test_every_block_of_json_can_be_read() -> None:
    assert all(json.loads(block.text) for _, block in BLOCKS if block.language == "json")


# Python


def bound_names(tree: ast.AST) -> set[str]:
    """All names that a block defines anywhere."""
    names = set[str]()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                names.add(name)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                names |= {(alias.asname or alias.name).partition(".")[0] for alias in aliases}
            case ast.ExceptHandler(name=str(name)):
                names.add(name)
    return names


def read_names(tree: ast.AST) -> set[str]:
    """All names that a block reads; annotations are read too."""
    return {
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }


def import_faults(tree: ast.AST) -> Iterator[str]:
    """Imports of a block that fail, and names that `smc_eval` does not have."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module or "")
            for alias in node.names:
                if not hasattr(module, alias.name):
                    yield f"{node.module} has no {alias.name}"
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "smc_eval":
            yield from () if hasattr(smc_eval, node.attr) else (f"smc_eval has no {node.attr}",)


@pytest.mark.parametrize(("name", "block"), of_language("python"))
def test_every_name_in_a_block_of_python_is_defined(name: str, block: Block) -> None:
    tree = ast.parse(block.text)
    assert list(import_faults(tree)) == []
    known = {*vars(builtins), *block.provided}
    for other, earlier in BLOCKS:
        if other == name and earlier.language == "python" and earlier.line <= block.line:
            known |= bound_names(ast.parse(earlier.text))
    assert sorted(read_names(tree) - known) == []


# The shell


@pytest.fixture(scope="module")
def registry() -> Registry:
    """What is installed, and stand-ins for the plugins of the documents."""
    own = load_registry().checked()
    methods = own.methods | dict.fromkeys(STAND_INS["method"], own.methods["omp-after"])
    tasks = own.tasks | dict.fromkeys(STAND_INS["task"], own.tasks["csqa"])
    return replace(own, methods=methods, tasks=tasks)


def shell_commands(name: str, block: Block) -> list[list[str]]:
    """The commands of a block, with the variables of the blocks above it."""
    variables: dict[str, str] = {}
    for other, earlier in BLOCKS:
        if other == name and earlier.language == "sh" and earlier.line < block.line:
            variables |= variables_of(earlier.text)
    return list(commands_of(block.text, variables))


def program_words(command: list[str]) -> list[str] | None:
    """The words after `smc-eval` of a command; None if it runs another program."""
    for place, word in enumerate(command):
        if word.rpartition("/")[2] == "smc-eval" and place == 0:
            return command[1:]
        if command[place : place + 2] == ["-m", "smc_eval"]:
            return command[place + 2 :]
    return None


@pytest.mark.parametrize(("name", "block"), of_language("sh"))
def test_every_command_is_of_a_program_that_is_known(name: str, block: Block) -> None:
    commands = shell_commands(name, block)
    assert commands
    for command in commands:
        program = command[0].rpartition("/")[2]
        assert program in {"smc-eval", *PROGRAMS}, command
        if program in {"python", "python3"}:
            script = command[command.index("-m") + 1] if "-m" in command else command[1]
            places = ROOT.glob(f"plugins/*/{script.replace('.', '/')}.py")
            assert script in {"venv", "smc_eval"} or any(places) or (ROOT / script).is_file(), command


@pytest.mark.parametrize(("name", "block"), of_language("sh"))
def test_the_program_understands_every_command_of_a_block(
    name: str, block: Block, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SMC_EVAL_DATA", raising=False)
    for command in shell_commands(name, block):
        words = program_words(command)
        if words is not None and "…" not in words:
            check_words(words, registry)


def check_words(words: list[str], registry: Registry) -> None:
    """Parse a command as the program does, and look up what it names."""
    if words[:1] == [] or words[0] in PROGRAM_FLAGS:
        return
    if words[0].startswith("-"):
        words = ["run", *words]
    assert words[0] in VERBS, words
    command, rest = verb_command(words[0]), words[1:]
    if inner := getattr(command, "commands", None):
        command, rest = inner[rest[0]], rest[1:]
    values = command.make_context(words[0], list(rest)).params
    if VERBS[words[0]].flags:
        check_grid(values, registry)
    for name in (values.get("name"), values.get("subject")):
        assert name is None or words[0] == "new" or is_known(str(name), registry), words
    for argument in ("a", "b", "choice", "cell"):
        if isinstance(values.get(argument), str) and words[0] in {"compare", "export", "speed"}:
            ((method, _),) = parse_named([values[argument].partition("@")[0]], "method")
            assert method in registry.methods, words


def is_known(word: str, registry: Registry) -> bool:
    """Whether anything has a name; options may follow it."""
    ((name, _),) = parse_named([word], "name")
    plugins = {path.name for path in ROOT.glob("plugins/*")}
    known = {*registry.methods, *registry.tasks, *registry.groups, *registry.kinds, *PROTOCOLS, *plugins}
    return name in known | set(registry.trackers) | {"causal-lm"}


def check_grid(values: dict[str, Any], registry: Registry) -> None:
    """The configuration of a command of `run`, `work` or `plan`, and its grid: names, options and targets."""
    given = {name: values[name] for name in RunConfig.model_fields if values.get(name) not in (None, [], ())}
    if given.get("json_file") is True:
        given["json_file"] = "-"
    config = configured(given, values.get("grid"))
    if not config.tasks:  # `work`, with the grid that the store holds
        return
    words = [word for word in config.recipe if not word.startswith("optimizer=")]
    for word in config.recipe:
        name = word.removeprefix("optimizer=").partition(":")[0]
        assert not word.startswith("optimizer=") or name in {"sam", *(kind.card.name for kind in OPTIMIZERS)}
    tasks = tuple(word for word in config.tasks if not word.startswith("perplexity"))
    changed = {"data_dir": "synthetic", "recipe": tuple(words), "tasks": tasks or ("csqa",)}
    grid = Grid.of(config.model_copy(update=changed), registry)
    assert next(iter(grid.cells()), None) is not None


@pytest.mark.parametrize(
    "words",
    [
        "--method snipp --tasks csqa --sparsity 0.5",
        "--method snip --tasks csqua --sparsity 0.5",
        "--method lth:shar=0.1 --tasks csqa --sparsity 0.5",
        "--method snip --tasks csqa --sparsity 1.5",
        "--method snip --tasks csqa --sparsity 0.5 --recipe stepps=3",
        "--metod snip --tasks csqa --sparsity 0.5",
        "shw snip",
        "show snipp",
        "export STORE snipp@0.5 --to DIR",
        "compare snip lthh DIR",
    ],
)
def test_the_check_of_commands_finds_a_wrong_word(words: str, registry: Registry) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011  a usage error of the program or of the parser, or no such name
        check_words(words.split(), registry)


# What commands print


def printed_blocks() -> Iterator[tuple[str, Block, str]]:
    """Blocks of text that follow a command on records of the repository, with the command."""
    for (name, above), (other, block) in pairwise(BLOCKS):
        command, *more = above.text.strip().splitlines()
        shown = name == other and (above.language, block.language) == ("sh", "text") and not more
        if shown and "docs/findings/records" in command:
            yield name, block, command


PRINTED = [
    pytest.param(block, command, id=f"{name}:{block.line}") for name, block, command in printed_blocks()
]


@pytest.mark.parametrize(("block", "command"), PRINTED)
def test_a_command_on_records_of_the_repository_prints_what_stands_below_it(
    block: Block, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    ((_, *words),) = commands_of(command)
    ended = CliRunner().invoke(app, words)
    assert ended.exit_code == 0
    assert [line.rstrip() for line in ended.stdout.splitlines()] == block.text.splitlines()


def test_every_block_of_text_is_checked_or_named() -> None:
    printed = {(name, block.line) for name, block, _ in printed_blocks()}
    tests = " ".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("**/test_*.py"))
    open_blocks = [
        f"{name}:{block.line}"
        for name, block in BLOCKS
        if block.language == "text"
        and not block.unchecked
        and (name, block.line) not in printed
        and (name, block.language) not in UNCHECKED
        and not re.search(rf"def {block.checked_by or 'none'}\b", tests)
    ]
    assert open_blocks == []


def test_the_certificate_of_the_documents_is_that_of_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = "docs/certificate.md"
    code, text = (block.text for name, block in BLOCKS if name == page and block.language != "sh")
    (tmp_path / "smc-eval-runs").symlink_to(ROOT / "docs" / "findings" / "records" / "hp")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, page, "exec", dont_inherit=True), {})
    assert capsys.readouterr().out == text
