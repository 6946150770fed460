"""The contract for every registered task, on synthetic data with a tiny net."""

from __future__ import annotations

from smc_eval.registry import registry
from smc_eval.testing import TaskContract, Toy

for name, task in {**registry().tasks, "toy": Toy}.items():
    title = "Test" + name.title().replace("-", "").replace("/", "")
    made = task(backbone="tiny", fold=0 if task.card.folds else None)
    made = made.replace(recipe=made.recipe.model_copy(update=dict(task.tiny)))
    globals()[title] = type(title, (TaskContract,), {"task": made, "__module__": __name__})
