"""Names and help texts: one name means one thing, and old words do not return."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from typer.main import get_command

from smc_eval.cli import app
from smc_eval.experiment.meaning import meaning
from smc_eval.recipe import Recipe
from smc_eval.registry import registry
from smc_eval.spec import Spec
from smc_eval.target import Target

HOOKS = {"smc_eval_methods", "smc_eval_tasks", "smc_eval_kinds", "smc_eval_optimizers", "smc_eval_trackers"}

VAGUE = {"told", "said", "found", "one", "kept", "alike"}
"""No function, class, method or attribute has one of these names."""

OLD_WORDS = re.compile(
    r"--spread|\bspreads?\b|\btwins?\b|\bcut off\b|\bsurvivors?\b|\bby lot\b|\bnobody\b|\bsomebody\b|\bworn\b"
)


def trees(root: Path) -> dict[str, ast.Module]:
    """Syntax trees of all modules, by path."""
    files = sorted((root / "smc_eval").rglob("*.py"))
    return {str(path.relative_to(root)): ast.parse(path.read_text(encoding="utf-8")) for path in files}


def targets(node: ast.stmt) -> Iterator[str]:
    """Names that an assignment defines."""
    match node:
        case ast.Assign(targets=left):
            for target in left:
                yield from (name.id for name in ast.walk(target) if isinstance(name, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield name


def definitions(tree: ast.Module) -> Iterator[str]:
    """Classes, functions and constants of a module, also those under a condition."""
    for node in tree.body:
        for inner in node.body if isinstance(node, ast.If) else [node]:
            if isinstance(inner, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield inner.name
            else:
                yield from targets(inner)


def members(tree: ast.Module) -> Iterator[str]:
    """Names of functions, classes, methods and attributes of a module."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name, body=body):
                yield name
                for statement in body:
                    yield from targets(statement)
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield name


def test_no_public_name_is_defined_in_two_modules(root: Path) -> None:
    places: dict[str, list[str]] = {}
    for path, tree in trees(root).items():
        for name in set(definitions(tree)):
            if len(name) > 1 and not name.startswith("_") and name not in HOOKS:
                places.setdefault(name, []).append(path)
    assert len(places) > 500
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


def test_no_function_class_method_or_attribute_has_a_vague_name(root: Path) -> None:
    vague = {path: VAGUE & set(members(tree)) for path, tree in trees(root).items()}
    assert {path: names for path, names in vague.items() if names} == {}


def test_the_checks_see_each_kind_of_name() -> None:
    source = (
        "A, B = 1, 2\nC: int = 3\nif A:\n    D = 4\ndef e(): pass\nclass F:\n    g: int\n    h = 1\n"
        "    def i(self):\n        self.j = local = 5\n"
    )
    tree = ast.parse(source)
    assert set(definitions(tree)) == {"A", "B", "C", "D", "e", "F"}
    assert set(members(tree)) == {"e", "F", "g", "h", "i", "j"}


# Texts that users see


def help_texts(command: click.Command, name: str) -> Iterator[tuple[str, str]]:
    """Help of a command, its options and its subcommands."""
    yield name, command.help or ""
    for parameter in command.params:
        yield f"{name} {parameter.name}", " ".join([*parameter.opts, getattr(parameter, "help", None) or ""])
    for child, subcommand in getattr(command, "commands", {}).items():
        yield from help_texts(subcommand, f"{name} {child}")


def option_texts(kind: type[Spec]) -> Iterator[tuple[str, str]]:
    """Meanings of the fields of a class, which `smc-eval show` prints."""
    for name in kind.model_fields:
        yield f"{kind.__name__}.{name}", meaning(kind, name)


def texts() -> dict[str, str]:
    known = registry()
    nouns = (known.methods, known.tasks, known.kinds, known.optimizers, known.trackers)
    kinds = [kind for named in nouns for kind in named.values()]
    cards = [(kind.card.name, kind.card.summary) for kind in kinds]
    options = [text for kind in (*kinds, Recipe, Target) for text in option_texts(kind)]
    return dict([*help_texts(get_command(app), "smc-eval"), *cards, *options])


def test_no_help_text_has_an_old_word() -> None:
    shown = texts()
    assert len(shown) > 150
    assert {name: text for name, text in shown.items() if OLD_WORDS.search(text)} == {}


@pytest.mark.parametrize("text", ["--spread erk", "use the twin", "nets that are cut off", "the survivors"])
def test_the_check_sees_old_words(text: str) -> None:
    assert OLD_WORDS.search(text)
