"""Cells that end badly: each costs itself alone, and its reason names what did it."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from smc_eval.card import MethodCard
from smc_eval.engine.progress import Silent
from smc_eval.engine.run_options import RunOptions
from smc_eval.engine.runner import run_cells
from smc_eval.errors import DataError, PluginError, StoreError
from smc_eval.experiment.cell import Cell
from smc_eval.experiment.checked_score import checked_score, reported_examples
from smc_eval.method import Method
from smc_eval.methods.dense import Dense
from smc_eval.methods.omp import Magnitude as MagnitudeScores
from smc_eval.planning.resolve import Resolver
from smc_eval.protocol import SOUND
from smc_eval.pruner import Probe
from smc_eval.score import Items, Score
from smc_eval.stages import Prune, Stage
from smc_eval.store.record import Record
from smc_eval.store.records import RecordsFile
from smc_eval.store.store import Store
from smc_eval.target import Target
from smc_eval.task import Part
from smc_eval.testing import Example, Toy, chain_of


def run_beside_dense(task: Toy, folder: Path) -> Record:
    """The failed record of a task's cell. Another cell of the same run ends well, and both are stored."""
    chains = [chain_of(Dense(), Target(), task), chain_of(Dense(), Target())]
    failed, done = run_cells(chains, RunOptions(folder, device="cpu"))
    assert failed.status == "failed" and done.sound
    stored = Store(folder).records
    assert stored.latest() == {failed.digest: failed, done.digest: done} and not stored.faults
    return failed


GOOD = Score("accuracy (%)", 50.0, 20, signature="accuracy")
BAD_SCORES: dict[str, tuple[Any, str]] = {
    "nan": (replace(GOOD, value=math.nan), r"value is nan \(float\)"),
    "inf": (replace(GOOD, value=-math.inf), r"value is -inf \(float\)"),
    "numpy": (replace(GOOD, value=np.float32(50)), r"value is 50.0 \(numpy.float32\)"),  # type: ignore[arg-type]
    "numpy's double": (replace(GOOD, value=np.float64(50)), r"value is 50.0 \(numpy.float64\)"),
    "torch": (replace(GOOD, value=torch.tensor(50.0)), r"value is tensor\(50.\) \(torch.Tensor\)"),  # type: ignore[arg-type]
    "text": (replace(GOOD, value="50"), r"value is 50 \(str\)"),  # type: ignore[arg-type]
    "a flag": (replace(GOOD, value=True), r"value is True \(bool\)"),
    "also": (replace(GOOD, also={"easy": math.nan}), r"also\['easy'\] is nan"),
    "no example": (replace(GOOD, n=0), r"n is 0 \(int\); wanted the number of scored examples"),
    "numpy's count": (replace(GOOD, n=np.int64(20)), r"n is 20 \(numpy.int64\)"),  # type: ignore[arg-type]
    "a count of also": (replace(GOOD, also={"a": 1.0}, also_n={"a": 0}), r"also_n\['a'\] is 0"),
    "signature": (replace(GOOD, signature=None), r"signature is None \(NoneType\); wanted text"),  # type: ignore[arg-type]
    "items": (replace(GOOD, items=Items("mean", ((0.0,), (np.float32(1),)))), "in row 2 of the items"),
    "an int that no float can hold": (
        replace(GOOD, value=10**400),
        r"value is 1000.* \(int\); wanted a",
    ),
    "too many": (replace(GOOD, n=10**40), r"n is 1000.*; wanted the number of scored examples"),
    "further scores in a list": (replace(GOOD, also=[1.0]), r"also is \[1.0\] \(list\); wanted values by"),  # type: ignore[arg-type]
    "a number as a name": (replace(GOOD, also={5: 1.0}), r"also is \{5: 1.0\} \(dict\); wanted values by"),  # type: ignore[dict-item]
    "no counts": (replace(GOOD, also_n=None), r"also_n is None \(NoneType\); wanted values by name"),  # type: ignore[arg-type]
    "a text for a flag": (replace(GOOD, higher_is_better="a"), r"higher_is_better is a \(str\)"),  # type: ignore[arg-type]
    "no items": (replace(GOOD, items=5), r"5 \(int\) as the items of its score; wanted smc_eval.score.Items"),  # type: ignore[arg-type]
    "items of another kind": (
        replace(GOOD, items=Items("a", ((1.0,),))),
        r"of a kind \(mean, rank, bleu, ratio, perplexity\)",
    ),  # type: ignore[arg-type]
    "rows that are numbers": (replace(GOOD, items=Items("mean", (1.0,))), "with a row of numbers for each"),  # type: ignore[arg-type]
    "items with another mean": (
        replace(GOOD, items=Items("mean", ((100.0,),) * 20)),
        "a score of 50 for 20 examples, whose items are 20 values with mean 100",
    ),
    "fewer items": (
        replace(GOOD, items=Items("mean", ((50.0,),) * 19)),
        "a score of 50 for 20 examples, whose items are 19 values with mean 50",
    ),
    "no score": (50.0, r"50.0 \(float\) as its score; wanted a smc_eval.Score"),
}


@pytest.mark.parametrize("title", BAD_SCORES)
def test_a_score_that_no_record_can_hold_is_refused_with_the_name_of_its_task(title: str) -> None:
    given, message = BAD_SCORES[title]

    class Odd(Toy):
        def score(self, predicted: Sequence[int], examples: Sequence[Example]) -> Score:
            return given  # type: ignore[no-any-return]

    with pytest.raises(PluginError, match=rf"Odd gave .*{message}"):
        checked_score(Odd(), [1], [((1, 1), 1)])


def test_a_good_score_passes_unchanged() -> None:
    class Even(Toy):
        def score(self, predicted: Sequence[int], examples: Sequence[Example]) -> Score:
            return replace(GOOD, value=50, items=Items("rank", ((math.nan, 1),)))

    assert checked_score(Even(), [[1], {"a": None}], [((1, 1), 1)]).value == 50


@pytest.mark.parametrize("prediction", [torch.tensor(1), np.float32(1), {1, 2}, b"a"])
def test_a_prediction_that_is_not_plain_is_refused_with_the_name_of_its_task(prediction: object) -> None:
    with pytest.raises(PluginError, match=r"Toy predicted .* for example 2; wanted plain JSON"):
        checked_score(Toy(), [1, prediction], [((1, 1), 1)] * 2)


class NotANumber(Toy):
    def score(self, predicted: Sequence[int], examples: Sequence[Example]) -> Score:
        return replace(super().score(predicted, examples), value=float("nan"), items=None)


class Untested(Toy):
    def data(self, part: Part) -> Sequence[Example]:
        return super().data(part) if part == "train" else []

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        raise AssertionError("it trains before the fault is found")


class Exiting(Toy):
    def predict(self, model: nn.Module, batch: Any) -> list[int]:
        sys.exit(3)


class NoModel(Toy):
    def model(self) -> nn.Module:
        return 5  # type: ignore[return-value]


class WithoutTextError(Exception):
    def __str__(self) -> str:
        raise ValueError


class WithoutText(Toy):
    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        raise WithoutTextError


class ExitingTrain(Toy):
    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        raise SystemExit


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        (NotANumber(), "NotANumber gave a score whose value is nan (float)"),
        (Untested(), "Untested has no test examples"),
        (NoModel(), "NoModel gave 5 (int) as its model; wanted a torch.nn.Module"),
        (WithoutText(), "WithoutTextError: its text cannot be made: ValueError"),
        (Exiting(), "sys.exit(3) was called in test_bad_cells.py, line "),
        (ExitingTrain(), "sys.exit(None) was called in test_bad_cells.py, line "),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_bad_cell_fails_and_the_others_go_on(tmp_path: Path, task: Toy, reason: str) -> None:
    assert reason in run_beside_dense(task, tmp_path).reason


def test_a_task_without_test_examples_has_no_score() -> None:
    with pytest.raises(DataError, match="Untested has no test examples"):
        reported_examples(Untested())


class ExitingMethod(Method):
    card: ClassVar[MethodCard] = MethodCard(name="exits", summary="exits", source="none", when="before")
    where: str = "plan"

    def accept(self, target: Target) -> None:
        if self.where == "accept":
            sys.exit(4)

    def plan(self, target: Target) -> Iterator[Stage]:
        sys.exit(5)


@pytest.mark.parametrize("where", ["plan", "accept"])
def test_a_method_that_exits_while_it_plans_fails_its_cell_alone(where: str) -> None:
    cells = [
        Cell(task=Toy(), method=method, target=Target(), protocol=SOUND)
        for method in (ExitingMethod(where=where), Dense())
    ]
    failed, other = Resolver().resolve_all(cells)
    assert failed.record.status == "failed" and "ExitingMethod failed: SystemExit" in failed.record.reason
    assert other.chain is not None


def test_a_record_that_cannot_be_written_is_a_failed_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, notes = RecordsFile.add, list[str]()

    class Noting(Silent):
        def note(self, text: str, *, warning: bool = False) -> None:
            notes.append(text)

    def full(self: RecordsFile, record: Record) -> None:
        if record.seed == 0:
            raise StoreError("cannot write results.jsonl: No space left on device")
        add(self, record)

    monkeypatch.setattr(RecordsFile, "add", full)
    chains = [chain_of(Dense(), Target(), seed=seed) for seed in (0, 1)]
    lost, kept = run_cells(chains, RunOptions(tmp_path, device="cpu", watcher=Noting()))
    assert (lost.status, kept.status) == ("failed", "ok")
    assert lost.reason == "cannot write results.jsonl: No space left on device" and lost.score is None
    assert lost.reason in notes
    monkeypatch.undo()
    again, _ = run_cells(chains, RunOptions(tmp_path, device="cpu"))
    assert again.sound


class Noting(MagnitudeScores):
    note: Any = 5

    def saliency(self, probe: Probe) -> dict[str, Tensor]:
        probe.note(self.note)
        return super().saliency(probe)


class NotingMethod(Method):
    card: ClassVar[MethodCard] = MethodCard(name="notes", summary="notes", source="none", when="before")
    note: Any = 5

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Prune(by=Noting(note=self.note), to=target)


@pytest.mark.parametrize("note", [5, "", "a\nb"])
def test_a_note_that_is_no_line_fails_the_cell_with_the_name_of_the_pruner(tmp_path: Path, note: Any) -> None:
    (record,) = run_cells(
        [chain_of(NotingMethod(note=note), Target(sparsity=0.5))], RunOptions(tmp_path, device="cpu")
    )
    assert record.status == "failed" and ":Noting noted " in record.reason
