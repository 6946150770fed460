"""Stacks of matrices, such as the experts of a mixture: each shows its own inputs."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from smc_eval.methods.ria import RelativeImportance
from smc_eval.sparse.input_stats import Grams, Squares
from smc_eval.sparse.inputs import observing
from smc_eval.sparse.relative_importance import relative_importance


class Experts(nn.Module):
    """Two experts of 4 inputs and 3 outputs; the first three rows go to the first one."""

    def __init__(self, *, turned: bool) -> None:
        super().__init__()
        self.turned = turned
        self.stack = nn.Parameter(torch.arange(1.0, 25.0).view((2, 4, 3) if turned else (2, 3, 4)))

    def forward(self, x_NI: torch.Tensor) -> torch.Tensor:
        parts = [x_NI[:3], x_NI[3:]]
        return torch.cat(
            [
                part @ self.stack[torch.tensor(number)] if self.turned else F.linear(part, self.stack[number])
                for number, part in enumerate(parts)
            ]
        )


X_NI = torch.tensor([[1.0, 2, 3, 4], [2, 0, 1, 0], [0, 0, 2, 0], [5, 0, 0, 1], [1, 1, 1, 1]])


def seen(kind, *, turned: bool):
    net = Experts(turned=turned)
    weights = dict(net.named_parameters())
    stats = kind(weights, weights.keys())
    with torch.no_grad(), observing(net, weights, stats) as watch:
        net(X_NI)
    return net.stack.detach(), stats, watch.sight


def test_each_matrix_has_the_sums_of_its_own_inputs() -> None:
    for turned in (False, True):
        _, stats, sight = seen(Grams, turned=turned)
        bands = [(band.start, band.stop, gram.tolist()) for band, gram in stats.bands("stack")]
        wanted = [(rows.T @ rows).tolist() for rows in (X_NI[:3], X_NI[3:])]
        assert bands == [(0, 3, wanted[0]), (3, 6, wanted[1])]
        assert sight.unseen({"stack": (2, 4, 3) if turned else (2, 3, 4)}) == {}


def test_weights_are_scaled_by_the_inputs_of_their_matrix() -> None:
    stack, stats, _ = seen(Squares, turned=False)
    norms_EI = torch.stack([rows.square().sum(0).sqrt() for rows in (X_NI[:3], X_NI[3:])])
    assert torch.allclose(stats.scaled("stack"), stack * norms_EI[:, None, :])
    stack, stats, _ = seen(Squares, turned=True)
    assert torch.allclose(stats.scaled("stack"), stack * norms_EI[:, :, None])


def test_a_stack_is_a_matrix_of_outputs_and_back() -> None:
    for turned in (False, True):
        stack, stats, _ = seen(Squares, turned=turned)
        matrix_OI = stats.matrix("stack", stack)
        assert matrix_OI.shape == (6, 4)
        assert torch.equal(matrix_OI[3:], stack[1].T if turned else stack[1])
        assert torch.equal(stats.shaped("stack", matrix_OI), stack)
        assert stats.matrices("stack") == [slice(0, 3), slice(3, 6)]


def test_the_columns_of_two_matrices_are_not_one() -> None:
    stack, stats, _ = seen(Squares, turned=False)
    found_OI = RelativeImportance(exponent=0).importance("stack", stats.matrix("stack", stack), stats)
    assert torch.allclose(found_OI, torch.cat([relative_importance(matrix) for matrix in stack]))


def test_a_part_of_a_matrix_is_seen_as_that_part() -> None:
    net = Experts(turned=False)
    weights = dict(net.named_parameters())
    stats = Squares(weights, weights.keys())
    with torch.no_grad(), observing(net, weights, stats) as watch:
        F.linear(X_NI[:, :2], net.stack[1][1:, :2])
    assert watch.sight.unseen({"stack": (2, 3, 4)}) == {"stack": 1 - 4 / 24}
