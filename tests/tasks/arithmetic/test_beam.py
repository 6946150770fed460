"""Beam search: greedy at width 1, equal to a naive search, and independent of the batch."""

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

from smc_eval.tasks.arithmetic.beam import LONGEST_EQUATION, Hypothesis, search
from smc_eval.tasks.arithmetic.levels import build_trees
from smc_eval.tasks.arithmetic.tree import EncodedProblems, TreeDecoder

HIDDEN, COUNTS = 8, (3, 1, 2)


def a_decoder(seed: int) -> TreeDecoder:
    """Three operators and a constant; large weights, so that equations differ."""
    torch.manual_seed(seed)
    decoder = TreeDecoder(operators=3, constants=1, hidden=HIDDEN, embedding=5, dropout=0.5).eval()
    with torch.no_grad():
        for weight in decoder.parameters():
            weight.mul_(3)
        decoder.operator.bias.sub_(1)  # so that equations end
    return decoder


def a_reading(decoder: TreeDecoder, rows: Sequence[int] = (0, 1, 2)) -> EncodedProblems:
    """Some of three random problems, padded to the longest of them."""
    generator = torch.Generator().manual_seed(7)
    root, states = torch.randn(3, HIDDEN, generator=generator), torch.randn(3, 5, HIDDEN, generator=generator)
    numbers = torch.randn(3, 3, HIDDEN, generator=generator)
    chosen, most = list(rows), max(COUNTS[row] for row in rows)
    real_NQ = torch.arange(most) < torch.tensor([COUNTS[row] for row in rows])[:, None]
    real_NS = torch.arange(5) < torch.tensor([(5, 3, 4)[row] for row in rows])[:, None]
    return decoder.read(
        root[chosen], states[chosen], real_NS, numbers[chosen, :most] * real_NQ[..., None], real_NQ
    )


def is_complete(equation: Sequence[int]) -> bool:
    wanted = 1
    for symbol in equation:
        wanted += 1 if symbol < 3 else -1
    return wanted == 0


def teacher_forced(
    decoder: TreeDecoder, reading: EncodedProblems, row: int, equation: Sequence[int]
) -> Tensor:
    """Log-probabilities at the nodes of a complete equation, with teacher forcing."""
    shape = build_trees([equation], 3, [{}])
    levels = tuple(replace(level, problem_M=torch.full_like(level.problem_M, row)) for level in shape.levels)
    one_problem = replace(reading, root_NH=reading.root_NH[row : row + 1])
    return cast("Tensor", decoder(one_problem, replace(shape, levels=levels))).detach()


def log_probability(
    decoder: TreeDecoder, reading: EncodedProblems, row: int, equation: Sequence[int]
) -> float:
    return sum(at(decoder, reading, row, equation, place) for place in range(len(equation)))


def naive(
    decoder: TreeDecoder, reading: EncodedProblems, row: int, width: int, longest: int
) -> tuple[int, ...]:
    """A slow search: each prefix is completed with leaves and scored from its start; nothing is dropped."""
    beam: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    symbols = range(3 + 1 + COUNTS[row])
    for _ in range(longest):
        if all(equation and is_complete(equation) for _, equation in beam):
            break
        grown = [(score, equation) for score, equation in beam if equation and is_complete(equation)]
        for score, equation in beam:
            if not (equation and is_complete(equation)):
                more = sorted(
                    ((prefix_score(decoder, reading, row, (*equation, s)), s) for s in symbols), reverse=True
                )
                grown += [(total, (*equation, symbol)) for total, symbol in more[:width]]
                assert all(total <= score for total, _ in more)
        beam = sorted(grown, reverse=True)[:width]
    return beam[0][1]


def prefix_score(decoder: TreeDecoder, reading: EncodedProblems, row: int, prefix: Sequence[int]) -> float:
    """Sum of the log-probabilities of a prefix, without the symbols that complete it."""
    operators = sum(symbol < 3 for symbol in prefix)
    missing = operators + 1 - (len(prefix) - operators)
    filled = [*prefix, *[3] * missing]
    return sum(at(decoder, reading, row, filled, place) for place in range(len(prefix)))


def at(
    decoder: TreeDecoder, reading: EncodedProblems, row: int, equation: Sequence[int], place: int
) -> float:
    """Log-probability of the symbol at a position of a complete equation, with teacher forcing."""
    return float(
        teacher_forced(decoder, reading, row, equation)[level_order(equation).index(place), equation[place]]
    )


def level_order(equation: Sequence[int]) -> list[int]:
    """Positions of the symbols, level by level; in each level all left operands, then all right ones."""
    operands: dict[int, tuple[int, int]] = {}

    def read(place: int) -> int:
        if equation[place] >= 3:
            return place + 1
        right = read(place + 1)
        operands[place] = (place + 1, right)
        return read(right)

    read(0)
    order, level = list[int](), [0]
    while level:
        order += level
        parents = [place for place in level if place in operands]
        level = [operands[place][side] for side in (0, 1) for place in parents]
    return order


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("width", [1, 2, 5])
def test_the_search_gives_the_result_of_a_naive_search(width: int, seed: int) -> None:
    decoder = a_decoder(seed)
    reading = a_reading(decoder)
    best = search(decoder, reading, width, longest=5)
    assert [hypothesis.symbols for hypothesis in best] == [
        naive(decoder, reading, row, width, 5) for row in range(3)
    ]


@pytest.mark.parametrize("seed", range(8))
def test_a_score_is_the_log_probability_of_the_equation(seed: int) -> None:
    decoder = a_decoder(seed)
    reading = a_reading(decoder)
    for row, hypothesis in enumerate(search(decoder, reading, 5)):
        assert hypothesis.goals == () or len(hypothesis.symbols) == LONGEST_EQUATION
        if not hypothesis.goals:
            assert hypothesis.score == pytest.approx(
                log_probability(decoder, reading, row, hypothesis.symbols), abs=1e-4
            )


def test_a_wide_beam_finds_the_most_probable_short_equation() -> None:
    decoder = a_decoder(3)
    reading = a_reading(decoder)
    for row, hypothesis in enumerate(search(decoder, reading, 400, longest=3)):
        symbols = range(4 + COUNTS[row])
        short = [e for n in (1, 3) for e in itertools.product(symbols, repeat=n) if is_complete(e)]
        short = [e for e in short if len(e) == 1 or (e[0] < 3 <= min(e[1:]))]
        best = max(log_probability(decoder, reading, row, equation) for equation in short)
        assert hypothesis.score >= best - 1e-4
        if not hypothesis.goals:
            assert hypothesis.score == pytest.approx(best, abs=1e-4)


@given(st.integers(0, 50), st.sampled_from([1, 3, 5]))
def test_predictions_do_not_depend_on_the_batch(seed: int, width: int) -> None:
    decoder = a_decoder(seed)
    together = [hypothesis.symbols for hypothesis in search(decoder, a_reading(decoder), width, longest=12)]
    alone = [search(decoder, a_reading(decoder, [row]), width, longest=12)[0].symbols for row in range(3)]
    assert together == alone


def test_ties_are_broken_the_same_way_in_any_batch() -> None:
    decoder = a_decoder(0)
    for weight in decoder.parameters():
        weight.data.zero_()  # as after extreme pruning: all symbols are equally probable
    together = [hypothesis.symbols for hypothesis in search(decoder, a_reading(decoder), 5, longest=9)]
    alone = [search(decoder, a_reading(decoder, [row]), 5, longest=9)[0].symbols for row in range(3)]
    assert together == alone


def test_an_equation_without_end_stops_at_the_limit() -> None:
    decoder = a_decoder(0)
    decoder.operator.bias.data += 100  # operators only
    hypotheses = search(decoder, a_reading(decoder), 2)
    assert [len(hypothesis.symbols) for hypothesis in hypotheses] == [LONGEST_EQUATION] * 3
    assert all(hypothesis.goals for hypothesis in hypotheses)


def test_only_numbers_of_the_problem_are_chosen() -> None:
    decoder = a_decoder(0)
    decoder.operator.bias.data -= 100  # the first symbol is a leaf
    best = search(decoder, a_reading(decoder), 30)
    assert all(isinstance(hypothesis, Hypothesis) and hypothesis.goals == () for hypothesis in best)
    assert all(hypothesis.symbols[0] < 4 + count for hypothesis, count in zip(best, COUNTS, strict=True))
