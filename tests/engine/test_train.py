"""The loop: rules see what they should, selection is what it says, bad numbers stop it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from smc_eval.card import MethodCard
from smc_eval.errors import TrainingError, UsageError
from smc_eval.method import Method
from smc_eval.methods.dense import Dense
from smc_eval.methods.magnitude import Magnitude
from smc_eval.rule import Moment, Rule
from smc_eval.stages import Prune, Stage, Train
from smc_eval.target import Target
from smc_eval.testing import MethodContract, Toy, bound, walked


class Swap(Rule):
    """Every other step, one weight of each tensor gives its place to one that was gone."""

    def begin(self, weights: Any, masks: Any) -> dict[str, Tensor]:
        return {"count": torch.zeros(1)}

    def update(self, moment: Moment, state: dict[str, Tensor]) -> dict[str, Tensor]:
        if moment.step % 2:
            masks = {name: mask.clone() for name, mask in moment.masks.items()}
            for name, mask in masks.items():
                alive, dead = mask.view(-1).nonzero(), (~mask).view(-1).nonzero()
                if not (len(alive) and len(dead)):
                    continue
                grads = moment.grads[name].view(-1)[dead[:, 0]]
                drawn = torch.randint(len(alive), (1,), generator=moment.generator)
                mask.view(-1)[alive[drawn]] = False
                mask.view(-1)[dead[grads.abs().argmax()]] = True
            moment.wear(masks)
        return {"count": state["count"] + 1}


class Swapping(Method):
    """Prune by magnitude, then swap while training."""

    card: ClassVar[MethodCard] = MethodCard(
        name="swap", summary="swaps", source="none", moment="during", patterns=("free",)
    )

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Prune(by=Magnitude(), to=target)
        yield Train(rule=Swap())


class TestARuleThatRegrows(MethodContract):
    method = Swapping()

    def test_what_came_back_is_counted(self, tmp_path: Path) -> None:
        result = walked(bound(self.method, Target(sparsity=0.5)), tmp_path)[0]
        assert result.certificate["ok"]
        assert result.certificate["mask_changes"] == 7  # the pruning, then every other of 12 steps
        tensors = len(result.certificate["tensors"])
        assert result.certificate["regrown"] == 6 * tensors


class Soften(Rule):
    """A fixed mask, behind which weights live on."""

    soft: ClassVar[bool] = True

    def begin(self, weights: Any, masks: Any) -> dict[str, Tensor]:
        return {}

    def update(self, moment: Moment, state: dict[str, Tensor]) -> dict[str, Tensor]:
        if moment.step == 6:
            assert any(bool(moment.weights[name][~mask].any()) for name, mask in moment.masks.items())
        return state


class Softening(Swapping):
    """Prune by magnitude, then train with living weights behind the mask."""

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Prune(by=Magnitude(), to=target)
        yield Train(rule=Soften())


class TestASoftRule(MethodContract):
    method = Softening()


def test_a_loss_that_is_no_number_stops_the_cell_and_names_the_tensor(tmp_path: Path) -> None:
    class Broken(Toy):
        def loss(self, model: nn.Module, batch: Any) -> Tensor:
            with torch.no_grad():
                model.get_parameter("down.weight")[0, 0] = float("nan")
            return super().loss(model, batch)

    with pytest.raises(
        TrainingError, match=r"the loss is nan at step 1; first not finite: weight 'down.weight'"
    ):
        walked(bound(Dense(), Target(), Broken()), tmp_path)


def test_selecting_on_the_reported_split_is_refused_under_the_sound_protocol() -> None:
    recipe = Toy().recipe.model_copy(update={"keep": "best"})
    with pytest.raises(UsageError, match="selects nothing on the reported split"):
        bound(Dense(), Target(), Toy(recipe=recipe))


def test_examples_held_out_to_select_are_not_trained_on(tmp_path: Path) -> None:
    recipe = Toy().recipe.model_copy(
        update={"keep": "best", "validation": 0.25, "epochs": 2, "steps": None, "batch_size": 13}
    )
    result = walked(bound(Dense(), Target(), Toy(recipe=recipe)), tmp_path)[0]
    assert result.cost["examples"] == 2 * 39  # 52 examples, a quarter held out
    assert result.cost["steps"] == 2 * 3
    assert result.cost["selections"] == 2


def test_accumulation_counts_updates_and_matches_one_large_batch(tmp_path: Path) -> None:
    class Still(Toy):
        """No dropout, so that splitting a batch changes nothing but rounding."""

        def model(self) -> nn.Module:
            model = super().model()
            model.drop.p = 0.0
            return model

    nets = []
    for batch_size, accumulation in ((8, 1), (4, 2)):
        recipe = Toy().recipe.model_copy(update={"batch_size": batch_size, "accumulation": accumulation})
        result, tensors, _ = walked(
            bound(Dense(), Target(), Still(recipe=recipe)), tmp_path / str(accumulation)
        )
        assert result.cost["steps"] == 12
        assert result.cost["examples"] == 7 * 8 - 4 + 5 * 8  # an epoch of 52 ends with a batch of 4
        nets.append(tensors)
    for name, tensor in nets[0].items():
        torch.testing.assert_close(tensor, nets[1][name], rtol=1e-3, atol=1e-4)
