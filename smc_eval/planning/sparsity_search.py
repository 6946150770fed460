"""A Quest: one search among the cells of a task, a model and a method, over all seeds and folds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from smc_eval.errors import SmcError, UsageError, first_line
from smc_eval.experiment.cell import Cell, Chain
from smc_eval.experiment.grid import Grid
from smc_eval.method import DENSE, Method
from smc_eval.planning.bisection import Bisection, Bracket
from smc_eval.planning.resolve import ResolvedCell, Resolver
from smc_eval.statistics import retained
from smc_eval.store.record import Record, scores_by_seed
from smc_eval.task import Task

AHEAD = 3
"""Rounds that are looked ahead, to keep the nets that their cells would share with those of now."""

Carry = Callable[[Sequence[ResolvedCell], Sequence[Chain]], list[Record]]
"""Carries out cells, given those that may be asked for later."""


@dataclass(frozen=True)
class SparsitySearch:
    """Where one search stands. A score is that of a table: folds pooled, then the mean over seeds."""

    grid: Grid
    """Its task's folds, its method, all seeds."""
    bracket: Bracket
    dense: float = math.nan
    """Score of the dense nets."""
    scores: tuple[tuple[float, float], ...] = ()
    """Sparsities tried, and their scores."""
    cells: int = 0
    """Cells that were looked at, dense ones apart."""
    reason: str = ""
    """Why it ended without an answer."""

    @property
    def task(self) -> Task:
        """Its task, in the first of its folds."""
        return self.grid.tasks[0]

    @property
    def method(self) -> Method:
        """Whose sparsity it looks for."""
        return self.grid.methods[0]

    def ask(self) -> float | None:
        """The next sparsity to try; None at the end."""
        return None if self.reason else self.bracket.ask()

    def at(self, sparsities: Iterable[float]) -> list[Cell]:
        """Its cells at some sparsities."""
        dense = self.grid.targets[0].dense()
        targets = tuple(dense.at(sparsity) for sparsity in sparsities)
        return list(self.grid.model_copy(update={"targets": targets}).cells())

    def measured(self, records: Sequence[Record]) -> SparsitySearch:
        """The same with the score of the dense nets, from their records."""
        if reason := _unsound(records):
            return replace(self, reason=f"dense: {reason}")
        assert records[0].score is not None
        dense, chance = _mean(records), self.task.card.chance
        if math.isnan(retained(dense, dense, chance, higher=records[0].score.higher_is_better)):
            return replace(
                self, dense=dense, reason=f"the dense net scores {dense:.4g} and a guess {chance:g}: no share"
            )
        return replace(self, dense=dense)

    def record_answer(self, sparsity: float, records: Sequence[Record]) -> SparsitySearch:
        """The same one answer further, from the records of its cells at a sparsity."""
        cells = self.cells + len(records)
        if reason := _unsound(records):
            return replace(self, cells=cells, reason=f"at {sparsity:g}: {reason}")
        assert records[0].score is not None
        score, search = _mean(records), self.bracket.search
        higher = records[0].score.higher_is_better
        share = float(retained(score, self.dense, self.task.card.chance, higher=higher))
        bracket = self.bracket.tell(sparsity, keeps=share >= search.share - 1e-9)
        return replace(self, bracket=bracket, cells=cells, scores=(*self.scores, (sparsity, score)))

    def document(self) -> dict[str, Any]:
        """What came of it, as plain JSON values."""
        bracket, search = self.bracket, self.bracket.search
        return {
            "task": self.task.label,
            "model": self.task.backbone,
            "method": self.method.label,
            "find": search.model_dump(mode="json"),
            "kept": bracket.keeps,
            "lost": bracket.lost,
            "dense": None if math.isnan(self.dense) else self.dense,
            "chance": self.task.card.chance,
            "tried": [
                {"sparsity": sparsity, "score": score, "kept": kept}
                for (sparsity, kept), (_, score) in zip(bracket.tried, self.scores, strict=True)
            ],
            "cells": self.cells,
            "reason": self.reason,
        }


def searches(grid: Grid, search: Bisection) -> list[SparsitySearch]:
    """One for each task, model and method whose sparsity is free to be chosen.

    Raises:
        UsageError: there is none.
    """
    tasks: dict[tuple[str, str], list[Task]] = {}
    for task in grid.tasks:
        tasks.setdefault((task.label, task.backbone), []).append(task)
    methods = [method for method in grid.methods if not unfit(method)]
    if not methods:
        raise UsageError(f"--find has no method to search: {'; '.join(left_out(grid)) or 'name one'}")
    return [
        SparsitySearch(grid.model_copy(update={"tasks": tuple(folds), "methods": (method,)}), Bracket(search))
        for folds in tasks.values()
        for method in methods
    ]


def unfit(method: Method) -> str:
    """Why a method has no sparsity to look for; empty where it has."""
    if method.card.when == "none":
        return "prunes nothing"
    if method.card.when == "custom":
        return "takes masks that are given"
    return "" if "free" in method.card.patterns else f"makes {', '.join(method.card.patterns)} alone"


def left_out(grid: Grid) -> list[str]:
    """Methods that are not searched, and why; the baseline goes without saying."""
    return [
        f"method {method.label!r} {reason}"
        for method in grid.methods
        if (reason := unfit(method)) and method.card.name != DENSE
    ]


def dense_cells(grid: Grid) -> list[Cell]:
    """The dense cells of a grid.

    Raises:
        UsageError: it has none.
    """
    found = tuple(method for method in grid.methods if method.card.name == DENSE)
    if not found:
        raise UsageError("--find measures against the dense net; leave out --no-dense")
    return list(grid.model_copy(update={"methods": found}).cells())


def first_cells(grid: Grid, waiting: Iterable[SparsitySearch]) -> list[Cell]:
    """The cells that are looked at whatever comes of them: dense ones, and each quest's first."""
    return [
        *dense_cells(grid),
        *(cell for search in waiting for cell in search.at(search.bracket.upcoming(1))),
    ]


def most_cells(grid: Grid, waiting: Iterable[SparsitySearch]) -> int:
    """The most cells it can take to end all quests."""
    each = (len(search.at([0.5])) * search.bracket.search.most() for search in waiting)
    return len(dense_cells(grid)) + sum(each)


def run_rounds(
    grid: Grid, waiting: Sequence[SparsitySearch], carry: Carry
) -> Iterator[tuple[list[SparsitySearch], list[Record]]]:
    """Carry out the dense cells, then each quest's next ones until none asks any more.

    Yields the quests as they stand after each round, and the records it brought.

    Raises:
        UsageError: no cell of a round can run.
    """
    resolver, found = Resolver(), list(waiting)
    squares = resolver.resolve_all(dense_cells(grid))
    records = carry(squares, _ahead(found, resolver))
    baseline: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        baseline.setdefault((record.task, record.model), []).append(record)
    found = [search.measured(baseline[search.task.label, search.task.backbone]) for search in found]
    yield list(found), records
    while asked := {n: sparsity for n, search in enumerate(found) if (sparsity := search.ask()) is not None}:
        cells = {number: found[number].at([sparsity]) for number, sparsity in asked.items()}
        squares = resolver.resolve_all(cell for some in cells.values() for cell in some)
        records = carry(squares, _ahead([found[number] for number in asked], resolver))
        left = iter(records)
        for number, sparsity in asked.items():
            found[number] = found[number].record_answer(sparsity, [next(left) for _ in cells[number]])
        yield list(found), records


def _ahead(waiting: Iterable[SparsitySearch], resolver: Resolver) -> list[Chain]:
    """Chains of the cells that may be asked for in the next rounds."""
    chains = list[Chain]()
    for search in waiting:
        for cell in search.at(search.bracket.upcoming(AHEAD)):
            try:
                chains.append(resolver.resolve(cell))
            except SmcError:  # told when it is asked for
                continue
    return chains


def _mean(records: Sequence[Record]) -> float:
    return fmean(scores_by_seed(records).values())


def _unsound(records: Sequence[Record]) -> str:
    """Why records decide nothing: the first that is not done, or not certified."""
    unsound = next((record for record in records if not record.sound), None)
    if unsound is None:
        return ""
    return first_line(unsound.reason) or "a certificate failed"
