"""The contract of tasks: promises that every task must keep, built-in or from a plugin."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any, ClassVar
from unittest import SkipTest
from unittest.mock import patch

import torch
from torch import nn

from smc_eval.capabilities import (
    HasOutputs,
    backbone_weights,
    content,
    excluded,
    excluded_in_paper,
    loss_terms,
    published_sizes,
    trained_as,
)
from smc_eval.engine.batches import Batches
from smc_eval.engine.device import Device
from smc_eval.engine.predict import predict
from smc_eval.engine.progress import Silent
from smc_eval.experiment.checked_score import check_predictions, checked_score
from smc_eval.target import Target
from smc_eval.task import Part, Task
from smc_eval.testing.cell_runs import assert_equal, chain_of, run_chain
from smc_eval.testing.side_effects import address_in, same_options

DATA_PARTS: tuple[Part, ...] = ("train", "test")


class OnlyCallable(nn.Module):
    """A net without attributes except its own buffers. It can only be called."""

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
    """Promises that every task must keep. Subclass it in a test module, and set `task`, on synthetic data."""

    task: Task
    steps: ClassVar[int] = 8
    """The loss of the last steps must be below that of the first. It is the number of steps of each."""
    quick: ClassVar[bool] = False
    """Check half as many steps of training."""

    def eval_model(self) -> nn.Module:
        """An untrained net in evaluation mode, the same each time."""
        Device("cpu", threads=1).seed("a")
        return self.task.model().eval()

    def test_its_sources_have_digests_and_are_stable(self) -> None:
        sources = self.task.sources()
        assert sources == self.task.sources(), "sources() returns another value when it is called again"
        assert "data" in {source.role for source in sources}, "sources() has no source with role 'data'"
        assert all(source.digest for source in sources), "a source of sources() has an empty digest"

    def test_the_data_folder_is_not_part_of_its_digest(self) -> None:
        moved = self.task.replace(folder="elsewhere")
        assert moved.digest() == self.task.digest(), "the digest depends on the path of the data folder"

    def test_the_recipe_is_not_part_of_its_digest(self) -> None:
        other = self.task.recipe.model_copy(update={"lr": self.task.recipe.lr * 2})
        assert self.task.replace(recipe=other).digest() == self.task.digest(), (
            "the digest depends on the recipe; keep the field `recipe` as Task declares it"
        )

    def test_the_task_it_is_trained_as_has_the_same_data_and_recipe(self) -> None:
        trained = trained_as(self.task)
        assert trained_as(trained) == trained, "the task of trained_as() is itself trained as another task"
        own = tuple(source for source in self.task.sources() if source.trained)
        assert trained.sources() == own, (
            "the task of trained_as() has other sources; those that are only scored have trained=False"
        )
        assert trained.recipe == self.task.recipe, "the task of trained_as() has another recipe"
        assert list(trained.data("train")) == list(self.task.data("train")), (
            "the task of trained_as() has other training examples"
        )

    def test_both_parts_have_examples_and_obey_the_limit(self) -> None:
        for part in DATA_PARTS:
            examples = self.task.data(part)
            assert len(examples) > 2, f"data({part!r}) has {len(examples)} examples; wanted 3 or more"
            assert list(self.task.replace(limit=2).data(part)) == list(examples[:2]), (
                f"data({part!r}) with limit=2 does not return its first two examples; "
                "end it with [: self.limit]"
            )

    def test_its_data_is_the_same_each_time_and_for_every_seed(self) -> None:
        device = Device("cpu", threads=1)
        for part in DATA_PARTS:
            read = []
            for seed in "aab":
                device.seed(seed)
                read.append(list(self.task.data(part)))
            assert read[0] == read[1], f"data({part!r}) returns other examples the second time"
            assert read[0] == read[2], (
                f"data({part!r}) depends on the seed of the run; draw by a random.Random of its own"
            )

    def test_the_test_part_is_not_the_training_part(self) -> None:
        train, test = ([content(self.task, item) for item in self.task.data(part)] for part in DATA_PARTS)
        if None in train or None in test:
            raise SkipTest("the inputs of two examples cannot be compared; see HasContent")
        seen = set(train)
        shared = sum(item in seen for item in test)
        assert shared <= 0.9 * len(test), f"{shared} of {len(test)} test examples are training examples"

    def test_it_trains_without_the_test_part(self) -> None:
        asked, own = list[str](), type(self.task).data

        def data(task: Task, part: Part) -> Any:
            asked.append(part)
            return own(task, part)

        def train() -> None:
            model = self.task.model()
            self.task.loss(model, self.task.collate(self.task.data("train")[:3]))

        train()  # what is made once a process, such as a vocabulary, may have read all inputs
        with patch.object(type(self.task), "data", data):
            train()
        assert "test" not in asked, "model(), data('train'), collate() or loss() reads data('test')"

    def test_equal_seeds_give_equal_nets(self) -> None:
        nets = [dict(self.eval_model().state_dict()) for _ in range(2)]
        assert_equal([nets[0]], [nets[1]], "two nets of one seed differ")

    def test_each_call_of_model_makes_a_new_net(self) -> None:
        nets = [self.task.model().state_dict() for _ in range(2)]
        first, second = ({tensor.data_ptr(): name for name, tensor in net.items()} for net in nets)
        shared = [second[place] for place in first.keys() & second.keys() if place]
        assert not shared, (
            f"two nets share the tensor {min(shared)!r}: what trains in one cell is in the next"
        )

    def test_no_digest_holds_an_address(self) -> None:
        found = address_in(self.task)
        assert not found, f"the digest holds the address {found}, which differs in each process"

    def test_the_names_it_returns_are_names_of_parameters(self) -> None:
        model = self.task.model()
        names = dict(model.named_parameters()).keys()
        for method, returned in (
            ("exclude", excluded(self.task, model)),
            ("exclude_in_paper", excluded_in_paper(self.task, model)),
            ("backbone_weights", backbone_weights(self.task, model)),
        ):
            unknown = sorted(set(returned) - names)
            assert not unknown, f"{method}() names {unknown[0]!r}, which is no parameter of model()"

    def test_published_sizes_are_positive(self) -> None:
        sizes = published_sizes(self.task)
        assert sizes is None or (min(sizes.train, sizes.test, sizes.tokens) > 0 and sizes.source), (
            f"sizes() returns {sizes}; wanted positive numbers and a source"
        )

    def test_the_loss_is_a_finite_scalar_with_a_gradient(self) -> None:
        model = self.task.model()
        loss = self.task.loss(model, self.task.collate(self.task.data("train")[:3]))
        loss.backward()  # type: ignore[no-untyped-call]
        assert loss.shape == (), (
            f"loss() has shape {tuple(loss.shape)}; wanted a scalar, the mean of the batch"
        )
        assert bool(loss.isfinite()), f"loss() is {float(loss)}; wanted a finite number"
        assert any(weight.grad is not None for weight in model.parameters()), (
            "loss() gives no parameter a gradient"
        )

    def test_the_loss_of_a_batch_is_the_mean_over_its_examples_weighted_by_their_terms(self) -> None:
        model, examples = self.task.model().eval(), self.task.data("train")[:4]
        parts = [(float(loss_terms(self.task, [item])), self.task.collate([item])) for item in examples]
        with torch.no_grad():
            whole = float(self.task.loss(model, self.task.collate(examples)))
            losses = [terms * float(self.task.loss(model, part)) for terms, part in parts]
        mean = sum(losses) / sum(terms for terms, _ in parts)
        assert math.isclose(whole, mean, rel_tol=1e-3), (
            f"the loss of four examples is {whole:.6g}, and the mean of their own losses is {mean:.6g}; "
            "return the mean over the batch, or implement loss_terms()"
        )

    def test_its_outputs_belong_to_its_loss(self) -> None:
        if not isinstance(self.task, HasOutputs):
            return
        model, examples = self.eval_model(), self.task.data("train")[:3]
        batch = self.task.collate(examples)
        with torch.no_grad():
            loss = float(self.task.loss(model, batch))
            other, outputs = self.task.loss_and_outputs(model, batch)
            alone = [self.task.loss_and_outputs(model, self.task.collate([item]))[1] for item in examples]
        assert math.isclose(loss, float(other), rel_tol=1e-4), (
            f"loss() is {loss:.6g}, and loss_and_outputs() has the loss {float(other):.6g}"
        )
        rows = sum(map(len, alone))
        assert len(outputs) == rows, (
            f"the outputs of a batch have {len(outputs)} rows, those of its examples {rows}"
        )
        if outputs.ndim > 1:
            sums = outputs.exp().sum(-1)
            assert torch.allclose(sums, torch.ones_like(sums), atol=1e-3), (
                f"the probabilities of a row of outputs add up to {float(sums.flatten()[0]):.4g}; "
                "return log-probabilities: .log_softmax(-1)"
            )

    def test_a_task_that_only_calls_the_model_uses_the_same_weights_for_each_example(self) -> None:
        if not self.task.only_calls_model:
            return
        used, examples = [], self.task.data("train")[:3]
        for example in examples:
            net = OnlyCallable(self.eval_model())
            self.task.loss(net, self.task.collate([example])).backward()  # type: ignore[no-untyped-call]
            used.append([weight.grad is not None for weight in net.parameters()])
        assert used[0] == used[1] == used[2], "only_calls_model is true, but examples use other weights"
        count = len(self.task.predict(net.eval(), self.task.collate(examples)))
        assert count == 3, f"predict() returns {count} predictions for 3 examples"

    def test_training_lowers_the_loss(self, tmp_path: Path) -> None:
        losses: list[float] = []

        class LossLog(Silent):
            def step(self, done: int, loss: float | None) -> None:
                losses.extend([] if loss is None else [loss])

        from smc_eval.methods.dense import Dense

        length = 5 * self.steps // (2 if self.quick else 1)
        recipe = self.task.recipe.model_copy(update={"epochs": None, "steps": length, "warmup": 0})
        run_chain(chain_of(Dense(), Target(), self.task.replace(recipe=recipe)), tmp_path, LossLog())
        first, last = (sum(part) / self.steps for part in (losses[: self.steps], losses[-self.steps :]))
        assert last < first, (
            f"the mean loss of the last {self.steps} steps is {last:.4g}, that of the first is {first:.4g}; "
            "training must lower it: check the gradient, the learning rate, or set `steps` higher"
        )

    def test_predictions_do_not_depend_on_the_evaluation_batch_size(self) -> None:
        device = Device("cpu", threads=1)
        model, examples = self.eval_model(), self.task.data("test")[:7]
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
        assert predicted[0] == predicted[1] == predicted[2], (
            "predictions differ between evaluation batches of 1, 3 and 7 examples; "
            "a prediction must not depend on the other examples of its batch"
        )

    def test_it_makes_one_plain_prediction_for_each_example(self) -> None:
        model = self.eval_model()
        for count in (1, 3):
            batch = self.task.collate(self.task.data("test")[:count])
            with torch.no_grad():
                predicted = self.task.predict(model, batch)
            assert len(predicted) == count, (
                f"predict() returns {len(predicted)} predictions for {count} examples"
            )
            check_predictions(self.task, predicted)

    def test_predicting_changes_nothing_of_the_net(self) -> None:
        model = self.eval_model()
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        batch = self.task.collate(self.task.data("test")[:3])
        with torch.no_grad():
            first, second = (self.task.predict(model, batch) for _ in range(2))
        assert_equal([before], [dict(model.state_dict())], "predict() changes the net")
        modes = [name or "the net" for name, part in model.named_modules() if part.training]
        assert not modes, f"predict() leaves {modes[0]} in training mode"
        assert first == second, "predict() predicts otherwise the second time"

    def test_no_call_changes_the_examples_or_the_options(self) -> None:
        model, examples = self.eval_model(), list(self.task.data("test")[:3])
        before = [pickle.dumps(example) for example in examples]
        with same_options(self.task, "a call of the task"), torch.no_grad():
            self.task.sources()
            batch = self.task.collate(examples)
            self.task.loss(model, batch)
            self.task.score(self.task.predict(model, batch), examples)
        changed = [n for n, example in enumerate(examples, 1) if pickle.dumps(example) != before[n - 1]]
        assert not changed, f"collate(), loss(), predict() or score() changes example {changed[0]}"

    def _predicted(self) -> tuple[list[Any], list[Any]]:
        """The predictions of an untrained net, and their examples."""
        examples, device = list(self.task.data("test")[:5]), Device("cpu", threads=1)
        return predict(self.task, self.eval_model(), examples, self.task.recipe, device), examples

    def test_its_score_is_a_number_that_a_record_can_hold(self) -> None:
        checked_score(self.task, *self._predicted())

    def test_the_score_does_not_depend_on_the_order_of_the_examples(self) -> None:
        predicted, examples = self._predicted()
        first = self.task.score(predicted, examples).value
        second = self.task.score(predicted[::-1], examples[::-1]).value
        assert math.isclose(first, second, rel_tol=1e-6, abs_tol=1e-6), (
            f"the score of five examples is {first:.6g}, and in reverse order {second:.6g}"
        )

    def test_the_score_counts_every_example(self) -> None:
        predicted, examples = self._predicted()
        score = self.task.score(predicted, examples)
        assert score.n == 5, f"score() counts {score.n} of 5 examples (Score.n)"
        wanted = self.task.card.metric or score.metric
        assert score.metric == wanted, f"Score.metric is {score.metric!r}, and the card has {wanted!r}"
        assert score.metric, "Score.metric is empty"
        assert score.signature, (
            "Score.signature is empty; state all details that must be equal for two scores to be comparable"
        )

    def test_the_order_of_batches_depends_only_on_the_seed(self) -> None:
        small = {"batch_size": 1, "accumulation": 1, "tokens": None}
        recipe, device = self.task.recipe.model_copy(update=small), Device("cpu", threads=1)
        first, again, other = (
            [Batches(self.task, recipe, start, device).step(step).parts for step in range(10)]
            for start in "aab"
        )
        assert first == again, "two runs with one seed have other batches; data() must not draw at random"
        assert first != other, "runs with two seeds have the same batches; is data('train') too small?"
