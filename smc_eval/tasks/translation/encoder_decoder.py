"""Encoder-decoders: the checkpoint a user names, or a small mBART that nobody has trained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from smc_eval.errors import ModelError
from smc_eval.tasks import backbone, pretrained, tiny
from smc_eval.tasks.translation.codec import Codec, LanguageSide
from smc_eval.tasks.translation.languages import LANGUAGES

if TYPE_CHECKING:
    from torch import nn

DECODER_SIZES = {"tiny": (2, 64, 1000), "scratch": (3, 256, 8000)}
"""Layers on each side, features and sub-words of the nets that are built here."""


def codec(word: str, texts: Iterable[str], codes: Sequence[str], longest: int) -> Codec:
    """What turns sentences into ids for the model that a word names.

    Raises:
        ModelError: it cannot be had, or its tokenizer marks no languages.
    """
    if word in DECODER_SIZES:
        made = tiny.tiny_tokenizer(texts, DECODER_SIZES[word][2])
        made.add_special_tokens({"additional_special_tokens": [LANGUAGES[code].region for code in codes]})
        return Codec(made, "last", longest, codes, word)
    found = pretrained.load_tokenizer(backbone.find_backbone(word, "encoder-decoder"))
    return Codec(found, _place(found, codes[0], word), longest, codes, word)


def net(word: str, codec: Codec, dropout: float | None, attention_dropout: float | None) -> nn.Module:
    """The untrained net, or the pretrained one, with these dropouts; None leaves the model's own."""
    from transformers import GenerationConfig

    if word in DECODER_SIZES:
        made: Any = _mbart(word, codec, dropout or 0.0, attention_dropout or 0.0)
    else:
        changes = {"dropout": dropout, "attention_dropout": attention_dropout}
        made = pretrained.load_encoder_decoder(
            backbone.find_backbone(word, "encoder-decoder"),
            {k: v for k, v in changes.items() if v is not None},
        )
    # whatever a checkpoint would have it: all are searched alike
    made.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
    return made  # type: ignore[no-any-return]


def _mbart(word: str, codec: Codec, dropout: float, attention_dropout: float) -> nn.Module:
    from transformers import MBartConfig, MBartForConditionalGeneration

    layers, features, _ = DECODER_SIZES[word]
    config = MBartConfig(
        vocab_size=len(codec.tokenizer),
        max_position_embeddings=512,
        d_model=features,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_attention_heads=features // 32,
        decoder_attention_heads=features // 32,
        encoder_ffn_dim=2 * features,
        decoder_ffn_dim=2 * features,
        dropout=dropout,
        attention_dropout=attention_dropout,
        scale_embedding=True,
        pad_token_id=codec.padding,
        eos_token_id=codec.end,
        bos_token_id=codec.tokenizer.bos_token_id,
        forced_eos_token_id=None,
    )
    return MBartForConditionalGeneration(config)


def _place(tokenizer: Any, code: str, word: str) -> LanguageSide:
    """Where a tokenizer puts the token of a text's language."""
    name = next((name for name in LANGUAGES[code].tokens if name in tokenizer.get_vocab()), None)
    if name is not None and hasattr(tokenizer, "src_lang"):
        tokenizer.src_lang = code if name == f"__{code}__" else name
        ids = tokenizer("a").input_ids
        if tokenizer.convert_tokens_to_ids(name) in (ids[0], ids[-1]):
            return "first" if ids[0] == tokenizer.convert_tokens_to_ids(name) else "last"
    raise ModelError(
        f"the tokenizer of model {word!r} marks no languages; "
        "this task takes a multilingual encoder-decoder such as facebook/mbart-large-cc25"
    )
