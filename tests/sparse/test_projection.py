"""Projections equal exact selection, whatever came before."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from smc_eval.sparse.pattern import grouped
from smc_eval.sparse.projection import Projection
from smc_eval.sparse.select import largest


def test_the_largest_magnitudes_stay_and_of_equal_ones_the_first() -> None:
    values = torch.tensor([[3.0, -5.0, 1.0, 3.0], [0.0, 0.0, 0.0, -2.0]])
    everything = torch.ones(2, 4).bool()
    assert Projection(everything, 2)(values).tolist() == [[True, True, False, False], [False] * 4]
    pairs = [[False, True, False, True], [True, False, False, True]]
    assert Projection(everything, (1, 2))(values).tolist() == pairs


@given(
    outputs=st.integers(1, 6),
    inputs=st.integers(1, 16),
    seed=st.integers(0, 10_000),
    whole=st.booleans(),
    some=st.booleans(),
)
def test_masks_are_those_of_exact_selection_time_after_time(
    outputs: int, inputs: int, seed: int, *, whole: bool, some: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    within = torch.rand(outputs, inputs, generator=generator) < (0.6 if some else 1)
    keep = int(torch.randint(0, int(within.sum()) + 1, (1,), generator=generator))
    values = torch.randn(outputs, inputs, generator=generator)
    free, two, one = (Projection(within, quota) for quota in (keep, (2, 4), (1, 3)))
    for _ in range(4):
        values = values + 0.1 * torch.randn(outputs, inputs, generator=generator)
        given_values = values.round() if whole else values  # rounded ones have equals
        sizes = given_values.abs()
        assert torch.equal(free(given_values), largest({"": sizes}, keep, {"": within})[""])
        assert torch.equal(two(given_values), grouped(sizes, 2, 4, within))
        assert torch.equal(one(given_values), grouped(sizes, 1, 3, within))
