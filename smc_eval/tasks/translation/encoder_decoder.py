"""Encoder-decoders: a pretrained checkpoint, or a small untrained mBART."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from smc_eval.errors import ModelError
from smc_eval.exported.manifest import built_form
from smc_eval.kind import form_of
from smc_eval.tasks import backbone
from smc_eval.tasks.translation.codec import Codec, LanguageSide
from smc_eval.tasks.translation.kind import EncoderDecoder
from smc_eval.tasks.translation.languages import LANGUAGES
from smc_eval.tasks.translation.normalization import file_normalization

if TYPE_CHECKING:
    from torch import nn


def make_codec(model_name: str, texts: Iterable[str], codes: Sequence[str], longest: int) -> Codec:
    """The codec of a model, which turns sentences into ids.

    Raises:
        ModelError: the model cannot be loaded, or its tokenizer has no language tokens.
    """
    kind = EncoderDecoder()
    if form := form_of(model_name):
        tokenizer = kind.build_tokenizer(form, texts)
        language_tokens = [LANGUAGES[code].region for code in codes]
        tokenizer.add_special_tokens({"additional_special_tokens": language_tokens})
        return Codec(tokenizer, "last", longest, codes, model_name)
    found = backbone.find_backbone(model_name, kind)
    tokenizer = found.load_tokenizer()
    if built_form(model_name):  # an exported net that was built here
        return Codec(tokenizer, "last", longest, codes, model_name)
    side = _language_side(tokenizer, codes[0], model_name)
    return Codec(tokenizer, side, longest, codes, model_name, file_normalization(found, tokenizer))


def make_net(
    model_name: str, codec: Codec, dropout: float | None, attention_dropout: float | None
) -> nn.Module:
    """The net, untrained or pretrained, with these dropouts; None leaves those of the model."""
    from transformers import GenerationConfig

    kind = EncoderDecoder(dropout=dropout, attention_dropout=attention_dropout)
    if form := form_of(model_name):
        model: Any = kind.build(form, codec.tokenizer)
    else:
        model = backbone.find_backbone(model_name, kind).load()
    if "global_attention_mask" in inspect.signature(model.forward).parameters:
        raise ModelError(
            f"the model {model_name!r}, {type(model).__name__}, has global attention for chosen tokens, and "
            "translation reads none more than others; give a model without it"
        )
    # removes the checkpoint's settings, so that the search is the same for all models
    model.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
    return model  # type: ignore[no-any-return]


def _language_side(tokenizer: Any, code: str, model_name: str) -> LanguageSide:
    """The side of a text where a tokenizer puts the language token."""
    name = next((name for name in LANGUAGES[code].tokens if name in tokenizer.get_vocab()), None)
    if name is not None and hasattr(tokenizer, "src_lang"):
        tokenizer.src_lang = code if name == f"__{code}__" else name
        ids = tokenizer("a").input_ids
        if tokenizer.convert_tokens_to_ids(name) in (ids[0], ids[-1]):
            return "first" if ids[0] == tokenizer.convert_tokens_to_ids(name) else "last"
    raise ModelError(
        f"the tokenizer of model {model_name!r} has no language tokens; "
        "this task takes a multilingual encoder-decoder such as facebook/mbart-large-cc25"
    )
