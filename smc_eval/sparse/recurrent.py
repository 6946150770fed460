"""Rows that the weights of a recurrent layer multiply: inputs, and the hidden states before each step.

Shapes: R rows of all steps together, in the order of a packed sequence, L steps, N sentences,
I inputs, H hidden, D directions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

RECURRENT_LAYERS: dict[str, tuple[Callable[..., nn.RNNBase], dict[str, Any]]] = {
    "LSTM": (nn.LSTM, {}),
    "GRU": (nn.GRU, {}),
    "RNN_TANH": (nn.RNN, {"nonlinearity": "tanh"}),
    "RNN_RELU": (nn.RNN, {"nonlinearity": "relu"}),
}


def lower_layers(module: nn.RNNBase) -> list[nn.RNNBase]:
    """Each layer but the last, as a module of its own that runs torch's kernels, whatever the whole runs."""
    return [_layer(module, number) for number in range(module.num_layers - 1)]


def _layer(module: nn.RNNBase, number: int) -> nn.RNNBase:
    """A layer with copies of its weights; accelerators need them next to each other in memory."""
    kind, more = RECURRENT_LAYERS[module.mode]
    width = (
        module.input_size if not number else _directions(module) * (module.proj_size or module.hidden_size)
    )
    if module.proj_size:
        more = more | {"proj_size": module.proj_size}
    weight = module.get_parameter("weight_hh_l0")
    layer = kind(
        width,
        module.hidden_size,
        bias=module.bias,
        bidirectional=module.bidirectional,
        device="meta",  # so that no random number is drawn
        dtype=weight.dtype,
        **more,
    ).to_empty(device=weight.device)
    own = {name: getattr(module, name.replace("_l0", f"_l{number}")) for name, _ in layer.named_parameters()}
    layer.load_state_dict(own)
    return layer


def multiplied_rows(
    module: nn.RNNBase,
    lower: Sequence[nn.RNNBase],
    inputs: Tensor | PackedSequence,
    hx: Any,
    output: Tensor | PackedSequence,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Each weight of a recurrent layer that ran without dropout, and the rows it multiplied.

    `weight_ih` multiplied a layer's inputs, `weight_hh` the hidden states before each step. The
    states of the last layer are the output; those of the `lower` layers are computed again.
    """
    rows_RI, sizes_L, order_N = packed_rows(inputs, batch_first=module.batch_first)
    sizes, directions = sizes_L.tolist(), _directions(module)
    for number in range(module.num_layers):
        first = initial_states(hx, slice(number * directions, (number + 1) * directions), order_N)
        if number < len(lower):
            states_RX = lower[number](PackedSequence(rows_RI, sizes_L), first)[0].data
        else:
            states_RX = packed_rows(output, batch_first=module.batch_first)[0]
        hidden = first[0] if isinstance(first, tuple) else first
        for at, states_RH in enumerate(states_RX.chunk(directions, -1)):
            name = f"l{number}" + ("_reverse" if at else "")
            start_NH = states_RH.new_zeros(sizes[0], states_RH.shape[1]) if hidden is None else hidden[at]
            yield getattr(module, f"weight_ih_{name}"), rows_RI
            yield (
                getattr(module, f"weight_hh_{name}"),
                states_before(states_RH, start_NH, sizes, reverse=bool(at)),
            )
        rows_RI = states_RX


def _directions(module: nn.RNNBase) -> int:
    return 2 if module.bidirectional else 1


def packed_rows(
    sentences: Tensor | PackedSequence, *, batch_first: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Sentences as rows, step by step; the number of rows of each step; the order of the sentences."""
    if isinstance(sentences, PackedSequence):
        return sentences.data, sentences.batch_sizes, sentences.sorted_indices
    if sentences.ndim == 2:  # one sentence, not in a batch
        sentences = sentences[:, None]
    elif batch_first:
        sentences = sentences.transpose(0, 1)
    steps, number = sentences.shape[:2]
    return sentences.reshape(steps * number, -1), torch.full((steps,), number), None


def initial_states(hx: Any, own: slice, order_N: Tensor | None) -> Any:
    """The first states of a layer, [D, N, H] each, in the order of its rows; None where they are 0."""
    if hx is None:
        return None
    if isinstance(hx, tuple):
        return tuple(initial_states(states, own, order_N) for states in hx)
    states_DNH = (hx if hx.ndim == 3 else hx[:, None])[own]
    return states_DNH if order_N is None else states_DNH[:, order_N]


def states_before(states_RH: Tensor, first_NH: Tensor, sizes: Sequence[int], *, reverse: bool) -> Tensor:
    """The state before the step of each row: the state after the step read before, or the first state."""
    steps = torch.split(states_RH, list(sizes))
    if not reverse:
        earlier = [state[:n] for state, n in zip(steps, sizes[1:], strict=False)]
        return torch.cat([first_NH[: sizes[0]], *earlier])
    later = [*steps[1:], states_RH[:0]]  # a row without a later step begins here
    return torch.cat(
        [torch.cat([state, first_NH[len(state) : n]]) for state, n in zip(later, sizes, strict=True)]
    )
