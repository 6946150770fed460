"""The meter: a few passes looked at, the others inferred, densities weighed in as they were."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from smc_eval.engine.flop_meter import FlopMeter, looks
from smc_eval.sparse.net import Net

EACH = 2 * 4 * 3
"""Operations of one row through the layer."""


def net() -> Net:
    return Net(nn.Linear(4, 3, bias=False), ("weight",))


def masked(of: Net, kept: int) -> None:
    mask = torch.zeros(12).bool()
    mask[:kept] = True
    of.set_masks({"weight": mask.view(3, 4)})


def passed(meter: FlopMeter, rows: int, *, read: bool = False) -> None:
    """Forward and backward of so many rows, whose slopes are asked for."""
    with meter.over(rows):
        meter.net.model(torch.ones(rows, 4, requires_grad=True)).sum().backward()
    if read:
        meter.dense_gradients(rows)


def test_the_1st_16th_and_256th_pass_are_looked_at() -> None:
    assert [number for number in range(1, 5000) if looks(number)] == [1, 16, 256, 4096]


def test_a_whole_net_costs_the_same_both_ways_and_in_proportion_to_its_tokens() -> None:
    meter = FlopMeter(net())
    for rows in (2, 5, 3):
        passed(meter, rows)
    assert meter.spent() == {"dense": 10 * 3 * EACH, "sparse": 10 * 3 * EACH}


def test_densities_count_at_the_time_they_held() -> None:
    of = net()
    meter = FlopMeter(of)
    passed(meter, 2)
    masked(of, 6)
    passed(meter, 2)
    passed(meter, 2)
    masked(of, 3)
    passed(meter, 4)
    assert meter.spent() == {"dense": 10 * 3 * EACH, "sparse": round((2 + 4 / 2 + 4 / 4) * 3 * EACH)}


def test_gradients_that_are_read_are_dense_and_products_are_not() -> None:
    of = net()
    masked(of, 3)
    meter = FlopMeter(of)
    passed(meter, 4)
    passed(meter, 4, read=True)
    assert meter.spent()["sparse"] == (4 / 4 * 3 + 4 / 4 * 2 + 4) * EACH


def test_told_and_restored_it_goes_on_as_if_it_had_not_stopped() -> None:
    of = net()
    whole, first = FlopMeter(of), FlopMeter(of)
    for number in range(20):
        if number == 9:
            again = FlopMeter(of)
            again.restore(first.state())
            first = again
        for meter in (whole, first):
            passed(meter, 1 + number % 3)
        if number % 4 == 0:
            masked(of, 12 - number // 2)
    assert whole.spent() == first.spent() and whole.state() == first.state()
    assert whole.spent()["sparse"] < whole.spent()["dense"]


def test_an_error_within_passes_through() -> None:
    meter = FlopMeter(net())
    with pytest.raises(KeyError), meter.over(1):
        raise KeyError
    assert meter.tokens == 0
