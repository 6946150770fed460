"""Recurrent layers in a linearised copy of a net: the new state is the sum of the sums of all gates.

Shapes: N sequences, L steps, R rows of all steps together, I inputs, H features of a state,
G directions times layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

RecurrentState = Tensor | tuple[Tensor, Tensor]

AnyState = TypeVar("AnyState")


def over_mean(x: Tensor, dims: int | tuple[int, ...] = -1) -> Tensor:
    """Divide by the detached mean, so that the mean is 1; 0 stays 0."""
    mean = x.detach().mean(dims, keepdim=True)
    return x / torch.where(mean > 0, mean, 1)


def unrolled(
    layer: nn.RNNBase, inputs: Tensor | PackedSequence, hx: RecurrentState | None = None
) -> tuple[Tensor | PackedSequence, RecurrentState]:
    """The shadow of the forward pass of an RNN, GRU or LSTM, of one or more layers and directions.

    A state is (W x + U h) divided by its detached mean, with W and U summed over the gates; an LSTM's
    cell equals its state. Every path through a layer passes one input weight, and one recurrent weight
    for each step that it stays in the layer.
    """
    rows_RI, sizes = step_rows(layer, inputs)
    first_GNH = _first(layer, inputs, hx, sizes[0], rows_RI)
    rows_RH, last = through_layers(
        layer, rows_RI, lambda rows, number, end: _read(layer, rows, sizes, first_GNH[number], end)
    )
    return like_inputs(layer, inputs, rows_RH, torch.stack(last))


def through_layers(
    layer: nn.RNNBase, rows: Tensor, read: Callable[[Tensor, int, str], tuple[Tensor, AnyState]]
) -> tuple[Tensor, list[AnyState]]:
    """Pass rows through all layers and directions; returns the last rows, and the last state of each.

    `read` gets the rows, the number of the direction among all, and the end of the names of its weights.
    """
    last = list[AnyState]()
    for number in range(layer.num_layers):
        both = []
        for end in (f"l{number}", f"l{number}_reverse")[: 1 + layer.bidirectional]:
            passed, state = read(rows, len(last), end)
            both.append(passed)
            last.append(state)
        rows = torch.cat(both, -1)
    return rows, last


def unrolled_cell(layer: nn.RNNCellBase, inputs: Tensor, hx: RecurrentState | None = None) -> RecurrentState:
    """The shadow of one step of an RNNCell, GRUCell or LSTMCell."""
    rows_NI = inputs if inputs.requires_grad else torch.ones_like(inputs, dtype=layer.weight_ih.dtype)
    state = rows_NI @ _gates(layer.weight_ih, layer.hidden_size).T
    if hx is not None:
        state = state + _joined(hx) @ _gates(layer.weight_hh, layer.hidden_size).T
    state = over_mean(state)
    return (state, state) if isinstance(layer, nn.LSTMCell) else state


def _read(
    layer: nn.RNNBase, rows_RI: Tensor, sizes: Sequence[int], state_NH: Tensor, end: str
) -> tuple[Tensor, Tensor]:
    """States of all rows in one direction of one layer, and the last state of each sequence."""
    back = end.endswith("reverse")
    recur_HH = _gates(getattr(layer, f"weight_hh_{end}"), layer.hidden_size).T
    out_HH = getattr(layer, f"weight_hr_{end}").T if layer.proj_size else None
    sums_RH = rows_RI @ _gates(getattr(layer, f"weight_ih_{end}"), layer.hidden_size).T
    steps = torch.split(sums_RH, list(sizes))
    states = []
    for step in reversed(steps) if back else steps:
        n = len(step)
        new_NH = step + state_NH[:n] @ recur_HH
        states.append(over_mean(new_NH if out_HH is None else new_NH @ out_HH))
        # backwards, shorter sequences begin later
        state_NH = torch.cat([states[-1], state_NH[n:]])
    return torch.cat(states[::-1] if back else states), state_NH


def _gates(weight_XI: Tensor, hidden: int) -> Tensor:
    """A layer's weights [gates * H, I], summed over the gates."""
    return weight_XI.view(-1, hidden, weight_XI.shape[1]).sum(0)


def _joined(hx: RecurrentState) -> Tensor:
    """One state for an LSTM's state and cell, which are equal here."""
    return hx if isinstance(hx, Tensor) else (hx[0] + hx[1]) / 2


def step_rows(layer: nn.RNNBase, inputs: Tensor | PackedSequence) -> tuple[Tensor, list[int]]:
    """The rows of all steps, one step after the other, and their number in each step; data counts as 1."""
    if isinstance(inputs, PackedSequence):
        rows_RI, sizes = inputs.data, inputs.batch_sizes.tolist()
    else:
        batch = inputs if inputs.ndim == 3 else inputs.unsqueeze(0 if layer.batch_first else 1)
        x_LNI = batch.transpose(0, 1) if layer.batch_first else batch
        rows_RI, sizes = x_LNI.flatten(0, 1), [x_LNI.shape[1]] * len(x_LNI)
    dtype = next(layer.parameters()).dtype
    return rows_RI if rows_RI.requires_grad else torch.ones_like(rows_RI, dtype=dtype), sizes


def _first(
    layer: nn.RNNBase, inputs: Tensor | PackedSequence, hx: RecurrentState | None, n: int, like: Tensor
) -> Tensor:
    """The first states of all layers and directions, [G, N, H], in the order of the rows."""
    if hx is None:
        lines = layer.num_layers * (1 + layer.bidirectional)
        return like.new_zeros(lines, n, layer.proj_size or layer.hidden_size)
    state = hx[0] if layer.proj_size else _joined(hx)
    state_GNH = state if state.ndim == 3 else state.unsqueeze(1)
    if isinstance(inputs, PackedSequence) and inputs.sorted_indices is not None:
        return state_GNH[:, inputs.sorted_indices]
    return state_GNH


def like_inputs(
    layer: nn.RNNBase, inputs: Tensor | PackedSequence, rows_RH: Tensor, last_GNH: Tensor
) -> tuple[Tensor | PackedSequence, RecurrentState]:
    """States and last states in the form that the layer itself returns."""
    if isinstance(inputs, PackedSequence):
        if inputs.unsorted_indices is not None:
            last_GNH = last_GNH[:, inputs.unsorted_indices]
        return inputs._replace(data=rows_RH), _last(layer, last_GNH)
    states_LNH = rows_RH.view(-1, last_GNH.shape[1], rows_RH.shape[1])
    states = states_LNH.transpose(0, 1) if layer.batch_first else states_LNH
    if inputs.ndim == 2:
        return states.squeeze(0 if layer.batch_first else 1), _last(layer, last_GNH.squeeze(1))
    return states, _last(layer, last_GNH)


def _last(layer: nn.RNNBase, state: Tensor) -> RecurrentState:
    return (state, state) if layer.mode == "LSTM" else state
