"""Orders of a weight's inputs under which an N:M pattern keeps more; Zhang et al. (2024), ICLR.

Shapes: O outputs, I inputs, G groups, M inputs of a group.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

SCORES_AT_ONCE = 1 << 22
"""Numbers that `_gains` computes at a time. It bounds the extra memory."""


@torch.no_grad()
def best_order(score_OI: Tensor, n: int, m: int) -> Tensor:
    """The order of the inputs in which `n` of `m` keeps a high sum of scores: `score_OI[:, order]`.

    First the heuristic allocation: the inputs are ranked by the sums of their scores, and dealt to the
    groups in turn, forwards and backwards, so that large ones do not meet. Then, for each place in a
    group, all groups give up the input at that place, and the linear sum assignment hands these out again
    so that the kept scores are the largest. An order that keeps no more than the present one is not taken.
    Inputs after the last whole group stay where they are.
    """
    groups = score_OI.shape[1] // m
    start_I = torch.arange(score_OI.shape[1], device=score_OI.device)
    if groups < 2 or n >= m:
        return start_I
    score_OI = score_OI.double()
    whole_OI = score_OI[:, : groups * m]
    order_GM = dealt(whole_OI.sum(0), m)
    for place in range(m):
        others_GM = torch.cat((order_GM[:, :place], order_GM[:, place + 1 :]), dim=1)
        gains_GG = _gains(whole_OI, others_GM, order_GM[:, place], n)
        order_GM[:, place] = order_GM[:, place][assignment(gains_GG.cpu().numpy()).to(order_GM.device)]
    order_I = torch.cat((order_GM.reshape(-1), start_I[groups * m :]))
    better = kept_sum(whole_OI[:, order_GM.reshape(-1)], n, m) > kept_sum(whole_OI, n, m)
    return order_I if better else start_I


def dealt(sums_I: Tensor, m: int) -> Tensor:
    """Inputs in groups of `m`: ranked from the smallest sum, and dealt forwards and backwards in turn."""
    rank_MG = sums_I.argsort(stable=True).view(m, -1)
    backwards = torch.arange(m, device=sums_I.device) % 2 == 1
    return torch.where(backwards[:, None], rank_MG.flip(1), rank_MG).T.contiguous()


def kept_sum(score_OI: Tensor, n: int, m: int) -> float:
    """Sum of the `n` largest scores of each `m` consecutive ones of a row; I is a multiple of `m`."""
    return float(score_OI.reshape(-1, m).topk(n, dim=1).values.sum())


def _gains(score_OI: Tensor, others_GM: Tensor, given_G: Tensor, n: int) -> Tensor:
    """[group, input]: what the group's other inputs and this one keep, up to a constant of the group.

    Another input adds what it exceeds the n-th largest of the others by, in each row.
    """
    gains_GG = score_OI.new_zeros(len(given_G), len(given_G))
    step = max(1, SCORES_AT_ONCE // len(given_G) ** 2)
    for rows_OI in torch.split(score_OI, step):
        least_OG = rows_OI[:, others_GM].topk(n, dim=2).values[..., -1]
        gains_GG += (rows_OI[:, None, given_G] - least_OG[:, :, None]).clamp_min_(0).sum(0)
    return gains_GG


def assignment(gain_GG: np.ndarray) -> Tensor:
    """A column for each row, each column once, so that the sum of the gains is the largest.

    Rows join one after the other by the shortest augmenting path under dual prices, as in Jonker and
    Volgenant (1987): of order G^3. Of equal paths the one over the lowest column is taken.
    """
    size = len(gain_GG)
    cost = -gain_GG
    of_row, of_column = np.zeros(size), np.zeros(size)
    row_of = np.full(size, -1)
    for first in range(size):
        far, before = np.full(size, np.inf), np.full(size, -1)
        done = np.zeros(size, dtype=bool)
        row, column, length = first, -1, 0.0
        while True:
            reach = length + cost[row] - of_row[row] - of_column
            closer = ~done & (reach < far)
            far[closer], before[closer] = reach[closer], column
            column = int(np.where(done, np.inf, far).argmin())
            length = float(far[column])
            if row_of[column] < 0:
                break
            done[column] = True
            row = int(row_of[column])
        of_row[first] += length
        of_row[row_of[done]] += length - far[done]
        of_column[done] -= length - far[done]
        while column >= 0:  # each column on the path goes to the row of the column before it
            earlier = int(before[column])
            row_of[column] = row_of[earlier] if earlier >= 0 else first
            column = earlier
    columns = torch.empty(size, dtype=torch.int64)
    columns[torch.from_numpy(row_of)] = torch.arange(size)
    return columns
