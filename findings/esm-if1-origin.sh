#!/bin/sh
# Whether the states of ESM-IF1 change when a whole protein is moved.
#
# 2026-11-29; Python 3.11, torch 2.13.0 (CPU), fair-esm 2.0.0, torch_geometric 2.8.1, biotite 1.6.0.
#
# ESM-IF1 is built of layers that do not see how a protein is turned or moved. But its batches have a begin and an end without coordinates,
# and places without coordinates get zeros: they lie in the origin of the file. Directions and angles of the first and the last
# residue point there, and so do those beside a gap. Moving a helix by 100 Å changes the states of its ends, and by attention a little
# those of all residues. Turning it about the origin changes nothing. Comparing numbers needs a common origin, such as the mean of CA.
#
# The weights are random. The script ends with an error if this changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 fair-esm==2.0.0 torch_geometric==2.8.1 biotite==1.6.0 scipy==1.17.1
cd "$folder"
venv/bin/python - <<'PYTHON'
import argparse
import sys
import types

import biotite.structure
import numpy as np
import torch

# fair-esm 2.0.0 asks for torch_scatter, of which the encoder uses nothing, and for an older name of biotite's
scatter = types.ModuleType("torch_scatter")
scatter.scatter_add = scatter.scatter = None
sys.modules["torch_scatter"] = scatter
biotite.structure.filter_backbone = biotite.structure.filter_peptide_backbone

import esm
from esm.inverse_folding.gvp_transformer import GVPTransformerModel
from esm.inverse_folding.util import CoordBatchConverter

sizes = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in (("embed_dim", 48), ("layers", 2), ("attention_heads", 4), ("ffn_embed_dim", 96))}
graph = {"num_encoder_layers": 2, "node_hidden_dim_scalar": 24, "node_hidden_dim_vector": 8, "edge_hidden_dim_scalar": 12, "edge_hidden_dim_vector": 1, "top_k_neighbors": 30, "dropout": 0.0}
alphabet = esm.Alphabet.from_architecture("invariant_gvp")
torch.manual_seed(0)
model = GVPTransformerModel(argparse.Namespace(dropout=0.0, attention_dropout=0.0, **sizes, **{f"gvp_{k}": v for k, v in graph.items()}), alphabet).eval()

turns, rises = np.radians(100) * np.arange(40), 1.5 * np.arange(40)
helix = np.stack([np.stack([r * np.cos(turns + a), r * np.sin(turns + a), rises + z], -1) for r, a, z in ((1.5, -0.5, -0.9), (2.3, 0.0, 0.0), (1.6, 0.46, 1.1))], 1)


def states(coordinates):
    placed, confidence, _, _, padding = CoordBatchConverter(alphabet)([(coordinates.astype(np.float32), None, None)])
    with torch.no_grad():
        return model.encoder(placed, padding, confidence)["encoder_out"][0][1:-1, 0]


first = states(helix)
turned = states(helix @ np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]]).T)
moved = states(helix + np.array([0, 100.0, 0]))
for name, other in (("turned", turned), ("moved by 100 Å", moved)):
    change = (first - other).abs().amax(-1)
    print(f"{name}: the largest change of a state is {change.max():.3g} (first residue {change[0]:.3g}, middle {change[20]:.3g}, last {change[-1]:.3g})")
assert (first - turned).abs().max() < 1e-3 < 0.05 < (first - moved).abs().max()
PYTHON
