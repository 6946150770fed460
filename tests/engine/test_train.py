"""The training loop: updaters, selection of an epoch, and errors at values that are not finite."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from smc_eval.card import MethodCard
from smc_eval.errors import SparsityError, TrainingError, UsageError
from smc_eval.method import Method
from smc_eval.methods.dense import Dense
from smc_eval.methods.omp import Magnitude
from smc_eval.protocol import PAPER
from smc_eval.pruner import Criterion, Probe, Pruner
from smc_eval.recipe import Recipe
from smc_eval.stages import Prune, Stage, Train
from smc_eval.target import Target
from smc_eval.testing import MethodContract, Toy, chain_of, run_chain
from smc_eval.updater import StepView, Updater


class Swap(Updater):
    """Every other step, one unpruned weight of each tensor is exchanged for a pruned one."""

    def init(self, weights: Any, masks: Any) -> dict[str, Tensor]:
        return {"count": torch.zeros(1)}

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        if view.step % 2:
            masks = {name: mask.clone() for name, mask in view.masks.items()}
            for name, mask in masks.items():
                unpruned, pruned = mask.view(-1).nonzero(), (~mask).view(-1).nonzero()
                if not (len(unpruned) and len(pruned)):
                    continue
                grads = view.grads[name].view(-1)[pruned[:, 0]]
                drawn = torch.randint(len(unpruned), (1,), generator=view.generator)
                mask.view(-1)[unpruned[drawn]] = False
                mask.view(-1)[pruned[grads.abs().argmax()]] = True
            view.set_masks(masks)
        return {"count": state["count"] + 1}


class Swapping(Method):
    """Prune by magnitude, then swap during training."""

    card: ClassVar[MethodCard] = MethodCard(
        name="swap", summary="swaps", source="none", when="during", patterns=("free",)
    )

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Prune(by=Magnitude(), to=target)
        yield Train(updater=Swap())


class TestAnUpdaterThatRegrows(MethodContract):
    method = Swapping()

    def test_regrown_weights_are_counted(self, tmp_path: Path) -> None:
        result = run_chain(chain_of(self.method, Target(sparsity=0.5)), tmp_path)[0]
        assert result.certificate.ok
        assert result.certificate.mask_changes == 7  # the pruning, then every other of 12 steps
        tensors = len(result.certificate.tensors)
        assert result.certificate.regrown == 6 * tensors


class Soften(Updater):
    """A fixed mask; masked weights keep their values."""

    soft: ClassVar[bool] = True

    def init(self, weights: Any, masks: Any) -> dict[str, Tensor]:
        return {}

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        if view.step == 6:
            assert any(bool(view.weights[name][~mask].any()) for name, mask in view.masks.items())
        return state


class Softening(Swapping):
    """Prune by magnitude, then train masked weights too."""

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Prune(by=Magnitude(), to=target)
        yield Train(updater=Soften())


class TestASoftUpdater(MethodContract):
    method = Softening()


def test_a_loss_that_is_not_finite_stops_the_cell_and_names_the_tensor(tmp_path: Path) -> None:
    class Broken(Toy):
        def loss(self, model: nn.Module, batch: Any) -> Tensor:
            with torch.no_grad():
                model.get_parameter("down.weight")[0, 0] = float("nan")
            return super().loss(model, batch)

    with pytest.raises(
        TrainingError, match=r"the loss is nan at step 1; first not finite: weight 'down.weight'"
    ):
        run_chain(chain_of(Dense(), Target(), Broken()), tmp_path)


def test_the_sound_protocol_refuses_selection_on_the_reported_split() -> None:
    recipe = Toy().recipe.model_copy(update={"keep": "best"})
    with pytest.raises(UsageError, match="does not select a net on the reported split"):
        chain_of(Dense(), Target(), Toy(recipe=recipe))


def test_the_record_has_the_score_of_each_epoch_that_was_compared(tmp_path: Path) -> None:
    paper = {"keep": "best", "epochs": 3, "steps": None, "batch_size": 13}
    toy = Toy(recipe=Toy().recipe.model_copy(update=paper))
    result = run_chain(chain_of(Dense(), Target(), toy, protocol=PAPER), tmp_path)[0]
    assert [epoch.step for epoch in result.epochs] == [4, 8, 12]  # 52 examples in batches of 13
    assert result.score.value == max(epoch.score for epoch in result.epochs)
    assert not run_chain(chain_of(Dense(), Target()), tmp_path / "last")[0].epochs


def test_validation_examples_are_not_trained_on(tmp_path: Path) -> None:
    recipe = Toy().recipe.model_copy(
        update={"keep": "best", "validation": 0.25, "epochs": 2, "steps": None, "batch_size": 13}
    )
    result = run_chain(chain_of(Dense(), Target(), Toy(recipe=recipe)), tmp_path)[0]
    assert result.cost.examples == 2 * 39  # 52 examples, a quarter held out
    assert result.cost.steps == 2 * 3
    assert result.cost.selections == len(result.epochs) == 2


def test_accumulation_equals_one_large_batch_and_counts_as_one_step(tmp_path: Path) -> None:
    class Still(Toy):
        """No dropout, so a divided batch differs only by rounding."""

        def model(self) -> nn.Module:
            model = super().model()
            model.drop.p = 0.0
            return model

    nets = []
    for batch_size, accumulation in ((8, 1), (4, 2)):
        recipe = Toy().recipe.model_copy(update={"batch_size": batch_size, "accumulation": accumulation})
        result, tensors, _ = run_chain(
            chain_of(Dense(), Target(), Still(recipe=recipe)), tmp_path / str(accumulation)
        )
        assert result.cost.steps == 12
        assert result.cost.examples == 7 * 8 - 4 + 5 * 8  # an epoch of 52 ends with a batch of 4
        nets.append(tensors)
    for name, tensor in nets[0].items():
        torch.testing.assert_close(tensor, nets[1][name], rtol=1e-3, atol=1e-4)


class Pausing(Updater):
    """Skips odd steps, and records after which steps the weights changed."""

    seen: ClassVar[list[bool]] = []

    def init(self, weights: Any, masks: Any) -> dict[str, Tensor]:
        return {"last": weights["odd.weight"].clone()}

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        now = view.weights["odd.weight"].clone()
        self.seen.append(not torch.equal(now, state["last"]))
        if view.step % 2:
            view.skip()
        return {"last": now}


class Paused(Method):
    """Train, and skip every other step."""

    card: ClassVar[MethodCard] = MethodCard(
        name="paused", summary="skips steps", source="none", when="during"
    )

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Train(updater=Pausing())


def test_a_skipped_step_changes_no_weight_and_still_counts(tmp_path: Path) -> None:
    result = run_chain(chain_of(Paused(), Target()), tmp_path)[0]
    assert Pausing.seen == [False, *[True, False] * 5, True]  # before step 0; after 0, after 1, ...
    assert (result.cost.steps, result.cost.examples) == (12, 7 * 8 - 4 + 5 * 8)


def test_a_gradient_that_is_not_finite_stops_the_cell_and_names_step_and_tensor(tmp_path: Path) -> None:
    class Exploding(Toy):
        """A finite loss with an infinite gradient, at the third step."""

        calls: ClassVar[list[int]] = []

        def loss(self, model: nn.Module, batch: Any) -> Tensor:
            self.calls.append(1)
            loss = super().loss(model, batch)
            if len(self.calls) == 1 + 3:  # the first finds what the net uses
                loss = (
                    loss
                    + model.get_parameter("odd.weight")
                    .sub(model.get_parameter("odd.weight").detach())
                    .abs()
                    .sqrt()
                    .sum()
                )  # 0, with an infinite slope
            return loss

    with pytest.raises(
        TrainingError, match=r"the loss is \d.* at step 3; first not finite: gradient of 'odd.weight'"
    ):
        run_chain(chain_of(Dense(), Target(), Exploding()), tmp_path)


class Halving(Pruner):
    """Custom masks: the first half of each tensor."""

    def prune(self, probe: Probe, target: Target) -> dict[str, Tensor]:
        assert (target.sparsity, target.pattern, target.scope) == (0.0, "free", "all-2d")
        masks = {name: torch.zeros_like(w, dtype=torch.bool) for name, w in probe.weights.items()}
        for mask in masks.values():
            mask.view(-1)[: mask.numel() // 2] = True
        return masks


class Bringing(Method):
    """Custom masks, then a training."""

    card: ClassVar[MethodCard] = MethodCard(name="brings", summary="brings", source="none", when="custom")

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Prune(by=Halving(), to=None)
        yield Train()


def test_a_pruning_without_a_target_sets_the_masks_of_the_pruner(tmp_path: Path) -> None:
    result, _, masks = run_chain(chain_of(Bringing(), Target(scope="all-2d")), tmp_path)
    remaining = sum(int(mask.sum()) for mask in masks.values())
    assert all(int(mask.sum()) == mask.numel() // 2 for mask in masks.values())
    assert result.certificate.ok and result.certificate.asked is None
    assert result.certificate.remaining == result.certificate.expected == remaining
    assert result.target.sparsity == result.certificate.reached == result.sparsity.scope


def test_rounds_need_a_target() -> None:
    with pytest.raises(ValueError, match="rounds need a target"):
        Prune(by=Halving(), to=None, rounds=2)


def test_a_pruner_that_misses_its_target_is_refused_by_name(tmp_path: Path) -> None:
    class Missing(Bringing):
        def plan(self, target: Target) -> Iterator[Stage]:
            yield Prune(by=Magnitude(), to=target)
            yield Prune(by=Unchanged(), to=target.at(0.9))

    with pytest.raises(
        SparsityError, match=r"Unchanged was asked to leave \d+ weights \(sparsity 0.9\) and left"
    ):
        run_chain(chain_of(Missing(), Target(sparsity=0.5)), tmp_path)


class Unchanged(Pruner):
    """Prunes nothing more."""

    def prune(self, probe: Probe, target: Target) -> dict[str, Tensor]:
        return dict(probe.masks)


class Writing(Criterion):
    """Magnitude, which also writes: in place, by numpy, two values that change places, or into a mask."""

    how: str = "in place"

    def saliency(self, probe: Probe) -> dict[str, Tensor]:
        weight = probe.weights["odd.weight"]
        match self.how:
            case "in place":
                weight[0, 0] += 1
            case "numpy":
                weight.numpy()[2, 3] = 5.0
            case "swap":
                weight[0, :2] = weight[0, :2].flip(0).clone()
            case "then mends":
                weight[0, 0] += 1
                probe.mend({"down.weight": probe.weights["down.weight"].clone()})
        return {name: weight.abs() for name, weight in probe.weights.items()}


class Written(Method):
    card: ClassVar[MethodCard] = MethodCard(name="written", summary="writes", source="none", when="before")
    how: str = "in place"

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Prune(by=Writing(how=self.how), to=target)
        yield Train()


@pytest.mark.parametrize("how", ["in place", "numpy", "swap", "then mends"])
def test_a_pruner_that_writes_into_a_weight_is_refused_by_name(tmp_path: Path, how: str) -> None:
    with pytest.raises(SparsityError, match=r"Writing wrote into 'odd.weight' of probe.weights"):
        run_chain(chain_of(Written(how=how), Target(sparsity=0.5)), tmp_path)


class Scribble(Updater):
    """An updater that writes into what it is shown, at the third step."""

    into: str = "weights"

    def init(self, weights: Any, masks: Any) -> dict[str, Tensor]:
        return {}

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        if view.step == 2:
            if self.into == "weights, then new masks":
                view.weights["odd.weight"].mul_(2)
                view.set_masks({name: mask.clone() for name, mask in view.masks.items()})
            elif self.into.endswith("by data"):
                getattr(view, self.into.split()[0])["odd.weight"].data[0] = 1
            elif self.into.endswith("by numpy"):
                getattr(view, self.into.split()[0])["odd.weight"].numpy()[0] = 1
            else:
                getattr(view, self.into)["odd.weight"][0] = 1
        elif view.step == 1:
            view.set_masks({name: mask.clone() for name, mask in view.masks.items()})
        return state


class Scribbling(Swapping):
    into: str = "weights"

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Prune(by=Magnitude(), to=target)
        yield Train(updater=Scribble(into=self.into))


WRITES = ["weights", "masks", "grads", "weights by data", "masks by data", "weights by numpy"]


@pytest.mark.parametrize("into", [*WRITES, "weights, then new masks"])
def test_an_updater_that_writes_into_its_view_is_refused_by_name(tmp_path: Path, into: str) -> None:
    kind = re.split("[ ,]", into)[0]
    with pytest.raises(SparsityError, match=rf"Scribble wrote into 'odd.weight' of its view's {kind}"):
        run_chain(chain_of(Scribbling(into=into), Target(sparsity=0.5)), tmp_path)


class Overflowing(Toy):
    """The toy with a loss whose scaled gradients overflow in fp16 until the scale is small enough."""

    recipe: Recipe = Recipe(steps=12, batch_size=8, lr=0.01, precision="fp16")
    factor: float = 1.0

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        loss = super().loss(model, batch)
        return loss * self.factor if model.training else loss


def overflowing(factor: float, steps: int) -> Overflowing:
    recipe = Overflowing.model_fields["recipe"].default.model_copy(update={"steps": steps})
    return Overflowing(factor=factor, recipe=recipe)


def test_steps_that_the_loss_scaler_skips_are_counted(tmp_path: Path) -> None:
    # fp16 ends at 2^16, and the scale begins at 2^16: a slope of about 2^5 is too large until it is halved
    task = overflowing(2.0**8, steps=12)
    result = run_chain(chain_of(Dense(), Target(), task), tmp_path)[0]
    assert result.cost.steps == 12 and 0 < result.cost.skipped_steps < 12
    again = run_chain(chain_of(Dense(), Target(), overflowing(2.0**-3, steps=12)), tmp_path)[0]
    assert again.cost.skipped_steps == 0 and "skipped_steps" not in again.to_json()["cost"]


def test_a_training_that_never_stepped_fails(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="the loss scaler skipped all 3 steps of this training"):
        run_chain(chain_of(Dense(), Target(), overflowing(2.0**30, steps=3)), tmp_path)


class Idle(Updater):
    def init(self, weights: Any, masks: Any) -> dict[str, Tensor]:
        return {}

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        view.skip()
        return state


class Idling(Paused):
    def plan(self, target: Target) -> Iterator[Stage]:
        yield Train(updater=Idle())


def test_a_training_whose_updater_skips_every_step_fails_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="Idle skipped all 12 steps of this training"):
        run_chain(chain_of(Idling(), Target()), tmp_path)


def test_no_pruned_weight_of_a_trained_net_is_negative_zero(tmp_path: Path) -> None:
    _, weights, masks = run_chain(chain_of(Swapping(), Target(sparsity=0.5)), tmp_path)
    for name, mask in masks.items():
        assert not weights[name][~mask].signbit().any() and not weights[name][~mask].any()
