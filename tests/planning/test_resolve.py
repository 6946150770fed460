"""Resolving cells: each task is read once, and a cell that cannot run gets a record with the reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import pytest

from smc_eval.card import MethodCard, TaskCard
from smc_eval.errors import DataError, PluginError, UsageError
from smc_eval.experiment.cell import Cell
from smc_eval.experiment.config import RunConfig
from smc_eval.experiment.grid import Grid
from smc_eval.method import Method
from smc_eval.methods.dense import Dense
from smc_eval.methods.lth import LotteryTicket
from smc_eval.methods.omp import MagnitudeAfter
from smc_eval.planning.resolve import Resolver
from smc_eval.protocol import SOUND
from smc_eval.registry import Registry
from smc_eval.stages import Stage, Train
from smc_eval.target import Target
from smc_eval.task import Part, Source
from smc_eval.testing import Toy


def card(name: str) -> TaskCard:
    return Toy.card.model_copy(update={"name": name})


class Unread(Toy):
    card: ClassVar[TaskCard] = card("unread")

    def data(self, part: Part) -> Sequence[Any]:
        raise DataError("train.csv, line 3: no number")


class Faulty(Toy):
    card: ClassVar[TaskCard] = card("faulty")

    def sources(self) -> tuple[Source, ...]:
        raise KeyError("no such key")


class BrokenPlan(Method):
    card: ClassVar[MethodCard] = MethodCard(name="broken", summary="a toy", source="none", when="during")
    share: float = 0.5

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Train(stop=1 / (self.share - 0.5))


METHODS: tuple[type[Method], ...] = (LotteryTicket, MagnitudeAfter, Dense, BrokenPlan)


def grid(*tasks: type[Toy], **fields: Any) -> Grid:
    registry = Registry(
        (), {kind.card.name: kind for kind in METHODS}, {kind.card.name: kind for kind in tasks}
    )
    return Grid.of(
        RunConfig(**{"tasks": ("all",), "method": ("lth",), "sparsity": ("0.5",), **fields}), registry
    )


def test_the_data_of_a_task_is_read_once_for_all_its_cells() -> None:
    calls = list[Part]()

    class Counted(Toy):
        card: ClassVar[TaskCard] = card("counted")

        def data(self, part: Part) -> Sequence[Any]:
            calls.append(part)
            return super().data(part)

    cells = list(grid(Counted, sparsity=("smc",)).cells())
    resolver = Resolver()
    chains = [resolver.resolve(cell) for cell in cells]
    assert calls == ["train"]
    assert {chain.examples for chain in chains} == {52}
    assert len({chain.start for chain in chains}) == 1
    assert len({chain.digest for chain in chains}) == len(cells) == 11


def test_a_cell_that_cannot_be_resolved_fails_with_its_reason_and_the_others_run() -> None:
    resolved = Resolver().resolve_all(grid(Toy, Unread, Faulty).cells())
    assert [bool(cell.chain) for cell in resolved] == [True, True, False, False, False, False]
    records = [cell.record for cell in resolved[2:]]
    assert [record.task for record in records] == ["unread", "unread", "faulty", "faulty"]
    assert {record.status for record in records} == {"failed"}
    assert records[0].reason == "train.csv, line 3: no number"
    assert "Faulty failed: KeyError: 'no such key' (test_resolve.py:" in records[2].reason
    assert isinstance(resolved[4].error, PluginError)


def test_a_target_that_a_method_refuses_is_skipped_by_name() -> None:
    cells = grid(Toy, method=("lth,omp-after",), sparsity=("2:4",)).cells()
    records = {
        cell.cell.method.card.name: cell.record for cell in Resolver().resolve_all(cells) if not cell.chain
    }
    assert list(records) == ["lth"]
    assert (records["lth"].status, records["lth"].target.pattern) == ("skipped", "2:4")
    assert "method 'lth' does not support pattern '2:4'" in records["lth"].reason


def test_if_the_user_can_mend_why_no_cell_runs_the_command_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^train.csv, line 3: no number$"):
        Resolver().resolve_all(grid(Unread).cells())


def test_if_no_cell_runs_because_of_a_plugin_the_cells_fail() -> None:
    resolved = Resolver().resolve_all(grid(Faulty).cells())
    assert {cell.record.status for cell in resolved} == {"failed"}


def test_the_error_of_a_plan_names_its_method() -> None:
    resolved = Resolver().resolve_all(grid(Toy, method=("broken",)).cells())
    assert [bool(cell.chain) for cell in resolved] == [True, False]
    assert "BrokenPlan failed: ZeroDivisionError" in resolved[1].record.reason


class OwnData(Toy):
    """A task with data of its own, whatever `--data-dir` says."""

    card: ClassVar[TaskCard] = card("own-data")

    def sources(self) -> tuple[Source, ...]:
        return (Source("data", "letters of the alphabet", "26"),)


def test_a_skipped_cell_names_the_data_that_the_other_cells_of_its_task_read() -> None:
    cells = grid(OwnData, method=("lth,omp-after",), sparsity=("2:4",)).cells()
    skipped = [cell.record.data for cell in Resolver().resolve_all(cells) if not cell.chain]
    assert [(data.source, data.digest) for data in skipped] == [("letters of the alphabet", "26")]


def test_a_cell_whose_data_was_not_read_calls_it_nothing() -> None:
    resolved = Resolver().resolve_all(grid(Toy, Unread).cells())
    assert {(one.record.data.source, one.record.data.digest) for one in resolved if not one.chain} == {
        ("", "")
    }


@pytest.mark.parametrize(
    "given",
    [True, 5, [], (5,), (Source("data", "x", 5),), (Source("other", "x", ""),), (Source([], "x", ""),)],
)
def test_what_is_no_source_fails_the_cells_of_its_task_by_name(given: Any) -> None:
    class Odd(Toy):
        def sources(self) -> tuple[Source, ...]:
            return given  # type: ignore[no-any-return]

    cell = Cell(task=Odd(), method=Dense(), target=Target(), protocol=SOUND)
    (resolved,) = Resolver().resolve_all([cell])
    assert resolved.record.status == "failed"
    assert "Odd gave " in resolved.record.reason
    assert "as its sources; wanted a tuple of Source" in resolved.record.reason
