"""Optimizers of plugins: their further passes, what they keep, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from smc_eval.card import MethodCard, TaskCard
from smc_eval.engine.distributed.shardable import unshardable_parts
from smc_eval.engine.optimizer_state import odd_state, refuse_unfit_optimizers
from smc_eval.errors import PluginError, UnknownName, UsageError
from smc_eval.experiment.budget import Budget
from smc_eval.method import Method
from smc_eval.methods.ac_dc import AcDc
from smc_eval.methods.gmp import Gmp
from smc_eval.methods.omp import MagnitudeBefore
from smc_eval.methods.set import SparseEvolution
from smc_eval.optimizer import Adam, AdamW, Optimizer, OptimizerCard, Sgd
from smc_eval.planning.cost_model import flops_of
from smc_eval.pruner import Criterion
from smc_eval.recipe import Recipe
from smc_eval.spec import digest
from smc_eval.stages import Prune, Stage, Train
from smc_eval.target import Target
from smc_eval.testing import Toy, chain_of, run_chain


def card(name: str) -> OptimizerCard:
    return OptimizerCard(name=name, summary="of a test", source="none")


class Uphill(Optimizer):
    """Sharpness-aware: one further pass, at rho times the unit gradient from the weights."""

    card: ClassVar[OptimizerCard] = card("uphill")
    further_passes: ClassVar[int] = 1
    rho: float = 0.5

    def make(self, groups: Sequence[dict[str, Any]], recipe: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(groups, momentum=recipe.momentum)

    def perturb(self, weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor], norm: Any) -> Any:
        length = norm(gradients)
        return {name: self.rho * gradient / length for name, gradient in gradients.items()}


class Bowl(nn.Module):
    """Three weights, and the loss sum(c w²) / 2 + b w, with dropout noise and a count of its passes."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[3.0, 1.0, 0.5]]))
        self.passes = nn.Buffer(torch.zeros(()))
        self.log: list[list[float]] = []
        self.noise: list[float] = []

    def forward(self, _: Any) -> Tensor:
        if self.training:
            self.log.append([round(value, 4) for value in self.weight.detach().flatten().tolist()])
            self.noise.append(float(torch.rand(())))
            self.passes += 1
        curve, slope = torch.tensor([1.0, 4.0, 1.0]), torch.tensor([0.0, 0.0, 12.0])
        return (curve * self.weight**2 / 2 + slope * self.weight).sum()


class Descent(Toy):
    """One step down a bowl."""

    card: ClassVar[TaskCard] = TaskCard(
        name="descent", accepts=("tiny",), published="tiny", summary="a bowl", source="none", metric="loss"
    )
    made: ClassVar[list[Bowl]] = []

    def model(self) -> nn.Module:
        self.made.append(Bowl())
        return self.made[-1]

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return model(batch)

    def loss_and_outputs(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        loss = model(batch)
        return loss, loss[None]

    def predict(self, model: nn.Module, batch: Any) -> list[int]:
        return [0] * len(batch["tokens"])


ONE_STEP = Recipe(steps=1, batch_size=4, lr=0.1, momentum=0.0)


def descended(optimizer: Optimizer, folder: Path, **changes: Any) -> tuple[Any, dict[str, Tensor], Bowl]:
    """The record and the weights after one step, with the smallest weight pruned before it; and the net."""
    recipe = Recipe.model_validate({**dict(ONE_STEP), "optimizer": optimizer, **changes})
    chain = chain_of(MagnitudeBefore(), Target(sparsity=1 / 3), Descent(recipe=recipe))
    Descent.made.clear()
    record, tensors, _ = run_chain(chain, folder)
    (bowl,) = (bowl for bowl in Descent.made if bowl.log)
    return record, tensors, bowl


def test_a_step_has_the_gradient_at_the_perturbed_weights(tmp_path: Path) -> None:
    """By hand: w = (3, 1, –) has g = (3, 4, –) of length 5; w + 0.5 g/5 = (3.3, 1.4, –) has (3.3, 5.6, –)."""
    record, tensors, bowl = descended(Uphill(), tmp_path)
    torch.testing.assert_close(tensors["weight"], torch.tensor([[3 - 0.33, 1 - 0.56, 0.0]]))
    assert bowl.log == [[3.0, 1.0, 0.0], [3.3, 1.4, 0.0]]  # the third weight is pruned, also in between
    assert record.cost.perturbed_passes == 1 and record.cost.steps == 1


def test_a_pruned_weight_has_no_part_in_the_length_of_the_gradient(tmp_path: Path) -> None:
    """Its gradient is 12: with it the length would be 13, and the perturbation (0.115, 0.154)."""
    assert descended(Uphill(), tmp_path)[2].log[1] == [3.3, 1.4, 0.0]


def test_a_perturbation_of_a_pruned_weight_is_not_applied(tmp_path: Path) -> None:
    class Everywhere(Uphill):
        card: ClassVar[OptimizerCard] = card("everywhere")

        def perturb(self, weights: Any, gradients: Any, norm: Any) -> Any:
            return {name: torch.ones_like(weight) for name, weight in weights.items()}

    _, tensors, bowl = descended(Everywhere(), tmp_path)
    assert bowl.log == [[3.0, 1.0, 0.0], [4.0, 2.0, 0.0]]
    torch.testing.assert_close(tensors["weight"], torch.tensor([[3 - 0.4, 1 - 0.8, 0.0]]))


def test_further_passes_draw_the_same_noise_and_leave_the_buffers_alone(tmp_path: Path) -> None:
    _, tensors, bowl = descended(Uphill(), tmp_path)
    assert len(bowl.noise) == 2 and bowl.noise[0] == bowl.noise[1]
    assert float(tensors["passes"]) == 1


def test_several_further_passes_start_from_the_weights_of_the_step(tmp_path: Path) -> None:
    class Twice(Uphill):
        card: ClassVar[OptimizerCard] = card("twice")
        further_passes: ClassVar[int] = 2

    record, _, bowl = descended(Twice(), tmp_path)
    length = (3.3**2 + 5.6**2) ** 0.5  # the second perturbation follows the gradient of the first
    second = [round(3 + 0.5 * 3.3 / length, 4), round(1 + 0.5 * 5.6 / length, 4), 0.0]
    assert bowl.log == [[3.0, 1.0, 0.0], [3.3, 1.4, 0.0], second]
    assert record.cost.perturbed_passes == 2


def test_the_weights_hidden_by_a_soft_updater_come_back_after_a_perturbed_pass(tmp_path: Path) -> None:
    from smc_eval.methods.movement import Movement

    recipe = Recipe.model_validate({**dict(Toy().recipe), "optimizer": Uphill(rho=0.1), "lr": 0.05})
    record, tensors, masks = run_chain(
        chain_of(Movement(), Target(sparsity=0.5), Toy(recipe=recipe)), tmp_path
    )
    assert record.certificate is not None and record.certificate.ok
    assert all(not tensors[name][~mask].any() for name, mask in masks.items())


@pytest.mark.parametrize("updater", ["set", "movement"])
def test_a_second_pass_costs_as_much_as_the_first(tmp_path: Path, updater: str) -> None:
    from smc_eval.methods.movement import Movement

    method = {"set": SparseEvolution(), "movement": Movement()}[updater]
    costs = []
    for number, optimizer in enumerate((Sgd(), Uphill(rho=1e-6))):
        recipe = Recipe.model_validate({**dict(Toy().recipe), "optimizer": optimizer})
        chain = chain_of(method, Target(sparsity=0.5), Toy(recipe=recipe))
        costs.append(run_chain(chain, tmp_path / str(number))[0].cost)
    once, twice = costs
    assert twice.flops.train.dense == pytest.approx(2 * once.flops.train.dense, rel=1e-3)
    assert twice.steps == once.steps and twice.perturbed_passes == once.steps
    if updater == "set":  # it reads no gradients, so both passes cost the density
        assert twice.flops.train.sparse == pytest.approx(2 * once.flops.train.sparse, rel=1e-3)
    else:  # masked weights learn from the last pass alone
        assert once.flops.train.sparse < twice.flops.train.sparse < 2 * once.flops.train.sparse


def test_the_cost_of_a_plan_has_all_passes() -> None:
    def cost(optimizer: Optimizer) -> float | None:
        recipe = Recipe(steps=10, batch_size=2, optimizer=optimizer)
        return flops_of(Train(recipe=recipe), 10, 7.0)

    assert cost(AdamW()) == 10 * 2 * 3 * 7
    assert cost(Uphill()) == 2 * 10 * 2 * 3 * 7


class WithFewerPasses(Method):
    """Prunes, then trains by SGD, whatever the recipe of the task."""

    card: ClassVar[MethodCard] = MethodCard(name="fewer", summary="a toy", source="none", when="before")

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Prune(by=Largest(), to=target)
        yield Train(recipe=Recipe(steps=10, batch_size=8, optimizer="sgd"))


class Largest(Criterion):
    def saliency(self, probe: Any) -> Any:
        return {name: weight.abs() for name, weight in probe.weights.items()}


def test_a_budget_of_operations_counts_all_passes() -> None:
    """A step of the dense recipe has two passes; one of this method has one, at half of the density."""
    recipe = Recipe(steps=10, batch_size=8, optimizer=Uphill())
    budget = Budget(measure="flops")
    chain = chain_of(WithFewerPasses(), Target(sparsity=0.5), Toy(recipe=recipe), budget=budget)
    assert [link.stage.recipe.steps for link in chain.links if isinstance(link.stage, Train)] == [40]
    usual = chain_of(MagnitudeBefore(), Target(sparsity=0.5), Toy(recipe=recipe), budget=budget)
    assert [link.stage.recipe.steps for link in usual.links if isinstance(link.stage, Train)] == [20]


# What is refused.


class Built(Optimizer):
    """Makes whatever a test gives it."""

    card: ClassVar[OptimizerCard] = card("built")
    built: ClassVar[Callable[..., Any]]
    what: str = ""

    def make(self, groups: Sequence[dict[str, Any]], recipe: Any) -> Any:
        return type(self).built(groups)


def built(kind: Callable[..., Any], name: str) -> Built:
    Built.built = staticmethod(kind)
    return Built(what=name)


class Forgetful(torch.optim.SGD):
    """Every second step is larger; which one it is does not stand in its state."""

    odd = False

    def step(self, closure: Any = None) -> Any:
        self.odd = not self.odd
        for group in self.param_groups:
            group["lr"] *= 2 if self.odd else 1
        return super().step(closure)


def recipe_with(optimizer: Optimizer) -> Recipe:
    return Recipe.model_validate({**dict(Toy().recipe), "optimizer": optimizer})


def refusal(optimizer: Optimizer, method: Method) -> str:
    chain = chain_of(method, Target(sparsity=0.5), Toy(recipe=recipe_with(optimizer)))
    with pytest.raises(UsageError) as caught:
        refuse_unfit_optimizers([chain])
    assert len(str(caught.value).splitlines()) <= 3
    return str(caught.value)


def test_an_optimizer_that_needs_a_closure_is_refused_by_name() -> None:
    def lbfgs(groups: Any) -> Any:
        return torch.optim.LBFGS([weight for group in groups for weight in group["params"]])

    message = refusal(built(lbfgs, "lbfgs"), MagnitudeBefore())
    assert "optimizer 'built:what=lbfgs' failed in a trial on two small weights" in message
    assert "its step takes no closure" in message


def test_an_optimizer_that_forgets_in_a_checkpoint_is_refused_by_name() -> None:
    message = refusal(built(lambda groups: Forgetful(groups, lr=0.1), "forgetful"), MagnitudeBefore())
    assert "optimizer 'built:what=forgetful' goes on in another way from a checkpoint" in message


def test_a_state_of_another_shape_is_refused_where_weights_grow_back(tmp_path: Path) -> None:
    factored = built(torch.optim.Adafactor, "factored")
    assert odd_state(factored, recipe_with(factored)) == "'row_var' as a tensor of another shape, (5, 1)"
    message = refusal(factored, SparseEvolution())
    assert message.startswith(
        "toy set 0.5 seed 0: optimizer 'built:what=factored' keeps 'row_var' as a tensor"
    )
    assert "cannot be cleared of weights that grow back" in message
    chain = chain_of(MagnitudeBefore(), Target(sparsity=0.5), Toy(recipe=recipe_with(factored)))
    refuse_unfit_optimizers([chain])
    record, tensors, masks = run_chain(chain, tmp_path)
    assert record.certificate is not None and record.certificate.ok
    assert all(not tensors[name][~mask].any() for name, mask in masks.items())


def test_the_momentum_of_an_optimizer_that_does_not_name_it_cannot_be_reset(tmp_path: Path) -> None:
    class Named(Uphill):
        card: ClassVar[OptimizerCard] = card("named")
        momenta: ClassVar[frozenset[str]] = frozenset({"momentum_buffer"})

    method = AcDc()
    silent, named = (
        chain_of(method, Target(sparsity=0.5), Toy(recipe=recipe_with(optimizer)))
        for optimizer in (Uphill(), Named())
    )
    with pytest.raises(UsageError, match="resets the momentum, and optimizer 'uphill' does not name"):
        run_chain(silent, tmp_path / "silent")
    assert run_chain(named, tmp_path / "named")[0].status == "ok"


def test_an_optimizer_that_needs_whole_tensors_is_not_sharded() -> None:
    chain = chain_of(Gmp(), Target(sparsity=0.5), Toy(recipe=recipe_with(Uphill())))
    assert "optimizer 'uphill' works on whole tensors" in list(unshardable_parts(chain))
    for optimizer in (AdamW(), Adam(), Sgd()):
        chain = chain_of(Gmp(), Target(sparsity=0.5), Toy(recipe=recipe_with(optimizer)))
        assert not [part for part in unshardable_parts(chain) if "optimizer" in part]


def test_something_else_than_an_optimizer_is_refused() -> None:
    message = refusal(built(lambda _: 3, "three"), Gmp())
    assert "optimizer 'built:what=three' failed in a trial on two small weights: AttributeError" in message


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda weights: None, "gave None (NoneType) as its perturbation; wanted tensors by name"),
        (lambda weights: {"other": torch.ones(3)}, "as the perturbation of 'other'; wanted names of weights"),
        (lambda weights: {"weight": torch.ones(2)}, "gave a tensor (2,) as the perturbation of 'weight'"),
        (
            lambda weights: {"weight": 3},
            "gave 3 (int) as the perturbation of 'weight'; wanted a tensor",
        ),
        (lambda weights: weights["weight"].add_(1), "wrote into the weight 'weight' in `perturb`"),
    ],
)
def test_a_wrong_perturbation_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: Callable[..., Any], words: str
) -> None:
    monkeypatch.setattr(Uphill, "perturb", lambda _self, weights, _gradients, _norm: given(weights))
    with pytest.raises(PluginError) as caught:
        descended(Uphill(), tmp_path)
    assert words in str(caught.value) and "Uphill" in str(caught.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            lambda weights: dict.fromkeys((), weights["bias"].data.add_(1)),
            "wrote into the bias of a trial in `perturb`",
        ),
        (lambda weights: {"weight": weights["weight"] / 0}, "the weight of a trial by numbers that are not"),
        (lambda weights: 1 / 0, "failed in a trial on two small weights: ZeroDivisionError"),
        (lambda weights: {}, ""),
    ],
)
def test_a_perturbation_is_tried_before_anything_runs(given: Callable[..., Any], words: str) -> None:
    class Tried(Uphill):
        what: str = words

        def perturb(self, weights: Mapping[str, Tensor], gradients: Any, norm: Any) -> Any:
            assert float(norm(gradients)) == pytest.approx(40**0.5)
            return given(weights)

    if not words:
        assert not odd_state(Tried(), recipe_with(Tried()))
        return
    assert words in refusal(Tried(), Gmp())


# Recipes.


def test_built_in_optimizers_are_names_in_recipes_and_others_are_values() -> None:
    assert Recipe(epochs=1, optimizer=Adam()) == Recipe(epochs=1, optimizer="adam")
    assert digest(Recipe(epochs=1, optimizer=AdamW())) == digest(Recipe(epochs=1))
    own = Recipe(epochs=1, optimizer=Uphill(rho=0.25))
    assert own.chosen_optimizer == Uphill(rho=0.25) and own.optimizer.label == "uphill:rho=0.25"
    assert digest(own) != digest(Recipe(epochs=1, optimizer=Uphill(rho=0.5)))
    assert own.recorded.optimizer == own.model_dump(mode="json")["optimizer"] == "uphill:rho=0.25"


def test_a_recipe_of_a_plugin_that_is_missing_is_read_and_not_run() -> None:
    read = Recipe(epochs=1, optimizer="uphill:rho=0.25")
    assert read == Recipe(epochs=1, optimizer=Uphill(rho=0.25)).recorded
    with pytest.raises(UnknownName, match="no built-in optimizer is named 'uphill:rho=0.25'"):
        chain_of(Gmp(), Target(sparsity=0.5), Toy(recipe=read))
