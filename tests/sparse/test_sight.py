"""Which share of the weights has been seen."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from smc_eval.errors import SparsityError
from smc_eval.sparse.sight import Sight, covered, refuse_blind, unseen_share


def rectangles() -> st.SearchStrategy[tuple[int, int, int, int]]:
    spans = st.tuples(st.integers(0, 8), st.integers(1, 4)).map(lambda at: (at[0], at[0] + at[1]))
    return st.tuples(spans, spans).map(lambda both: (*both[0], *both[1]))


@given(st.lists(rectangles(), max_size=5))
def test_weights_in_several_rectangles_count_once(parts: list[tuple[int, int, int, int]]) -> None:
    grid = torch.zeros(12, 12)
    for top, bottom, left, right in parts:
        grid[top:bottom, left:right] = 1
    assert covered(parts) == int(grid.sum())


def test_shares_by_hand() -> None:
    sight, shapes = Sight(), {"a": (4, 2, 3), "b": (2, 2), "c": (5, 2)}
    sight.add([Sight({"a": {(0, 2, 0, 6), (1, 3, 0, 3)}}, {"a"}), Sight({"b": {(0, 2, 0, 2)}}, {"b"})])
    assert sight.unseen(shapes) == {"a": 1 - 15 / 24, "c": 1.0}
    assert sight.padded == {"a", "b"}
    assert unseen_share(sight.unseen(shapes), shapes) == pytest.approx(19 / 38)


def test_half_of_the_weights_is_enough_and_less_is_refused() -> None:
    shapes = {"a": (2, 2), "b": (2, 2), "c": (1, 1)}
    refuse_blind("Score", {"a": 1.0}, shapes)
    refuse_blind("Score", {}, shapes)
    with pytest.raises(
        SparsityError, match=r"Score saw no input of 56% of the weights in scope \('a' and 1 more"
    ):
        refuse_blind("Score", {"a": 1.0, "c": 1.0}, shapes)
