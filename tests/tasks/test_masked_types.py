"""Every model type with a head for masked words that transformers knows runs and is right, or is refused."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from smc_eval.errors import ModelError
from smc_eval.tasks import checkpoint_config
from smc_eval.tasks.commonsense.csqa import Csqa
from smc_eval.tasks.commonsense.winogrande import WinoGrande

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
SIGNS = string.ascii_lowercase + string.digits + string.punctuation
PIECES = {piece: at for at, piece in enumerate([*SPECIAL, *SIGNS, *("##" + sign for sign in SIGNS)])}

SMALL: dict[str, Any] = {
    "vocab_size": len(PIECES),
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 514,
    "pad_token_id": 0,
}
EYES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
EYES |= {"image_size": 16, "patch_size": 4}

FURTHER: dict[str, dict[str, Any]] = {
    "convbert": {"embedding_size": 32},
    "distilbert": {"hidden_dim": 64},
    "funnel": {"block_sizes": [1, 1], "d_head": 16, "d_inner": 64, "num_decoder_layers": 1},
    "longformer": {"attention_window": [8, 8]},
    "luke": {"entity_vocab_size": 10, "entity_emb_size": 16},
    "mobilebert": {"hidden_size": 64, "embedding_size": 32, "intra_bottleneck_size": 32},
    "modernvbert": {"text_config": SMALL, "vision_config": EYES},
    "neomme": {"num_key_value_heads": 2},
    "perceiver": {
        "num_latents": 8, "d_latents": 32, "d_model": 32, "num_blocks": 1, "num_self_attends_per_block": 1,
        "num_self_attention_heads": 2, "num_cross_attention_heads": 2,
    },
    "reformer": {
        "axial_pos_embds_dim": [16, 16], "axial_pos_shape": [16, 32], "attention_head_size": 16,
        "feed_forward_size": 64, "is_decoder": False,
    },
    "rembert": {"input_embedding_size": 16, "output_embedding_size": 32},
    "roc_bert": {"pronunciation_vocab_size": 10, "shape_vocab_size": 10},
    "squeezebert": {"embedding_size": 32},
    "ultravbert": {"text_config": SMALL, "vision_config": EYES},
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
}  # fmt: skip
"""Options of types whose small config needs more than `SMALL`."""

WITHOUT = {"funnel": ("num_hidden_layers",), "modernvbert": tuple(SMALL), "ultravbert": tuple(SMALL)}

REFUSED = {
    **dict.fromkeys(("bart", "mbart", "mvp"), "an encoder-decoder"),
    "mra": "takes its attention as zero",
    "perceiver": "its states are those of latents",
    "reformer": "inputs of one fixed length",
}


@pytest.fixture(scope="module", params=sorted(MODEL_FOR_MASKED_LM_MAPPING_NAMES))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of one type, with random weights and a tokenizer of single characters."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import CONFIG_MAPPING, AutoModelForMaskedLM, PreTrainedTokenizerFast

    kind = request.param
    place: Path = tmp_path_factory.mktemp("types") / kind
    options = {name: value for name, value in SMALL.items() if name not in WITHOUT.get(kind, ())}
    torch.manual_seed(0)
    config = CONFIG_MAPPING[kind](**options | FURTHER.get(kind, {}))
    net = AutoModelForMaskedLM.from_config(config)
    with torch.no_grad():
        for weight in net.parameters():  # some types begin with zeros in each layer
            weight += 0.05 * torch.randn_like(weight)
    net.save_pretrained(place)
    made = Tokenizer(models.WordPiece(PIECES, unk_token="[UNK]", max_input_chars_per_word=60))
    made.normalizer, made.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    names = {f"{word[1:-1].lower()}_token": word for word in SPECIAL}
    PreTrainedTokenizerFast(tokenizer_object=made, **names).save_pretrained(place)
    return place


def is_refused(task: Csqa | WinoGrande, kind: str) -> bool:
    """Whether a type is refused before anything is loaded; checks the reason."""
    if kind not in REFUSED:
        task.sources()
        return False
    with pytest.raises(ModelError, match=REFUSED[kind]):
        task.sources()
    return True


def trained_batch(task: Any) -> tuple[Any, Any]:
    """The net of a task in eval mode, after a backward pass, and its batch."""
    torch.manual_seed(0)
    net, batch = task.model(), task.collate(task.data("train"))
    loss = task.loss(net, batch)
    loss.backward()
    assert loss.isfinite() and any(weight.grad is not None for weight in net.parameters())
    return net.eval(), batch


@pytest.mark.slow
def test_a_type_ranks_by_the_state_of_the_first_token_or_is_refused(folder: Path) -> None:
    from transformers import AutoModel

    task = Csqa(backbone=str(folder), limit=3)
    if is_refused(task, folder.name):
        return
    net, batch = trained_batch(task)
    encoder = AutoModel.from_pretrained(folder).eval()
    ids_ML = batch.ids_NCL.flatten(0, 1)
    further = {"token_type_ids": batch.types_NCL.flatten(0, 1)} if net.typed else {}
    if folder.name == "longformer":  # the token that is read sees all others
        further["global_attention_mask"] = (torch.arange(ids_ML.shape[1]) == 0).long().expand_as(ids_ML)
    with torch.no_grad():
        states_MLH = encoder(input_ids=ids_ML, attention_mask=batch.real_NCL.flatten(0, 1).long(), **further)[
            0
        ]
        expected_M1 = net.out(torch.tanh(net.dense(states_MLH[:, 0])))
        torch.testing.assert_close(net(batch), expected_M1.view(3, 5))
    assert len(net(batch).unique()) > 10


@pytest.mark.slow
def test_a_type_scores_spans_by_its_own_logits_or_is_refused(folder: Path) -> None:
    from transformers import AutoModelForMaskedLM

    task = WinoGrande(backbone=str(folder), limit=3)
    if is_refused(task, folder.name):
        return
    assert task.scored_by == "spans"
    net, batch = trained_batch(task)
    whole = AutoModelForMaskedLM.from_pretrained(folder).eval()
    masked_ML = batch.masked_N2L.flatten(0, 1)
    further = {"global_attention_mask": masked_ML.long()} if folder.name == "longformer" else {}
    with torch.no_grad():
        logits_MLV = whole(
            input_ids=batch.ids_N2L.flatten(0, 1),
            attention_mask=batch.real_N2L.flatten(0, 1).long(),
            **further,
        ).logits
        expected_KV = F.log_softmax(logits_MLV[masked_ML], dim=-1)
        torch.testing.assert_close(net(batch), expected_KV, rtol=1e-4, atol=1e-5)


def test_no_class_with_a_head_for_masked_words_counts_as_causal() -> None:
    both = ("ForConditionalGeneration", "ForPreTraining")
    for architecture in MODEL_FOR_MASKED_LM_MAPPING_NAMES.values():
        assert not checkpoint_config.is_causal_head(architecture)
        assert checkpoint_config.is_masked_head(architecture) or architecture.endswith(both)


def test_no_class_that_is_only_causal_counts_as_masked() -> None:
    masked = set(MODEL_FOR_MASKED_LM_MAPPING_NAMES.values())
    for architecture in set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()) - masked:
        assert not checkpoint_config.is_masked_head(architecture)
