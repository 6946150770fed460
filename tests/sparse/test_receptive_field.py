"""Receptive fields: the nearest by hand, exact counts, and the probabilities of distances."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from smc_eval.sparse.receptive_field import receptive_field


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_without_randomness_the_nearest_are_linked() -> None:
    # two rows, eight columns: their places are 0 and 4; three links each, around the ring
    field = receptive_field((2, 8), 6, 0.0, generator(), equal=True)
    assert field.int().tolist() == [[1, 1, 0, 0, 0, 0, 0, 1], [0, 0, 0, 1, 1, 1, 0, 0]]
    assert torch.equal(receptive_field((8, 2), 6, 0.0, generator(), equal=True), field.T)
    kernel = receptive_field((2, 2, 2, 2), 6, 0.0, generator(), equal=True)
    assert torch.equal(kernel.flatten(1), field)


@given(st.integers(1, 9), st.integers(1, 9), st.data(), st.sampled_from([0.0, 0.25, 1.0]))
def test_the_count_is_exact_and_each_node_of_the_shorter_side_has_a_link(
    rows: int, columns: int, data: st.DataObject, randomness: float
) -> None:
    count, equal = data.draw(st.tuples(st.integers(0, rows * columns), st.booleans()))
    field = receptive_field((rows, columns), count, randomness, generator(count), equal=equal)
    assert field.shape == (rows, columns) and int(field.sum()) == count
    degrees = field.sum(int(rows <= columns))
    if count >= min(rows, columns):
        assert int(degrees.min()) >= 1
    if equal:
        assert int(degrees.max() - degrees.min()) <= 1


@pytest.mark.parametrize(("randomness", "power"), [(0.5, 1.0), (0.25, 3.0), (1.0, 0.0)])
def test_a_link_is_as_likely_as_its_distance_says(randomness: float, power: float) -> None:
    # one row at place 0 with one link: probabilities in proportion to (1 + d) ** -power
    draws, source = 1500, generator(1)
    counts = sum(receptive_field((1, 5), 1, randomness, source, equal=True).double() for _ in range(draws))
    wanted = torch.tensor([[1.0, 2.0, 3.0, 3.0, 2.0]], dtype=torch.float64) ** -power
    torch.testing.assert_close(counts / draws, wanted / wanted.sum(), atol=0.05, rtol=0)
