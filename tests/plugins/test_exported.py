"""The causal language model of a stranger is taken home as any other net."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from smc_eval.store.records import RecordsFile
from smc_eval.store.stored_net import StoredNet

Invoke = Callable[..., Any]


@pytest.mark.slow
def test_a_causal_language_model_is_taken_home_and_scored_again(invoke: Invoke) -> None:
    words = ("--tasks", "next-letter", "--quiet", "--no-dense")
    cell = ("--method", "random-before", "--sparsity", "0.6", "--recipe", "steps=5", "--keep", "final")
    assert invoke("--model", "tiny", *words, *cell, "--output", "s").exit_code == 0
    ended = invoke("export", "s", "random-before@0.6", "--to", "out", "--quiet")
    assert ended.exit_code == 0, ended.output
    (folder,) = Path("s/nets").iterdir()
    net = StoredNet.read(folder)
    assert net is not None
    assert json.loads(Path("out/config.json").read_text())["architectures"] == ["LlamaForCausalLM"]
    own = transformers.LlamaForCausalLM.from_pretrained("out").eval()
    every = {**dict(own.named_parameters()), **dict(own.named_buffers())}
    assert all(torch.equal(every[name], tensor) for name, tensor in net.tensors.items())
    tokenizer = transformers.AutoTokenizer.from_pretrained("out")
    inputs = tokenizer("the cat sat", return_tensors="pt")["input_ids"]
    base = transformers.AutoModel.from_pretrained("out").eval()
    with torch.no_grad():
        assert torch.equal(own.model(inputs).last_hidden_state, base(inputs).last_hidden_state)
    again = ("--method", "from-checkpoint", "--recipe", "steps=0", "--output", "again")
    assert invoke("--model", "out", *words, *again).exit_code == 0
    (first,), (last,) = (RecordsFile(Path(place)).latest().values() for place in ("s", "again"))
    assert last.score == first.score
