"""A published checkpoint of ESM-IF1 in small: its names, its arguments, and random tensors."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import torch
from smc_eval_structures.config import TINY
from smc_eval_structures.encoder import StructureEncoder

ARGUMENTS: dict[str, Any] = {
    "arch": "gvp_transformer_invariant_gvp",
    "encoder_embed_dim": 48, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_embed_dim": 96,
    "gvp_num_encoder_layers": 2, "gvp_node_hidden_dim_scalar": 16, "gvp_node_hidden_dim_vector": 4,
    "gvp_edge_hidden_dim_scalar": 8, "gvp_edge_hidden_dim_vector": 1, "gvp_top_k_neighbors": 6,
    "dropout": 0.0, "attention_dropout": 0.0, "gvp_dropout": 0.0,
}  # fmt: skip
"""Those of `--model tiny`."""

PERCEPTRON = (("wh", "hidden"), ("ws", "scalars"), ("wv", "vectors"), ("wg", "gate"))


def names() -> Iterator[tuple[str, str]]:
    """Published names of modules of the encoder, and ours."""
    graph = "gvp_encoder.embed_graph."
    for kind in ("node", "edge"):
        for theirs, ours in PERCEPTRON:
            yield f"{graph}embed_{kind}.0.{theirs}", f"graph.{kind}_in.{ours}"
        yield f"{graph}embed_{kind}.1.scalar_norm", f"graph.{kind}_norm.scalars"
    yield f"{graph}embed_confidence", "graph.confidence_in"
    for layer in range(2):
        theirs_, ours_ = f"gvp_encoder.encoder_layers.{layer}", f"graph.layers.{layer}"
        for theirs, ours in PERCEPTRON:
            for at in range(3):
                yield f"{theirs_}.conv.message_func.{at}.{theirs}", f"{ours_}.message.{at}.{ours}"
            for at in range(2):
                yield f"{theirs_}.ff_func.{at}.{theirs}", f"{ours_}.update.{at}.{ours}"
        yield f"{theirs_}.norm.0.scalar_norm", f"{ours_}.message_norm.scalars"
        yield f"{theirs_}.norm.1.scalar_norm", f"{ours_}.update_norm.scalars"
        for theirs, ours in (("q", "query"), ("k", "key"), ("v", "value"), ("out", "out")):
            yield f"layers.{layer}.self_attn.{theirs}_proj", f"layers.{layer}.{ours}"
        yield f"layers.{layer}.self_attn_layer_norm", f"layers.{layer}.attention_norm"
        yield f"layers.{layer}.fc1", f"layers.{layer}.up"
        yield f"layers.{layer}.fc2", f"layers.{layer}.down"
        yield f"layers.{layer}.final_layer_norm", f"layers.{layer}.feedforward_norm"
    yield "embed_dihedrals.node_embedding", "torsions_in"
    yield "embed_dihedrals.norm_nodes", "torsions_norm"
    yield "embed_gvp_output", "graph_out"
    yield "embed_gvp_input_features", "local_in"
    yield "embed_confidence", "confidence_in"
    yield "layer_norm", "norm"


def checkpoint() -> tuple[dict[str, Any], StructureEncoder]:
    """The content of a published file with random tensors, and our encoder with the same."""
    torch.manual_seed(5)
    encoder = StructureEncoder(TINY).eval()
    state, model = dict(encoder.state_dict()), {}
    for theirs, ours in names():
        for end in ("weight", "bias", "gain"):
            if f"{ours}.{end}" in state:
                model[f"encoder.{theirs}.{end}"] = state[f"{ours}.{end}"].clone()
    table = torch.randn(35, 48)
    table[32] = state["token"]  # <null_0> <pad> <eos> <unk>, 27 letters, <null_1>, then <mask> <cath> <af2>
    model["encoder.embed_tokens.weight"] = table
    model["encoder.embed_positions._float_tensor"] = torch.zeros(1)
    model["decoder.embed_tokens.weight"] = torch.randn(35, 48)
    return {"args": argparse.Namespace(**ARGUMENTS), "model": model}, encoder
