"""The graph encoder: residues and their nearest neighbours, read by layers of vector perceptrons.

Hsu et al. (2022), Learning inverse folding from millions of predicted structures; features of Jing et al.
(2021), arXiv:2009.01411.
Shapes: N proteins, L places, R real places of all proteins, E edges, K neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from smc_eval_structures import geometry
from smc_eval_structures.config import EDGE_FEATURES, NODE_FEATURES, EncoderConfig
from smc_eval_structures.perceptron import ChannelNorm, Channels, MessageLayer, Perceptron, Width

POSITIONS = 16
"""Features of the difference of two places in the sequence."""

FARTHEST_BIN = 20.0
"""Centre of the last bin of distances, in Å."""


class GraphEncoder(nn.Module):
    """Node scalars and vectors of each real place."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        nodes = Width(config.node_scalars, config.node_vectors)
        edges = Width(config.edge_scalars, config.edge_vectors)
        self.neighbours = config.neighbours
        self.node_in = Perceptron(Width(*NODE_FEATURES), nodes, gated=False)
        self.node_norm = ChannelNorm(nodes)
        self.edge_in = Perceptron(Width(*EDGE_FEATURES), edges, gated=False)
        self.edge_norm = ChannelNorm(edges)
        self.confidence_in = nn.Linear(geometry.BINS, config.node_scalars)
        self.layers = nn.ModuleList(
            MessageLayer(nodes, edges, config.graph_dropout) for _ in range(config.graph_layers)
        )

    def forward(
        self,
        features: Channels,
        confidence_RB: Tensor,
        edge_features: Channels,
        ends_2E: Tensor,
        run: Callable[..., Any],
    ) -> Channels:
        """Nodes from the features of places, the bins of their confidence, and their edges.

        `run` calls a layer.
        """
        nodes = self.node_norm(self.node_in(features))
        nodes = Channels(nodes.scalars + self.confidence_in(confidence_RB), nodes.vectors)
        edges = self.edge_norm(self.edge_in(edge_features))
        for layer in self.layers:
            nodes = run(layer, nodes, edges, ends_2E)
        return cast("Channels", nodes)


def nearest(atoms_NL33: Tensor, present_NL: Tensor, neighbours: int) -> Tensor:
    """Protein, sender and receiver of each edge: [3, E], places counted in their protein.

    A residue with coordinates sends to the nearest ones of its protein that have some, by the distance of
    CA, itself included.
    """
    ca_NL3 = atoms_NL33[:, :, 1]
    distances_NLL = geometry.length(ca_NL3[:, None] - ca_NL3[:, :, None])
    pairs_NLL = present_NL[:, None] & present_NL[:, :, None]
    distances_NLL = distances_NLL.masked_fill(~pairs_NLL, torch.inf)
    found = distances_NLL.sort(dim=-1, stable=True)  # of equally near ones the first, whatever the padding
    proteins_E, senders_E, ranks_E = found.values[..., :neighbours].isfinite().nonzero(as_tuple=True)
    return torch.stack([proteins_E, senders_E, found.indices[proteins_E, senders_E, ranks_E]])


def edge_features(atoms_NL33: Tensor, edges_3E: Tensor) -> Channels:
    """Distance, difference of places, and direction from receiver to sender, of each edge.

    The last two scalars say that an end has no coordinates. No such edge is made, so they are 0.
    """
    proteins_E, senders_E, receivers_E = edges_3E
    ca_NL3 = atoms_NL33[:, :, 1]
    between_E3 = ca_NL3[proteins_E, senders_E] - ca_NL3[proteins_E, receivers_E]
    distance_EB = geometry.smooth_bins(geometry.length(between_E3), 0.0, FARTHEST_BIN)
    scalars = torch.cat(
        [distance_EB, place_features(senders_E - receivers_E), distance_EB.new_zeros(len(distance_EB), 2)], -1
    )
    return Channels(scalars, geometry.direction(between_E3)[..., None])


def place_features(differences_E: Tensor) -> Tensor:
    """Cosines and sines of differences of places, at frequencies from 1 down to 1/10,000: [E, POSITIONS]."""
    steps = torch.arange(0, POSITIONS, 2, dtype=torch.float32, device=differences_E.device)
    angles = differences_E[:, None] * torch.exp(steps * (-math.log(10_000.0) / POSITIONS))
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
