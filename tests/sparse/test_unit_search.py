"""Unit search: heads and neurons of nets of every make, against what their configs say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers as hf
from torch import Tensor, nn

from smc_eval.sparse.net import Net
from smc_eval.sparse.scope import in_scope
from smc_eval.sparse.unit_layers import UnitLayer, Units
from smc_eval.sparse.unit_search import UnitKind, find_units
from smc_eval.sparse.units import masks_of

SIZES = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "pad_token_id": 0,
}
IDS = torch.arange(5, 19).reshape(2, 7)


def units_of(model: nn.Module, kind: UnitKind, *inputs: Any, **named: Any) -> Units:
    """The units of a model in scope `body`."""
    torch.manual_seed(0)
    model.eval()
    names = in_scope(model, "body", ())
    weights = {name: weight.detach() for name, weight in model.named_parameters() if name in names}

    def loss() -> Tensor:
        outputs = model(*inputs, **named)
        return (outputs if isinstance(outputs, Tensor) else outputs[0]).pow(3).sum()

    return find_units(model, weights, kind, loss)


def shape(layer: UnitLayer) -> list[tuple[str, str, int, int]]:
    """The parts of a layer, with the last two words of their names."""
    return [
        (part.name.removesuffix(".weight"), "rows" if part.rows else "columns", part.first, part.width)
        for part in layer.parts
    ]


def test_a_head_of_bert_has_rows_of_query_key_and_value_and_columns_of_the_output() -> None:
    model = hf.BertModel(hf.BertConfig(**SIZES))
    first, second = units_of(model, "heads", IDS)
    assert (first.count, second.count) == (4, 4)
    at = "encoder.layer.0.attention"
    assert shape(first) == [
        (f"{at}.output.dense", "columns", 0, 8),
        (f"{at}.self.query", "rows", 0, 8),
        (f"{at}.self.key", "rows", 0, 8),
        (f"{at}.self.value", "rows", 0, 8),
    ]


def test_a_neuron_of_llama_has_a_row_of_gate_and_of_up_and_a_column_of_down() -> None:
    first, second = units_of(hf.LlamaModel(hf.LlamaConfig(**SIZES, num_key_value_heads=2)), "neurons", IDS)
    assert (first.count, second.count) == (48, 48)
    assert shape(second) == [
        ("layers.1.mlp.down_proj", "columns", 0, 1),
        ("layers.1.mlp.gate_proj", "rows", 0, 1),
        ("layers.1.mlp.up_proj", "rows", 0, 1),
    ]


def test_heads_that_share_keys_and_values_are_one_unit() -> None:
    first, _ = units_of(hf.LlamaModel(hf.LlamaConfig(**SIZES, num_key_value_heads=2)), "heads", IDS)
    assert first.count == 2
    assert [(part.name.split(".")[-2], part.width) for part in first.parts] == [
        ("o_proj", 16),
        ("q_proj", 16),
        ("k_proj", 8),
        ("v_proj", 8),
    ]


def test_query_key_and_value_may_share_a_matrix_one_after_the_other() -> None:
    config = hf.GPT2Config(vocab_size=60, n_embd=32, n_layer=1, n_head=4, bos_token_id=1, eos_token_id=1)
    (layer,) = units_of(hf.GPT2Model(config), "heads", IDS)
    assert layer.count == 4
    assert shape(layer) == [  # a Conv1D multiplies from the left: its rows are inputs
        ("h.0.attn.c_proj", "rows", 0, 8),
        ("h.0.attn.c_attn", "columns", 0, 8),
        ("h.0.attn.c_attn", "columns", 32, 8),
        ("h.0.attn.c_attn", "columns", 64, 8),
    ]


def test_query_key_and_value_may_share_a_matrix_head_by_head() -> None:
    first, _ = units_of(hf.GPTNeoXModel(hf.GPTNeoXConfig(**SIZES)), "heads", IDS)
    assert first.count == 4
    assert [(part.name.split(".")[-2], part.width) for part in first.parts] == [
        ("dense", 8),
        ("query_key_value", 24),
    ]


def test_attention_to_the_source_has_heads_of_its_own() -> None:
    config = hf.MBartConfig(
        vocab_size=60,
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
    )
    layers = units_of(hf.MBartModel(config), "heads", IDS, decoder_input_ids=IDS)
    assert [layer.name.split(".")[-3] for layer in layers] == ["self_attn", "self_attn", "encoder_attn"]
    assert [len(layer.parts) for layer in layers] == [4, 4, 4]


def test_torch_s_own_attention_has_heads() -> None:
    (layer,) = units_of(
        nn.TransformerEncoderLayer(16, 4, 24, batch_first=True), "heads", torch.randn(2, 5, 16)
    )
    assert layer.count == 4
    assert [part.first for part in layer.parts] == [0, 0, 16, 32]


def test_neurons_of_convolutions_are_channels() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 4, 3),
        nn.GELU(),
        nn.Flatten(),
        nn.Linear(64, 3),
    )
    first, second = units_of(net, "neurons", torch.randn(3, 1, 8, 8))
    assert (first.count, shape(first)) == (6, [("3", "columns", 0, 9), ("0", "rows", 0, 1)])
    assert (second.count, shape(second)) == (4, [("6", "columns", 0, 16), ("3", "rows", 0, 1)])


class Residual(nn.Module):
    """The hidden units reach the output by a second way."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.a(x))
        return hidden + self.b(hidden)


class Sum(nn.Module):
    """The inputs of the last map have a second source."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        wide = self.a(x)
        return self.c(wide.cumsum(-1) + torch.tanh(self.b(wide)))


@pytest.mark.parametrize("net", [Residual, Sum])
def test_what_has_a_second_reader_or_a_second_source_is_no_unit(net: Callable[[], nn.Module]) -> None:
    assert units_of(net(), "neurons", torch.randn(5, 4)) == ()


def test_layers_that_share_weights_one_after_the_other_have_no_units() -> None:
    model = hf.AlbertModel(hf.AlbertConfig(**SIZES, embedding_size=16))
    assert units_of(model, "heads", IDS) == ()


def test_a_recurrent_net_has_no_units() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.LSTM(4, 6, batch_first=True), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x)[0])

    for kind in ("heads", "neurons"):
        assert units_of(Recurrent(), kind, torch.randn(2, 5, 4)) == ()


def test_a_net_whose_pruned_neurons_are_cut_out_gives_the_same_outputs() -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(5, 6), nn.GELU(), nn.Linear(6, 3)).double()
    x = torch.randn(7, 5, dtype=torch.double)
    units = units_of(net, "neurons", x)
    stays = torch.tensor([True, False, True, True, False, True])
    pruned = Net(net, ("0.weight", "2.weight"))
    pruned.set_masks(masks_of({"2.weight": stays}, units, pruned.weights))
    up, down = net[0], net[2]
    small = nn.functional.gelu(x @ up.weight[stays].T + up.bias[stays]) @ down.weight[:, stays].T + down.bias
    torch.testing.assert_close(net(x), small, rtol=0, atol=1e-15)
    assert up.bias[~stays].all(), "the biases of pruned neurons stay, and nothing reads them"


def test_a_pruned_head_has_no_effect_on_the_outputs() -> None:
    torch.manual_seed(1)
    model = hf.BertModel(hf.BertConfig(**SIZES)).eval()
    first, _ = units_of(model, "heads", IDS)
    pruned = Net(model, tuple({part.name: None for part in first.parts}))
    pruned.set_masks(
        masks_of({first.name: torch.tensor([True, False, True, True])}, (first,), pruned.weights)
    )
    before = model(IDS)[0]
    with torch.no_grad():  # whatever biases it has
        for layer in ("query", "key", "value"):
            getattr(model.encoder.layer[0].attention.self, layer).bias[8:16] += 5
    assert torch.equal(model(IDS)[0], before)
