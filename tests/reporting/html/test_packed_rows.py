"""Packed data can be unpacked to the promised precision."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from smc_eval.reporting.html.packed_rows import CODE_SIGNS, LARGEST_CODE, Matrix, Rows


def unpacked(packed: dict[str, Any]) -> list[dict[str, Any]]:
    """As in page.js."""
    columns = {
        name: column if isinstance(column, list) else [column["distinct"][at] for at in column["index"]]
        for name, column in packed["columns"].items()
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def numbers(text: str) -> list[int | None]:
    pairs = [text[at : at + 2] for at in range(0, len(text), 2)]
    return [
        None if pair == ".." else CODE_SIGNS.index(pair[0]) * 64 + CODE_SIGNS.index(pair[1]) for pair in pairs
    ]


cells = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3)


@given(st.lists(st.fixed_dictionaries({"a": cells, "b": cells}), min_size=1, max_size=30))
def test_rows_are_the_same_after_packing(rows: list[dict[str, Any]]) -> None:
    back = unpacked(Rows(tuple(rows)).packed())
    assert back == rows
    kinds = [{name: type(value) for name, value in row.items()} for row in rows]
    assert [
        {name: type(value) for name, value in row.items()} for row in back
    ] == kinds  # True and 1 are distinct


def test_a_repeated_value_is_stored_once() -> None:
    columns = Rows(tuple({"label": "lth", "n": n} for n in range(9))).packed()["columns"]
    assert columns["label"] == {"distinct": ["lth"], "index": [0] * 9}
    assert columns["n"] == list(range(9))


@given(st.floats(0, 1))
def test_only_a_dead_tensor_has_the_largest_code(share: float) -> None:
    (point,) = Matrix(("a",), "share", (("lth", "0.5", 1.0, (share,)),)).packed()["points"]
    (number,) = numbers(point[3])
    assert number is not None
    assert (number == LARGEST_CODE) == (share == 1)
    assert 0 <= share - number / LARGEST_CODE < 1 / LARGEST_CODE


@given(st.floats(2e-6, 1e3))
def test_changes_are_packed_to_half_a_per_cent(change: float) -> None:
    packed = Matrix(("a",), "moved", (("lth", "0.5", 1.0, (change,)),), logarithmic=True).packed()
    (number,) = numbers(packed["points"][0][3])
    assert number is not None
    assert abs(10 ** (9 * number / LARGEST_CODE - 6) / change - 1) < 0.005


def test_missing_numbers_are_not_drawn() -> None:
    matrix = Matrix(("a", "b"), "share", (("lth", "0.5", 3.1, (None, 0.25)),))
    assert numbers(matrix.packed()["points"][0][3]) == [None, 1023]
    assert matrix.plain() == [{"label": "lth", "column": "0.5", "depth": 3.1, "tensor": "b", "share": 0.25}]
