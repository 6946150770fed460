"""The structure encoder of ESM-IF1: a graph encoder and a transformer over backbone coordinates.

Hsu et al. (2022), Learning inverse folding from millions of predicted structures,
https://proceedings.mlr.press/v162/hsu22a.html. Shapes: N proteins, L places, R real places of all proteins,
H features of a state. A place is a residue, or the begin or end of a chain.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from smc_eval_structures import geometry
from smc_eval_structures.config import EncoderConfig
from smc_eval_structures.graph import GraphEncoder, edge_features, nearest
from smc_eval_structures.perceptron import Channels

FIRST_POSITION = 2
"""Number of the first place. Lower ones stood for padding."""

LOCAL_FEATURES = 15
"""Six of torsion angles, and three directions by their coordinates in the local frame."""


class StructureEncoder(nn.Module):
    """States of places, from backbone coordinates alone."""

    supports_gradient_checkpointing = True

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.recomputing: dict[str, Any] | None = None
        width = config.width
        self.token = nn.Parameter(torch.randn(width) * width**-0.5)
        """What the net reads in place of the unknown residue."""
        self.torsions_in = nn.Linear(6, width)
        self.torsions_norm = SpreadNorm(width)
        self.graph = GraphEncoder(config)
        self.graph_out = nn.Linear(config.node_scalars + 3 * config.node_vectors, width)
        self.confidence_in = nn.Linear(geometry.BINS, width)
        self.local_in = nn.Linear(LOCAL_FEATURES, width)
        self.layers = nn.ModuleList(TransformerLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)

    def activation_checkpointing_enable(self, activation_checkpointing_kwargs: Mapping[str, Any]) -> None:
        """Recompute the activations of each layer in the backward pass."""
        self.recomputing = dict(activation_checkpointing_kwargs)

    def activation_checkpointing_disable(self) -> None:
        """Keep all activations."""
        self.recomputing = None

    def run(self, layer: nn.Module, *inputs: Any) -> Any:
        """The output of a layer, whose activations are kept or recomputed."""
        if self.recomputing is None or not self.training:
            return layer(*inputs)
        return checkpoint(layer, *inputs, **self.recomputing)

    def forward(self, atoms_NL33: Tensor, present_NL: Tensor, real_NL: Tensor) -> Tensor:
        """States of shape [N, L, H].

        `atoms_NL33` are N, CA and C in Å, and zeros where there are no coordinates: in missing residues, at
        begin and end, in padding. Residues with all three atoms are `present_NL`; all but padding is
        `real_NL`. States of padding have no meaning.
        """
        states_NLH = self.embed(atoms_NL33, present_NL, real_NL)
        for layer in self.layers:
            states_NLH = self.run(layer, states_NLH, real_NL)
        return cast("Tensor", self.norm(states_NLH))

    def embed(self, atoms_NL33: Tensor, present_NL: Tensor, real_NL: Tensor) -> Tensor:
        """The input of the transformer, zero at padding."""
        config = self.config
        with torch.no_grad(), torch.autocast(atoms_NL33.device.type, enabled=False):
            torsions_R6 = geometry.torsions(atoms_NL33)[real_NL]
            # the transformer's own features have exact unit vectors, those of the graph nearly so
            exact_torsions_R6 = geometry.torsions(atoms_NL33, unit=partial(F.normalize, dim=-1))[real_NL]
            frames_R33 = geometry.local_frames(atoms_NL33)[real_NL]
            directions_R33 = torch.cat(
                [
                    geometry.neighbour_directions(atoms_NL33),
                    geometry.side_chain_directions(atoms_NL33)[:, :, None],
                ],
                dim=2,
            )[real_NL]
            present_R = present_NL[real_NL].float()
            confidence_RB = geometry.smooth_bins(present_R, 0.0, 1.0)
            edges_3E = nearest(atoms_NL33, present_NL, config.neighbours)
            edges = edge_features(atoms_NL33, edges_3E)
            number_NL = (real_NL.flatten().cumsum(0) - 1).view_as(real_NL)
            ends_2E = number_NL[edges_3E[0], edges_3E[1:]]
            positions_LH = sinusoids(real_NL.shape[1], config.width, atoms_NL33.device)
        scalars_R7 = torch.cat([torsions_R6, present_R[:, None]], dim=-1)
        nodes = self.graph(Channels(scalars_R7, directions_R33.mT), confidence_RB, edges, ends_2E, self.run)
        graph_R = torch.cat([nodes.scalars, geometry.in_frames(nodes.vectors.mT, frames_R33)], dim=-1)
        local_R15 = torch.cat([torsions_R6, geometry.in_frames(directions_R33, frames_R33)], dim=-1)
        embedded_RH = (
            self.token * math.sqrt(config.width)
            + self.torsions_norm(self.torsions_in(exact_torsions_R6))
            + self.graph_out(graph_R)
            + self.confidence_in(confidence_RB)
            + self.local_in(local_R15)
            + positions_LH.expand(*real_NL.shape, -1)[real_NL]
        )
        embedded_RH = F.dropout(embedded_RH, config.dropout, self.training)
        states_NLH = embedded_RH.new_zeros(*real_NL.shape, config.width)
        return states_NLH.masked_scatter(real_NL[..., None], embedded_RH)


class SpreadNorm(nn.Module):
    """Normalization by the standard deviation of a sample, as Ingraham et al. (2019) have it."""

    SMALL = 1e-6

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        spread = (x.var(-1, keepdim=True) + self.SMALL).sqrt()
        return self.gain * (x - x.mean(-1, keepdim=True)) / (spread + self.SMALL) + self.bias


class TransformerLayer(nn.Module):
    """Attention and feed-forward, each behind its norm."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width = config.width
        self.heads, self.dropout = config.heads, config.dropout
        self.attention_dropout = config.attention_dropout
        self.attention_norm = nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.feedforward_norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, config.inner)
        self.down = nn.Linear(config.inner, width)

    def forward(self, states_NLH: Tensor, real_NL: Tensor) -> Tensor:
        states_NLH = states_NLH + self._dropped(self.attention(self.attention_norm(states_NLH), real_NL))
        inner = F.relu(self.up(self.feedforward_norm(states_NLH)))
        return states_NLH + self._dropped(self.down(inner))

    def attention(self, states_NLH: Tensor, real_NL: Tensor) -> Tensor:
        """Attention to all real places."""
        query, key, value = (
            part(states_NLH).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=real_NL[:, None, None],
            dropout_p=self.attention_dropout if self.training else 0.0,
        )
        return cast("Tensor", self.out(mixed.transpose(1, 2).flatten(2)))

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


def sinusoids(places: int, width: int, device: torch.device) -> Tensor:
    """Sines and cosines of positions, of shape [places, width]. Vaswani et al. (2017), with halves apart."""
    half = width // 2
    steps = torch.arange(half, dtype=torch.float32, device=device)
    rates = torch.exp(steps * (-math.log(10_000) / max(1, half - 1)))
    numbers = torch.arange(FIRST_POSITION, FIRST_POSITION + places, dtype=torch.float32, device=device)
    angles = numbers[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
