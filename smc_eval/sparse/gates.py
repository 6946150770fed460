"""Recurrent layers gate by gate, for tracing: sums of products of positive numbers.

Shapes: N sequences, R rows of all steps together, H features of a state, P features that are passed on,
X gates times H, G directions times layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from smc_eval.sparse.unrolled import like_inputs, step_rows, through_layers
from smc_eval.sparse.varying import dual

State = tuple[Tensor, Tensor]
"""What a layer passes on, and its memory; they are one tensor unless it is an LSTM."""


def leveled(x: Tensor) -> Tensor:
    """Divide by a power of two near the maximum, so that numbers neither overflow nor vanish.

    It is one constant for all elements: what is the same at two positions stays the same.
    """
    top = x.detach().amax() if x.numel() else x.new_ones(())
    return x * _still(torch.where(top > 0, top, 1).log2().round().neg().exp2())


def _still(x: Tensor) -> Tensor:
    """A constant whose moving terms are written out as 0: torch is slow where they are not."""
    return dual(x, torch.zeros_like(x))


def curved(x: Tensor) -> Tensor:
    """A function that is 0 at 0 and has a second derivative: y + y², where y is x on a level near 1."""
    return bent(leveled(x))


def bent(y: Tensor) -> Tensor:
    """The same of what is on its level already."""
    return torch.addcmul(y, y, y)


def half_open(x: Tensor) -> Tensor:
    """The same with a constant, for a function that is not 0 at 0."""
    return opened(leveled(x))


def opened(y: Tensor) -> Tensor:
    """The same of what is on its level already."""
    return bent(y) + 1


def traced_layer(
    layer: nn.RNNBase, inputs: Tensor | PackedSequence, hx: Tensor | State | None = None
) -> tuple[Tensor | PackedSequence, Tensor | State]:
    """The traced forward pass of an RNN, GRU or LSTM, of one or more layers and directions."""
    rows, sizes = step_rows(layer, inputs)
    first = _first(layer, inputs, hx, sizes[0], rows)
    rows, last = through_layers(
        layer,
        rows,
        lambda below, number, end: _read(layer, below, sizes, (first[0][number], first[1][number]), end),
    )
    ends = [like_inputs(layer, inputs, rows, torch.stack(parts)) for parts in zip(*last, strict=True)]
    passed, memory = (end if isinstance(end, Tensor) else end[0] for _, end in ends)
    return ends[0][0], (passed, memory) if layer.mode == "LSTM" else passed


def traced_cell(layer: nn.RNNCellBase, inputs: Tensor, hx: Tensor | State | None = None) -> Tensor | State:
    """The traced step of an RNNCell, GRUCell or LSTMCell."""
    zero = inputs.new_zeros(*inputs.shape[:-1], layer.hidden_size)
    state = (zero, zero) if hx is None else hx if isinstance(hx, tuple) else (hx, hx)
    state = _step(_kind(layer), _times(inputs, layer.weight_ih, layer.bias_ih), state, layer, "")
    return state if isinstance(layer, nn.LSTMCell) else state[0]


def _read(
    layer: nn.RNNBase, rows: Tensor, sizes: Sequence[int], state: State, end: str
) -> tuple[Tensor, State]:
    """What one direction of one layer passes on for all rows, and its last state."""
    bias = getattr(layer, f"bias_ih_{end}") if layer.bias else None
    steps = torch.split(_times(rows, getattr(layer, f"weight_ih_{end}"), bias), list(sizes))
    passed = []
    for step in reversed(steps) if end.endswith("reverse") else steps:
        n = len(step)
        new = _step(_kind(layer), step, (state[0][:n], state[1][:n]), layer, f"_{end}")
        passed.append(new[0])
        # backwards, shorter sequences begin later
        rest = (state[0][n:], state[1][n:])
        state = new if not len(rest[0]) else (torch.cat([new[0], rest[0]]), torch.cat([new[1], rest[1]]))
    return torch.cat(passed[::-1] if end.endswith("reverse") else passed), state


def _step(kind: str, sums_NX: Tensor, state: State, layer: Any, end: str) -> State:
    """One step: the new state from the gates' sums over the input, and from the state before."""
    passed_NP, memory_NH = state
    bias = getattr(layer, f"bias_hh{end}") if layer.bias else None
    recurrent_NX = _times(passed_NP, getattr(layer, f"weight_hh{end}"), bias)
    if kind == "GRU":
        reset, update = (opened(y) for y in leveled(sums_NX + recurrent_NX).chunk(3, -1)[:2])
        new = curved(sums_NX.chunk(3, -1)[2] + reset * recurrent_NX.chunk(3, -1)[2])
        passed_NP = leveled(new * (1 + update) + update * passed_NP)
        return passed_NP, passed_NP
    if kind != "LSTM":
        total = sums_NX + recurrent_NX
        passed_NP = leveled(total) if kind == "RNN_RELU" else curved(total)
        return passed_NP, passed_NP
    # the gates share one level: their numbers are alike
    input_, forget, cell, output = leveled(sums_NX + recurrent_NX).chunk(4, -1)
    memory_NH = leveled(opened(forget) * memory_NH + opened(input_) * bent(cell))
    passed_NP = opened(output) * bent(memory_NH)
    if getattr(layer, "proj_size", 0):
        passed_NP = passed_NP @ getattr(layer, f"weight_hr{end}").T
    return leveled(passed_NP), memory_NH


def _kind(layer: nn.RNNBase | nn.RNNCellBase) -> str:
    match layer:
        case nn.RNNBase():
            return layer.mode
        case nn.GRUCell():
            return "GRU"
        case nn.LSTMCell():
            return "LSTM"
    return "RNN_RELU" if getattr(layer, "nonlinearity", "") == "relu" else "RNN_TANH"


def _times(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    product = x @ weight.T
    return product if bias is None else product + bias


def _first(
    layer: nn.RNNBase,
    inputs: Tensor | PackedSequence,
    hx: Tensor | State | None,
    n: int,
    like: Tensor,
) -> State:
    """The first states of all layers and directions, [G, N, P] and [G, N, H], in the order of the rows."""
    if hx is None:
        lines, wide = layer.num_layers * (1 + layer.bidirectional), layer.hidden_size
        zeros = like.new_zeros(lines, n, layer.proj_size or wide)
        return zeros, zeros if layer.mode != "LSTM" else like.new_zeros(lines, n, wide)
    passed, memory = hx if isinstance(hx, tuple) else (hx, hx)
    if isinstance(inputs, PackedSequence) and inputs.sorted_indices is not None:
        passed, memory = (x.index_select(-2, inputs.sorted_indices) for x in (passed, memory))
    return tuple(x if x.ndim == 3 else x.unsqueeze(1) for x in (passed, memory))  # type: ignore[return-value]
