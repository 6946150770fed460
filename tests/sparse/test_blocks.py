"""Blocks, found by the numbers in names."""

from __future__ import annotations

import pytest
from torch import nn
from transformers import BertConfig, BertModel, MBartConfig, MBartModel, MixtralConfig, MixtralForCausalLM

from smc_eval.sparse.blocks import blocks, blocks_and_others

TINY = {"vocab_size": 8, "hidden_size": 4, "num_hidden_layers": 2, "num_attention_heads": 1}


def test_the_items_of_a_numbered_list_are_blocks_in_order_of_appearance() -> None:
    names = ["words.weight", "layers.1.a.weight", "layers.0.a.weight", "layers.1.b", "out.weight"]
    assert blocks(names) == {
        "layers.1": ("layers.1.a.weight", "layers.1.b"),
        "layers.0": ("layers.0.a.weight",),
    }
    words, out = "words.weight", "out.weight"
    assert blocks_and_others(names) == {words: (words,), **blocks(names), out: (out,)}


def test_only_the_outermost_list_counts_and_a_list_of_one_is_none() -> None:
    names = [f"net.0.layers.{at}.experts.{expert}.up.weight" for at in range(2) for expert in range(3)]
    assert list(blocks(names)) == ["net.0.layers.0", "net.0.layers.1"]
    assert len(blocks(names)["net.0.layers.1"]) == 3


@pytest.mark.parametrize(
    "names", [[], ["gru.weight_ih_l0", "gru.weight_ih_l1"], ["a.0.w"], ["list.0", "list.1"]]
)
def test_a_net_without_lists_of_modules_has_no_blocks(names: list[str]) -> None:
    assert blocks(names) == {}
    assert list(blocks_and_others(names)) == names


def test_an_encoder_decoder_has_two_stacks() -> None:
    config = MBartConfig(
        vocab_size=8, d_model=4, encoder_layers=2, decoder_layers=3, encoder_attention_heads=1,
        decoder_attention_heads=1, encoder_ffn_dim=4, decoder_ffn_dim=4, pad_token_id=0,
    )  # fmt: skip
    names = [name for name, _ in MBartModel(config).named_parameters()]
    stacks = [f"encoder.layers.{at}" for at in range(2)] + [f"decoder.layers.{at}" for at in range(3)]
    assert list(blocks(names)) == stacks


def test_experts_are_parts_of_their_block_and_layers_of_an_encoder_are_blocks() -> None:
    mixtral = MixtralForCausalLM(
        MixtralConfig(**TINY, intermediate_size=4, num_key_value_heads=1, num_local_experts=2)
    )
    found: dict[type[nn.Module], list[str]] = {
        type(net): list(blocks(name for name, _ in net.named_parameters()))
        for net in (mixtral, BertModel(BertConfig(**TINY, intermediate_size=4)))
    }
    assert found == {
        MixtralForCausalLM: ["model.layers.0", "model.layers.1"],
        BertModel: ["encoder.layer.0", "encoder.layer.1"],
    }
