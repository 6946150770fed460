"""A training as the engine makes it, step by step, and the parts of a plain loop that comes to the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from smc_eval.engine.train import Training
from smc_eval.method import Method
from smc_eval.recipe import Recipe
from smc_eval.store.record import Record
from smc_eval.target import Target
from smc_eval.testing import Toy, chain_of, run_chain


class Still(Toy):
    """The toy without dropout: the same batch gives the same loss."""

    def model(self) -> nn.Module:
        model = super().model()
        model.drop.p = 0.0
        return model


@dataclass
class Step:
    """One step of the engine. Weights are those behind the masks, under a soft updater."""

    batches: list[tuple[Any, float]]
    before: dict[str, Tensor]
    masks: dict[str, Tensor]
    state: dict[str, Tensor]
    after: dict[str, Tensor]


@dataclass
class Watched:
    """A whole training: its recipe, steps, record, and last net."""

    recipe: Recipe
    steps: list[Step]
    record: Record
    tensors: dict[str, Tensor]
    masks: dict[str, Tensor]


class PlainTraining:
    """Runs a method on the toy and keeps every step; and the parts of a plain loop that does the same."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.monkeypatch = folder, monkeypatch

    def watch(self, method: Method, target: Target, **recipe: Any) -> Watched:
        """Run a method on the toy without dropout, and keep every step."""
        steps: list[Step] = []
        advance = Training._advance

        def recorded(training: Training) -> float:
            net = training.net
            batches = list(training.batches.step(training.step))
            before, masks = copied(net.all_parameters), copied(net.full_masks)
            state = copied(training.updater_state)
            loss = advance(training)
            steps.append(Step(batches, before, masks, state, copied(net.all_parameters)))
            return loss

        self.monkeypatch.setattr(Training, "_advance", recorded)
        task = Still(recipe=Toy().recipe.model_copy(update=recipe))
        record, tensors, masks = run_chain(chain_of(method, target, task), self.folder)
        assert record.certificate is not None and record.certificate.ok
        return Watched(task.recipe, steps, record, tensors, masks)

    def optimizer(self, parameters: Mapping[str, Tensor], recipe: Recipe) -> torch.optim.Optimizer:
        """torch's optimizer, with weight decay of matrices alone."""
        groups = [
            {"params": [p for p in parameters.values() if (p.ndim >= 2) == matrices], "weight_decay": decay}
            for matrices, decay in ((True, recipe.weight_decay), (False, 0.0))
        ]
        if recipe.optimizer == "sgd":
            return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum)
        return torch.optim.AdamW(groups, lr=recipe.lr, betas=recipe.betas, eps=recipe.eps)

    def loss(self, parameters: Mapping[str, Tensor], step: Step) -> Tensor:
        """The loss of a step's batches at these parameters, by torch's functional call."""
        task, model = Still(), Still().model()
        model.eval()

        def called(tokens: Tensor) -> Tensor:
            out: Tensor = torch.func.functional_call(model, dict(parameters), (tokens,))
            return out

        return sum((share * task.loss(called, batch) for batch, share in step.batches), torch.zeros(()))

    def check(self, run: Watched, learn: Callable[[int, dict[str, Tensor], Step], None]) -> None:
        """Check every step: `learn` changes weights in place, and comes to those of the engine."""
        parameters = {name: p.requires_grad_() for name, p in copied(run.steps[0].before).items()}
        for number, step in enumerate(run.steps):
            learn(number, parameters, step)
            for name, weight in parameters.items():
                torch.testing.assert_close(step.after[name], weight.detach(), rtol=1e-4, atol=1e-5)
                weight.data.copy_(step.after[name])  # rounding must not add up over steps

    def top(self, weight: Tensor, count: int) -> Tensor:
        """Mask of the `count` largest magnitudes of one tensor, by numpy; of equal ones the first."""
        order = np.argsort(-weight.detach().abs().numpy().reshape(-1), kind="stable")
        mask = np.zeros(weight.numel(), dtype=bool)
        mask[order[:count]] = True
        return torch.from_numpy(mask).view(weight.shape)


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


@pytest.fixture
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlainTraining:
    """A training that is watched, and what a plain loop needs."""
    return PlainTraining(tmp_path / "watched", monkeypatch)
