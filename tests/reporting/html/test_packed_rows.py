"""What is packed can be unpacked, to the precision that is promised."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from smc_eval.reporting.html.packed_rows import CODE_SIGNS, LARGEST_CODE, Matrix, Rows


def unpacked(told: dict[str, Any]) -> list[dict[str, Any]]:
    """As page.js does it."""
    columns = {
        name: one if isinstance(one, list) else [one["words"][at] for at in one["at"]]
        for name, one in told["columns"].items()
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def numbers(text: str) -> list[int | None]:
    pairs = [text[at : at + 2] for at in range(0, len(text), 2)]
    return [
        None if pair == ".." else CODE_SIGNS.index(pair[0]) * 64 + CODE_SIGNS.index(pair[1]) for pair in pairs
    ]


cells = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3)


@given(st.lists(st.fixed_dictionaries({"a": cells, "b": cells}), min_size=1, max_size=30))
def test_rows_come_back(rows: list[dict[str, Any]]) -> None:
    back = unpacked(Rows(tuple(rows)).packed())
    assert back == rows
    kinds = [{name: type(value) for name, value in row.items()} for row in rows]
    assert [{name: type(value) for name, value in row.items()} for row in back] == kinds  # True is no 1


def test_a_word_that_recurs_is_told_once() -> None:
    told = Rows(tuple({"label": "lth", "n": n} for n in range(9))).packed()["columns"]
    assert told["label"] == {"words": ["lth"], "at": [0] * 9}
    assert told["n"] == list(range(9))


@given(st.floats(0, 1))
def test_only_what_is_wholly_gone_says_so(share: float) -> None:
    (square,) = Matrix(("a",), "share", (("lth", "0.5", 1.0, (share,)),)).packed()["squares"]
    (number,) = numbers(square[3])
    assert number is not None
    assert (number == LARGEST_CODE) == (share == 1)
    assert 0 <= share - number / LARGEST_CODE < 1 / LARGEST_CODE


@given(st.floats(2e-6, 1e3))
def test_ways_are_told_to_half_a_per_cent(way: float) -> None:
    packed = Matrix(("a",), "moved", (("lth", "0.5", 1.0, (way,)),), logarithmic=True).packed()
    (number,) = numbers(packed["squares"][0][3])
    assert number is not None
    assert abs(10 ** (9 * number / LARGEST_CODE - 6) / way - 1) < 0.005


def test_what_there_is_not_is_not_drawn() -> None:
    matrix = Matrix(("a", "b"), "share", (("lth", "0.5", 3.1, (None, 0.25)),))
    assert numbers(matrix.packed()["squares"][0][3]) == [None, 1023]
    assert matrix.plain() == [{"label": "lth", "column": "0.5", "depth": 3.1, "tensor": "b", "share": 0.25}]
