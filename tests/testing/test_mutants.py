"""Methods, tasks and optimizers that are wrong are killed by a named promise, and correct variants pass."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from smc_eval_mutants.kills import CONTRACTS, CORRECT, KILLS, Kill, contract_of

from smc_eval.method import Method
from smc_eval.spec import Spec
from smc_eval.testing import PromiseVerdict, check_promise, promises_of

HELD_BY_THE_ENGINE = {
    "pruned weights stay zero under every optimizer": "the engine sets the zeros again after each step",
    "the order of batches depends only on the seed": "the engine draws the order",
}
"""Promises of methods and tasks that no mutant breaks alone, with the reason."""

SINGLE = [kill for kill in KILLS if kill.more is not None]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder for mutants that write files."""
    monkeypatch.chdir(tmp_path)


def name_of(value: object) -> str:
    return value.wrong.__name__ if isinstance(value, Kill) else type(value).__name__


def verdicts(subject: Spec, **members: object) -> Iterator[PromiseVerdict]:
    contract = contract_of(subject, **members)
    return (check_promise(contract, promise) for promise in promises_of(type(contract)))


def broken(subject: Spec, **members: object) -> dict[str, str]:
    """The promises that it breaks, with the reasons."""
    found = verdicts(subject, **members)
    return {verdict.promise.words: verdict.reason for verdict in found if verdict.result == "broken"}


def test_there_are_enough_mutants_and_correct_variants() -> None:
    assert len({kill.wrong for kill in KILLS}) == len(KILLS) >= 70
    assert len(CORRECT) >= 8


@pytest.mark.parametrize("kill", KILLS, ids=name_of)
def test_a_mutant_is_killed_by_its_promise_with_a_counter_example_in_one_line(kill: Kill) -> None:
    verdict = check_promise(contract_of(kill.mutant), kill.promise)
    assert verdict.result == "broken"
    assert re.search(kill.reason, verdict.reason) and "\n" not in verdict.reason, verdict.reason


@pytest.mark.parametrize(
    "kill",
    [
        pytest.param(kill, marks=pytest.mark.slow if kill.noun == "method" else (), id=name_of(kill))
        for kill in SINGLE
    ],
)
def test_a_mutant_breaks_no_promise_but_those_that_are_listed(kill: Kill) -> None:
    assert kill.more is not None
    assert broken(kill.mutant).keys() == {kill.words, *kill.more}


@pytest.mark.parametrize("subject", CORRECT, ids=name_of)
def test_a_correct_variant_keeps_every_promise(subject: Spec) -> None:
    assert broken(subject, quick=True) == {}


@pytest.mark.slow
@pytest.mark.parametrize("subject", [one for one in CORRECT if isinstance(one, Method)], ids=name_of)
def test_a_correct_method_keeps_every_promise_at_all_targets(subject: Method) -> None:
    assert broken(subject) == {}


@pytest.mark.parametrize("noun", ["method", "task"])
def test_every_promise_kills_a_mutant(noun: str) -> None:
    words = {promise.words for promise in promises_of(CONTRACTS[noun][0])}
    kills = {kill.words for kill in KILLS if kill.noun == noun}
    assert kills <= words, "a promise has another name now"
    assert words - kills <= HELD_BY_THE_ENGINE.keys()
    assert not kills & HELD_BY_THE_ENGINE.keys()
