"""The verbs list and show: what is installed, and broken plugins."""

from __future__ import annotations

import json

import pytest

from smc_eval.methods import smc_eval_methods
from smc_eval.optimizer import OPTIMIZERS

TERMS = ("--model", "tiny", "--tasks", "terms", "--method", "omp-after", "--sparsity", "0.5")


def test_the_lists_name_everything(invoke) -> None:
    shown = invoke("list").stdout
    for name in ("sums/gts", "terms/gts", "lth", "omp-after", "random-before", "toys"):
        assert name in shown
    assert "omp-after" not in invoke("list", "tasks").stdout
    lists = json.loads(invoke("list", "--json").stdout)
    assert {name: len(rows) for name, rows in lists.items()} == {
        "tasks": 5,
        "methods": len(smc_eval_methods()),
        "kinds": 0,
        "optimizers": len(OPTIMIZERS),
        "trackers": 0,
        "protocols": 2,
        "plugins": 1,
    }
    assert lists["tasks"][0] | {"source": ""} == {
        "name": "sums/gts", "summary": "toy sums", "source": "", "groups": ["sums", "maths"], "chance": 0.0,
        "metric": "accuracy (%)", "folds": 2, "accepts": ["scratch", "tiny"], "published": "scratch",
        "licence": "none needed", "package": "toys", "by_name": False,
    }  # fmt: skip


def test_an_unknown_list_is_refused_with_the_nearest(invoke, refused) -> None:
    assert "no list is named 'task'; did you mean 'tasks'" in refused(invoke("list", "task"))


def test_a_method_is_shown_with_its_card_its_options_and_its_plan(invoke) -> None:
    shown = " ".join(invoke("show", "lth").stdout.split())
    for line in (
        "lth (method): ",
        "share number = 0.2 ",
        "1. train by the task's recipe",
        "prune by magnitude to 0.5",
        "rewind weights to 'start'",
    ):
        assert line in shown


@pytest.mark.parametrize(
    ("method", "line"),
    [
        ("wanda", "distribution rows (default); also global, uniform, erk, lamp, owl"),
        ("set", "distribution erk (default); also global, uniform, rows, lamp, owl"),
        ("sparsegpt", "distribution uniform (default); also erk, owl"),
        ("movement", "distribution uniform (default); also global, erk"),
        ("gmp-tuned", "scopes body"),
        ("sparsegpt", "batches whole number = 32 "),
        ("from-checkpoint", "mask text|none = none "),
        ("taylor", "size whole number|none = none Examples in a batch; `none` takes as many"),
        ("ria", "plan at 0.5 "),
        (
            "random-rigl",
            "arXiv:1911.11134, algorithm 1; start: random masks, as in section 3 of the same paper",
        ),
        ("random-rigl", "2. train by the task's recipe with drop-and-grow mask updates"),
        ("gmp-tuned", "with the cubic GMP schedule (to=0.5, since=0.07, until=0.87), distilled from 'dense'"),
    ],
)
def test_a_method_is_shown_with_what_it_supports_in_words(invoke, method: str, line: str) -> None:
    assert line in " ".join(invoke("show", method).stdout.split())


@pytest.mark.parametrize("method", [each.card.name for each in smc_eval_methods()])
def test_every_method_is_shown_with_a_plan(invoke, method: str) -> None:
    assert "\n  plan at " in invoke("show", method).stdout


def test_no_distribution_is_shown_for_a_method_that_chooses_no_weights(invoke) -> None:
    assert "distribution" not in invoke("show", "dense").stdout
    assert "distribution " not in invoke("show", "from-checkpoint").stdout


def test_the_columns_of_the_lists_have_heads_and_the_words_of_the_readme(invoke) -> None:
    lines = invoke("list", "methods").stdout.splitlines()
    assert lines[1].split() == ["name", "pruning", "patterns", "summary"]
    assert any(line.startswith("  lth ") and "in rounds" in line for line in lines)
    assert any(line.startswith("  dense ") and "no pruning" in line for line in lines)
    assert any(line.startswith("  snip ") and "before training" in line for line in lines)
    assert invoke("list", "plugins").stdout.splitlines()[1].split()[:2] == ["package", "version"]


def test_an_unknown_name_gives_few_names_and_the_command_that_lists_all(invoke, refused) -> None:
    message = refused(invoke("show", "nosuch"))
    assert message == (
        "error: no method, task, group, kind of model, optimizer, tracker or protocol is named 'nosuch'; "
        "see smc-eval list\n"
    )


def test_a_task_is_shown_with_its_card_and_its_recipe(invoke, refused) -> None:
    shown = invoke("show", "sums/gts").stdout
    for line in ("toy sums", "scratch, tiny", "none needed", "in two folds", "steps=3", "tiny: steps=2"):
        assert line in shown
    assert "tasks: sums/gts, terms/gts" in invoke("show", "maths").stdout
    assert "tracker or protocol is named 'lht'; did you mean 'lth'" in refused(invoke("show", "lht"))


def test_a_task_without_a_docstring_is_shown_without_that_of_its_base_class(invoke) -> None:
    shown = invoke("show", "terms/gts").stdout
    assert "toy terms" in shown
    assert "Find the token that occurs twice" not in shown  # the docstring of Toy


def test_a_protocol_is_shown_with_everything_that_it_changes(invoke) -> None:
    shown = " ".join(invoke("show", "paper").stdout.split())
    for line in (
        "scope all-2d",
        "decoupled False",
        "keep best",
        "gmp every=1000, events=4",
        "snip batches=1",
    ):
        assert line in shown
    assert "batches" not in invoke("show", "sound").stdout
    assert [line.split()[:2] for line in invoke("list", "protocols").stdout.splitlines()[1:]] == [
        ["name", "scope"],
        ["sound", "body"],
        ["paper", "all-2d"],
    ]


def test_a_broken_plugin_stops_every_verb_and_is_listed(invoke, install, refused) -> None:
    install("bad-apple", "import nowhere_to_be_found")
    for words in (TERMS, ("list",), ("show", "lth"), ("plan", *TERMS)):
        message = refused(invoke(*words))
        assert "plugin 'bad-apple' of bad-apple 3.1 cannot be imported" in message
        assert message.endswith("\nrepair or update bad-apple, or remove it: pip uninstall bad-apple\n")
    ended = invoke("list", "plugins")
    assert ended.exit_code == 0
    _, apple, toys = ended.stdout.splitlines()[1:]
    assert apple.split()[:4] == ["bad-apple", "3.1", "bad-apple", "BROKEN"]
    assert toys.split()[:4] == ["toys", "3.1", "toys", "ok"]


def test_a_used_name_stops_the_program(invoke, install, refused) -> None:
    install("copycat", "from smc_eval.methods import smc_eval_methods")
    assert "of toys 3.1 uses a name twice: two methods are named 'dense'" in refused(invoke(*TERMS))


ENDLESS = """
from typing import ClassVar
from smc_eval import Method, MethodCard, Prune, Train, hookimpl

class Odd(Method):
    card: ClassVar[MethodCard] = MethodCard(name="odd", summary="odd", source="none", when="after")

    def plan(self, target):
        {plan}

@hookimpl
def smc_eval_methods():
    return [Odd]
"""


@pytest.mark.parametrize(
    ("plan", "shown"),
    [
        ("yield Prune(by=5, to=target)", "failed: ValidationError: 1 validation error for Prune"),
        ("yield Train(length=1e300)", "failed: ValidationError: 1 validation error for Train"),
        ("return None", "failed: TypeError: "),
        ("yield 5", "plans 5 (int); wanted a Train, a Prune or a Rewind"),
    ],
)
def test_a_method_whose_plan_fails_is_shown_with_the_reason(invoke, install, plan: str, shown: str) -> None:
    install("odd", ENDLESS.format(plan=plan))
    ended = invoke("show", "odd")
    assert ended.exit_code == 0
    assert f"  plan          odd:Odd {shown}" in ended.stdout


def test_a_method_is_shown_with_what_decides_and_what_it_equals(invoke) -> None:
    shown = " ".join(invoke("show", "obert").stdout.split())
    assert "criterion w² / (2 [F⁻¹]ᵢᵢ), F the Fisher matrix of a block of weights" in shown
    assert "equals neuralmagic/sparseml 1c04a01 (OBSPruningModifier): no mask bit of 5,950 differs" in shown
    shown = " ".join(invoke("show", "random-before").stdout.split())
    assert "criterion a uniform random number equals unknown: it was compared with no" in shown
    assert "equals" not in invoke("show", "dense").stdout
