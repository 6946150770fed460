"""A Budget: as much training for every method, along its whole chain."""

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

FORWARD = 1 / 3
"""A forward pass as a share of a training step: the gradients by inputs and by weights cost as much each."""

HAIR = 1e-7
"""Steps that rounding may lose."""


class Budget(Spec):
    """What a method may spend on training in all: so many times what the dense recipe costs.

    Every Train of its plan is stretched by one factor, its learning rate along with it, until the sum
    over the chain is met; what rounding to whole steps leaves over, the last Train gets. So the
    method keeps its form: a lottery its rounds, a rule its times. A method that costs the budget
    anyway trains as it does without one.

    `steps` counts optimizer steps, and is met exactly. `flops` counts what each step would cost where
    zeros cost nothing, in the manner of Evci et al. (2020): at density d it costs d of a dense one,
    and (2 d + 1) / 3 where a rule reads the gradients of masked weights; a teacher's forward pass costs
    a third of its own density. It is met to less than a step, from the plan alone. That takes all
    products of a net to be of weights in scope, each tensor as sparse as all together; `inside` says
    better.

    Not counted, for a plan does not know them: passes of pruners (oBERT's depend on the memory
    there is, SynFlow's on the data) and predictions. The records tell both.
    """

    measure: BudgetMeasure
    """What is counted."""
    factor: float = Field(1.0, gt=0)
    """How many times the dense recipe's cost."""
    inside: float = Field(1.0, gt=0, le=1)
    """Of `flops`: the share of a dense step's cost that lies in weights in scope; the rest costs as
    much at any sparsity."""

    @property
    def label(self) -> str:
        """As users type it: `steps`, `flops=2:inside=0.8`."""
        factor = "" if self.factor == 1 else f"={self.factor:g}"
        return f"{self.measure}{factor}" + ("" if self.inside == 1 else f":inside={self.inside:g}")

    @property
    def of_dense(self) -> Budget | None:
        """What it comes to for a net that prunes nothing: that many steps, or what it trains anyway."""
        return None if self.factor == 1 else Budget(measure="steps", factor=self.factor)

    def met(self, stages: Sequence[Stage], recipe: Recipe, examples: int, method: str) -> list[Stage]:
        """The stages of a method, each Train bound to a recipe of its own length.

        Raises:
            UsageError: there is nothing to stretch or to match, or the price of a stage is unknown.
        """
        named = f"--match {self.label}"
        allowed = recipe.total(examples) * self.factor
        if not allowed:
            raise UsageError(f"{named} has no budget to give: the recipe has 0 steps; try --recipe epochs=1")
        bound = [_bound(stage, recipe) for stage in stages]
        whole = [_total(stage, examples) for stage in bound]
        trains = [number for number, total in enumerate(whole) if total]
        if not trains:
            raise UsageError(f"{named} cannot stretch method {method!r}: it trains nothing")
        price = PlanPrice(self, bound, recipe, method)
        # a hair more of FLOPs, or what costs the budget exactly would fall below it by rounding
        allowed = max(1, round(allowed)) if self.measure == "steps" else allowed + HAIR
        whole = self._stretched(whole, trains, price, allowed)
        if price.of(whole) > allowed or not whole[trains[-1]]:
            raise UsageError(
                f"{named} leaves {allowed:g} steps to the {len(trains)} trainings of method {method!r}, "
                "too few for one each; give the recipe more"
            )
        return [_lasting(stage, total, examples) for stage, total in zip(bound, whole, strict=True)]

    def _stretched(
        self, whole: Sequence[int], trains: Sequence[int], price: PlanPrice, allowed: float
    ) -> list[int]:
        """Steps of each stage's whole recipe: all in proportion, the last as long as can be paid."""
        costs, last = price.of(whole), trains[-1]
        found = [max(1, math.floor(n * allowed / costs + HAIR)) if n else 0 for n in whole]

        @cache
        def left(steps: int) -> float:
            return allowed - price.of([*found[:last], steps, *found[last + 1 :]])

        steps = found[last]
        for _ in range(4):  # a rule's price is nearly in proportion to its steps: soon there
            each = (left(0) - left(steps)) / steps
            steps = max(1, steps + math.floor(left(steps) / each)) if each else steps
        while steps and left(steps) < 0:
            steps -= 1
        while left(steps + 1) >= 0:
            steps += 1
        found[last] = steps
        return found


@dataclass(frozen=True)
class PlanPrice:
    """What a method's stages cost, in steps of the dense recipe."""

    budget: Budget
    stages: Sequence[Stage]
    recipe: Recipe
    method: str

    def of(self, whole: Sequence[int]) -> float:
        """The cost of all stages, where the whole recipe of each Train has so many steps.

        Raises:
            UsageError: the density of a net in training cannot be told from the plan.
        """
        steps = [_part(stage, total) for stage, total in zip(self.stages, whole, strict=True)]
        if self.budget.measure == "steps":
            return sum(steps)
        cost, worn, points = 0.0, 1.0, {START: 1.0}
        for stage, count in zip(self.stages, steps, strict=True):
            match stage:
                case Train() if count:
                    trained, worn = self._trained(stage, count, worn, points)
                    cost += trained
                case Prune(to=to):
                    worn = to.density if to else math.nan
            if isinstance(stage, Train) and stage.name:
                points[stage.name] = worn
        return cost

    def _trained(
        self, stage: Train, steps: int, worn: float, points: Mapping[str, float]
    ) -> tuple[float, float]:
        """The cost of a training, and the density it ends with."""
        if math.isnan(worn):
            raise UsageError(
                f"--match {self.budget.label} cannot price method {self.method!r}: its masks are given, and "
                "its plan does not tell how dense they are; match steps"
            )
        inside, cost, updater = self.budget.inside, 0.0, stage.updater
        changes = updater.densities(steps, worn) if updater else ()
        if changes is None:
            raise UsageError(
                f"--match {self.budget.label} cannot price method {self.method!r}: {type(updater).__name__} "
                "does not tell its density over time; match steps"
            )
        reads = updater.dense_gradient_steps(steps) if updater else ()
        edges = [(-1, worn), *changes, (steps - 1, worn)]
        for (before, density), (step, _) in pairwise(edges):
            if step < before or not 0 < density <= 1:
                raise PluginError(
                    f"{type(updater).__name__} tells density {density:g} from step {before + 1} on"
                )
            read = bisect_left(reads, step + 1) - bisect_left(reads, before + 1)
            cost += (step - before) * density + read * (1 - density) * FORWARD
        cost = inside * cost + (1 - inside) * steps
        if stage.distil:
            teacher = points.get(stage.distil.teacher, 1.0)  # a name that nobody has is refused elsewhere
            cost += steps * FORWARD * (inside * teacher + 1 - inside)
        return cost * _examples(stage.recipe or self.recipe) / _examples(self.recipe), edges[-2][1]


def _bound(stage: Stage, recipe: Recipe) -> Stage:
    """A Train with the recipe it would have without a budget."""
    if not isinstance(stage, Train):
        return stage
    own = (stage.recipe or recipe).stretched(stage.length)
    return stage.model_copy(update={"recipe": own, "length": 1.0})


def _lasting(stage: Stage, total: int, examples: int) -> Stage:
    """A bound Train with its recipe stretched to so many steps."""
    if not isinstance(stage, Train):
        return stage
    assert stage.recipe is not None
    return stage.model_copy(update={"recipe": stage.recipe.lasting(total, examples)})


def _total(stage: Stage, examples: int) -> int:
    """Steps of a bound Train's whole recipe."""
    return stage.recipe.total(examples) if isinstance(stage, Train) and stage.recipe else 0


def _part(stage: Stage, total: int) -> int:
    """Steps that a Train takes of a recipe of so many."""
    return len(stage.steps_of(total)) if isinstance(stage, Train) else 0


def _examples(recipe: Recipe) -> int:
    """Examples of a step, which its cost is in proportion to."""
    return recipe.batch_size * recipe.accumulation
