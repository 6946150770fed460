"""The verb check: the contract of what is installed, promise by promise."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from smc_eval.testing import MethodContract, TaskContract, promises_of

WRONG = '''
import random
from typing import ClassVar

from smc_eval import Criterion, Method, MethodCard, Prune, TaskCard, Train, hookimpl
from smc_eval.testing import Toy

class Size(Criterion):
    def saliency(self, probe):
        print("noise of a plugin")
        return {name: weight.abs() for name, weight in probe.weights.items()}

class Right(Method):
    card = MethodCard(name="right", summary="right", source="none", when="before")

    def plan(self, target):
        yield Prune(by=Size(), to=target)
        yield Train()

class Wrong(Right):
    """Draws when it is planned."""
    card = MethodCard(name="wrong", summary="wrong", source="none", when="before")
    share: float = 0.5

    def plan(self, target):
        random.random()
        yield from super().plan(target)

class Leaves(Right):
    """Ends the program."""
    card = MethodCard(name="leaves", summary="leaves", source="none", when="before")

    def plan(self, target):
        raise SystemExit(3)

class Easy(Toy):
    card: ClassVar[TaskCard] = TaskCard(
        name="easy", summary="toy", source="none", metric="accuracy (%)", accepts=("tiny",), published="tiny",
    )

class NeedsModel(Toy):
    card: ClassVar[TaskCard] = TaskCard(
        name="needs-model", summary="toy", source="none", metric="accuracy (%)", accepts=("text-encoder",),
        published="roberta-base", groups=("needy",),
    )

@hookimpl
def smc_eval_methods():
    return [Right, Wrong, Leaves]

@hookimpl
def smc_eval_tasks():
    return [Easy, NeedsModel]

@hookimpl
def smc_eval_kinds():
    from smc_eval.tasks.text_encoder import TextEncoder
    return [TextEncoder]
'''


@pytest.fixture
def wrong(install, invoke):
    """Runs the program with a plugin that has a wrong method."""
    install("smc-eval-wrong", WRONG)
    return invoke


def words_of(contract: type) -> list[str]:
    return [promise.words for promise in promises_of(contract)]


def test_a_broken_promise_has_a_verdict_a_counter_example_and_exit_code_1(wrong) -> None:
    ended = wrong("check", "wrong", "--quick")
    assert ended.exit_code == 1
    title, heads, _, *rows = ended.stdout.splitlines()
    count = len(words_of(MethodContract))
    assert title == f"wrong (method): {count} promises, {count - 1} kept, 1 broken"
    assert heads.split() == ["promise", "verdict", "seconds"]
    row = next(line for line in rows if line.startswith("its plan computes nothing"))
    assert row.split()[-2] == "broken"
    assert rows[-1] == (
        "broken: its plan computes nothing: the plan for 0.3 draws from, or seeds, "
        "the global generator of `random`"
    )


def test_json_has_every_promise_of_all_that_a_plugin_brings_and_nothing_that_it_prints(wrong) -> None:
    ended = wrong("check", "right:", "--quick", "--json")
    assert ended.exit_code == 0
    answer = json.loads(ended.stdout)  # the plugin prints, to the error stream
    assert answer["ok"] is answer["quick"] is True
    (one,) = answer["checked"]
    assert (one["name"], one["noun"], one["class"]) == ("right", "method", "smc-eval-wrong:Right")
    assert [promise["promise"] for promise in one["promises"]] == words_of(MethodContract)
    assert {promise["verdict"] for promise in one["promises"]} == {"kept"}
    assert all(promise["seconds"] >= 0 and promise["reason"] == "" for promise in one["promises"])
    assert one["promises"][0]["test"] == "test_its_plan_is_the_same_each_time"


def test_a_method_that_ends_the_program_breaks_promises_and_the_others_go_on(wrong) -> None:
    ended = wrong("check", "leaves", "--quick", "--json")
    assert ended.exit_code == 1
    promises = json.loads(ended.stdout)["checked"][0]["promises"]
    verdicts = {promise["promise"]: promise for promise in promises}
    assert verdicts["the target is met exactly"]["reason"].startswith("SystemExit: 3 (smc_eval_wrong")
    assert verdicts["it refuses patterns that its card does not name"]["verdict"] == "kept"


def test_a_task_is_checked_with_its_smallest_net_and_synthetic_data(wrong) -> None:
    ended = wrong("check", "easy", "--json")
    assert ended.exit_code == 0
    (one,) = json.loads(ended.stdout)["checked"]
    assert one["noun"] == "task"
    assert [promise["promise"] for promise in one["promises"]] == words_of(TaskContract)


def test_a_kind_of_model_is_checked_by_the_net_that_it_builds(wrong) -> None:
    ended = wrong("check", "text-encoder", "--quick")
    assert ended.exit_code == 0
    assert ended.stdout.startswith("text-encoder (kind of model): 9 promises, 9 kept\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("wrnog",),
            "optimizer, tracker or plugin is named 'wrnog'; did you mean 'wrong'?",
        ),
        (("wrong:shar=1",), "no option of method 'wrong' is named 'shar'; did you mean 'share'?"),
        (("wrong:share=x",), "option 'share' of method 'wrong' is 'x'; it should be a valid number"),
        (("wrong,right",), "check takes one name, found 'wrong,right'"),
        (("",), "check takes one name, found ''"),
        (("wrong", "--model", "tiny"), "--model is for tasks and kinds of model, and 'wrong' is none"),
        (("wrong", "--data-dir", "."), "--data-dir is for tasks, and 'wrong' is none"),
        (("needs-model",), "task 'needs-model' builds no net without a checkpoint; name one: --model MODEL"),
        (("easy", "--data-dir", "nowhere"), "there is no data directory 'nowhere'"),
        (("text-encoder", "--model", "nowhere"), "--model 'nowhere' is no folder"),
        (("smc-eval-wrong:share=1",), "the plugin 'smc-eval-wrong' has no options"),
    ],
)
def test_wrong_words_are_refused(wrong, refused, words: tuple[str, ...], message: str) -> None:
    assert message in refused(wrong("check", *words))


def test_a_plugin_that_cannot_be_loaded_is_refused_with_its_reason(install, invoke, refused) -> None:
    install("smc-eval-torn", "import nothing_of_this_name")
    message = refused(invoke("check", "omp-after"))
    assert "plugin 'smc-eval-torn' of smc-eval-torn" in message and "nothing_of_this_name" in message


WITHOUT_PYTEST = """
import sys
sys.modules["pytest"] = None
from smc_eval.cli import main
main()
"""


def test_no_pytest_is_needed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_PYTEST, "check", "dense", "--quick"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.startswith("dense (method): ") and "not checked" not in ran.stdout
    assert list(tmp_path.iterdir()) == []
