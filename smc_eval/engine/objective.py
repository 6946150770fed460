"""Objective: the loss of a stage, either the task's own or mixed with a teacher's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smc_eval.capabilities import HasOutputs
from smc_eval.errors import PluginError
from smc_eval.stages import Distillation
from smc_eval.task import Task

SLACK = 1e-2
"""Difference that rounding may make, in half precision too."""


class Objective:
    """The loss of a net on a batch."""

    def __init__(
        self, task: Task, distil: Distillation | None = None, teacher: nn.Module | None = None
    ) -> None:
        """The teacher has its weights already. It is set to evaluation mode and never trained."""
        self.task, self.distil, self.teacher = task, distil, teacher
        if teacher is not None:
            teacher.eval().requires_grad_(requires_grad=False)

    def __call__(self, model: nn.Module, batch: Any) -> Tensor:
        """The mean loss of a batch, a scalar with a gradient."""
        if self.distil is None or self.teacher is None:
            return self.task.loss(model, batch)
        task = self.task
        assert isinstance(task, HasOutputs)  # otherwise the cell was refused
        own, student = task.loss_and_outputs(model, batch)
        with torch.no_grad():
            _, teacher = task.loss_and_outputs(self.teacher, batch)
        h = self.distil.hardness
        return (1 - h) * own + h * divergence(student, teacher, self.distil.temperature)


def softened(loss: Tensor, outputs: Tensor, temperature: float) -> Tensor:
    """The mean cross entropy of log-probabilities [M, C] that are divided by T, and normalized again.

    Dividing logits by T gives the same. The targets need not be known: with targets q, of sum 1 in each row,
    the loss is -q log p / T + log sum exp(log p / T), and its first part is 1 / T of the given loss.

    Raises:
        PluginError: the loss is not such a mean, so it has no temperature.
    """
    if outputs.ndim != 2:
        raise PluginError(f"its outputs have the shape {tuple(outputs.shape)}, and are not log-probabilities")
    _check_cross_entropy(loss, outputs)
    return loss / temperature + (outputs.float() / temperature).logsumexp(-1).mean()


def _check_cross_entropy(loss: Tensor, outputs_MC: Tensor) -> None:
    """Check that a loss can be -q log p with targets q of sum 1 in each row, mean over M.

    Its slope by log p is then -q / M, or (p - q) / M if it normalizes log p again. A loss that was not
    computed from these outputs has no slope by them; it must lie between those of the best and of the worst
    targets.
    """
    slope_MC, log_MC = None, outputs_MC.detach().float()
    if loss.requires_grad and outputs_MC.requires_grad:
        (slope_MC,) = torch.autograd.grad(loss, outputs_MC, retain_graph=True, allow_unused=True)
    if slope_MC is None:
        most, least = (float(-side.mean()) for side in (log_MC.amin(-1), log_MC.amax(-1)))
    else:
        target_MC = -slope_MC.float() * len(log_MC)
        target_MC += (1 - target_MC.sum(-1, keepdim=True)) * log_MC.exp()
        terms_MC = (target_MC * log_MC).masked_fill(log_MC == -torch.inf, 0)
        most = least = float(-terms_MC.sum(-1).mean()) if bool((target_MC > -SLACK).all()) else float("nan")
    found = float(loss.detach())
    slack = SLACK * (1 + abs(found))
    if not least - slack <= found <= most + slack:
        raise PluginError("its loss is not the mean cross entropy of its outputs")


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T² KL(teacher ‖ student) of log-probabilities [M, C], both softened by T, mean over M.

    The factor T² keeps the size of the gradient independent of T: Hinton et al. (2015), section 2.
    An output that is impossible for both has log-probability -inf and adds nothing. For values [M],
    the result is the mean squared difference.
    """
    if student.ndim == 1:
        return F.mse_loss(student, teacher)
    student_MC = (student.float() / temperature).log_softmax(-1)
    teacher_MC = (teacher.float() / temperature).log_softmax(-1)
    share_MC = teacher_MC.exp()
    terms_MC = (share_MC * (teacher_MC - student_MC)).masked_fill(share_MC == 0, 0)
    return temperature**2 * terms_MC.sum(-1).mean()
