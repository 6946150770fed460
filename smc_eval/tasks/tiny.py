"""The model `tiny`: an untrained RoBERTa of 2 layers, with a tokenizer trained on the data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import RobertaConfig

SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>")
"""RoBERTa's special tokens, in the order of their ids."""

MASK_WORD = "<mask>"

POSITIONS = 512
"""The longest input, in tokens."""


def tiny_config(tokens: int) -> RobertaConfig:
    """A config with 128 features, 2 layers and 2 heads, for a vocabulary of `tokens` tokens.

    It has no dropout: a training of some dozens of steps learns sooner without it.
    """
    from transformers import RobertaConfig

    return RobertaConfig(
        vocab_size=tokens,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=256,
        max_position_embeddings=POSITIONS + 2,
        type_vocab_size=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )


def tiny_tokenizer(texts: Iterable[str], size: int = 1000, *, mask: bool = False) -> Any:
    """A byte-level BPE tokenizer like RoBERTa's, trained on the texts; with `mask`, `<mask>` comes last."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = (
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoders.ByteLevel(),
    )
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    roles = ("bos_token", "pad_token", "eos_token", "unk_token", "mask_token")
    special = dict(zip(roles, (*SPECIAL_TOKENS, MASK_WORD) if mask else SPECIAL_TOKENS, strict=False))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)  # type: ignore[no-untyped-call]
