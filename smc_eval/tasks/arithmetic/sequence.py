"""A bidirectional LSTM over sentences of unlike lengths, whose training is quick on a CPU.

Shapes: N sentences, L positions, I inputs, D directions, G gates (4 H), H hidden.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable  # noqa: F401
from torch.nn import functional as F


class BiLSTM(nn.LSTM):
    """`nn.LSTM(batch_first=True, bidirectional=True)` on padded input, with the same parameters.

    Each direction reads a sentence's real positions only, as over a packed sequence. The weights'
    gradients are taken once a sentence instead of once a position, which halves the cost of a
    small batch; both directions share each step's product.
    """

    def __init__(self, inputs: int, hidden: int, layers: int, dropout: float) -> None:
        super().__init__(inputs, hidden, layers, dropout=dropout, batch_first=True, bidirectional=True)

    def forward(self, inputs_NLI: Tensor, lengths_N: Tensor) -> Tensor:  # type: ignore[override]
        """States of both directions side by side, [N, L, 2H]; what stands in padding is 0."""
        places_L = torch.arange(inputs_NLI.shape[1], device=inputs_NLI.device)
        real_NL = places_L < lengths_N[:, None]
        # a sentence read backwards ends in its padding too, so no state ever comes out of padding
        backward_NL = torch.where(real_NL, lengths_N[:, None] - 1 - places_L, places_L)
        states_NLI = inputs_NLI
        for layer in range(self.num_layers):
            if layer:
                states_NLI = F.dropout(states_NLI, self.dropout, self.training)
            states_NLI = self._layer(states_NLI, backward_NL, layer)
        return states_NLI * real_NL[..., None]

    def _layer(self, inputs_NLI: Tensor, backward_NL: Tensor, layer: int) -> Tensor:
        ahead_NLG = self._projected(inputs_NLI, f"l{layer}")
        back_NLG = turned(self._projected(inputs_NLI, f"l{layer}_reverse"), backward_NL)
        recurrent = [getattr(self, f"weight_hh_l{layer}{end}") for end in ("", "_reverse")]
        gates_LDNG = torch.stack([ahead_NLG, back_NLG]).permute(2, 0, 1, 3)
        states_LDNH = cast("Tensor", Recurrence.apply(gates_LDNG, torch.stack(recurrent)))
        ahead_NLH, back_NLH = states_LDNH.permute(1, 2, 0, 3)
        return torch.cat([ahead_NLH, turned(back_NLH, backward_NL)], -1)

    def _projected(self, inputs_NLI: Tensor, name: str) -> Tensor:
        bias = getattr(self, f"bias_ih_{name}") + getattr(self, f"bias_hh_{name}")
        return F.linear(inputs_NLI, getattr(self, f"weight_ih_{name}"), bias)


def turned(values_NLX: Tensor, backward_NL: Tensor) -> Tensor:
    """Every sentence in the order of the given positions."""
    return values_NLX.gather(1, backward_NL[..., None].expand_as(values_NLX))


class Recurrence(torch.autograd.Function):
    """States [L, D, N, H] from what the inputs put into the gates, [L, D, N, G], and weights [D, G, H]."""

    @staticmethod
    def forward(ctx: Any, inputs_LDNG: Tensor, weight_DGH: Tensor) -> Tensor:
        states_LDNH, cells_LDNH, gates_LDNG = unrolled(inputs_LDNG, weight_DGH)
        ctx.save_for_backward(inputs_LDNG, weight_DGH, states_LDNH, cells_LDNH, gates_LDNG)
        return states_LDNH

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        inputs_LDNG, weight_DGH, states_LDNH, cells_LDNH, gates_LDNG = ctx.saved_tensors
        if torch.is_grad_enabled():  # somebody wants a gradient of the gradient: torch knows it
            states_LDNH = unrolled(inputs_LDNG, weight_DGH)[0]
            return torch.autograd.grad(states_LDNH, (inputs_LDNG, weight_DGH), grads, create_graph=True)
        slopes_LDNG = through_time(grads[0], weight_DGH, cells_LDNH, gates_LDNG)
        _, d, _, g = slopes_LDNG.shape
        slopes_DXG = slopes_LDNG[1:].transpose(0, 1).reshape(d, -1, g)  # the first step has no state before it
        states_DXH = states_LDNH[:-1].transpose(0, 1).reshape(d, slopes_DXG.shape[1], -1)
        return slopes_LDNG, slopes_DXG.transpose(1, 2) @ states_DXH


def unrolled(inputs_LDNG: Tensor, weight_DGH: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """States, cells and opened gates of every step, from states and cells of zero."""
    weight_DHG = weight_DGH.transpose(1, 2)
    states: list[Tensor] = []
    cells: list[Tensor] = []
    opened: list[Tensor] = []
    h = weight_DGH.shape[2]
    for inputs_DNG in inputs_LDNG:
        sums_DNG = torch.baddbmm(inputs_DNG, states[-1], weight_DHG) if states else inputs_DNG
        enter, keep = sums_DNG[..., : 2 * h].sigmoid().chunk(2, -1)
        new, leave = sums_DNG[..., 2 * h : 3 * h].tanh(), sums_DNG[..., 3 * h :].sigmoid()
        cell_DNH = keep * cells[-1] + enter * new if cells else enter * new
        cells.append(cell_DNH)
        states.append(leave * cell_DNH.tanh())
        opened.append(torch.cat([enter, keep, new, leave], -1))
    return torch.stack(states), torch.stack(cells), torch.stack(opened)


def through_time(
    grads_LDNH: Tensor, weight_DGH: Tensor, cells_LDNH: Tensor, gates_LDNG: Tensor
) -> Tensor:
    """Gradients of every step's gate sums, [L, D, N, G], from those of its states."""
    slopes_LDNG = torch.empty_like(gates_LDNG)
    tanhs_LDNH = cells_LDNH.tanh()
    # everything that needs no later step, at once: slopes of sigmoid and tanh at every gate
    enter, keep, new, leave = gates_LDNG.chunk(4, -1)
    into_cell_LDNH = leave * (1 - tanhs_LDNH * tanhs_LDNH)
    before_LDNH = torch.cat([torch.zeros_like(cells_LDNH[:1]), cells_LDNH[:-1]])
    per_cell_LDNG = torch.cat(
        [new * enter * (1 - enter), before_LDNH * keep * (1 - keep), enter * (1 - new * new)], -1
    )
    per_state_LDNH = tanhs_LDNH * leave * (1 - leave)
    cell_DNH = torch.zeros_like(cells_LDNH[0])
    state_DNH = torch.zeros_like(cell_DNH)
    for step in reversed(range(len(grads_LDNH))):
        state_DNH = grads_LDNH[step] + state_DNH
        cell_DNH = cell_DNH + state_DNH * into_cell_LDNH[step]
        slopes_DNG = slopes_LDNG[step]
        torch.mul(cell_DNH.repeat(1, 1, 3), per_cell_LDNG[step], out=slopes_DNG[..., : 3 * cell_DNH.shape[-1]])
        torch.mul(state_DNH, per_state_LDNH[step], out=slopes_DNG[..., 3 * cell_DNH.shape[-1] :])
        cell_DNH = cell_DNH * keep[step]
        state_DNH = slopes_DNG @ weight_DGH
    return slopes_LDNG
