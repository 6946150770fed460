"""Prefix equations: checked, evaluated and compared."""

from __future__ import annotations

import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smc_eval.tasks.arithmetic.problems import read_problems
from smc_eval.tasks.equation import OPERATORS, equation_right, number, prefix_error, value, value_right
from smc_eval.tasks.folder import find_file

FUNCTIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}

NUMBERS = (8.0, 2.0, 0.5, 8.0)

leaves = st.one_of(
    st.integers(0, len(NUMBERS) - 1).map(lambda k: f"N{k}"),
    st.floats(0, 1e6, allow_nan=False).map(str),
)
trees = st.recursive(leaves, lambda inner: st.tuples(st.sampled_from(OPERATORS), inner, inner), max_leaves=20)


def prefix(tree):
    return [tree] if isinstance(tree, str) else [tree[0], *prefix(tree[1]), *prefix(tree[2])]


def evaluate(tree):
    if isinstance(tree, str):
        return NUMBERS[int(tree[1:])] if tree.startswith("N") else float(tree)
    left, right = evaluate(tree[1]), evaluate(tree[2])
    return (
        None
        if left is None or right is None or (tree[0] == "/" and not right)
        else FUNCTIONS[tree[0]](left, right)
    )


@given(trees)
def test_a_prefix_equation_has_the_value_that_python_computes(tree):
    wanted = evaluate(tree)
    assert prefix_error(prefix(tree)) is None
    assert value(prefix(tree), NUMBERS) == (wanted if wanted is None or abs(wanted) < float("inf") else None)


@given(trees, st.data())
def test_a_truncated_or_extended_equation_has_an_error_and_no_value(tree, data):
    whole = prefix(tree)
    short = whole[: data.draw(st.integers(0, len(whole) - 1))]
    for wrong in (short, [*whole, "N0"], [*whole, "+"]):
        assert prefix_error(wrong) is not None
        assert value(wrong, NUMBERS) is None


@given(st.lists(st.sampled_from([*OPERATORS, "N0", "N1", "3.0", "UNK"]), max_size=7))
def test_an_equation_with_a_value_has_no_error(symbols):
    if value(symbols, NUMBERS) is not None:
        assert prefix_error(symbols) is None


@pytest.mark.parametrize(
    ("symbols", "wanted"),
    [
        ("- N0 N1", 6.0),
        ("- + N0 N1 N2", 9.5),
        ("/ N0 * N1 N2", 8.0),
        ("* N0 0.01", 0.08),
        ("N3", 8.0),
        ("", None),
        ("- N0", None),
        ("- N0 N1 N2", None),
        ("/ N0 - N0 N3", None),
        ("+ N0 N4", None),
        ("+ N0 UNK", None),
        ("+ N0 inf", None),
        ("^ N0 N1", None),
        ("* 1e300 1e300", None),
    ],
)
def test_an_equation_has_a_value_or_none(symbols, wanted):
    assert value(symbols.split(), NUMBERS) == wanted


@pytest.mark.parametrize(
    ("symbols", "wrong"),
    [
        ("", "1 operand missing at the end"),
        ("+ - N0", "2 operands missing at the end"),
        ("N0 N1", "it is complete after 1 symbols, but 'N1' follows"),
        ("^ N0 N1", "'^' is neither an operator (+ - * /) nor a number"),
    ],
)
def test_an_error_is_described(symbols, wrong):
    assert prefix_error(symbols.split()) == wrong


@pytest.mark.parametrize(
    ("predicted", "wanted", "equation", "answer"),
    [
        ("- N0 N1", "- N0 N1", True, True),
        ("- N3 N1", "- N0 N1", True, True),  # N3 and N0 are both 8
        ("- 8 2.00", "- N0 N1", True, True),
        ("+ N1 N0", "+ N0 N1", False, True),
        ("* N0 N2", "/ N0 N1", False, True),
        ("- N1 N0", "- N0 N1", False, False),
        ("- N0", "- N0 N1", False, False),
        ("- N0 N1 N1", "- N0 N1", False, False),
        ("- N0 N9", "- N0 N1", False, False),
        ("/ N0 0", "- N0 N1", False, False),
        ("+ N0 0.00009", "N0", False, True),
        ("+ N0 0.00011", "N0", False, False),
        ("* N0 UNK", "* N0 25.0", False, False),
        ("/ N0 0", "/ N0 0", True, True),  # the same equation, though it has no value
        ("/ N0 0", "/ N1 0", False, False),
    ],
)
def test_an_answer_is_right_if_equation_or_value_is_right(predicted, wanted, equation, answer):
    pair = predicted.split(), wanted.split(), NUMBERS
    assert equation_right(*pair) is equation
    assert value_right(*pair) is answer


@pytest.mark.parametrize(
    "text", ["", "x", "1_000", "1,000", "inf", "nan", "1e999", "٣", "--1", ".", "1/2", " 1"]
)
def test_text_that_is_not_a_decimal_number_gives_none(text):
    assert number(text) is None


@pytest.mark.parametrize(
    ("text", "wanted"), [("8.0", 8), ("63", 63), ("-2.5", -2.5), (".5", 0.5), ("3.", 3), ("1e-3", 0.001)]
)
def test_a_decimal_number_is_read(text, wanted):
    assert number(text) == wanted


def test_every_equation_of_mawps_has_a_value(data_dir):
    for fold in range(5):
        problems = read_problems(find_file(data_dir, f"cv_mawps/fold{fold}/dev.csv"))
        assert all(value(problem.equation, problem.numbers) is not None for problem in problems)
