"""A net uses its whole checkpoint, besides heads, poolers and position ids; ties are recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from smc_eval.errors import ModelError
from smc_eval.task import CheckpointUse, used_checkpoint
from smc_eval.tasks import backbone
from smc_eval.tasks.text_encoder import TextEncoder
from smc_eval.tasks.translation.kind import EncoderDecoder

SMALL = {"vocab_size": 50, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16}

LAYER = "bert.encoder.layer.0.attention.self.query.weight"
HEAD, TABLE = "cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"


def saved(folder: Path, net: Any = None, *, pickled: bool = False, **config: object) -> dict[str, Tensor]:
    """Saves a very small BERT with its head, or another net; the tensors that `rewritten` may change."""
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(0)
    net = net or BertForMaskedLM(BertConfig(num_hidden_layers=2, **SMALL))
    net.save_pretrained(folder)
    stored = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(stored | config))
    if pickled:
        (folder / "model.safetensors").unlink()
        torch.save(net.state_dict(), folder / "pytorch_model.bin")
        return {}
    return load_file(folder / "model.safetensors")


def rewritten(folder: Path, tensors: dict[str, Tensor]) -> None:
    save_file({name: value.clone() for name, value in tensors.items()}, folder / "model.safetensors")


def encoder(folder: Path) -> Any:
    return backbone.find_backbone(str(folder), TextEncoder()).load()


def masked_model(folder: Path) -> Any:
    return backbone.find_backbone(str(folder), TextEncoder(masked=True)).load()


def refusal(load: Callable[[Path], Any], folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load(folder)
    assert len(str(caught.value).splitlines()) <= 3
    return str(caught.value)


def used(net: Any) -> CheckpointUse:
    use = used_checkpoint(torch.nn.Sequential(net))
    assert use is not None
    return use


@pytest.mark.parametrize("load", [encoder, masked_model])
def test_tensors_of_further_layers_are_refused_by_name(load: Callable[[Path], Any], tmp_path: Path) -> None:
    saved(tmp_path, num_hidden_layers=1)
    message = refusal(load, tmp_path)
    assert "holds 16 tensors that its net does not take, 'bert.encoder.layer.1." in message


def test_a_bare_encoder_refuses_further_layers_too(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    saved(tmp_path, BertModel(BertConfig(num_hidden_layers=2, **SMALL)), num_hidden_layers=1)
    assert "does not take, 'encoder.layer.1." in refusal(encoder, tmp_path)


def test_heads_poolers_and_position_ids_may_go_unused_and_are_told(tmp_path: Path) -> None:
    from transformers import BertConfig, BertForPreTraining

    tensors = saved(tmp_path, BertForPreTraining(BertConfig(num_hidden_layers=1, **SMALL)))
    further = {
        "bert.embeddings.position_ids": torch.arange(512)[None],
        "classifier.0.weight": torch.ones(2, 8),
    }
    rewritten(tmp_path, tensors | further)
    assert used(encoder(tmp_path)).unused == (
        "bert.embeddings.position_ids", "bert.pooler.dense.bias", "bert.pooler.dense.weight",
        "classifier.0.weight",
        "cls.predictions.bias", "cls.predictions.transform.LayerNorm.bias",
        "cls.predictions.transform.LayerNorm.weight", "cls.predictions.transform.dense.bias",
        "cls.predictions.transform.dense.weight", "cls.seq_relationship.bias", "cls.seq_relationship.weight",
    )  # fmt: skip
    assert used(masked_model(tmp_path)).unused == (
        "bert.embeddings.position_ids", "bert.pooler.dense.bias", "bert.pooler.dense.weight",
        "classifier.0.weight",
        "cls.seq_relationship.bias", "cls.seq_relationship.weight",
    )  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "bert.encoder.layer.0.attention.self.extra.weight",
        "bert.embeddings.further.weight",
        "cls.predictions.second.weight",  # of the head that is taken
        "teacher.encoder.layer.0.dense.weight",  # a second net
    ],
)
def test_what_is_no_whole_head_is_refused(tmp_path: Path, name: str) -> None:
    rewritten(tmp_path, saved(tmp_path) | {name: torch.ones(8, 8)})
    assert f"does not take, {name!r} first" in refusal(masked_model, tmp_path)


@pytest.mark.parametrize("load", [encoder, masked_model])
def test_a_missing_weight_is_an_error(load: Callable[[Path], Any], tmp_path: Path) -> None:
    tensors = saved(tmp_path)
    del tensors[LAYER]
    rewritten(tmp_path, tensors)
    assert "lacks 1 tensors of its net, " in refusal(load, tmp_path)


def test_a_missing_weight_is_an_error_also_where_its_class_says_that_it_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import BertModel

    monkeypatch.setattr(BertModel, "_keys_to_ignore_on_load_missing", ["query"])
    tensors = saved(tmp_path)
    del tensors[LAYER]
    rewritten(tmp_path, tensors)
    assert "lacks 1 tensors of its net" in refusal(encoder, tmp_path)


def test_a_constant_may_be_missing(tmp_path: Path) -> None:
    from transformers import MBartConfig, MBartForConditionalGeneration

    options: dict[str, Any] = {"vocab_size": 50, "d_model": 8, "encoder_layers": 1, "decoder_layers": 1}
    options |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    net = MBartForConditionalGeneration(MBartConfig(**options, encoder_ffn_dim=8, decoder_ffn_dim=8))
    tensors = saved(tmp_path, net)
    tensors.pop("final_logits_bias", None)
    rewritten(tmp_path, tensors)
    found = backbone.find_backbone(str(tmp_path), EncoderDecoder())
    assert not found.load().state_dict()["final_logits_bias"].any()


def test_integers_are_no_weights_in_a_pickle_either(tmp_path: Path) -> None:
    saved(tmp_path, pickled=True)
    state = torch.load(tmp_path / "pytorch_model.bin")
    torch.save(state | {LAYER: torch.ones(8, 8, dtype=torch.int8)}, tmp_path / "pytorch_model.bin")
    message = refusal(encoder, tmp_path)
    assert f"the tensor {LAYER!r}" in message and "type int8; without a scale" in message


def test_tensors_of_other_programs_are_refused_in_a_pickle_too(tmp_path: Path) -> None:
    saved(tmp_path, pickled=True)
    state = torch.load(tmp_path / "pytorch_model.bin")
    torch.save(state | {LAYER.replace("weight", "lora_A"): torch.ones(2, 8)}, tmp_path / "pytorch_model.bin")
    assert "query.lora_A' of model" in refusal(encoder, tmp_path)


def test_a_sparse_layout_is_refused_by_name(tmp_path: Path) -> None:
    saved(tmp_path, pickled=True)
    state = torch.load(tmp_path / "pytorch_model.bin")
    torch.save(state | {LAYER: torch.eye(8).to_sparse()}, tmp_path / "pytorch_model.bin")
    assert f"holds {LAYER!r} in a sparse layout; save it dense" in refusal(encoder, tmp_path)


def test_two_names_for_one_tensor_are_refused(tmp_path: Path) -> None:
    rewritten(tmp_path, saved(tmp_path) | {LAYER.removeprefix("bert."): torch.zeros(8, 8)})
    message = refusal(encoder, tmp_path)
    assert "twice" in message and repr(LAYER) in message and repr(LAYER.removeprefix("bert.")) in message


def test_one_name_in_two_shards_is_refused(tmp_path: Path) -> None:
    tensors = saved(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "a.safetensors")
    save_file({LAYER: torch.zeros(8, 8)}, tmp_path / "b.safetensors")
    index = {"weight_map": dict.fromkeys(tensors, "a.safetensors") | {LAYER: "b.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert f"two files of model {str(tmp_path)!r} hold the tensor {LAYER!r}" in refusal(encoder, tmp_path)


def test_equal_values_are_tied_as_the_config_says(tmp_path: Path) -> None:
    tensors = saved(tmp_path)
    rewritten(tmp_path, tensors | {HEAD: tensors[TABLE]})
    net = masked_model(tmp_path)
    assert net.get_output_embeddings().weight is net.get_input_embeddings().weight
    assert used(net).tied[HEAD] == TABLE and not used(net).untied


def test_one_weight_that_differs_unties_the_head_and_the_record_says_so(tmp_path: Path) -> None:
    tensors = saved(tmp_path)
    head = tensors[TABLE].clone()
    head[3, 5] += 1e-6
    rewritten(tmp_path, tensors | {HEAD: head})
    net = masked_model(tmp_path)
    assert net.get_output_embeddings().weight is not net.get_input_embeddings().weight
    assert torch.equal(net.get_output_embeddings().weight, head)
    assert used(net).untied == {HEAD: TABLE} and HEAD not in used(net).tied


def test_a_head_that_the_config_unties_must_be_in_the_file(tmp_path: Path) -> None:
    tensors = saved(tmp_path, tie_word_embeddings=False)
    assert "lacks 2 tensors of its net, 'cls.predictions.decoder.bias' first" in refusal(
        masked_model, tmp_path
    )
    rewritten(
        tmp_path,
        tensors | {HEAD: tensors[TABLE], "cls.predictions.decoder.bias": tensors["cls.predictions.bias"]},
    )
    net = masked_model(tmp_path)
    assert net.get_output_embeddings().weight is not net.get_input_embeddings().weight
    assert HEAD not in used(net).tied


def test_tensors_that_share_memory_in_a_pickle_come_apart_where_the_config_unties_them(
    tmp_path: Path,
) -> None:
    saved(
        tmp_path, pickled=True, tie_word_embeddings=False
    )  # its state dict holds one memory under two names
    net = masked_model(tmp_path)
    head, table = net.get_output_embeddings().weight, net.get_input_embeddings().weight
    with torch.no_grad():
        head.zero_()
    assert head is not table and bool(table.any())


def test_a_pickle_of_tied_tensors_is_loaded_as_one(tmp_path: Path) -> None:
    saved(tmp_path, pickled=True)
    net = masked_model(tmp_path)
    assert net.get_output_embeddings().weight is net.get_input_embeddings().weight


def test_an_installed_peft_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers.modeling_utils

    def never(*_: object, **__: object) -> None:
        raise AssertionError("transformers looked for an adapter")

    saved(tmp_path)
    monkeypatch.setattr("transformers.integrations.peft.is_peft_available", lambda: True)
    monkeypatch.setattr("transformers.integrations.peft.find_adapter_config_file", never)
    assert transformers.modeling_utils.maybe_load_adapters is not None
    encoder(tmp_path)


def test_the_net_before_training_depends_on_no_filter_and_draws_no_random_number(tmp_path: Path) -> None:
    from transformers import BertModel

    saved(tmp_path)
    torch.manual_seed(3)
    net = encoder(tmp_path)
    assert type(net) is BertModel
    drawn = torch.get_rng_state()
    torch.manual_seed(3)
    BertModel.from_pretrained(tmp_path)
    assert torch.equal(drawn, torch.get_rng_state())  # as much as transformers itself draws for the pooler
