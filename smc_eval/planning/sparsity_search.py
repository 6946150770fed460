"""Sparsity searches: one for each task, model and method, over all seeds and folds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from smc_eval import capabilities
from smc_eval.errors import SmcError, UsageError, first_line
from smc_eval.experiment.cell import Cell, Chain
from smc_eval.experiment.grid import Grid
from smc_eval.method import DENSE, Method
from smc_eval.planning.bisection import Bisection, Bracket
from smc_eval.planning.resolve import ResolvedCell, Resolver
from smc_eval.registry import guarded
from smc_eval.store.record import Record, scores_by_seed
from smc_eval.task import Task

AHEAD = 3
"""Rounds to look ahead, to keep the nets that their cells would share with the current ones."""

RunRound = Callable[[Sequence[ResolvedCell], Sequence[Chain]], list[Record]]
"""Runs the cells of a round, given the chains that later rounds may run."""


@dataclass(frozen=True)
class SparsitySearch:
    """The state of one search. A score is the mean over seeds of the folds' pooled scores, as in a table."""

    grid: Grid
    """The folds of its task, its method and all seeds."""
    bracket: Bracket
    dense: float = math.nan
    """Score of the dense nets; nan before they have run."""
    scores: tuple[tuple[float, float], ...] = ()
    """Sparsities tried, and their scores."""
    cells: int = 0
    """Number of cells that have run, without dense ones."""
    reason: str = ""
    """Why it ended without a result; empty otherwise."""

    @property
    def task(self) -> Task:
        """Its task, with the first fold."""
        return self.grid.tasks[0]

    @property
    def method(self) -> Method:
        """Its method."""
        return self.grid.methods[0]

    def next_sparsity(self) -> float | None:
        """The next sparsity to try; None at the end."""
        return None if self.reason else self.bracket.next_sparsity()

    @property
    def chance(self) -> float:
        """Score of a random guess."""
        return guarded(self.task, lambda: capabilities.chance(self.task))

    def cells_at(self, sparsities: Iterable[float]) -> list[Cell]:
        """Its cells at some sparsities."""
        dense = self.grid.targets[0].dense()
        targets = tuple(dense.at(sparsity) for sparsity in sparsities)
        return list(self.grid.model_copy(update={"targets": targets}).cells())

    def with_dense(self, records: Sequence[Record]) -> SparsitySearch:
        """The state with the score of the dense nets, from their records."""
        if reason := _unsound(records):
            return replace(self, reason=f"dense: {reason}")
        dense = _mean(records)
        if math.isnan(self._retained(dense, dense, records)):
            return replace(
                self,
                dense=dense,
                reason=f"the dense net scores {dense:.4g}, no better than a guess with {self.chance:g}",
            )
        return replace(self, dense=dense)

    def with_outcome(self, sparsity: float, records: Sequence[Record]) -> SparsitySearch:
        """The state after one more sparsity, from the records of its cells."""
        cells = self.cells + len(records)
        if reason := _unsound(records):
            return replace(self, cells=cells, reason=f"at {sparsity:g}: {reason}")
        bracket = self.bracket.with_outcome(sparsity, keeps=bool(self.keeps(records)))
        return replace(self, bracket=bracket, cells=cells, scores=(*self.scores, (sparsity, _mean(records))))

    def keeps(self, records: Sequence[Record]) -> bool | None:
        """Whether sound records of one sparsity keep the share; None for no records."""
        if not records:
            return None
        share = self._retained(_mean(records), self.dense, records)
        return share >= self.bracket.search.share - 1e-9

    def _retained(self, score: float, dense: float, records: Sequence[Record]) -> float:
        """The share of the dense score above chance that a score retains; the records are of one metric."""
        from smc_eval.statistics import retained  # loads numpy, which runs without a search do not need

        assert records[0].score is not None
        return float(retained(score, dense, self.chance, higher=records[0].score.higher_is_better))

    def document(self) -> dict[str, Any]:
        """The result, as plain JSON values."""
        bracket, search = self.bracket, self.bracket.search
        return {
            "task": self.task.label,
            "model": self.task.backbone,
            "method": self.method.label,
            "find": search.model_dump(mode="json"),
            "kept": bracket.keeps,
            "lost": bracket.loses,
            "dense": None if math.isnan(self.dense) else self.dense,
            "chance": self.chance,
            "tried": [
                {"sparsity": sparsity, "score": score, "kept": keeps}
                for (sparsity, keeps), (_, score) in zip(bracket.tried, self.scores, strict=True)
            ],
            "cells": self.cells,
            "reason": self.reason,
        }


def searches(grid: Grid, search: Bisection) -> list[SparsitySearch]:
    """A search for each task, model and method that has a free sparsity.

    Raises:
        UsageError: there is none.
    """
    tasks: dict[tuple[str, str], list[Task]] = {}
    for task in grid.tasks:
        tasks.setdefault((task.label, task.backbone), []).append(task)
    methods = [method for method in grid.methods if not reason_to_skip(method)]
    if not methods:
        raise UsageError(f"--find has no method to search: {'; '.join(left_out(grid)) or 'name one'}")
    return [
        SparsitySearch(grid.model_copy(update={"tasks": tuple(folds), "methods": (method,)}), Bracket(search))
        for folds in tasks.values()
        for method in methods
    ]


def reason_to_skip(method: Method) -> str:
    """Why a method has no sparsity to search for; empty if it has one."""
    if method.card.when == "none":
        return "prunes nothing"
    if method.card.when == "custom":
        return "takes custom masks"
    return "" if "free" in method.card.patterns else f"supports only {', '.join(method.card.patterns)}"


def left_out(grid: Grid) -> list[str]:
    """Methods that `--find` leaves out, each with the reason; the dense baseline is not listed."""
    return [
        f"method {method.label!r} {reason}"
        for method in grid.methods
        if (reason := reason_to_skip(method)) and method.card.name != DENSE
    ]


def dense_cells(grid: Grid) -> list[Cell]:
    """The dense cells of a grid.

    Raises:
        UsageError: it has none.
    """
    dense = tuple(method for method in grid.methods if method.card.name == DENSE)
    if not dense:
        raise UsageError("--find compares with the dense net; leave out --no-dense")
    return list(grid.model_copy(update={"methods": dense}).cells())


def first_cells(grid: Grid, waiting: Iterable[SparsitySearch]) -> list[Cell]:
    """The cells that run in any case: dense ones, and the first of each search."""
    return [
        *dense_cells(grid),
        *(cell for search in waiting for cell in search.cells_at(search.bracket.upcoming(1))),
    ]


def most_cells(grid: Grid, waiting: Iterable[SparsitySearch]) -> int:
    """The largest number of cells that the searches may run."""
    each = (len(search.cells_at([0.5])) * search.bracket.search.most_runs() for search in waiting)
    return len(dense_cells(grid)) + sum(each)


@dataclass(frozen=True)
class KnownOutcomes:
    """What a store already knows of searches."""

    records: Mapping[str, Record]
    """Its records, by the digest of their cell."""
    resolver: Resolver

    def next_sparsity(self, search: SparsitySearch) -> float | None:
        """The next sparsity of a search; None at its end.

        If the search would have to run cells, the narrowest bracket among the sparsities of the store comes
        first, because its cells cost nothing. Among several crossings it is that of the largest sparsities.
        """
        wanted = search.next_sparsity()
        if wanted is None or self._at(search, wanted):
            return wanted
        bracket = search.bracket
        low = bracket.search.low if bracket.keeps is None else bracket.keeps
        high = bracket.search.high if bracket.loses is None else bracket.loses
        inside = sorted(sparsity for sparsity in self._sparsities(search) if low < sparsity < high)
        known = [(s, after) for s in inside if (after := search.keeps(self._at(search, s))) is not None]
        above: float | None = None
        for sparsity, keeps in reversed(known):
            if keeps:
                return sparsity
            above = sparsity
        return wanted if above is None else above

    def _sparsities(self, search: SparsitySearch) -> set[float]:
        """The sparsities of all records of the task, the model and the method of a search."""
        names = search.task.label, search.task.backbone, search.method.label
        return {
            record.target.sparsity
            for record in self.records.values()
            if (record.task, record.model, record.method) == names
        }

    def _at(self, search: SparsitySearch, sparsity: float) -> list[Record]:
        """The records of all cells of a search at a sparsity; none if one is missing or unsound."""
        found = list[Record]()
        for cell in search.cells_at([sparsity]):
            try:
                record = self.records.get(self.resolver.resolve(cell).digest)
            except SmcError:
                return []
            if record is None or not record.sound:
                return []
            found.append(record)
        return found


def run_rounds(
    grid: Grid, waiting: Sequence[SparsitySearch], run: RunRound, stored: Mapping[str, Record] | None = None
) -> Iterator[tuple[list[SparsitySearch], list[Record]]]:
    """Run the dense cells, then the next cells of each search until all searches end.

    `stored` are the records of the store by digest; each search begins with the bracket that they give.
    Yields the state of all searches after each round, and the records of the round.

    Raises:
        UsageError: no cell of a round can run.
    """
    resolver, states = Resolver(), list(waiting)
    known = KnownOutcomes(stored or {}, resolver)
    resolved = resolver.resolve_all(dense_cells(grid))
    records = run(resolved, _ahead(states, resolver))
    baseline: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        baseline.setdefault((record.task, record.model), []).append(record)
    states = [search.with_dense(baseline[search.task.label, search.task.backbone]) for search in states]
    yield list(states), records
    while tries := {
        n: sparsity
        for n, search in enumerate(states)
        if (sparsity := known.next_sparsity(search)) is not None
    }:
        cells = {number: states[number].cells_at([sparsity]) for number, sparsity in tries.items()}
        resolved = resolver.resolve_all(cell for some in cells.values() for cell in some)
        records = run(resolved, _ahead([states[number] for number in tries], resolver))
        left = iter(records)
        for number, sparsity in tries.items():
            states[number] = states[number].with_outcome(sparsity, [next(left) for _ in cells[number]])
        yield list(states), records


def _ahead(waiting: Iterable[SparsitySearch], resolver: Resolver) -> list[Chain]:
    """Chains of the cells that the next rounds may run."""
    chains = list[Chain]()
    for search in waiting:
        for cell in search.cells_at(search.bracket.upcoming(AHEAD)):
            try:
                chains.append(resolver.resolve(cell))
            except SmcError:  # reported if the cell is tried
                continue
    return chains


def _mean(records: Sequence[Record]) -> float:
    return fmean(scores_by_seed(records).values())


def _unsound(records: Sequence[Record]) -> str:
    """Why records have no usable mean: the fault of the first unsound one; empty if all are sound."""
    unsound = next((record for record in records if not record.sound), None)
    if unsound is None:
        return ""
    return first_line(unsound.reason) or "a certificate failed"
