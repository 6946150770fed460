"""The contract of tasks: what every task must keep, ours and those of plugins."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from smc_eval.capabilities import (
    backbone_weights,
    excluded,
    excluded_in_paper,
    loss_terms,
    published_sizes,
    trained_as,
)
from smc_eval.engine.batches import Batches, predict
from smc_eval.engine.device import Device
from smc_eval.engine.progress import Silent
from smc_eval.target import Target
from smc_eval.task import Task
from smc_eval.testing.cell_runs import (
    assert_equal,
    chain_of,
    run_chain,
)


class Called(nn.Module):
    """A net that can be called and has its own buffers, and nothing else."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, batch: Any) -> Any:
        return self.net(batch)

    def __getattr__(self, name: str) -> Any:
        if name != "net" and name in (buffers := dict(self.net.named_buffers(recurse=False))):
            return buffers[name]
        return super().__getattr__(name)


class TaskContract:
    """What every task must keep. Subclass it in a test module, and name the task with its synthetic data."""

    task: Task
    steps: ClassVar[int] = 8
    """Optimizer steps in which the training loss must fall."""

    def test_its_sources_are_named_and_stable(self) -> None:
        assert self.task.sources() == self.task.sources()
        assert {source.role for source in self.task.sources()} >= {"data"}
        assert all(source.digest for source in self.task.sources())

    def test_where_the_data_lies_is_no_part_of_its_name(self) -> None:
        assert self.task.replace(folder="elsewhere").digest() == self.task.digest()

    def test_how_it_is_trained_is_no_part_of_its_name(self) -> None:
        other = self.task.recipe.model_copy(update={"lr": self.task.recipe.lr * 2})
        assert self.task.replace(recipe=other).digest() == self.task.digest()

    def test_what_it_is_trained_as_reads_the_same_and_trains_alike(self) -> None:
        trained = trained_as(self.task)
        assert trained_as(trained) == trained
        assert trained.sources() == self.task.sources()
        assert trained.recipe == self.task.recipe
        assert list(trained.data("train")) == list(self.task.data("train"))

    def test_both_parts_hold_examples_and_the_limit_holds(self) -> None:
        for part in ("train", "test"):
            examples = self.task.data(part)
            assert len(examples) > 2
            assert list(self.task.replace(limit=2).data(part)) == list(examples[:2])

    def test_equal_seeds_give_equal_nets(self) -> None:
        device, nets = Device("cpu", threads=1), []
        for _ in range(2):
            device.seed("a")
            nets.append(dict(self.task.model().state_dict()))
        assert_equal([nets[0]], [nets[1]])

    def test_names_it_gives_are_parameters(self) -> None:
        model = self.task.model()
        names = dict(model.named_parameters()).keys()
        assert set(excluded(self.task, model)) <= names
        assert set(excluded_in_paper(self.task, model)) <= names
        assert set(backbone_weights(self.task, model)) <= names

    def test_published_sizes_are_counts(self) -> None:
        sizes = published_sizes(self.task)
        assert sizes is None or (min(sizes.train, sizes.test, sizes.tokens) > 0 and sizes.source)

    def test_the_loss_is_a_number_with_a_gradient(self) -> None:
        model = self.task.model()
        loss = self.task.loss(model, self.task.collate(self.task.data("train")[:3]))
        loss.backward()  # type: ignore[no-untyped-call]
        assert loss.shape == () and bool(loss.isfinite())
        assert any(weight.grad is not None for weight in model.parameters())

    def test_the_loss_of_a_batch_is_the_mean_of_its_parts_by_their_terms(self) -> None:
        model, examples = self.task.model().eval(), self.task.data("train")[:4]
        parts = [(float(loss_terms(self.task, [one])), self.task.collate([one])) for one in examples]
        with torch.no_grad():
            whole = float(self.task.loss(model, self.task.collate(examples)))
            losses = [terms * float(self.task.loss(model, part)) for terms, part in parts]
        assert whole == pytest.approx(sum(losses) / sum(terms for terms, _ in parts), rel=1e-3)

    def test_it_calls_its_net_and_asks_for_the_same_weights_each_time_if_it_says_so(self) -> None:
        if not self.task.only_calls_model:
            return
        asked, examples = [], self.task.data("train")[:3]
        for example in examples:
            net = Called(self.task.model())
            self.task.loss(net, self.task.collate([example])).backward()  # type: ignore[no-untyped-call]
            asked.append([weight.grad is not None for weight in net.parameters()])
        assert asked[0] == asked[1] == asked[2]
        assert len(self.task.predict(net.eval(), self.task.collate(examples))) == 3

    def test_training_lowers_the_loss(self, tmp_path: Path) -> None:
        losses: list[float] = []

        class Listening(Silent):
            def step(self, done: int, loss: float) -> None:
                losses.append(loss)

        from smc_eval.methods.dense import Dense

        recipe = self.task.recipe.model_copy(update={"epochs": None, "steps": 5 * self.steps, "warmup": 0})
        run_chain(chain_of(Dense(), Target(), self.task.replace(recipe=recipe)), tmp_path, Listening())
        assert sum(losses[-self.steps :]) < sum(losses[: self.steps])

    def test_no_score_depends_on_the_evaluation_batch(self) -> None:
        device = Device("cpu", threads=1)
        device.seed("a")
        model, examples = self.task.model(), self.task.data("test")[:7]
        predicted = [
            predict(
                self.task,
                model,
                examples,
                self.task.recipe.model_copy(update={"eval_batch_size": size}),
                device,
            )
            for size in (1, 3, 7)
        ]
        assert predicted[0] == predicted[1] == predicted[2]

    def test_the_score_counts_every_example(self) -> None:
        examples = self.task.data("test")[:5]
        model = self.task.model()
        predicted = predict(self.task, model, examples, self.task.recipe, Device("cpu", threads=1))
        score = self.task.score(predicted, examples)
        assert score.n == 5 and score.metric == self.task.card.metric and score.signature

    def test_batches_are_a_function_of_the_seed(self) -> None:
        recipe, device = self.task.recipe, Device("cpu", threads=1)
        first, again, other = (
            [Batches(self.task, recipe, start, device).step(step).parts for step in range(3)]
            for start in "aab"
        )
        assert first == again != other
