"""Budgets: equal training for every method, in steps or in FLOPs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smc_eval import registry
from smc_eval.card import MethodCard
from smc_eval.engine import train as loop
from smc_eval.errors import UnknownName, UsageError
from smc_eval.experiment import parsing
from smc_eval.experiment.ablation import Ablated
from smc_eval.experiment.budget import Budget
from smc_eval.experiment.cell import Cell, Chain
from smc_eval.method import Method
from smc_eval.methods.dense import Dense
from smc_eval.methods.from_checkpoint import FromCheckpoint
from smc_eval.methods.gmp import Gmp
from smc_eval.methods.gmp_tuned import TunedGmp
from smc_eval.methods.lth import LotteryTicket
from smc_eval.methods.movement import Movement
from smc_eval.methods.omp import MagnitudeAfter
from smc_eval.methods.rigl import MagnitudeRigL
from smc_eval.methods.set import SparseEvolution
from smc_eval.methods.snip import Snip
from smc_eval.planning.plan import steps_of
from smc_eval.protocol import SOUND
from smc_eval.recipe import Recipe
from smc_eval.spec import digest
from smc_eval.stages import Stage, Train
from smc_eval.target import Target
from smc_eval.testing import PrunedToy, Toy, chain_of, run_chain, targets_for
from smc_eval.updater import StepView, Updater

HALF, TENTH = Target(sparsity=0.5), Target(sparsity=0.9)
STEPS, FLOPS = Budget(measure="steps"), Budget(measure="flops")
METHODS = [kind() for kind in registry.load_registry().checked().methods.values()]


def toy(count: int = 100, **fields: Any) -> Toy:
    return Toy(recipe=Recipe(steps=count, batch_size=8, lr=0.01, **fields))


def lengths(chain: Chain) -> list[int]:
    """Steps of each training."""
    return [steps_of(link.stage, chain.examples) for link in chain.links if isinstance(link.stage, Train)]


def links(chain: Chain) -> list[str]:
    return [link.digest for link in chain.links]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.card.name)
@pytest.mark.parametrize(("factor", "wanted"), [(1.0, 100), (3.0, 300), (0.777, 78)])
def test_every_method_takes_exactly_the_steps_of_the_budget(
    method: Method, factor: float, wanted: int
) -> None:
    for target in targets_for(method):
        chain = chain_of(method, target, toy(), budget=Budget(measure="steps", factor=factor))
        assert sum(lengths(chain)) == wanted


@given(
    count=st.integers(60, 5000),
    factor=st.floats(0.5, 8),
    share=st.floats(0.15, 0.5),
    early=st.floats(0, 0.9),
    sparsity=st.floats(0.05, 0.95),
)
def test_steps_are_met_exactly_for_any_division_of_the_training(
    count, factor, share, early, sparsity
) -> None:
    method = LotteryTicket(share=share, early=early)
    chain = chain_of(
        method, Target(sparsity=sparsity), toy(count), budget=Budget(measure="steps", factor=factor)
    )
    assert sum(lengths(chain)) == round(count * factor)


def test_lth_keeps_its_rounds_and_the_last_takes_the_remaining_steps() -> None:
    assert lengths(chain_of(LotteryTicket(), Target(sparsity=0.36), toy(), budget=STEPS)) == [33, 33, 34]
    # 20 % of each training is before the point, 80 % after it: 20, 80, 80 of 180
    late = chain_of(LotteryTicket(early=0.2), Target(sparsity=0.2), toy(180), budget=STEPS)
    assert lengths(late) == [20, 80, 80]


def test_a_method_that_costs_the_budget_anyway_trains_as_without_one() -> None:
    for method in (Snip(), Gmp(), MagnitudeRigL()):
        assert links(chain_of(method, HALF, toy(), budget=STEPS)) == links(chain_of(method, HALF, toy()))
    for budget in (STEPS, FLOPS):
        assert links(chain_of(Dense(), Target(), toy(), budget=budget)) == links(
            chain_of(Dense(), Target(), toy())
        )
    epochs = Toy(recipe=Recipe(epochs=2.5, batch_size=8))
    assert links(chain_of(Snip(), HALF, epochs, budget=STEPS)) == links(chain_of(Snip(), HALF, epochs))


def test_a_cell_without_a_budget_has_a_digest_without_it() -> None:
    cell = Cell(task=toy(), method=Snip(), target=HALF, protocol=SOUND)
    fields = {name: getattr(cell, name) for name in ("task", "method", "target", "protocol", "seed")}
    without_budget = {"identity": "smc-eval:Cell", "version": 1, "fields": fields}
    assert cell.digest() == digest(without_budget)
    matched = [cell.model_copy(update={"budget": budget}).digest() for budget in (STEPS, FLOPS)]
    assert len({cell.digest(), *matched}) == 3


def test_a_dense_net_with_three_times_the_budget_has_a_recipe_three_times_as_long() -> None:
    thrice = chain_of(Dense(), Target(), toy(), budget=Budget(measure="steps", factor=3))
    assert links(thrice) == links(chain_of(Dense(), Target(), toy(300, period=60)))
    assert FLOPS.of_dense is None
    assert Budget(measure="flops", factor=3, inside=0.5).of_dense == Budget(measure="steps", factor=3)


def test_learning_rates_are_stretched_too() -> None:
    recipe = Recipe(epochs=8, batch_size=8, schedule="step", period=2, gamma=0.5, warmup=4)
    half = recipe.lasting(28, 52)  # 7 steps an epoch
    assert (half.steps, half.epochs, half.period, half.warmup) == (28, None, 1, 2)
    assert [half.rate(step, 52) for step in (0, 7, 14)] == [0.5, 0.5, 0.25]
    assert recipe.lasting(112, 52).warmup == 4
    assert recipe.lasting(56, 52) is recipe


@pytest.mark.parametrize(
    ("method", "target", "wanted"),
    [
        (Snip(), TENTH, [1000]),  # each costs a tenth
        (MagnitudeAfter(), HALF, [66, 68]),  # 66 + 68 / 2 = 100
        (LotteryTicket(), Target(sparsity=0.36), [40, 40, 43]),  # 40 + 0.8 * 40 + 0.64 * 43 = 99.5
        (SparseEvolution(), TENTH, [1000]),  # grows at random: no gradient is read
        (Dense(), Target(), [100]),
    ],
)
def test_flops_by_hand(method: Method, target: Target, wanted: list[int]) -> None:
    assert lengths(chain_of(method, target, toy(), budget=FLOPS)) == wanted


def test_weights_outside_the_scope_cost_the_same_at_any_sparsity() -> None:
    half_inside = Budget(measure="flops", inside=0.5)
    # a step costs 0.5 + 0.5 * 0.2
    assert lengths(chain_of(Snip(), Target(sparsity=0.8), toy(), budget=half_inside)) == [166]


def test_dense_gradients_cost_a_third_of_the_pruned_weights() -> None:
    # a change every 100 steps until three quarters: 14 of 1973 cost (2 * 0.5 + 1) / 3
    (count,) = lengths(chain_of(MagnitudeRigL(), HALF, toy(1000), budget=FLOPS))
    changes = len(range(100, round(0.75 * count), 100))
    cost = 0.5 * (count - changes) + 2 / 3 * changes
    assert 1000 - 2 / 3 <= cost <= 1000


def test_the_examples_of_a_step_count() -> None:
    class Wide(Method):
        card: ClassVar[MethodCard] = MethodCard(name="wide", summary="w", source="none", when="none")

        def plan(self, target: Target) -> Iterator[Stage]:
            yield Train(recipe=Recipe(steps=30, batch_size=4, accumulation=4))

    assert lengths(chain_of(Wide(), Target(), toy(), budget=FLOPS)) == [50]
    assert lengths(chain_of(Wide(), Target(), toy(), budget=STEPS)) == [100]


@pytest.mark.parametrize(
    "method",
    [Gmp(), Gmp(every=7, events=3), Movement(), MagnitudeRigL(every=5), SparseEvolution(),
     LotteryTicket(early=0.1), MagnitudeAfter(), TunedGmp(), Ablated(method=Gmp(), how="shuffle")],
    ids=lambda method: method.label,
)  # fmt: skip
def test_flops_counted_during_training_equal_the_budget(
    method: Method, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs, read = list[float](), set[int]()
    advance, grads = loop.Training._advance, loop.TrainingStep.grads

    def advanced(training: loop.Training) -> float:
        density = training.net.density
        read.clear()
        loss = advance(training)
        teacher = 1 / 3 if training.stage.distil else 0.0  # a dense one, forward
        costs.append((2 * density + (1 if read else density)) / 3 + teacher)
        return loss

    def asked(view: loop.TrainingStep) -> Any:
        read.add(view.step)
        return grads.__get__(view)

    monkeypatch.setattr(loop.Training, "_advance", advanced)
    monkeypatch.setattr(loop.TrainingStep, "grads", property(asked))
    run_chain(
        chain_of(method, Target(sparsity=0.7, distribution=method.card.distribution), toy(40), budget=FLOPS),
        tmp_path,
    )
    rounding = len(costs) * 0.5 / 655  # the toy's weights
    assert 40 - max(costs) - rounding <= sum(costs) <= 40 + rounding


class Unknown(Updater):
    """An updater without densities."""

    def init(self, weights: Mapping[str, Any], masks: Mapping[str, Any]) -> dict[str, Any]:
        return {}

    def update(self, view: StepView, state: dict[str, Any]) -> dict[str, Any]:
        return state


class Impossible(Unknown):
    """An updater with a density of 0."""

    def densities(self, steps: int, density: float) -> Iterable[tuple[int, float]]:
        return [(3, 0.0)]


class Updated(Method):
    card: ClassVar[MethodCard] = MethodCard(name="updated", summary="u", source="none", when="during")
    updater: Updater

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Train(updater=self.updater)


class Idle(Method):
    card: ClassVar[MethodCard] = MethodCard(name="idle", summary="i", source="none", when="none")

    def plan(self, target: Target) -> Iterator[Stage]:
        yield from ()


@pytest.mark.parametrize(
    ("method", "task", "budget", "message"),
    [
        (Snip(), toy(0), STEPS, "--match steps has no budget to give: the recipe has 0 steps"),
        (Idle(), toy(), STEPS, "--match steps cannot stretch method 'idle': it trains nothing"),
        (
            LotteryTicket(),
            toy(5),
            STEPS,
            "leaves 5 steps to the 12 trainings of method 'lth', too few for one",
        ),
        (FromCheckpoint(), PrunedToy(), FLOPS, "cost of method 'from-checkpoint': it takes custom masks"),
        (Updated(updater=Unknown()), toy(), FLOPS, "method 'updated': Unknown does not give its density"),
    ],
)
def test_a_method_that_cannot_be_matched_is_refused_by_name(method, task, budget, message) -> None:
    with pytest.raises(UsageError, match=message):
        chain_of(method, Target() if method.card.when == "custom" else TENTH, task, budget=budget)


def test_steps_need_no_densities() -> None:
    assert lengths(chain_of(FromCheckpoint(), Target(), PrunedToy(), budget=STEPS)) == [12]
    assert lengths(chain_of(Updated(updater=Unknown()), HALF, toy(), budget=STEPS)) == [100]


def test_an_impossible_density_is_a_fault_of_the_updater() -> None:
    with pytest.raises(Exception, match="Impossible gives density 0 from step 4 on"):
        chain_of(Updated(updater=Impossible()), HALF, toy(), budget=FLOPS)


@pytest.mark.parametrize("text", ["steps", "flops", "steps=3", "flops=0.5", "flops=2:inside=0.8"])
def test_the_label_of_a_budget_is_what_was_typed(text: str) -> None:
    assert parsing.parse_budget(text).label == text


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("step", UnknownName, "no budget of --match is named 'step'; did you mean 'steps'"),
        ("steps=0", UsageError, "'factor' of --match steps=0 is '0'; it should be greater than 0"),
        ("steps=many", UsageError, "'factor' of --match steps=many is 'many'"),
        ("steps=", UsageError, "'factor' of --match steps= is ''"),
        ("flops:inside=2", UsageError, "'inside' of --match flops:inside=2 is '2'"),
        ("flops:outside=1", UnknownName, "no option of --match flops:outside=1 is named 'outside'"),
    ],
)
def test_a_wrong_budget_is_refused(text: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        parsing.parse_budget(text)
