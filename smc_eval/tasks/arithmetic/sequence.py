"""A bidirectional LSTM over sentences of unlike lengths, whose training is quick on a CPU.

Shapes: N sentences, L positions, R real positions of all sentences together, I inputs,
D directions, G gates (4 H), H hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence


class BiLSTM(nn.LSTM):
    """`nn.LSTM(bidirectional=True)` over packed sentences, with the same parameters and states.

    Where a gradient is wanted on a CPU, the recurrent weights' is one product over all steps instead
    of one a step, and both directions share each step's product: half the time for a small batch.
    """

    def __init__(self, inputs: int, hidden: int, layers: int, dropout: float) -> None:
        super().__init__(inputs, hidden, layers, dropout=dropout, batch_first=True, bidirectional=True)

    def forward(  # type: ignore[override]
        self, packed: PackedSequence, hx: None = None
    ) -> tuple[PackedSequence, None]:
        """States of both directions side by side, 2H a row, and nothing: nobody asks for the last."""
        taught = packed.data.device.type == "cpu" and torch.is_grad_enabled()
        return self._read(packed) if taught else super().forward(packed)[0], None

    def _read(self, packed: PackedSequence) -> PackedSequence:
        """All layers; rows stay in the packed order, step by step, the longest sentence first."""
        sizes = packed.batch_sizes.tolist()
        turn_R = backwards(packed.batch_sizes)
        states_RI = packed.data
        for layer in range(self.num_layers):
            if layer:
                states_RI = F.dropout(states_RI, self.dropout, self.training)
            ahead_RG = self._projected(states_RI, f"l{layer}")
            back_RG = self._projected(states_RI, f"l{layer}_reverse")[turn_R]
            recurrent = [getattr(self, f"weight_hh_l{layer}{end}") for end in ("", "_reverse")]
            ahead_RH, back_RH = recur(torch.stack([ahead_RG, back_RG]), torch.stack(recurrent), sizes)
            states_RI = torch.cat([ahead_RH, back_RH[turn_R]], -1)
        return packed._replace(data=states_RI)

    def _projected(self, inputs_RI: Tensor, name: str) -> Tensor:
        bias = getattr(self, f"bias_ih_{name}") + getattr(self, f"bias_hh_{name}")
        return F.linear(inputs_RI, getattr(self, f"weight_ih_{name}"), bias)


def pack(inputs_NLI: Tensor, lengths_N: Tensor) -> PackedSequence:
    """Sentences without their padding."""
    return pack_padded_sequence(inputs_NLI, lengths_N.cpu(), batch_first=True, enforce_sorted=False)


def unpack_padded(packed: PackedSequence, length: int) -> Tensor:
    """Sentences padded with 0 to a length, [N, L, 2H]."""
    return pad_packed_sequence(packed, batch_first=True, total_length=length)[0]


def backwards(sizes_L: Tensor) -> Tensor:
    """For each packed row the row that takes its place when every sentence is read from its end."""
    steps = len(sizes_L)
    step_R = torch.repeat_interleave(torch.arange(steps), sizes_L)
    first_L = sizes_L.cumsum(0) - sizes_L
    rank_R = torch.arange(len(step_R)) - first_L[step_R]
    length_N = (sizes_L[:, None] > torch.arange(int(sizes_L[0]))).sum(0)
    return first_L[length_N[rank_R] - 1 - step_R] + rank_R


def recur(inputs_DRG: Tensor, weight_DGH: Tensor, sizes: Sequence[int]) -> Tensor:
    """States [D, R, H] of packed rows, from what the inputs put into the gates and the recurrent weights.

    As precise as the weights, even where other products are not: rounding would add up over the steps.
    """
    with torch.autocast(inputs_DRG.device.type, enabled=False):
        given = inputs_DRG.to(weight_DGH.dtype), weight_DGH, sizes
        return cast("Tensor", Recurrence.apply(*given))  # type: ignore[no-untyped-call]


class Recurrence(torch.autograd.Function):
    """`unrolled_lstm`, with a backward pass that does all steps' share of the weights at once."""

    @staticmethod
    def forward(ctx: Any, inputs_DRG: Tensor, weight_DGH: Tensor, sizes: Sequence[int]) -> Tensor:
        states_DRH, cells_DRH, gates_DRG = unrolled_lstm(inputs_DRG, weight_DGH, sizes)
        ctx.save_for_backward(inputs_DRG, weight_DGH, states_DRH, cells_DRH, gates_DRG)
        ctx.sizes = sizes
        return states_DRH

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        inputs_DRG, weight_DGH, states_DRH, cells_DRH, gates_DRG = ctx.saved_tensors
        if torch.is_grad_enabled():  # a gradient of this gradient is wanted, which torch can work out
            again_DRH = unrolled_lstm(inputs_DRG, weight_DGH, ctx.sizes)[0]
            wanted = torch.autograd.grad(again_DRH, (inputs_DRG, weight_DGH), grads, create_graph=True)
            return *wanted, None
        slopes_DRG = through_time(grads[0], weight_DGH, cells_DRH, gates_DRG, ctx.sizes)
        later_DXG = slopes_DRG[:, ctx.sizes[0] :]
        slope_DGH = later_DXG.transpose(1, 2) @ rows_before(states_DRH, ctx.sizes)[:, ctx.sizes[0] :]
        return slopes_DRG, slope_DGH, None


def unrolled_lstm(
    inputs_DRG: Tensor, weight_DGH: Tensor, sizes: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """States, cells and opened gates of every row; each sentence begins with state and cell 0."""
    weight_DHG = weight_DGH.transpose(1, 2)
    hidden = weight_DGH.shape[2]
    states: list[Tensor] = []
    cells: list[Tensor] = []
    opened: list[Tensor] = []
    for sums_DNG in torch.split(inputs_DRG, list(sizes), 1):
        n = sums_DNG.shape[1]
        if states:
            sums_DNG = torch.baddbmm(sums_DNG, states[-1][:, :n], weight_DHG)
        enter, keep = sums_DNG[..., : 2 * hidden].sigmoid().chunk(2, -1)
        new, leave = sums_DNG[..., 2 * hidden : 3 * hidden].tanh(), sums_DNG[..., 3 * hidden :].sigmoid()
        cell_DNH = keep * cells[-1][:, :n] + enter * new if cells else enter * new
        cells.append(cell_DNH)
        states.append(leave * cell_DNH.tanh())
        opened.append(torch.cat([enter, keep, new, leave], -1))
    return torch.cat(states, 1), torch.cat(cells, 1), torch.cat(opened, 1)


def through_time(
    grads_DRH: Tensor, weight_DGH: Tensor, cells_DRH: Tensor, gates_DRG: Tensor, sizes: Sequence[int]
) -> Tensor:
    """Gradients of every row's gate sums, [D, R, G], from those of its states."""
    enter, keep, new, leave = gates_DRG.chunk(4, -1)
    tanhs_DRH = cells_DRH.tanh()
    # What each gate sum does to its own row's cell or state needs no other step: all rows at once.
    to_cell_DRH = leave * (1 - tanhs_DRH.square())
    to_state_DRH = tanhs_DRH * leave * (1 - leave)
    slopes_DRG = torch.cat(
        [
            new * enter * (1 - enter),
            rows_before(cells_DRH, sizes) * keep * (1 - keep),
            enter * (1 - new.square()),
            to_state_DRH,
        ],
        -1,
    )
    carried_DNH = torch.zeros_like(cells_DRH[:, : sizes[0]])
    cell_DNH = torch.zeros_like(carried_DNH)  # what later steps ask of cells; 0 where a sentence ends
    d, end, hidden = len(cells_DRH), cells_DRH.shape[1], cells_DRH.shape[2]
    for n in reversed(sizes):
        rows = slice(end - n, end)
        state = grads_DRH[:, rows] + carried_DNH[:, :n]
        cell = cell_DNH[:, :n]
        cell += state * to_cell_DRH[:, rows]
        slopes = slopes_DRG[:, rows]
        slopes.view(d, n, 4, hidden)[:, :, :3].mul_(cell[:, :, None])
        slopes[..., 3 * hidden :].mul_(state)
        cell *= keep[:, rows]
        carried_DNH[:, :n] = slopes @ weight_DGH
        end -= n
    return slopes_DRG


def rows_before(rows_DRH: Tensor, sizes: Sequence[int]) -> Tensor:
    """For each packed row the one a step before it; 0 in the first step."""
    steps = torch.split(rows_DRH, list(sizes), 1)
    earlier = [rows[:, :n] for rows, n in zip(steps, sizes[1:], strict=False)]
    return torch.cat([torch.zeros_like(steps[0]), *earlier], 1)
