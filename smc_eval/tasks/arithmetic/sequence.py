"""A bidirectional LSTM for sentences of different lengths that trains fast on a CPU.

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

    For gradients on a CPU it is twice as fast with small batches: the gradient of the recurrent weights
    is one product over all steps instead of one a step, and both directions share each step's product.
    """

    def __init__(self, inputs: int, hidden: int, layers: int, dropout: float) -> None:
        super().__init__(inputs, hidden, layers, dropout=dropout, batch_first=True, bidirectional=True)

    def forward(  # type: ignore[override]
        self, packed: PackedSequence, hx: None = None
    ) -> tuple[PackedSequence, None]:
        """Packed states of both directions, 2H in a row, and None in place of the final states."""
        trains_on_cpu = packed.data.device.type == "cpu" and torch.is_grad_enabled()
        return self._run_layers(packed) if trains_on_cpu else super().forward(packed)[0], None

    def _run_layers(self, packed: PackedSequence) -> PackedSequence:
        """Run all layers. Rows stay in packed order: step by step, the longest sentence first."""
        sizes = packed.batch_sizes.tolist()
        reversed_R = reversed_rows(packed.batch_sizes)
        states_RI = packed.data
        for layer in range(self.num_layers):
            if layer:
                states_RI = F.dropout(states_RI, self.dropout, self.training)
            ahead_RG = self._projected(states_RI, f"l{layer}")
            back_RG = self._projected(states_RI, f"l{layer}_reverse")[reversed_R]
            recurrent = [getattr(self, f"weight_hh_l{layer}{end}") for end in ("", "_reverse")]
            ahead_RH, back_RH = recurrence(torch.stack([ahead_RG, back_RG]), torch.stack(recurrent), sizes)
            states_RI = torch.cat([ahead_RH, back_RH[reversed_R]], -1)
        return packed._replace(data=states_RI)

    def _projected(self, inputs_RI: Tensor, name: str) -> Tensor:
        bias = getattr(self, f"bias_ih_{name}") + getattr(self, f"bias_hh_{name}")
        return F.linear(inputs_RI, getattr(self, f"weight_ih_{name}"), bias)


def pack(inputs_NLI: Tensor, lengths_N: Tensor) -> PackedSequence:
    """Sentences without their padding."""
    return pack_padded_sequence(inputs_NLI, lengths_N.cpu(), batch_first=True, enforce_sorted=False)


def unpack_padded(packed: PackedSequence, length: int) -> Tensor:
    """Sentences padded with 0 to a common length, [N, L, 2H]."""
    return pad_packed_sequence(packed, batch_first=True, total_length=length)[0]


def reversed_rows(sizes_L: Tensor) -> Tensor:
    """For each packed row the row at its place when every sentence is reversed."""
    steps = len(sizes_L)
    step_R = torch.repeat_interleave(torch.arange(steps), sizes_L)
    first_L = sizes_L.cumsum(0) - sizes_L
    rank_R = torch.arange(len(step_R)) - first_L[step_R]
    length_N = (sizes_L[:, None] > torch.arange(int(sizes_L[0]))).sum(0)
    return first_L[length_N[rank_R] - 1 - step_R] + rank_R


def recurrence(inputs_DRG: Tensor, weight_DGH: Tensor, sizes: Sequence[int]) -> Tensor:
    """States [D, R, H] of packed rows, from the inputs' part of the gate sums and the recurrent weights.

    Runs in the precision of the weights, also under autocast: rounding errors would add up over the steps.
    """
    with torch.autocast(inputs_DRG.device.type, enabled=False):
        arguments = inputs_DRG.to(weight_DGH.dtype), weight_DGH, sizes
        return cast("Tensor", Recurrence.apply(*arguments))  # type: ignore[no-untyped-call]


class Recurrence(torch.autograd.Function):
    """`unrolled_lstm`, with a backward pass that computes the weight gradient of all steps at once."""

    @staticmethod
    def forward(ctx: Any, inputs_DRG: Tensor, weight_DGH: Tensor, sizes: Sequence[int]) -> Tensor:
        states_DRH, cells_DRH, gates_DRG = unrolled_lstm(inputs_DRG, weight_DGH, sizes)
        ctx.save_for_backward(inputs_DRG, weight_DGH, states_DRH, cells_DRH, gates_DRG)
        ctx.sizes = sizes
        return states_DRH

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        inputs_DRG, weight_DGH, states_DRH, cells_DRH, gates_DRG = ctx.saved_tensors
        if torch.is_grad_enabled():  # double backward: let torch differentiate the forward pass
            repeated_DRH = unrolled_lstm(inputs_DRG, weight_DGH, ctx.sizes)[0]
            slopes = torch.autograd.grad(repeated_DRH, (inputs_DRG, weight_DGH), grads, create_graph=True)
            return *slopes, None
        slopes_DRG = backward_through_time(grads[0], weight_DGH, cells_DRH, gates_DRG, ctx.sizes)
        later_DXG = slopes_DRG[:, ctx.sizes[0] :]
        slope_DGH = later_DXG.transpose(1, 2) @ previous_rows(states_DRH, ctx.sizes)[:, ctx.sizes[0] :]
        return slopes_DRG, slope_DGH, None


def unrolled_lstm(
    inputs_DRG: Tensor, weight_DGH: Tensor, sizes: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """States, cells and gate values of every row; each sentence begins with state and cell 0."""
    weight_DHG = weight_DGH.transpose(1, 2)
    hidden = weight_DGH.shape[2]
    states: list[Tensor] = []
    cells: list[Tensor] = []
    gates: list[Tensor] = []
    for sums_DNG in torch.split(inputs_DRG, list(sizes), 1):
        n = sums_DNG.shape[1]
        if states:
            sums_DNG = torch.baddbmm(sums_DNG, states[-1][:, :n], weight_DHG)
        input_gate, forget_gate = sums_DNG[..., : 2 * hidden].sigmoid().chunk(2, -1)
        candidate = sums_DNG[..., 2 * hidden : 3 * hidden].tanh()
        output_gate = sums_DNG[..., 3 * hidden :].sigmoid()
        # in this order of products, which decides the last bits of the second derivative
        if cells:
            cell_DNH = forget_gate * cells[-1][:, :n] + input_gate * candidate
        else:
            cell_DNH = input_gate * candidate
        cells.append(cell_DNH)
        states.append(output_gate * cell_DNH.tanh())
        gates.append(torch.cat([input_gate, forget_gate, candidate, output_gate], -1))
    return torch.cat(states, 1), torch.cat(cells, 1), torch.cat(gates, 1)


def backward_through_time(
    grads_DRH: Tensor, weight_DGH: Tensor, cells_DRH: Tensor, gates_DRG: Tensor, sizes: Sequence[int]
) -> Tensor:
    """Gradients of all gate sums, [D, R, G], from the gradients of the states."""
    input_gate, forget_gate, candidate, output_gate = gates_DRG.chunk(4, -1)
    tanhs_DRH = cells_DRH.tanh()
    # Derivatives within a row depend on no other step, so they are computed for all rows at once.
    to_cell_DRH = output_gate * (1 - tanhs_DRH.square())
    to_state_DRH = tanhs_DRH * output_gate * (1 - output_gate)
    slopes_DRG = torch.cat(
        [
            candidate * input_gate * (1 - input_gate),
            previous_rows(cells_DRH, sizes) * forget_gate * (1 - forget_gate),
            input_gate * (1 - candidate.square()),
            to_state_DRH,
        ],
        -1,
    )
    carried_DNH = torch.zeros_like(cells_DRH[:, : sizes[0]])
    cell_DNH = torch.zeros_like(carried_DNH)  # gradients from later steps; 0 at the end of a sentence
    d, end, hidden = len(cells_DRH), cells_DRH.shape[1], cells_DRH.shape[2]
    for n in reversed(sizes):
        rows = slice(end - n, end)
        state = grads_DRH[:, rows] + carried_DNH[:, :n]
        cell = cell_DNH[:, :n]
        cell += state * to_cell_DRH[:, rows]
        slopes = slopes_DRG[:, rows]
        slopes.view(d, n, 4, hidden)[:, :, :3].mul_(cell[:, :, None])
        slopes[..., 3 * hidden :].mul_(state)
        cell *= forget_gate[:, rows]
        carried_DNH[:, :n] = slopes @ weight_DGH
        end -= n
    return slopes_DRG


def previous_rows(rows_DRH: Tensor, sizes: Sequence[int]) -> Tensor:
    """For each packed row the row of the step before; 0 in the first step."""
    steps = torch.split(rows_DRH, list(sizes), 1)
    earlier = [rows[:, :n] for rows, n in zip(steps, sizes[1:], strict=False)]
    return torch.cat([torch.zeros_like(steps[0]), *earlier], 1)
