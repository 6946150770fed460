"""Sparsity searches over made-up records; nothing is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from smc_eval.card import MethodCard, TaskCard
from smc_eval.errors import UsageError
from smc_eval.experiment.cell import Cell, Chain, shared_nets
from smc_eval.experiment.grid import Grid
from smc_eval.method import Method
from smc_eval.methods.dense import Dense
from smc_eval.methods.lth import LotteryTicket
from smc_eval.methods.omp import MagnitudeAfter
from smc_eval.methods.wanda import Wanda
from smc_eval.planning.bisection import Bisection
from smc_eval.planning.resolve import ResolvedCell, Resolver
from smc_eval.planning.sparsity_search import (
    SparsitySearch,
    first_cells,
    left_out,
    most_cells,
    run_rounds,
    searches,
)
from smc_eval.protocol import SOUND
from smc_eval.score import Score
from smc_eval.store.record import Record, blank_record, scored_record
from smc_eval.target import Target
from smc_eval.testing import Toy, record_with

Curve = Callable[[Cell], float]


class Guess(Toy):
    """The toy, where a guess scores 20."""

    card: ClassVar[TaskCard] = Toy.card.model_copy(update={"name": "guess", "chance": 20.0})


def grid(*methods: Method, task: Toy | None = None, seeds: tuple[int, ...] = (0,), **fields: Any) -> Grid:
    return Grid(
        tasks=(task or Toy(),),
        methods=(Dense(), *methods),
        targets=(Target(),),
        distribution=None,
        seeds=seeds,
        protocol=SOUND,
        **fields,
    )


def record(cell: Cell, value: float, *, higher: bool = True, certified: bool = True) -> Record:
    score = Score("accuracy (%)", value, 100, higher_is_better=higher)
    certificate = record_with(certificate={"ok": certified}).certificate
    return scored_record(blank_record(cell), score, certificate=certificate)


def ended(of: Grid, make: Callable[[Cell], Record], search: Bisection | None = None) -> list[SparsitySearch]:
    """The searches of a grid at their end, with made-up records."""
    states = list[SparsitySearch]()

    def run(resolved: Sequence[ResolvedCell], ahead: Sequence[Chain]) -> list[Record]:
        return [make(cell.cell) for cell in resolved]

    for after, _ in run_rounds(of, searches(of, search or Bisection(share=0.95)), run):
        states = after
    return states


def test_each_method_has_a_search_of_its_own() -> None:
    crossings = {"dense": 1.0, "omp-after": 0.4, "wanda": 0.93, "lth": 0.0}

    def make(cell: Cell) -> Record:
        return record(cell, 80.0 if cell.target.sparsity <= crossings[cell.method.card.name] else 10.0)

    results = {
        search.method.card.name: search
        for search in ended(grid(MagnitudeAfter(), Wanda(), LotteryTicket()), make)
    }
    for name in ("omp-after", "wanda"):
        bracket = results[name].bracket
        assert bracket.keeps is not None and bracket.loses is not None
        assert bracket.keeps <= crossings[name] <= bracket.loses <= bracket.keeps + 0.01
    assert results["lth"].bracket.text == "< 0.05"


def test_the_mean_over_seeds_decides() -> None:
    # alone, seed 0 would end at 0.9 and seed 1 at 0.3; together they score 60 up to 0.9
    def make(cell: Cell) -> Record:
        at = cell.target.sparsity
        return record(
            cell, (100.0 if at <= 0.9 else 0.0) if cell.seed == 0 else (100.0 if at <= 0.3 else 20.0)
        )

    (search,) = ended(grid(MagnitudeAfter(), seeds=(0, 1)), make, Bisection(share=0.6))
    assert search.bracket.keeps == pytest.approx(0.9, abs=0.01)
    (search,) = ended(grid(MagnitudeAfter(), seeds=(0, 1)), make, Bisection(share=0.61))
    assert search.bracket.keeps == pytest.approx(0.3, abs=0.01)
    assert search.cells == 2 * len(search.bracket.tried)
    assert search.dense == 100.0


def test_the_score_of_a_guess_does_not_count() -> None:
    def make(cell: Cell) -> Record:
        return record(cell, 100.0 - 60 * cell.target.sparsity)

    # 100 - 60 s >= 20 + 0.75 * 80 up to a third; without chance it would be 0.417
    (search,) = ended(grid(MagnitudeAfter(), task=Guess()), make, Bisection(share=0.75))
    assert search.bracket.keeps is not None and search.bracket.loses is not None
    assert search.bracket.keeps <= 1 / 3 <= search.bracket.loses


def test_a_rising_error_is_searched_like_a_falling_score() -> None:
    def make(cell: Cell) -> Record:
        return record(cell, 10.0 + 10 * cell.target.sparsity, higher=False)

    # 10 + 10 s <= 20 - 0.5 * 10
    (search,) = ended(grid(MagnitudeAfter(), task=Guess()), make, Bisection(share=0.5))
    assert search.bracket.keeps is not None and search.bracket.loses is not None
    assert search.bracket.keeps <= 0.5 <= search.bracket.loses


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (
            lambda cell: replace(blank_record(cell), status="failed", reason="out of memory\ntry less"),
            "out of memory",
        ),
        (lambda cell: record(cell, 80.0, certified=False), "a certificate failed"),
    ],
)
def test_an_unsound_cell_ends_only_its_own_search(broken: Curve, reason: str) -> None:
    def make(cell: Cell) -> Record:
        if cell.method.card.name == "wanda" and cell.target.sparsity > 0.95 and cell.seed == 1:
            return broken(cell)  # type: ignore[return-value]
        return record(cell, 80.0)

    whole, stopped = ended(grid(MagnitudeAfter(), Wanda(), seeds=(0, 1)), make)
    assert (whole.reason, whole.bracket.text) == ("", "≥ 0.99")
    assert stopped.reason == f"at 0.9688: {reason}"
    assert stopped.bracket.tried == ((0.9025, True),)
    assert stopped.document()["reason"] == stopped.reason


def test_a_dense_net_no_better_than_a_guess_ends_its_search() -> None:
    (search,) = ended(grid(MagnitudeAfter(), task=Guess()), lambda cell: record(cell, 20.0))
    assert search.reason == "the dense net scores 20, no better than a guess with 20"
    assert (search.cells, search.document()["dense"]) == (0, 20.0)


def test_a_failed_dense_net_ends_its_searches() -> None:
    (search,) = ended(
        grid(MagnitudeAfter()), lambda cell: replace(blank_record(cell), status="failed", reason="no")
    )
    assert (search.reason, search.document()["dense"]) == ("dense: no", None)


def test_nets_that_later_cells_share_are_kept_from_the_first_round() -> None:
    of, kept = grid(MagnitudeAfter(), LotteryTicket()), list[frozenset[str]]()
    dense: list[str] = []

    def run(resolved: Sequence[ResolvedCell], ahead: Sequence[Chain]) -> list[Record]:
        chains = [cell.chain for cell in resolved if cell.chain]
        kept.append(shared_nets([*chains, *ahead]))
        dense.append(chains[0].links[0].digest)
        return [record(cell.cell, 80.0 if cell.cell.target.sparsity < 0.5 else 0.0) for cell in resolved]

    for _ in run_rounds(of, searches(of, Bisection(share=0.95)), run):
        pass
    assert len(kept) > 5
    assert all(dense[0] in some for some in kept[:-2])
    assert dense[0] not in shared_nets([])


def test_the_cells_of_a_search_have_the_budget() -> None:
    from smc_eval.experiment.budget import Budget

    of = grid(MagnitudeAfter(), budget=Budget(measure="steps"))
    (search,) = searches(of, Bisection(share=0.95))
    assert [cell.budget for cell in first_cells(of, [search])] == [None, Budget(measure="steps")]


def test_the_largest_number_of_cells_is_that_of_the_longest_search() -> None:
    of = grid(MagnitudeAfter(), Wanda(), seeds=(0, 1, 2))
    assert most_cells(of, searches(of, Bisection(share=0.95, runs=4))) == 3 + 2 * 3 * 4


def test_methods_without_a_free_sparsity_are_left_out_by_name() -> None:
    class Pairs(MagnitudeAfter):
        card: ClassVar[MethodCard] = MagnitudeAfter.card.model_copy(
            update={"name": "pairs", "patterns": ("n:m",)}
        )

    of = grid(Pairs(), MagnitudeAfter())
    assert [search.method.card.name for search in searches(of, Bisection(share=0.95))] == ["omp-after"]
    assert left_out(of) == ["method 'pairs' supports only n:m"]
    with pytest.raises(UsageError, match="--find has no method to search: method 'pairs' supports only n:m"):
        searches(grid(Pairs()), Bisection(share=0.95))


def tried(
    of: Grid, crossing: float, stored: Sequence[float], search: Bisection, seeds: int = 1
) -> list[float]:
    """The sparsities of a search in their order, where a store has the first seeds of some sparsities."""
    asked = list[float]()
    resolver = Resolver()

    def make(cell: Cell) -> Record:
        return record(cell, 80.0 if cell.target.sparsity <= crossing else 10.0)

    def run(resolved: Sequence[ResolvedCell], ahead: Sequence[Chain]) -> list[Record]:
        asked.extend(cell.cell.target.sparsity for cell in resolved if cell.cell.seed == 0)
        return [make(cell.cell) for cell in resolved]

    (state,) = searches(of, search)
    cells = [cell for cell in (state.cells_at(stored) if stored else ()) if cell.seed < seeds]
    records = {
        digest: replace(make(c), digest=digest) for c in cells for digest in [resolver.resolve(c).digest]
    }
    list(run_rounds(of, [state], run, records))
    assert asked.pop(0) == 0  # the dense cells come first
    return asked


@pytest.mark.parametrize(
    ("stored", "wanted"),
    [
        ((), [0.9025, 0.6957, 0.4623, 0.5955]),
        ((0.5, 0.8), [0.5, 0.8, 0.6838, 0.6024]),  # 1 - root(0.5 * 0.2)
        ((0.3, 0.5, 0.8, 0.95), [0.5, 0.8, 0.6838, 0.6024]),  # the narrowest bracket
        ((0.5,), [0.5, 0.9293, 0.812, 0.6934, 0.6085]),
        ((0.8,), [0.8, 0.5641, 0.7047]),
        ((0.02, 0.999), [0.9025, 0.6957, 0.4623, 0.5955]),  # outside of low and high
        ((0.9025, 0.5, 0.8), [0.9025, 0.5, 0.8, 0.6838, 0.6024]),  # its own first try is free too
    ],
)
def test_a_search_begins_with_what_the_store_knows(stored: tuple[float, ...], wanted: list[float]) -> None:
    of = grid(MagnitudeAfter())
    assert tried(of, 0.6, stored, Bisection(share=0.95, within=0.15)) == pytest.approx(wanted, abs=1e-4)


def test_a_sparsity_counts_as_known_only_with_all_its_seeds() -> None:
    of, search = grid(MagnitudeAfter(), seeds=(0, 1)), Bisection(share=0.95, within=0.15)
    assert tried(of, 0.6, (0.5, 0.8), search, seeds=1)[0] == pytest.approx(0.9025, abs=1e-4)
    assert tried(of, 0.6, (0.5, 0.8), search, seeds=2)[:2] == [0.5, 0.8]


def test_sparsities_of_the_store_count_as_tries() -> None:
    search = Bisection(share=0.95, within=0.001, runs=3)
    assert len(tried(grid(MagnitudeAfter()), 0.6, (0.5, 0.8), search)) == 3
