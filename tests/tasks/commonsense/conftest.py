"""Tokenizers with whole words as tokens, so that inputs can be written by hand; and small checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

WORDS = ("Q:", "A:", "where", "is", "it", "here", "now", "the", "cup", "fell", "story", "x")


def tokenizer(special: tuple[str, ...], post_processor: Any, **options: str) -> Any:
    """A tokenizer of whole words, with special tokens around them."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({word: at for at, word in enumerate((*special, *WORDS))}, special[-1]))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = post_processor
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token=special[-1], **options)


@pytest.fixture
def roberta() -> Any:
    """`<s> a </s> </s> b </s>`, as RoBERTa's."""
    from tokenizers import processors

    frame = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    special = ("<s>", "<pad>", "</s>", "<unk>")
    return tokenizer(special, frame, bos_token="<s>", pad_token="<pad>", eos_token="</s>")


@pytest.fixture
def bert() -> Any:
    """`[CLS] a [SEP] b [SEP]` with types 0 and 1, as BERT's."""
    from tokenizers import processors

    frame = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    special = ("[PAD]", "[CLS]", "[SEP]", "[UNK]")
    return tokenizer(
        special, frame, cls_token="[CLS]", pad_token="[PAD]", sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip


@pytest.fixture(scope="session")
def small() -> dict[str, int]:
    """Config options for a small net."""
    return {
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, small: dict[str, int]) -> Callable[..., Path]:
    """Saves a small RoBERTa, by default with its head for masked words, beside a tokenizer."""
    from transformers import RobertaConfig, RobertaForMaskedLM, RobertaModel

    from smc_eval.tasks import tiny
    from smc_eval.tasks.commonsense.winogrande import WinoGrande

    texts = [one.before + name + one.after for one in WinoGrande().data("train") for name in one.candidates]

    def save(*, head: bool = True, mask: bool = True, pad: bool = True, positions: int = 130) -> Path:
        folder = tmp_path_factory.mktemp("checkpoint") / "small"
        own_tokenizer = tiny.tiny_tokenizer(texts, 400, mask=mask)
        if not pad:
            own_tokenizer.pad_token = None
        own_tokenizer.save_pretrained(folder)
        torch.manual_seed(0)
        config = RobertaConfig(
            vocab_size=len(own_tokenizer), max_position_embeddings=positions, type_vocab_size=1, **small
        )
        net = RobertaForMaskedLM(config) if head else RobertaModel(config)
        net.save_pretrained(folder)
        return folder

    return save
