"""Objective: the loss of a stage, either the task's own or mixed with a teacher's."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smc_eval.capabilities import HasOutputs
from smc_eval.stages import Distillation
from smc_eval.task import Task


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
