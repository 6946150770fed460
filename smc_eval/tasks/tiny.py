"""The model `tiny`: a RoBERTa of 2 layers that nobody has trained, with a tokenizer made for the data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import RobertaConfig

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
"""RoBERTa's special tokens, by id."""

MASK_WORD = "<mask>"

POSITIONS = 512
"""Tokens that it reads at once."""


def tiny_config(tokens: int) -> RobertaConfig:
    """128 features, 2 layers, 2 heads, over so many tokens."""
    from transformers import RobertaConfig

    return RobertaConfig(
        vocab_size=tokens,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=256,
        max_position_embeddings=POSITIONS + 2,
        type_vocab_size=1,
    )


def tiny_tokenizer(texts: Iterable[str], size: int = 1000, *, mask: bool = False) -> Any:
    """A byte-level BPE tokenizer in RoBERTa's manner, trained on the texts; `<mask>` is its last token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    roles = ("bos_token", "pad_token", "eos_token", "unk_token", "mask_token")
    named = dict(zip(roles, (*SPECIAL, MASK_WORD) if mask else SPECIAL, strict=False))
    return PreTrainedTokenizerFast(tokenizer_object=made, **named)  # type: ignore[no-untyped-call]
