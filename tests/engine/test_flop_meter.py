"""The FLOP meter: a few passes are measured, the others are estimated, with the densities of their time."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from smc_eval.engine.flop_meter import FlopMeter, is_measured
from smc_eval.sparse.net import Net

EACH = 2 * 4 * 3
"""Operations of one row through the layer."""


def net() -> Net:
    return Net(nn.Linear(4, 3, bias=False), ("weight",))


def set_mask(net: Net, count: int) -> None:
    mask = torch.zeros(12).bool()
    mask[:count] = True
    net.set_masks({"weight": mask.view(3, 4)})


def run_pass(meter: FlopMeter, rows: int, *, read: bool = False) -> None:
    """A forward and backward pass of so many rows, which need gradients."""
    with meter.over(rows):
        meter.net.model(torch.ones(rows, 4, requires_grad=True)).sum().backward()
    if read:
        meter.dense_gradients(rows)


def test_the_1st_16th_and_256th_pass_are_measured() -> None:
    assert [number for number in range(1, 5000) if is_measured(number)] == [1, 16, 256, 4096]


def test_a_dense_net_has_equal_counts_in_proportion_to_its_tokens() -> None:
    meter = FlopMeter(net())
    for rows in (2, 5, 3):
        run_pass(meter, rows)
    assert meter.spent() == {"dense": 10 * 3 * EACH, "sparse": 10 * 3 * EACH}


def test_each_pass_counts_with_the_density_of_its_time() -> None:
    made = net()
    meter = FlopMeter(made)
    run_pass(meter, 2)
    set_mask(made, 6)
    run_pass(meter, 2)
    run_pass(meter, 2)
    set_mask(made, 3)
    run_pass(meter, 4)
    assert meter.spent() == {"dense": 10 * 3 * EACH, "sparse": round((2 + 4 / 2 + 4 / 4) * 3 * EACH)}


def test_gradients_that_were_read_count_as_dense_and_products_do_not() -> None:
    made = net()
    set_mask(made, 3)
    meter = FlopMeter(made)
    run_pass(meter, 4)
    run_pass(meter, 4, read=True)
    assert meter.spent()["sparse"] == (4 / 4 * 3 + 4 / 4 * 2 + 4) * EACH


def test_gradients_of_a_share_of_a_weight_cost_that_share() -> None:
    made = net()
    set_mask(made, 3)
    meter = FlopMeter(made)
    run_pass(meter, 4)
    meter.wider_gradients(4, {"weight": 1 / 2})
    run_pass(meter, 4)
    meter.wider_gradients(4, {})  # of a weight that is not named: those of its unpruned part
    assert meter.spent()["sparse"] == round((4 / 4 * 2 + 4 / 2 + 4 / 4 * 3) * EACH)


def test_a_restored_meter_continues_as_if_it_had_not_stopped() -> None:
    made = net()
    whole, first = FlopMeter(made), FlopMeter(made)
    for number in range(20):
        if number == 9:
            restored = FlopMeter(made)
            restored.restore(first.state())
            first = restored
        for meter in (whole, first):
            run_pass(meter, 1 + number % 3)
        if number % 4 == 0:
            set_mask(made, 12 - number // 2)
    assert whole.spent() == first.spent() and whole.state() == first.state()
    assert whole.spent()["sparse"] < whole.spent()["dense"]


def test_an_error_in_a_pass_is_raised_and_the_pass_not_counted() -> None:
    meter = FlopMeter(net())
    with pytest.raises(KeyError), meter.over(1):
        raise KeyError
    assert meter.tokens == 0
