"""Distillation: the loss by hand, the teacher, and its place in the chain."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from smc_eval.card import MethodCard
from smc_eval.engine.batches import Batches
from smc_eval.engine.device import Device
from smc_eval.engine.objective import Objective, divergence, softened
from smc_eval.engine.train import Training
from smc_eval.engine.usage import Usage
from smc_eval.errors import PlanError, PluginError, UsageError
from smc_eval.experiment.cell import Chain, Link, shared_nets
from smc_eval.method import Method
from smc_eval.planning.plan import stages_to_run
from smc_eval.sparse.net import Net, state
from smc_eval.sparse.scope import in_scope
from smc_eval.stages import Distillation, Rewind, Stage, Train
from smc_eval.target import Target
from smc_eval.task import Task
from smc_eval.testing import Toy, assert_equal, chain_of, run_chain


class Taught(Method):
    """Train twice from the start; the second training learns from the first."""

    card: ClassVar[MethodCard] = MethodCard(name="taught", summary="taught", source="none", when="none")
    hardness: float = 0.5
    temperature: float = 2.0

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Train(name="first")
        yield Rewind()
        yield Train(
            distil=Distillation(teacher="first", hardness=self.hardness, temperature=self.temperature)
        )


def test_the_divergence_of_two_outputs_equals_a_computation_by_hand() -> None:
    teacher = torch.tensor([[0.9, 0.1], [0.5, 0.5]]).log()
    student = torch.tensor([[0.5, 0.5], [0.25, 0.75]]).log()
    # row 1: .9 ln(.9/.5) + .1 ln(.1/.5) = 0.368064; row 2: .5 ln 2 + .5 ln(2/3) = 0.143841
    assert float(divergence(student, teacher, 1.0)) == pytest.approx((0.368064 + 0.143841) / 2, abs=1e-6)


def test_the_temperature_softens_both_and_its_square_is_a_factor() -> None:
    teacher, student = torch.tensor([[0.8, 0.2]]).log(), torch.tensor([[0.5, 0.5]]).log()
    # at T = 2 the teacher's odds of 4 to 1 become 2 to 1, the student's stay even
    by_hand = 4 * (2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3))
    assert float(divergence(student, teacher, 2.0)) == pytest.approx(by_hand, abs=1e-6)


def test_the_gradient_keeps_its_size_at_high_temperature() -> None:
    teacher = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    sizes = []
    for temperature in (50.0, 100.0, 1000.0):
        logits = torch.zeros(6, 5, requires_grad=True)
        divergence(logits.log_softmax(-1), teacher, temperature).backward()
        assert logits.grad is not None
        sizes.append(float(logits.grad.norm()))
    # for large T it is (student - teacher) / C for every T: Hinton et al. (2015), equation 4
    logits_of_teacher = teacher - teacher.mean(-1, keepdim=True)
    assert sizes[2] == pytest.approx(float((logits_of_teacher / 5 / 6).norm()), rel=1e-2)
    assert sizes[0] == pytest.approx(sizes[2], rel=0.05)


def test_outputs_that_are_impossible_for_both_add_nothing_and_keep_gradients_finite() -> None:
    teacher = torch.tensor([[0.8, 0.2, 0.0]]).log()
    logits = torch.tensor([[0.3, 0.1, -torch.inf]], requires_grad=True)
    loss = divergence(logits.log_softmax(-1), teacher, 2.0)
    loss.backward()
    two = divergence(logits[:, :2].detach().log_softmax(-1), teacher[:, :2], 2.0)
    assert float(loss.detach()) == pytest.approx(float(two), abs=1e-6)
    assert logits.grad is not None and bool(logits.grad.isfinite().all())


def test_the_divergence_is_infinite_if_only_the_student_excludes_an_output() -> None:
    teacher, student = torch.tensor([[0.8, 0.2]]).log(), torch.tensor([[1.0, 0.0]]).log()
    assert float(divergence(student, teacher, 1.0)) == math.inf


def test_the_divergence_of_values_is_the_mean_squared_difference_at_any_temperature() -> None:
    student, teacher = torch.tensor([1.0, 2.0]), torch.tensor([0.0, 5.0])
    assert float(divergence(student, teacher, 7.0)) == pytest.approx((1 + 9) / 2)


def test_the_divergence_of_equal_outputs_is_zero() -> None:
    same = torch.randn(4, 3).log_softmax(-1)
    assert float(divergence(same, same, 3.0)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("hardness", [0.25, 1.0])
def test_hardness_is_the_share_of_the_teachers_loss(hardness: float) -> None:
    task = Toy()
    student, teacher = task.model().eval(), task.model()
    batch = task.collate(task.data("train")[:4])
    mixed = Objective(task, Distillation(teacher="t", hardness=hardness, temperature=2.0), teacher)
    own, outputs = task.loss_and_outputs(student, batch)
    taught = divergence(outputs, task.loss_and_outputs(teacher, batch)[1], 2.0)
    torch.testing.assert_close(mixed(student, batch), (1 - hardness) * own + hardness * taught)
    torch.testing.assert_close(Objective(task)(student, batch), own)


def test_a_teacher_is_not_trained_and_predicts_without_dropout() -> None:
    task = Toy()
    student, teacher = task.model(), task.model()
    before = {name: tensor.clone() for name, tensor in state(teacher).items()}
    objective = Objective(task, Distillation(teacher="t"), teacher)
    objective(student, task.collate(task.data("train")[:4])).backward()  # type: ignore[no-untyped-call]
    assert not teacher.training and student.training
    assert all(weight.grad is None for weight in teacher.parameters())
    assert any(weight.grad is not None for weight in student.parameters())
    assert_equal([state(teacher)], [before])


class Recording(Toy):
    """Records the examples of each batch, and the random state after its dropout was drawn."""

    seen: ClassVar[list[Any]] = []

    def collate(self, examples: Any) -> dict[str, Tensor]:
        self.seen.append(list(examples))
        return super().collate(examples)

    def loss_and_outputs(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        loss_and_outputs = super().loss_and_outputs(model, batch)
        if model.training:
            self.seen.append(torch.get_rng_state())
        return loss_and_outputs


def trained(task: Task, *, taught: bool) -> list[Any]:
    """The recordings of a training with the same digest, with a teacher or without."""
    Recording.seen.clear()
    device = Device("cpu", threads=1)
    device.seed("start")
    model = task.model()
    stage = Train(recipe=task.recipe, distil=Distillation(teacher="t") if taught else None)
    teacher = None
    if taught:
        device.seed("start")
        teacher = task.model()
    batches = Batches(task, task.recipe, "start", device)
    net = Net(model, in_scope(model, "body"))
    training = Training(net, Link(stage, "digest"), batches, Usage(), device, teacher)
    net.model.train()
    for _ in range(5):
        training._advance()
    return list(Recording.seen)


def test_a_teacher_changes_neither_batches_nor_dropout() -> None:
    alone, taught = trained(Recording(), taught=False), trained(Recording(), taught=True)
    assert len(alone) == len(taught) == 10
    for first, second in zip(alone, taught, strict=True):
        assert torch.equal(first, second) if isinstance(first, Tensor) else first == second


class Choosing(Taught):
    """Two trainings, one after the other; the student learns from the one that is chosen."""

    teacher: str = "first"

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Train(name="first")
        yield Train(name="second")
        yield Train(distil=Distillation(teacher=self.teacher))


def test_the_teachers_digest_is_part_of_the_chains_digest() -> None:
    first, second = (chain_of(Choosing(teacher=name), Target()) for name in ("first", "second"))
    assert [link.digest for link in first.links[:2]] == [link.digest for link in second.links[:2]]
    assert first.links[2].digest != second.links[2].digest
    assert (first.links[2].back, second.links[2].back) == tuple(link.digest for link in first.links[:2])


@pytest.mark.parametrize("changed", [{"hardness": 0.6}, {"temperature": 3.0}])
def test_hardness_and_temperature_are_part_of_the_chains_digest(changed: dict[str, float]) -> None:
    assert chain_of(Taught(), Target()).digest != chain_of(Taught(**changed), Target()).digest


def test_the_name_of_a_point_is_not_part_of_the_digest() -> None:
    class Otherwise(Taught):
        def plan(self, target: Target) -> Iterator[Stage]:
            first, back, second = super().plan(target)
            assert isinstance(first, Train) and isinstance(second, Train) and second.distil
            yield first.model_copy(update={"name": "teacher"})
            yield back
            yield second.model_copy(
                update={"distil": second.distil.model_copy(update={"teacher": "teacher"})}
            )

    chains = chain_of(Taught(), Target()), chain_of(Otherwise(), Target())
    first, second = ([link.digest for link in chain.links] for chain in chains)
    assert first == second


class LossOnly(Toy):
    """A toy without outputs."""

    loss_and_outputs: ClassVar[None] = None

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return cast("Tensor", nn.functional.cross_entropy(model(batch["tokens"]), batch["answers"]))


def test_a_task_without_outputs_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="method 'taught' learns from a teacher's outputs, and task 'toy'"):
        chain_of(Taught(), Target(), LossOnly())


def test_a_missing_teacher_is_refused_by_name() -> None:
    class Untaught(Taught):
        def plan(self, target: Target) -> Iterator[Stage]:
            yield Train(distil=Distillation(teacher="missing"))

    with pytest.raises(PlanError, match="stage 1 of 'taught' goes back to 'missing'; names so far: start"):
        chain_of(Untaught(), Target())


def chained(**options: float) -> Chain:
    return chain_of(Taught(**options), Target())


def test_the_plan_trains_the_teacher_again_if_the_store_has_lost_its_net() -> None:
    teacher, back, student = (link.digest for link in chained().links)
    assert stages_to_run(chained(), set().__contains__) == {teacher, back, student}
    assert stages_to_run(chained(), {back}.__contains__) == {teacher, student}
    assert stages_to_run(chained(), {teacher, back}.__contains__) == {student}


def test_the_teachers_net_stays_in_the_store_while_a_stage_needs_it() -> None:
    assert chained().links[0].digest in shared_nets([chained()])


def test_teacher_passes_are_counted_and_change_the_net(tmp_path: Path) -> None:
    taught, tensors, _ = run_chain(chained(hardness=1.0), tmp_path)
    assert taught.cost.teacher_passes == 12
    _, alone, _ = run_chain(chained(hardness=1e-6), tmp_path)
    assert any(not torch.allclose(tensors[name], alone[name], atol=1e-3) for name in tensors)


def test_a_softened_loss_by_hand() -> None:
    outputs = torch.tensor([[0.8, 0.2], [0.5, 0.5]]).log()
    loss = -(outputs[0, 1] + outputs[1, 0]) / 2
    # at T = 2 the odds of 4 to 1 become 2 to 1: -ln(1/3) and -ln(1/2), mean
    assert float(softened(loss, outputs, 2.0)) == pytest.approx((math.log(3) + math.log(2)) / 2)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 200.0])
@pytest.mark.parametrize("form", ["from outputs", "from outputs, normalized again", "from logits"])
def test_a_softened_loss_is_the_cross_entropy_of_divided_logits(
    smoothing: float, temperature: float, form: str
) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(9, 6, generator=generator, dtype=torch.float64).requires_grad_()
    labels = torch.randint(6, (9,), generator=generator)
    outputs = logits.log_softmax(-1)
    if form == "from outputs":
        even = -outputs.mean(-1)
        losses = (1 - smoothing) * -outputs[torch.arange(9), labels] + smoothing * even
        loss = losses.mean()
    else:
        loss = cross_entropy(logits if form == "from logits" else outputs, labels, label_smoothing=smoothing)
    found = softened(loss, outputs, temperature)
    wanted = cross_entropy(logits / temperature, labels, label_smoothing=smoothing)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6, check_dtype=False)
    slopes = [torch.autograd.grad(value, logits)[0] for value in (found, wanted)]
    torch.testing.assert_close(*slopes, rtol=1e-4, atol=1e-8)


def test_an_impossible_class_has_no_part_in_a_softened_loss() -> None:
    logits = torch.tensor([[1.0, 2.0, -math.inf]], requires_grad=True)
    outputs = logits.log_softmax(-1)
    found = softened(cross_entropy(logits, torch.tensor([0])), outputs, 4.0)
    assert float(found.detach()) == pytest.approx(math.log(1 + math.exp(1 / 4)))
    assert bool(torch.autograd.grad(found, logits)[0].isfinite().all())


def weighted(outputs_MC: Tensor) -> Tensor:
    return nn.functional.nll_loss(outputs_MC, torch.tensor([0, 1]), weight=torch.tensor([1.0, 3.0]))


@pytest.mark.parametrize(
    "loss",
    [
        lambda outputs: (outputs[:, 0] - outputs[:, 1]).relu().mean(),
        lambda outputs: -outputs[:, 0].sum(),
        lambda outputs: 0.5 - outputs[:, 0].detach().mean() + 9 * outputs.detach().abs().max(),
        weighted,
    ],
    ids=["margin", "a sum", "detached and too large", "classes with weights"],
)
def test_a_loss_that_is_no_mean_cross_entropy_is_refused(loss: Any) -> None:
    outputs = torch.tensor([[0.8, 0.2], [0.5, 0.5]]).log().requires_grad_()
    with pytest.raises(PluginError, match="its loss is not the mean cross entropy of its outputs"):
        softened(loss(outputs), outputs, 2.0)
