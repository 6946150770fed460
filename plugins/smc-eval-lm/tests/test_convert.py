"""The converter of GGUF files: what it refuses, and that a converted net is the one in the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from smc_eval_lm.convert import convert

from smc_eval.errors import ModelError
from smc_eval.tasks.backbone import find_backbone


def test_what_is_no_gguf_file_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no such file"):
        convert(tmp_path / "absent.gguf", tmp_path / "net")
    (tmp_path / "zip.gguf").write_bytes(b"PK\x03\x04 and more")
    with pytest.raises(ModelError, match=r"begins with b'PK\\x03\\x04'; wanted a GGUF file"):
        convert(tmp_path / "zip.gguf", tmp_path / "net")
    assert not (tmp_path / "net").exists()


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "notes.txt").write_text("mine")
    (tmp_path / "net.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelError, match="exists; name a new folder"):
        convert(tmp_path / "net.gguf", tmp_path / "net")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="gguf, which reads such files, is not installed")
    (tmp_path / "net.gguf").write_bytes(b"GGUF\x03\x00\x00\x00")
    with pytest.raises(ModelError, match="transformers cannot read"):
        convert(tmp_path / "net.gguf", tmp_path / "net")
    assert not (tmp_path / "net").exists()


def test_a_net_in_single_precision_comes_back_as_it_was(tmp_path: Path) -> None:
    import torch

    gguf = pytest.importorskip("gguf", reason="gguf, which writes such files, is not installed")
    file, weights = tmp_path / "net.gguf", write_llama(gguf, tmp_path / "net.gguf")
    assert convert(file, tmp_path / "net") == sum(weight.numel() for weight in weights.values())
    from smc_eval_lm.model_kind import CausalLanguageModel

    net = find_backbone(str(tmp_path / "net"), CausalLanguageModel()).load()
    found = dict(net.named_parameters())
    assert found.keys() == weights.keys()
    for name, weight in weights.items():
        assert torch.equal(found[name], weight), name


def write_llama(gguf, file: Path):
    """A GGUF file of a Llama of one block with two heads; its weights by the names of transformers."""
    import torch

    torch.manual_seed(0)
    width, inner, words = 32, 64, ["<unk>", "<s>", "</s>", "▁the", "▁mill", "e", "h", "t"]
    writer = gguf.GGUFWriter(str(file), "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // 2)
    writer.add_vocab_size(len(words))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(words)
    writer.add_token_scores([0.0] * len(words))
    writer.add_token_types([2, 3, 3, 1, 1, 1, 1, 1])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    shapes = {
        "token_embd": ("model.embed_tokens", (len(words), width)),
        "blk.0.attn_q": ("model.layers.0.self_attn.q_proj", (width, width)),
        "blk.0.attn_k": ("model.layers.0.self_attn.k_proj", (width, width)),
        "blk.0.attn_v": ("model.layers.0.self_attn.v_proj", (width, width)),
        "blk.0.attn_output": ("model.layers.0.self_attn.o_proj", (width, width)),
        "blk.0.ffn_gate": ("model.layers.0.mlp.gate_proj", (inner, width)),
        "blk.0.ffn_up": ("model.layers.0.mlp.up_proj", (inner, width)),
        "blk.0.ffn_down": ("model.layers.0.mlp.down_proj", (width, inner)),
        "blk.0.attn_norm": ("model.layers.0.input_layernorm", (width,)),
        "blk.0.ffn_norm": ("model.layers.0.post_attention_layernorm", (width,)),
        "output_norm": ("model.norm", (width,)),
        "output": ("lm_head", (len(words), width)),
    }
    weights = {}
    for own, (theirs, shape) in shapes.items():
        weight = torch.randn(shape)
        weights[f"{theirs}.weight"] = weight
        if own.endswith(("attn_q", "attn_k")):  # GGUF interleaves the halves of each head
            weight = weight.view(2, 2, width // 4, width).transpose(1, 2).reshape(width, width)
        writer.add_tensor(f"{own}.weight", weight.numpy().copy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return weights
