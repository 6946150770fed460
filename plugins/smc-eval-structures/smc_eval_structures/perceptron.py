"""Geometric vector perceptrons: layers of scalars and vectors that commute with rotations.

Jing, Eismann, Suriana, Townshend & Dror (2021), Learning from Protein Structure with Geometric Vector
Perceptrons, arXiv:2009.01411; with the gates of Jing, Eismann, Soni & Dror (2021), arXiv:2106.03843.

Shapes: M nodes or edges, S scalars, V vectors, H hidden vectors. Vectors are [M, 3, V], with their channels
last, so every matrix is an `nn.Linear`: one that meets vectors has no bias, and treats x, y and z alike.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smc_eval_structures.geometry import length

LEAST = 1e-4
"""Added to the mean square of the vectors of a node before they are divided by its root."""


class Width(NamedTuple):
    """Numbers of channels."""

    scalars: int
    vectors: int


class Channels(NamedTuple):
    """Scalars [M, S] and vectors [M, 3, V] of some nodes or edges."""

    scalars: Tensor
    vectors: Tensor

    def plus(self, other: Channels) -> Channels:
        """The sum, channel by channel."""
        return Channels(self.scalars + other.scalars, self.vectors + other.vectors)

    def at(self, places: Tensor) -> Channels:
        """The channels of some nodes, in this order."""
        return Channels(self.scalars[places], self.vectors[places])


def side_by_side(*parts: Channels) -> Channels:
    """The channels of several parts, one part after the other."""
    return Channels(*(torch.cat(tensors, dim=-1) for tensors in zip(*parts, strict=True)))


class Perceptron(nn.Module):
    """One geometric vector perceptron; linear, or with ReLU and gated vectors."""

    def __init__(self, inputs: Width, outputs: Width, *, gated: bool) -> None:
        super().__init__()
        hidden = max(inputs.vectors, outputs.vectors)
        self.hidden = nn.Linear(inputs.vectors, hidden, bias=False)
        self.scalars = nn.Linear(inputs.scalars + hidden, outputs.scalars)
        self.vectors = nn.Linear(hidden, outputs.vectors, bias=False)
        self.gate = nn.Linear(outputs.scalars, outputs.vectors) if gated else None

    def forward(self, inputs: Channels) -> Channels:
        hidden_M3H = self.hidden(inputs.vectors)
        lengths_MH = length(hidden_M3H, dim=-2)
        scalars_MS = self.scalars(torch.cat([inputs.scalars, lengths_MH.to(inputs.scalars.dtype)], dim=-1))
        vectors_M3V = self.vectors(hidden_M3H)
        if self.gate is None:
            return Channels(scalars_MS, vectors_M3V)
        scalars_MS = F.relu(scalars_MS)
        return Channels(scalars_MS, vectors_M3V * self.gate(scalars_MS).sigmoid()[..., None, :])


class ChannelNorm(nn.Module):
    """LayerNorm of the scalars; the vectors are divided by the root of their mean square length.

    Vectors that are nearly zero count as zero, and are left out of the mean.
    """

    def __init__(self, width: Width) -> None:
        super().__init__()
        self.scalars = nn.LayerNorm(width.scalars)

    def forward(self, inputs: Channels) -> Channels:
        squares_M1V = inputs.vectors.square().sum(-2, keepdim=True) + LEAST
        counted_M1V = squares_M1V > 2 * LEAST
        mean_M11 = (squares_M1V * counted_M1V).sum(-1, keepdim=True) / (
            LEAST + counted_M1V.sum(-1, keepdim=True)
        )
        return Channels(
            self.scalars(inputs.scalars), counted_M1V * (inputs.vectors / (mean_M11 + LEAST).sqrt())
        )


class ChannelDropout(nn.Module):
    """Dropout of scalars, and of whole vectors."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, inputs: Channels) -> Channels:
        if not self.training or not self.share:
            return inputs
        vectors_M3V = inputs.vectors
        kept_M1V = F.dropout(torch.ones_like(vectors_M3V[:, :1]), self.share)
        return Channels(F.dropout(inputs.scalars, self.share), vectors_M3V * kept_M1V)


class MessageLayer(nn.Module):
    """Each node adds the mean of its messages, then a transformation of itself.

    A message is made by three perceptrons from sender, edge and receiver.
    """

    def __init__(self, nodes: Width, edges: Width, dropout: float) -> None:
        super().__init__()
        whole = Width(2 * nodes.scalars + edges.scalars, 2 * nodes.vectors + edges.vectors)
        inner = Width(4 * nodes.scalars, 2 * nodes.vectors)
        self.message = nn.Sequential(
            Perceptron(whole, nodes, gated=True),
            Perceptron(nodes, nodes, gated=True),
            Perceptron(nodes, nodes, gated=False),
        )
        self.message_norm = ChannelNorm(nodes)
        self.update = nn.Sequential(
            Perceptron(nodes, inner, gated=True), Perceptron(inner, nodes, gated=False)
        )
        self.update_norm = ChannelNorm(nodes)
        self.dropout = ChannelDropout(dropout)

    def forward(self, nodes: Channels, edges: Channels, ends_2E: Tensor) -> Channels:
        """The nodes after one layer; edge e leads from node `ends_2E[0, e]` to node `ends_2E[1, e]`."""
        senders_E, receivers_E = ends_2E
        messages = self.message(side_by_side(nodes.at(senders_E), edges, nodes.at(receivers_E)))
        received = Channels(
            *(mean_at(receivers_E, part, len(nodes.scalars)) for part in cast("Channels", messages))
        )
        nodes = self.message_norm(nodes.plus(self.dropout(received)))
        return cast("Channels", self.update_norm(nodes.plus(self.dropout(self.update(nodes)))))


def mean_at(receivers_E: Tensor, messages: Tensor, nodes: int) -> Tensor:
    """The mean of the messages [E, ...] to each node, of shape [nodes, ...]; 0 for a node without any."""
    total = messages.new_zeros(nodes, *messages.shape[1:]).index_add_(0, receivers_E, messages)
    counts = torch.bincount(receivers_E, minlength=nodes).clamp(min=1).to(messages.dtype)
    return total / counts.view(-1, *[1] * (messages.ndim - 1))
