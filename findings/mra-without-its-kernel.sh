#!/bin/sh
# What transformers computes for an MRA model on a machine without its CUDA kernel.
#
# 2026-11-29; Python 3.11, torch 2.13.0 (CPU), transformers 5.23.0.
#
# MRA (multi-resolution attention) has its attention in a CUDA kernel, which transformers fetches from the hub. Where
# it is missing, one would expect an error, or a slower attention in plain torch. Instead the model runs without an error, and its attention adds
# nothing: the state of a token is the same whatever the other tokens are. A score of such a model is that of a
# net that reads one token at a time.
#
# The script ends with an error if this changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 transformers==5.23.0
cd "$folder"
HF_HUB_OFFLINE=1 venv/bin/python - <<'PYTHON'
import torch
from transformers import BertConfig, BertModel, MraConfig, MraModel

sizes = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 128,
}
torch.manual_seed(0)
first = torch.randint(0, 50, (1, 128))
second = first.clone()
second[0, 1:] = torch.randint(0, 50, (127,))
for kind, net in (("MRA", MraModel(MraConfig(**sizes))), ("BERT", BertModel(BertConfig(**sizes)))):
    net.eval()
    with torch.no_grad():
        states = [net(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0, 0] for ids in (first, second)]
    difference = float((states[0] - states[1]).abs().max())
    print(f"{kind}: the state of token 0 changes by {difference:.3g} when all other tokens change")
    assert (difference == 0) == (kind == "MRA")
PYTHON
