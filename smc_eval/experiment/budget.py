"""A Budget: equal training for every method, summed over its whole chain."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Literal

from pydantic import Field

from smc_eval.errors import PluginError, UsageError
from smc_eval.recipe import Recipe
from smc_eval.spec import Spec
from smc_eval.stages import START, Prune, Stage, Train

BudgetMeasure = Literal["steps", "flops"]

FORWARD_SHARE = 1 / 3
"""A forward pass as a share of a training step; the gradients of inputs and of weights cost as much each."""

ROUNDING_STEPS = 1e-7
"""Steps that floating-point rounding may lose."""


class Budget(Spec):
    """The training that a method may spend in all, as a multiple of the dense recipe's.

    Every Train of the plan is stretched by one factor, with its learning rate schedule, until the sum over
    the chain equals the budget. The last Train also gets the steps that rounding leaves over. So the
    method keeps its form: the rounds of `lth`, the times at which an updater changes masks. A method
    that costs the budget anyway trains as it does without one.

    `steps` counts optimizer steps, and is met exactly. `flops` counts the cost of each step if zeros cost
    nothing, as in Evci et al. (2020): at density d a step costs d of a dense one, and (2 d + b) / 3 where an
    updater reads the gradients of more weights, at density b; a teacher's forward pass costs a third of its
    own density. The further passes of an optimizer cost as much each. It is computed from the plan
    alone, and met to less than a step. All multiply-adds are taken to be in weights in scope of equal
    sparsity; `inside=0.9` says that 10 % are not.

    Not counted, because a plan does not have them: passes of pruners (those of oBERT depend on the available
    memory, those of SynFlow on the data) and predictions. The records have both.
    """

    measure: BudgetMeasure
    """The quantity that is counted."""
    factor: float = Field(1.0, gt=0)
    """Multiple of the dense recipe's cost."""
    inside: float = Field(1.0, gt=0, le=1)
    """Of `flops`: the share of a dense step's cost that lies in weights in scope. The rest costs the same at
    any sparsity."""

    @property
    def label(self) -> str:
        """As users type it: `steps`, `flops=2:inside=0.8`."""
        factor = "" if self.factor == 1 else f"={self.factor:g}"
        return f"{self.measure}{factor}" + ("" if self.inside == 1 else f":inside={self.inside:g}")

    @property
    def of_dense(self) -> Budget | None:
        """The budget of the dense net, in steps; None where its own recipe is the budget."""
        return None if self.factor == 1 else Budget(measure="steps", factor=self.factor)

    def fitted(self, stages: Sequence[Stage], recipe: Recipe, examples: int, method: str) -> list[Stage]:
        """The stages of a method, each Train with a recipe of its own length, so that the budget is met.

        Raises:
            UsageError: there is nothing to stretch or to match, or the cost of a stage is unknown.
        """
        flag = f"--match {self.label}"
        allowed = recipe.total(examples) * self.factor
        if not allowed:
            raise UsageError(f"{flag} has no budget to give: the recipe has 0 steps; try --recipe epochs=1")
        bound = [_bound(stage, recipe) for stage in stages]
        whole = [_recipe_steps(stage, examples) for stage in bound]
        trains = [number for number, total in enumerate(whole) if total]
        if not trains:
            raise UsageError(f"{flag} cannot stretch method {method!r}: it trains nothing")
        cost = PlanCost(self, bound, recipe, method)
        # a little more of FLOPs, or a plan that costs the budget exactly would exceed it by rounding
        allowed = max(1, round(allowed)) if self.measure == "steps" else allowed + ROUNDING_STEPS
        whole = self._stretched(whole, trains, cost, allowed)
        if cost.total(whole) > allowed or not whole[trains[-1]]:
            raise UsageError(
                f"{flag} leaves {allowed:g} steps to the {len(trains)} trainings of method {method!r}, "
                "too few for one each; give the recipe more"
            )
        return [_lasting(stage, total, examples) for stage, total in zip(bound, whole, strict=True)]

    def _stretched(
        self, whole: Sequence[int], trains: Sequence[int], cost: PlanCost, allowed: float
    ) -> list[int]:
        """Steps of each stage's whole recipe: all in proportion, the last as long as the budget allows."""
        total, last = cost.total(whole), trains[-1]
        stretched = [max(1, math.floor(n * allowed / total + ROUNDING_STEPS)) if n else 0 for n in whole]

        @cache
        def left(steps: int) -> float:
            return allowed - cost.total([*stretched[:last], steps, *stretched[last + 1 :]])

        steps = stretched[last]
        for _ in range(4):  # the cost is nearly in proportion to the steps, so this converges fast
            each = (left(0) - left(steps)) / steps
            steps = max(1, steps + math.floor(left(steps) / each)) if each else steps
        while steps and left(steps) < 0:
            steps -= 1
        while left(steps + 1) >= 0:
            steps += 1
        stretched[last] = steps
        return stretched


@dataclass(frozen=True)
class PlanCost:
    """The cost of a method's stages, in steps of the dense recipe."""

    budget: Budget
    stages: Sequence[Stage]
    recipe: Recipe
    method: str

    def total(self, whole: Sequence[int]) -> float:
        """The cost of all stages, with these steps in the whole recipe of each Train.

        Raises:
            UsageError: the plan does not determine the density of a net in training.
        """
        steps = [_own_steps(stage, total) for stage, total in zip(self.stages, whole, strict=True)]
        if self.budget.measure == "steps":
            return sum(steps)
        cost, density, points = 0.0, 1.0, {START: 1.0}
        for stage, count in zip(self.stages, steps, strict=True):
            match stage:
                case Train() if count:
                    training, density = self._of_training(stage, count, density, points)
                    cost += training
                case Prune(to=to):
                    if to and to.is_structured:
                        raise UsageError(
                            f"--match {self.budget.label} cannot compute the cost of method {self.method!r}: "
                            f"the share of {to.pattern} is not that of all weights; use --match steps"
                        )
                    density = to.density if to else math.nan
            if isinstance(stage, Train) and stage.name:
                points[stage.name] = density
        return cost

    def _of_training(
        self, stage: Train, steps: int, density: float, points: Mapping[str, float]
    ) -> tuple[float, float]:
        """The cost of a training that begins at a density, and the density at its end."""
        refused = f"--match {self.budget.label} cannot compute the cost of method {self.method!r}"
        if math.isnan(density):
            raise UsageError(
                f"{refused}: it takes custom masks, whose density is not in its plan; use --match steps"
            )
        inside, cost, updater = self.budget.inside, 0.0, stage.updater
        passes, usual = _passes(stage.recipe or self.recipe), _passes(self.recipe)
        changes = updater.densities(steps, density) if updater else ()
        if changes is None:
            raise UsageError(
                f"{refused}: {type(updater).__name__} does not give its density over time; use --match steps"
            )
        reads = updater.dense_gradient_steps(steps) if updater else ()
        edges = [(-1, density), *changes, (steps - 1, density)]
        for (before, part_density), (step, _) in pairwise(edges):
            if step < before or not 0 < part_density <= 1:
                raise PluginError(
                    f"{type(updater).__name__} gives density {part_density:g} from step {before + 1} on; "
                    "densities lie in (0, 1], and steps rise"
                )
            read = bisect_left(reads, step + 1) - bisect_left(reads, before + 1)
            cost += passes * (step - before) * part_density + read * (1 - part_density) * FORWARD_SHARE
            wider = (updater.gradient_density(part_density) if updater else part_density) - part_density
            cost += (step - before - read) * wider * FORWARD_SHARE
        cost = inside * cost + (1 - inside) * passes * steps
        if stage.distil:
            teacher = points.get(stage.distil.teacher, 1.0)  # an unknown name is refused elsewhere
            cost += passes * steps * FORWARD_SHARE * (inside * teacher + 1 - inside)
        own, dense = (_step_examples(recipe) for recipe in (stage.recipe or self.recipe, self.recipe))
        return cost * own / (dense * usual), edges[-2][1]


def _bound(stage: Stage, recipe: Recipe) -> Stage:
    """A Train with the recipe that it would have without a budget."""
    if not isinstance(stage, Train):
        return stage
    own = (stage.recipe or recipe).stretched(stage.length)
    return stage.model_copy(update={"recipe": own, "length": 1.0})


def _lasting(stage: Stage, total: int, examples: int) -> Stage:
    """A bound Train with its recipe stretched to this many steps."""
    if not isinstance(stage, Train):
        return stage
    assert stage.recipe is not None
    return stage.model_copy(update={"recipe": stage.recipe.lasting(total, examples)})


def _recipe_steps(stage: Stage, examples: int) -> int:
    """Steps of a bound Train's whole recipe."""
    return stage.recipe.total(examples) if isinstance(stage, Train) and stage.recipe else 0


def _own_steps(stage: Stage, total: int) -> int:
    """Steps that a Train runs of a recipe with `total` steps."""
    return len(stage.steps_of(total)) if isinstance(stage, Train) else 0


def _passes(recipe: Recipe) -> int:
    """Forward and backward passes over the examples of a step. An updater reads the gradients of the last."""
    return 1 + recipe.chosen_optimizer.further_passes


def _step_examples(recipe: Recipe) -> int:
    """Examples of a step; its cost is in proportion to them."""
    return recipe.batch_size * recipe.accumulation
