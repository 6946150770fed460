"""Beam search: greedy at width 1, exact where it can be checked, and blind to its batch."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from smc_eval.tasks.arithmetic.beam import LONGEST_EQUATION, Branch, search
from smc_eval.tasks.arithmetic.levels import trees
from smc_eval.tasks.arithmetic.tree import EncodedProblems, TreeDecoder

HIDDEN, COUNTS = 8, (3, 1, 2)


def a_decoder(seed: int) -> TreeDecoder:
    """Three operators and a constant, sharp enough that equations differ."""
    torch.manual_seed(seed)
    decoder = TreeDecoder(operators=3, constants=1, hidden=HIDDEN, embedding=5, dropout=0.5).eval()
    with torch.no_grad():
        for weight in decoder.parameters():
            weight.mul_(3)
        decoder.operator.bias.sub_(1)  # equations come to an end
    return decoder


def a_reading(decoder: TreeDecoder, rows: Sequence[int] = (0, 1, 2)) -> EncodedProblems:
    """Random problems, some of them chosen; padded to the longest chosen."""
    chance = torch.Generator().manual_seed(7)
    root, states = torch.randn(3, HIDDEN, generator=chance), torch.randn(3, 5, HIDDEN, generator=chance)
    numbers = torch.randn(3, 3, HIDDEN, generator=chance)
    chosen, most = list(rows), max(COUNTS[row] for row in rows)
    real_NQ = torch.arange(most) < torch.tensor([COUNTS[row] for row in rows])[:, None]
    real_NS = torch.arange(5) < torch.tensor([(5, 3, 4)[row] for row in rows])[:, None]
    return decoder.read(
        root[chosen], states[chosen], real_NS, numbers[chosen, :most] * real_NQ[..., None], real_NQ
    )


def whole(equation: Sequence[int]) -> bool:
    wanted = 1
    for symbol in equation:
        wanted += 1 if symbol < 3 else -1
    return wanted == 0


def taught(decoder: TreeDecoder, reading: EncodedProblems, row: int, equation: Sequence[int]) -> Tensor:
    """Log-probabilities at the nodes of a whole equation, teacher-forced."""
    shape = trees([equation], 3, [{}])
    levels = tuple(replace(one, problem_M=torch.full_like(one.problem_M, row)) for one in shape.levels)
    one = replace(reading, root_NH=reading.root_NH[row : row + 1])
    return cast("Tensor", decoder(one, replace(shape, levels=levels))).detach()


def log_probability(
    decoder: TreeDecoder, reading: EncodedProblems, row: int, equation: Sequence[int]
) -> float:
    return sum(at(decoder, reading, row, equation, place) for place in range(len(equation)))


def naive(
    decoder: TreeDecoder, reading: EncodedProblems, row: int, width: int, longest: int
) -> tuple[int, ...]:
    """Every prefix scored anew from its start, by completing it with leaves; nothing is dropped early."""
    beam: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    symbols = range(3 + 1 + COUNTS[row])
    for _ in range(longest):
        if all(equation and whole(equation) for _, equation in beam):
            break
        grown = [one for one in beam if one[1] and whole(one[1])]
        for score, equation in beam:
            if not (equation and whole(equation)):
                more = sorted(
                    ((prefix_score(decoder, reading, row, (*equation, s)), s) for s in symbols), reverse=True
                )
                grown += [(total, (*equation, symbol)) for total, symbol in more[:width]]
                assert all(total <= score for total, _ in more)
        beam = sorted(grown, reverse=True)[:width]
    return beam[0][1]


def prefix_score(decoder: TreeDecoder, reading: EncodedProblems, row: int, prefix: Sequence[int]) -> float:
    """Sum of the log-probabilities of a prefix's symbols; those that complete it do not count."""
    operators = sum(symbol < 3 for symbol in prefix)
    missing = operators + 1 - (len(prefix) - operators)
    filled = [*prefix, *[3] * missing]
    return sum(at(decoder, reading, row, filled, place) for place in range(len(prefix)))


def at(
    decoder: TreeDecoder, reading: EncodedProblems, row: int, equation: Sequence[int], place: int
) -> float:
    """Log-probability of the symbol at a place of a whole equation, teacher-forced."""
    return float(taught(decoder, reading, row, equation)[level_order(equation).index(place), equation[place]])


def level_order(equation: Sequence[int]) -> list[int]:
    """Places of the symbols, level by level; in each all left operands, then all right ones."""
    operands: dict[int, tuple[int, int]] = {}

    def read(place: int) -> int:
        if equation[place] >= 3:
            return place + 1
        right = read(place + 1)
        operands[place] = (place + 1, right)
        return read(right)

    read(0)
    found, level = list[int](), [0]
    while level:
        found += level
        parents = [place for place in level if place in operands]
        level = [operands[place][side] for side in (0, 1) for place in parents]
    return found


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("width", [1, 2, 5])
def test_the_search_is_the_naive_one(width: int, seed: int) -> None:
    decoder = a_decoder(seed)
    reading = a_reading(decoder)
    found = search(decoder, reading, width, longest=5)
    assert [branch.symbols for branch in found] == [
        naive(decoder, reading, row, width, 5) for row in range(3)
    ]


@pytest.mark.parametrize("seed", range(8))
def test_a_score_is_the_log_probability_of_its_equation(seed: int) -> None:
    decoder = a_decoder(seed)
    reading = a_reading(decoder)
    for row, branch in enumerate(search(decoder, reading, 5)):
        assert branch.goals == () or len(branch.symbols) == LONGEST_EQUATION
        if not branch.goals:
            assert branch.score == pytest.approx(
                log_probability(decoder, reading, row, branch.symbols), abs=1e-4
            )


def test_a_wide_beam_finds_the_likeliest_of_all_short_equations() -> None:
    decoder = a_decoder(3)
    reading = a_reading(decoder)
    for row, branch in enumerate(search(decoder, reading, 400, longest=3)):
        symbols = range(4 + COUNTS[row])
        short = [e for n in (1, 3) for e in itertools.product(symbols, repeat=n) if whole(e)]
        short = [e for e in short if len(e) == 1 or (e[0] < 3 <= min(e[1:]))]
        best = max(log_probability(decoder, reading, row, equation) for equation in short)
        assert branch.score >= best - 1e-4
        if not branch.goals:
            assert branch.score == pytest.approx(best, abs=1e-4)


@given(st.integers(0, 50), st.sampled_from([1, 3, 5]))
def test_predictions_do_not_depend_on_the_batch(seed: int, width: int) -> None:
    decoder = a_decoder(seed)
    together = [branch.symbols for branch in search(decoder, a_reading(decoder), width, longest=12)]
    alone = [search(decoder, a_reading(decoder, [row]), width, longest=12)[0].symbols for row in range(3)]
    assert together == alone


def test_equal_scores_fall_out_alike_in_any_batch() -> None:
    decoder = a_decoder(0)
    for weight in decoder.parameters():
        weight.data.zero_()  # as pruning to death leaves it: every symbol is as likely as any other
    together = [branch.symbols for branch in search(decoder, a_reading(decoder), 5, longest=9)]
    alone = [search(decoder, a_reading(decoder, [row]), 5, longest=9)[0].symbols for row in range(3)]
    assert together == alone


def test_an_equation_without_end_is_given_up() -> None:
    decoder = a_decoder(0)
    decoder.operator.bias.data += 100  # operators only
    branches = search(decoder, a_reading(decoder), 2)
    assert [len(branch.symbols) for branch in branches] == [LONGEST_EQUATION] * 3
    assert all(branch.goals for branch in branches)


def test_no_number_is_chosen_that_a_problem_lacks() -> None:
    decoder = a_decoder(0)
    decoder.operator.bias.data -= 100  # a leaf at once
    best = search(decoder, a_reading(decoder), 30)
    assert all(isinstance(branch, Branch) and branch.goals == () for branch in best)
    assert all(branch.symbols[0] < 4 + count for branch, count in zip(best, COUNTS, strict=True))
