"""One-shot pruning from the command line: nothing is trained, and what needs training is refused by name."""

from __future__ import annotations

import pytest
from smc_eval_lm.perplexity import Perplexity
from smc_eval_lm.training import ONE_SHOT

from smc_eval.errors import UsageError
from smc_eval.experiment.budget import Budget
from smc_eval.methods.gmp_tuned import TunedGmp
from smc_eval.registry import registry
from smc_eval.stages import Prune, Train
from smc_eval.target import Target
from smc_eval.testing.cell_runs import chain_of

ONE = Perplexity(limit=8, backbone="tiny")


def methods():
    return [kind() for name, kind in registry().methods.items() if name not in ("from-checkpoint", "dense")]


def target_of(method) -> Target:
    card = method.card
    pattern = "free" if "free" in card.patterns else "2:4" if "n:m" in card.patterns else card.patterns[0]
    distribution = "uniform" if pattern == "2:4" else card.distribution
    return Target(sparsity=0.5, pattern=pattern, distribution=distribution)


def test_the_default_recipe_trains_nothing() -> None:
    assert Perplexity().recipe == ONE_SHOT and ONE_SHOT.steps == 0
    assert ONE_SHOT.batch_size * 32 == 128, "32 batches are the published number of calibration windows"


@pytest.mark.parametrize("method", methods(), ids=lambda method: method.card.name)
def test_without_steps_a_method_prunes_once_or_is_refused(method) -> None:
    """A method that makes its masks while it trains has no net without training."""
    needs_training = method.card.when == "during"
    if needs_training:
        reason = f"'{method.card.name}' makes its masks during training, and the recipe has 0 steps"
        with pytest.raises(UsageError, match=reason):
            chain_of(method, target_of(method), ONE)
        return
    stages = [link.stage for link in chain_of(method, target_of(method), ONE).links]
    assert any(isinstance(stage, Prune) for stage in stages)
    assert not any(isinstance(stage, Train) for stage in stages)


def test_a_budget_of_no_steps_is_refused_or_met() -> None:
    wanda = registry().methods["wanda"]()
    with pytest.raises(UsageError):
        chain_of(wanda, target_of(wanda), ONE, budget=Budget(measure="steps"))


def test_with_steps_the_dense_net_can_be_the_teacher() -> None:
    trained = ONE.replace(recipe=ONE_SHOT.model_copy(update={"steps": 20}))
    stages = [link.stage for link in chain_of(TunedGmp(), target_of(TunedGmp()), trained).links]
    assert any(isinstance(stage, Train) and stage.distil for stage in stages)
