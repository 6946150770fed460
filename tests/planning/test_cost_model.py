"""The cost model: operations by hand, and the choice among several rates."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from smc_eval.methods.omp import Magnitude
from smc_eval.planning.cost_model import DeviceRate, flops_of, narrowest_rate, seconds_of, sum_known
from smc_eval.recipe import Recipe
from smc_eval.stages import Distillation, Prune, Train
from smc_eval.target import Target
from smc_eval.tasks.arithmetic.datasets import MawpsGts

TASK = MawpsGts(backbone="roberta-base", fold=0)
TRAIN = Train(recipe=Recipe(steps=10, batch_size=4, accumulation=2))


def test_a_backward_pass_costs_two_forward_passes() -> None:
    assert flops_of(TRAIN, 10, 5.0) == 10 * 8 * (5 + 10)


def test_a_teacher_and_recomputed_activations_cost_one_forward_pass_each() -> None:
    taught = TRAIN.model_copy(update={"distil": Distillation(teacher="dense")})
    assert flops_of(taught, 1, 5.0) == 8 * 20
    again = Train(recipe=Recipe(steps=10, batch_size=8, checkpointing=True))
    assert flops_of(again, 1, 5.0) == 8 * 20


def test_a_stage_without_steps_costs_nothing_even_at_an_unknown_rate() -> None:
    prune = Prune(by=Magnitude(), to=Target(sparsity=0.5))
    assert flops_of(prune, 0, None) == seconds_of(None, prune, 0, None) == 0.0
    assert flops_of(TRAIN, 1, None) is seconds_of(None, TRAIN, 1, 5.0) is None


def test_seconds_are_computed_from_steps_or_from_operations() -> None:
    assert seconds_of(DeviceRate(seconds=0.5), TRAIN, 10, None) == 5.0
    assert seconds_of(DeviceRate(flops=100.0), TRAIN, 10, 5.0) == 12.0
    assert seconds_of(DeviceRate(flops=100.0), TRAIN, 10, None) is None


def test_a_sum_with_an_unknown_part_is_unknown() -> None:
    assert sum_known([1.0, 2.0]) == 3.0
    assert sum_known([1.0, None, 2.0]) is None
    assert sum_known([]) == 0.0


def test_the_most_specific_rate_is_used_and_of_equals_the_first() -> None:
    order = [
        DeviceRate(task="mawps/gts", model="roberta-base", seconds=1),
        DeviceRate(task="mawps/gts", seconds=2),
        DeviceRate(task="mawps", model="roberta-base", seconds=3),
        DeviceRate(task="mawps", seconds=4),
        DeviceRate(task="arithmetic", seconds=5),
        DeviceRate(model="roberta-base", seconds=6),
        DeviceRate(flops=7),
        DeviceRate(flops=8),
    ]
    others = [
        DeviceRate(task="svamp", seconds=1),
        DeviceRate(task="mawps/gts", model="roberta-large", seconds=1),
    ]
    for number, rate in enumerate(order):
        left = order[number:]
        assert narrowest_rate([*others, *left], TASK) == rate
        if number < 6:
            assert narrowest_rate([*others, *reversed(left)], TASK) == rate
    assert narrowest_rate(others, TASK) is None


@pytest.mark.parametrize("values", [{}, {"seconds": 1.0, "flops": 1.0}, {"seconds": 0.0}, {"flops": -1.0}])
def test_a_rate_is_one_positive_measure(values: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        DeviceRate.model_validate(values)
