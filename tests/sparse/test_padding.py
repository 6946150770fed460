"""Nets of transformers read rows of different lengths apart, and answer as before."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM

from smc_eval.sparse.input_stats import Squares
from smc_eval.sparse.inputs import observing
from smc_eval.sparse.padding import row_groups, without_padding

SMALL = {
    "vocab_size": 30,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
    "pad_token_id": 1,
}
FURTHER: dict[str, dict[str, Any]] = {
    "roberta": {},
    "bert": {"attn_implementation": "eager"},
    "albert": {"embedding_size": 8},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "electra": {"embedding_size": 8},
    "esm": {"position_embedding_type": "rotary", "token_dropout": True, "mask_token_id": 2},
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24},
    "squeezebert": {"embedding_size": 16},
    "mpnet": {},
    "modernbert": {"reference_compile": False, "attn_implementation": "sdpa"},
    "xlnet": {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 24},
    "fnet": {},
    "longformer": {"attention_window": [8, 8]},
    "t5": {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2},
}


def net_of(kind: str) -> nn.Module:
    torch.manual_seed(0)
    settings = SMALL | FURTHER[kind]
    if kind == "xlnet":
        del settings["max_position_embeddings"]
    config = AutoConfig.for_model(kind, **settings)
    if kind == "t5":
        from transformers import T5EncoderModel

        return T5EncoderModel(config).eval()
    return AutoModel.from_config(config).eval()


def padded(lengths: tuple[int, ...] = (7, 3, 7, 5), longest: int = 8) -> tuple[Tensor, Tensor]:
    """Ids and attention mask of rows of some lengths."""
    torch.manual_seed(1)
    real_ML = (torch.arange(longest) < torch.tensor(lengths)[:, None]).long()
    return torch.randint(3, 30, real_ML.shape).masked_fill(real_ML == 0, 1), real_ML


@pytest.mark.parametrize("kind", FURTHER)
def test_a_net_answers_as_when_each_row_is_read_alone(kind: str) -> None:
    net, (ids_ML, real_ML) = net_of(kind), padded()
    with torch.no_grad(), without_padding(net):
        found = net(input_ids=ids_ML, attention_mask=real_ML).last_hidden_state
        again = net(ids_ML, attention_mask=real_ML, return_dict=False)[0]
    assert torch.equal(found, again) and found.shape[:2] == ids_ML.shape
    for row, ids_L, real_L in zip(found, ids_ML, real_ML.bool(), strict=True):
        with torch.no_grad():
            alone = net(input_ids=ids_L[real_L][None]).last_hidden_state[0]
        torch.testing.assert_close(row[real_L], alone, atol=1e-5, rtol=1e-4)
        assert not row[~real_L].any()


@pytest.mark.parametrize("kind", [kind for kind in FURTHER if kind not in {"deberta-v2", "longformer"}])
def test_no_weight_of_a_net_gets_a_row_of_padding(kind: str) -> None:
    net, (ids_ML, real_ML) = net_of(kind), padded()
    weights = {name: weight.detach() for name, weight in net.named_parameters() if weight.ndim >= 2}
    rows: dict[str, int] = {}

    def observer(name: str, _region: Any, x_NI: Tensor) -> None:
        rows[name] = rows.get(name, 0) + len(x_NI)

    with torch.no_grad(), observing(net, weights, observer) as watch:
        net(input_ids=ids_ML, attention_mask=real_ML)
    tokens, texts = int(real_ML.sum()), len(real_ML)
    per_layer = {name: count for name, count in rows.items() if "pooler" not in name and "rel" not in name}
    times = 2 if kind == "albert" else 1  # its layers share their weights
    groups = 4  # of squeezebert's convolutions
    assert set(per_layer.values()) <= {tokens, times * tokens, groups * tokens}
    assert all(count == texts for name, count in rows.items() if "pooler" in name)
    assert len(per_layer) >= 4 and not watch.sight.padded


def test_positions_that_rows_share_count_once_for_each_row() -> None:
    net, (ids_ML, real_ML) = net_of("deberta-v2"), padded()
    weights = {name: weight.detach() for name, weight in net.named_parameters() if weight.ndim == 2}
    sums = []
    for rows in (range(4), [0], [1], [2], [3]):
        squares = Squares(weights, weights)
        with torch.no_grad(), observing(net, weights, squares):
            net(input_ids=ids_ML[list(rows)], attention_mask=real_ML[list(rows)])
        sums.append(
            {name: total for name in weights for _, total in squares.bands(name) if total is not None}
        )
    together, *apart = sums
    assert len(together) > 10
    for name, total in together.items():
        torch.testing.assert_close(total, sum(each[name] for each in apart), atol=1e-4, rtol=1e-4)


def test_a_hook_on_the_body_of_a_masked_language_model_sees_all_rows() -> None:
    torch.manual_seed(0)
    net: Any = AutoModelForMaskedLM.from_config(AutoConfig.for_model("bert", **SMALL)).eval()
    ids_ML, real_ML = padded()
    seen = []
    net.base_model.register_forward_hook(lambda _net, _args, out: seen.append(out.last_hidden_state.shape))
    with torch.no_grad(), without_padding(net):
        found = net(input_ids=ids_ML, attention_mask=real_ML).logits
    assert seen == [(4, 8, 16)]
    with torch.no_grad():
        expected = net(input_ids=ids_ML, attention_mask=real_ML).logits
    torch.testing.assert_close(found[real_ML == 1], expected[real_ML == 1], atol=1e-5, rtol=1e-4)


def test_every_forward_is_as_before_afterwards() -> None:
    net = net_of("bert")
    with pytest.raises(ValueError, match="stop"), without_padding(net):
        raise ValueError("stop")
    assert not [module for module in net.modules() if "forward" in vars(module)]


def test_padding_before_the_tokens_is_counted_and_told() -> None:
    net, (ids_ML, real_ML) = net_of("bert"), padded()
    weights = {name: weight.detach() for name, weight in net.named_parameters() if weight.ndim >= 2}
    with torch.no_grad(), observing(net, weights, lambda *_: None) as watch:
        net(input_ids=ids_ML.flip(1), attention_mask=real_ML.flip(1))
    body = {name for name in weights if "encoder" in name}
    assert watch.sight.padded == body


def test_positions_that_a_net_adds_itself_are_told() -> None:
    torch.manual_seed(0)
    net = AutoModel.from_config(AutoConfig.for_model("longformer", **SMALL, attention_window=[8, 8])).eval()
    weights = {name: weight.detach() for name, weight in net.named_parameters() if weight.ndim >= 2}
    with torch.no_grad(), observing(net, weights, lambda *_: None) as watch:
        net(input_ids=torch.randint(3, 30, (2, 5)), attention_mask=torch.ones(2, 5).long())
    assert "encoder.layer.0.intermediate.dense.weight" in watch.sight.padded


def test_the_encoder_of_an_encoder_decoder_reads_rows_apart_and_the_decoder_does_not() -> None:
    torch.manual_seed(0)
    sizes = dict.fromkeys(("encoder_layers", "decoder_layers", "decoder_attention_heads"), 1)
    sizes |= {"encoder_attention_heads": 1, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "d_model": 16}
    net = AutoModel.from_config(AutoConfig.for_model("mbart", **(SMALL | sizes))).eval()
    ids_ML, real_ML = padded()
    rows: dict[str, int] = {}

    def observer(name: str, _region: Any, x_NI: Tensor) -> None:
        rows[name] = rows.get(name, 0) + int(x_NI.any(1).sum())  # zeros add nothing to a sum

    weights = {name: weight.detach() for name, weight in net.named_parameters() if weight.ndim >= 2}
    # sources of 8 tokens, and targets of as many that have no mask: they all count
    with torch.no_grad(), observing(net, weights, observer):
        net(input_ids=ids_ML, attention_mask=real_ML, decoder_input_ids=ids_ML)
    assert rows["encoder.layers.0.fc1.weight"] == int(real_ML.sum()) == 22
    assert rows["decoder.layers.0.encoder_attn.k_proj.weight"] == 22
    assert rows["decoder.layers.0.encoder_attn.q_proj.weight"] == rows["decoder.layers.0.fc1.weight"] == 32


@pytest.mark.parametrize(
    ("mask", "groups"),
    [
        ([[1, 1, 0], [1, 0, 0], [1, 1, 0]], [([1], 1), ([0, 2], 2)]),
        ([[1, 1, 1], [0, 1, 1]], []),  # padding before
        ([[1, 0, 1], [1, 1, 1]], []),  # padding between
        ([[0, 0, 0], [1, 1, 1]], []),  # nothing but padding
    ],
)
def test_rows_of_equal_length_share_a_call(mask: list[list[int]], groups: list[Any]) -> None:
    found = row_groups(torch.tensor(mask).bool())
    assert [(places_G.tolist(), length) for places_G, length in found] == groups
