"""Which files of a checkpoint decide its net, and the faults that files show before anything is loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from smc_eval.errors import ModelError
from smc_eval.tasks import backbone
from smc_eval.tasks.checkpoint_files import packed_format, tensor_types
from smc_eval.tasks.text_encoder import TextEncoder

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Saves a very small BERT with its head; some fields of its config, and its tensors, may be others."""
    from transformers import BertConfig, BertForMaskedLM

    def save(tensors: dict[str, Tensor] | None = None, **changes: object) -> Path:
        folder = tmp_path / "bert"
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
        )
        BertForMaskedLM(config).save_pretrained(folder)
        own = load_file(folder / "model.safetensors")
        save_file(own | (tensors or {}), folder / "model.safetensors", {"format": "pt"})
        stored = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(stored | changes))
        return folder

    return save


def digest(folder: Path) -> str:
    return backbone.find_backbone(str(folder), TextEncoder()).source.digest


def refusal(folder: Path) -> str:
    """The refusal of a folder before anything is loaded: one line that names the model."""
    with pytest.raises(ModelError) as caught:
        digest(folder)
    message = str(caught.value)
    assert "\n" not in message and str(folder) in message
    return message


def test_the_digest_covers_shards_in_a_subfolder_and_their_index(make: Make) -> None:
    folder = make()
    own = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    (folder / "shards").mkdir()
    names = sorted(own)
    halves = {"shards/s0.safetensors": names[::2], "shards/s1.safetensors": names[1::2]}
    for place, part in halves.items():
        save_file({name: own[name] for name in part}, folder / place)
    index = {"weight_map": {name: place for place, part in halves.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    first = digest(folder)
    changed = {name: own[name] + 1 for name in names[::2]}
    save_file(changed, folder / "shards/s0.safetensors")
    assert digest(folder) != first
    save_file({name: own[name] for name in names[::2]}, folder / "shards/s0.safetensors")
    assert digest(folder) == first
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))
    assert digest(folder) != first
    (folder / "shards/s1.safetensors").unlink()
    with pytest.raises(ModelError, match="names shards/s1.safetensors, which does not exist"):
        digest(folder)


@pytest.mark.parametrize(
    "name",
    [
        "vocab.txt", "merges.txt", "bpe.codes", "source.spm", "prophetnet.tokenizer", "qwen.tiktoken",
        "sentencepiece.bpe.model", "tokenizer_config.json", "chat_template.jinja", "VOCABULARY",
    ],
)  # fmt: skip
def test_the_digest_covers_tokenizer_files_of_any_ending(make: Make, name: str) -> None:
    folder = make()
    first = digest(folder)
    (folder / name).write_text("a")
    second = digest(folder)
    (folder / name).write_text("bb")
    assert len({first, second, digest(folder)}) == 3


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "LICENSE",
        "optimizer.pt",
        "rng_state.pth",
        "training_args.bin",
        "pytorch_model.bin",
        ".gitattributes",
    ],
)
def test_files_that_decide_nothing_are_not_in_the_digest(make: Make, name: str) -> None:
    folder = make()
    first = digest(folder)
    (folder / name).write_bytes(b"whatever")
    assert digest(folder) == first


def test_the_file_that_the_config_names_is_the_one_that_counts(make: Make) -> None:
    folder = make(transformers_weights="other.safetensors")
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    first = digest(folder)
    (folder / "model.safetensors").write_bytes(b"never read")
    assert digest(folder) == first
    save_file({"a": torch.ones(1)}, folder / "other.safetensors")
    assert digest(folder) != first


@pytest.mark.parametrize("place", ["../other.safetensors", "/other.safetensors"])
def test_a_file_outside_of_the_folder_is_refused(make: Make, place: str) -> None:
    folder = make(transformers_weights=place)
    assert f"its config.json names {place!r}, a file outside of its folder" in refusal(folder)
    folder = make()
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": place}}))
    assert f"its model.safetensors.index.json names {place!r}, a file outside" in refusal(folder)


@pytest.mark.parametrize("content", ["[]", "{", '{"weight_map": {}}', '{"weight_map": 3}'])
def test_an_index_that_names_no_files_is_refused(make: Make, content: str) -> None:
    folder = make()
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(content)
    assert "names no files; it must have a weight_map" in refusal(folder)


def test_a_folder_without_weights_is_refused_before_anything_runs(make: Make) -> None:
    folder = make()
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="its folder has no model.safetensors or"):
        digest(folder)


@pytest.mark.parametrize(
    "name", ["adapter_config.json", "adapter_model.safetensors", "adapter_model.bin", "pytorch_adapter.bin"]
)
def test_an_adapter_beside_the_weights_is_refused_by_name(make: Make, name: str) -> None:
    folder = make()
    (folder / name).write_text("{}")
    message = refusal(folder)
    assert f"holds an adapter, {name!r}" in message and "merge" in message


@pytest.mark.parametrize(
    ("name", "decides"), [("adapted.json", True), ("tokenizer_config.json", True), ("adapters.md", False)]
)
def test_a_file_of_a_similar_name_is_no_adapter(make: Make, name: str, decides: bool) -> None:  # noqa: FBT001
    folder = make()
    before = digest(folder)
    (folder / name).write_text("{}")
    assert (digest(folder) != before) == decides


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        ("query.lora_A", "part of an adapter; merge"),
        ("query.lora_B.default.weight", "part of an adapter; merge"),
        ("query.base_layer.weight", "part of an adapter; merge"),
        ("query.weight_orig", "half of a weight that a hook computes"),
        ("query.weight_mask", "half of a weight that a hook computes"),
        ("query.parametrizations.weight.original0", "half of a weight that a hook computes"),
        ("query.weight_g", "half of a weight that a hook computes"),
        ("query.weight_scale", "a scale or another part of a quantised weight; dequantise"),
        ("query.qweight", "a scale or another part of a quantised weight; dequantise"),
        ("query.weight.absmax", "a scale or another part of a quantised weight; dequantise"),
        ("query.weight.quant_state.bitsandbytes__nf4", "a scale or another part of a quantised weight"),
        ("query.weight.bitmask", "part of packed weights; decompress"),
        ("query.weight.compressed", "part of packed weights; decompress"),
        ("query.weight_packed", "part of packed weights; decompress"),
        ("query.pre_ops.0.op._binary_mask", "a mask of NNCF"),
    ],
)
def test_a_tensor_of_another_program_is_refused_by_name(make: Make, tensor: str, words: str) -> None:
    name = f"bert.encoder.layer.0.attention.self.{tensor}"
    message = refusal(make({name: torch.ones(8, 8)}))
    assert repr(name) in message and words in message


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int32, torch.int64, torch.float8_e4m3fn])
def test_integers_without_a_scale_are_no_weights(make: Make, dtype: torch.dtype) -> None:
    name = "bert.encoder.layer.0.attention.self.query.weight"
    message = refusal(make({name: torch.ones(8, 8).to(dtype)}))
    assert repr(name) in message and "without a scale they are no weights" in message


def test_half_precision_and_integer_position_ids_are_ordinary(make: Make) -> None:
    name = "bert.encoder.layer.0.attention.self.query.weight"
    ordinary = {name: torch.ones(8, 8).bfloat16(), "bert.embeddings.position_ids": torch.arange(512)[None]}
    assert len(digest(make(ordinary))) == 64


PACKED = {
    "sparsity_config": {"format": "sparse-bitmask", "global_sparsity": 0.5},
    "quant_method": "compressed-tensors",
}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"quantization_config": PACKED}, "quantization_config (compressed-tensors, sparse-bitmask)"),
        ({"compression_config": PACKED}, "compression_config (compressed-tensors, sparse-bitmask)"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "quantization_config (gptq)"),
        ({"quantization_config": {"load_in_4bit": True}}, "quantization_config (no format named)"),
        (
            {"text_config": {"quantization_config": {"quant_method": "awq"}}},
            "text_config.quantization_config (awq)",
        ),
    ],
)
def test_packed_or_quantised_checkpoints_are_refused_from_the_config(
    make: Make, changes: dict[str, object], words: str
) -> None:
    message = refusal(make(**changes))
    assert (
        "is packed or quantised: its config.json has " + words in message
        and "give its plain weights" in message
    )


def test_an_empty_field_packs_nothing(make: Make) -> None:
    digest(make(quantization_config=None))
    assert packed_format({"a": {"format": "int-quantized"}, "format": "pack"}) == "pack, int-quantized"


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("architectures", "BertModel", "a list of names"),
        ("architectures", [1], "a list of names"),
        ("model_type", 5, "str"),
        ("is_decoder", "no", "bool"),
        ("is_encoder_decoder", 1, "bool"),
        ("vocab_size", "many", "int"),
        ("vocab_size", True, "int"),
        ("hidden_size", 8.5, "int"),
        ("max_position_embeddings", "512", "int"),
        ("position_embedding_type", 3, "str"),
        ("quantization_config", "int8", "dict"),
    ],
)
def test_a_field_of_a_wrong_type_gets_one_line(make: Make, name: str, value: object, wanted: str) -> None:
    folder = make(**{name: value})
    if name == "quantization_config":
        assert "is packed or quantised" in refusal(folder)
    else:
        assert refusal(folder) == (
            f"the config.json of model {str(folder)!r} has {name} = {value!r}; wanted {wanted}"
        )


@pytest.mark.parametrize("architecture", ["XLMWithLMHeadModel", "FlaubertWithLMHeadModel"])
def test_a_masked_language_model_may_end_in_lm_head_model(architecture: str) -> None:
    config = {"model_type": "xlm", "architectures": [architecture]}
    kind = TextEncoder()
    assert kind.why_not(config, None) == ""
    assert "a causal language model" in kind.why_not({**config, "causal": True}, None)
    gpt = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}
    assert kind.why_not(gpt, None) == "a causal language model (GPT2LMHeadModel)"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "mra"}, "takes its attention as zero"),
        ({"model_type": "xmod"}, "names no default_language"),
        ({"model_type": "yoso", "use_expectation": False}, "need a CUDA kernel"),
        ({"model_type": "big_bird", "block_size": 16}, "the length of the first batch decides"),
    ],
)
def test_a_type_that_would_compute_something_else_is_refused(config: dict[str, object], words: str) -> None:
    assert words in TextEncoder().why_not(config, None)


def test_a_type_that_computes_what_it_should_passes() -> None:
    for config in (
        {"model_type": "yoso"},
        {"model_type": "big_bird"},
        {"model_type": "xmod", "default_language": "en_XX"},
    ):
        assert TextEncoder().why_not(config, None) == ""
    full = {"model_type": "big_bird", "block_size": 16, "attention_type": "original_full"}
    assert TextEncoder().why_not(full, None) == ""


def test_a_broken_header_is_left_to_the_loader(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    for content in (b"", b"1234", b"\xff" * 16, b"\x02" + bytes(7) + b"[]"):
        file.write_bytes(content)
        assert tensor_types(file) == {}
