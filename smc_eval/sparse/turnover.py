"""Turnover: a row grows a pruned weight and prunes another, until its mean output is that of the full row.

Zhang et al. (2024), arXiv:2310.08915. The expected error of a row, E = sum of w_j E[x_j] over its pruned
weights, is what its mean output has lost. A cycle grows the pruned weight that takes most from E for the
variance of its input, and prunes a weight of least |w| ||x|| among those whose removal takes from E as well.

Shapes: R rows processed together, I inputs, M of a group, T cycles. A leading 2 is the sign of E: an entry
for errors of 0 or more, and one for errors below.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from smc_eval.sparse.moments import Moments

ROWS_AT_ONCE = 1 << 20
"""Weights whose rows are processed together, or one row if that is longer. It bounds the scratch memory."""


class Queues(NamedTuple):
    """Candidates of each row in the order in which they are taken, by the sign of the error."""

    at_2RT: Tensor
    """Their indices."""
    size_2R: Tensor
    """Their number; what follows in `at_2RT` is filling."""

    def heads(self, side_1R: Tensor, taken_2R: Tensor) -> tuple[Tensor, Tensor]:
        """The next index of each row, as [R, 1], and whether there is one, as [R]."""
        width = self.at_2RT.shape[2]
        next_1R = taken_2R.gather(0, side_1R)
        queue_RT = self.at_2RT.gather(0, side_1R[:, :, None].expand(-1, -1, width))[0]
        head_R1 = queue_RT.gather(1, next_1R[0, :, None].clamp_max(width - 1))
        return head_R1, (next_1R < self.size_2R.gather(0, side_1R))[0]


@dataclass(frozen=True)
class Turnover:
    """The exchanges of a tensor's rows. Every row keeps its count, and no weight is exchanged twice.

    A row ends when |E| is `threshold` or less, or when no weight is left that would take from E. With a
    `group`, the weight to prune is of the same group of consecutive inputs as the grown one, of either
    sign, and a row also ends before an exchange after which E would have another sign.
    """

    cycles: int
    """Most exchanges of a row."""
    threshold: float
    """|E| at which a row ends."""
    power: float
    """The growth criterion is w E[x] / Var[x]^power. A constant input comes first."""
    group: int | None = None
    """M of an N:M pattern."""

    @torch.no_grad()
    def masks(self, weight_OI: Tensor, mask_OI: Tensor, within_OI: Tensor, inputs: Moments) -> Tensor:
        """The mask after the exchanges; weights that are False in `within_OI` stay pruned.

        Of equal candidates the one of lowest index is taken. A weight whose input has a mean of 0 is not
        grown, and without a group not pruned.
        """
        new_OI = mask_OI.clone()
        step = max(1, ROWS_AT_ONCE // max(1, weight_OI.shape[1]))
        for start in range(0, len(weight_OI), step):
            at = slice(start, start + step)
            within_RI, w_RI = within_OI[at], weight_OI[at].double()
            share_RI, mask_RI = w_RI * inputs.mean_I, mask_OI[at]
            score_RI = share_RI.abs() / inputs.variance_I.pow(self.power)
            open_RI = within_RI & ~mask_RI
            growth = self._queues(score_RI, open_RI & (share_RI > 0), open_RI & (share_RI < 0))
            cost_RI = w_RI.abs() * inputs.square_I.sqrt()
            act = self._anywhere if self.group is None else self._in_groups
            new_OI[at] = act(mask_RI.clone(), share_RI, cost_RI, growth)
        return new_OI

    def _queues(self, score_RI: Tensor, rising_RI: Tensor, falling_RI: Tensor) -> Queues:
        """The candidates for errors of 0 or more and for those below, highest score first."""
        candidates_2RI = torch.stack((rising_RI, falling_RI))
        at_2RT = score_RI.masked_fill(~candidates_2RI, -torch.inf).argsort(
            dim=2, descending=True, stable=True
        )
        return Queues(at_2RT[:, :, : self.cycles], candidates_2RI.count_nonzero(2).clamp_max(self.cycles))

    def _anywhere(self, mask_RI: Tensor, share_RI: Tensor, cost_RI: Tensor, growth: Queues) -> Tensor:
        """Exchange weights of the same row."""
        error_R = share_RI.masked_fill(mask_RI, 0).sum(1)
        loss = self._queues(-cost_RI, mask_RI & (share_RI < 0), mask_RI & (share_RI > 0))
        taken_2R = torch.zeros_like(growth.size_2R)  # both queues of a sign are taken together
        live_R = torch.ones_like(error_R, dtype=torch.bool)
        for _ in range(self.cycles):
            side_1R = (error_R < 0).long()[None]
            grow_R1, can_grow_R = growth.heads(side_1R, taken_2R)
            prune_R1, can_prune_R = loss.heads(side_1R, taken_2R)
            live_R &= (error_R.abs() > self.threshold) & can_grow_R & can_prune_R
            if not bool(live_R.any()):
                break
            change_R = (share_RI.gather(1, prune_R1) - share_RI.gather(1, grow_R1))[:, 0]
            error_R = torch.where(live_R, error_R + change_R, error_R)
            _exchange(mask_RI, grow_R1, prune_R1, live_R[:, None])
            taken_2R.scatter_add_(0, side_1R, live_R.long()[None])
        return mask_RI

    def _in_groups(self, mask_RI: Tensor, share_RI: Tensor, cost_RI: Tensor, growth: Queues) -> Tensor:
        """Exchange weights of the same group. A growth whose group has none left to prune is passed over."""
        error_R = share_RI.masked_fill(mask_RI, 0).sum(1)
        first_R = error_R.sign()
        cost_RI = cost_RI.masked_fill(~mask_RI, torch.inf)
        taken_2R = torch.zeros_like(growth.size_2R)
        live_R = torch.ones_like(error_R, dtype=torch.bool)
        for _ in range(self.cycles):
            side_1R = (error_R < 0).long()[None]
            grow_R1, can_grow_R = growth.heads(side_1R, taken_2R)
            prune_R1, can_prune_R = self._cheapest(cost_RI, grow_R1)
            change_R = (share_RI.gather(1, prune_R1) - share_RI.gather(1, grow_R1))[:, 0]
            live_R &= (error_R.abs() > self.threshold) & can_grow_R
            live_R &= ~can_prune_R | ((error_R + change_R).sign() == first_R)
            if not bool(live_R.any()):
                break
            goes_R = live_R & can_prune_R
            error_R = torch.where(goes_R, error_R + change_R, error_R)
            _exchange(mask_RI, grow_R1, prune_R1, goes_R[:, None])
            left_R1 = cost_RI.gather(1, prune_R1).masked_fill(goes_R[:, None], torch.inf)
            cost_RI.scatter_(1, prune_R1, left_R1)
            taken_2R.scatter_add_(0, side_1R, live_R.long()[None])
        return mask_RI

    def _cheapest(self, cost_RI: Tensor, grow_R1: Tensor) -> tuple[Tensor, Tensor]:
        """The cheapest weight in the group of each growth, as [R, 1], and whether there is one, as [R]."""
        assert self.group is not None
        last = cost_RI.shape[1] - 1  # the last group may be short
        at_RM = grow_R1 // self.group * self.group + torch.arange(self.group, device=grow_R1.device)
        inside_RM, at_RM = at_RM <= last, at_RM.clamp_max(last)
        least_R1, place_R1 = cost_RI.gather(1, at_RM).masked_fill(~inside_RM, torch.inf).min(1, keepdim=True)
        return at_RM.gather(1, place_R1), least_R1.isfinite()[:, 0]


def _exchange(mask_RI: Tensor, grow_R1: Tensor, prune_R1: Tensor, goes_R1: Tensor) -> None:
    """Grow one weight and prune another in the rows that go on."""
    mask_RI.scatter_(1, grow_R1, mask_RI.gather(1, grow_R1) | goes_R1)
    mask_RI.scatter_(1, prune_R1, mask_RI.gather(1, prune_R1) & ~goes_R1)
