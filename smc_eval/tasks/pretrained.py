"""Checkpoints: the net and the tokenizer of a backbone, or a sentence that tells why they cannot be had."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from smc_eval.errors import ModelError
from smc_eval.tasks import kinds
from smc_eval.tasks.backbone import Backbone, offline

if TYPE_CHECKING:
    from torch import nn

UNREAD_PARTS = ("pooler", "contact_head")
"""Parts of an encoder that nothing reads here, and that some checkpoints do not hold."""


def load_encoder(backbone: Backbone) -> nn.Module:
    """The pretrained encoder alone, in fp32: no pooler, and no head of any other purpose.

    Raises:
        ModelError: it is no encoder, or its weights are missing, cut short or of other shapes.
    """
    from transformers import AutoModel

    return _loaded(backbone, AutoModel, "encoder")


def load_masked_model(backbone: Backbone) -> nn.Module:
    """The pretrained encoder with the head that it filled in masked words by, in fp32.

    Raises:
        ModelError: as for `load_encoder`, or the checkpoint does not hold such a head.
    """
    from transformers import AutoModelForMaskedLM

    return _loaded(backbone, AutoModelForMaskedLM, "masked-LM")


def load_encoder_decoder(backbone: Backbone, settings: Mapping[str, Any]) -> nn.Module:
    """The pretrained encoder-decoder with the head that it writes by, in fp32, its config so changed.

    Raises:
        ModelError: as for `load_encoder`, or its config knows nothing of a setting.
    """
    from transformers import AutoModelForSeq2SeqLM

    return _loaded(backbone, AutoModelForSeq2SeqLM, "encoder-decoder", settings)


def positions_of(backbone: Backbone) -> int | None:
    """Tokens that the encoder has positions for; None where they are told from each other otherwise.

    Raises:
        ModelError: its config makes no encoder.
    """
    import torch
    from transformers import AutoConfig, AutoModel

    with _told(backbone, "cannot be made from its config.json"), torch.device("meta"):
        config = AutoConfig.from_pretrained(backbone.place, revision=backbone.commit)
        model = AutoModel.from_config(config)  # type: ignore[no-untyped-call]
    wanted = getattr(config, "max_position_embeddings", None)
    tables = [table for table in model.modules() if isinstance(table, torch.nn.Embedding)]
    counts = [
        # some, RoBERTa among them, begin to count behind the place of the padding
        table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
        for table in tables
        if table.num_embeddings == wanted
    ]
    return min(counts, default=None)


def _loaded(backbone: Backbone, auto: Any, what: str, settings: Mapping[str, Any] | None = None) -> nn.Module:
    """The net of an Auto class without its `UNREAD_PARTS`, if the checkpoint holds all of it."""
    import torch
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    )

    writes = backbone.kind == "encoder-decoder"
    with _told(backbone, "cannot be loaded"):
        config = AutoConfig.from_pretrained(backbone.place, revision=backbone.commit)
        if config.is_encoder_decoder and not writes:  # some tell it by their architecture alone
            raise kinds.wrong_kind(backbone.word, f"an encoder-decoder ({config.model_type})", backbone.kind)
        # what transformers can teach to fill in what is masked is an encoder
        known = MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES if writes else MODEL_FOR_MASKED_LM_MAPPING_NAMES
        if config.model_type not in known:
            raise kinds.wrong_kind(backbone.word, f"a {config.model_type} model", backbone.kind)
        for name, value in (settings or {}).items():
            if not hasattr(config, name):
                raise ModelError(
                    f"the config of model {backbone.word!r} has no {name!r}, which this task sets"
                )
            setattr(config, name, value)
        model, loaded = auto.from_pretrained(
            backbone.place,
            revision=backbone.commit,
            config=config,
            output_loading_info=True,
            dtype=torch.float32,
        )
    for end in UNREAD_PARTS:
        if getattr(model, end, None) is not None:
            setattr(model, end, None)
    if missing := sorted(set(loaded["missing_keys"]) & {name for name, _ in model.named_parameters()}):
        raise ModelError(
            f"the checkpoint {backbone.word!r} lacks {len(missing)} {what} tensors, {missing[0]!r} first; "
            "it is cut short, or of another architecture than its config.json tells"
        )
    return model  # type: ignore[no-any-return]


def load_tokenizer(backbone: Backbone) -> Any:
    """The checkpoint's tokenizer; of a text encoder, one that knows where in the text its tokens stand.

    Raises:
        ModelError: there is none, it is not of that kind, or it is another model's.
    """
    from transformers import AutoTokenizer

    with _told(backbone, "has no tokenizer that can be loaded"):
        found = AutoTokenizer.from_pretrained(backbone.place, revision=backbone.commit)
    if backbone.kind == "text-encoder" and not found.is_fast:
        raise ModelError(
            f"the tokenizer of {backbone.word!r}, {type(found).__name__}, does not tell where in the text "
            "its tokens stand; give a model with a tokenizer.json"
        )
    if len(found) <= len(found.all_special_tokens):  # transformers makes an empty one where there is none
        raise ModelError(
            f"the model {backbone.word!r} has no vocabulary for its {type(found).__name__}; "
            "put its tokenizer.json beside its config.json"
        )
    if len(found) > (rows := backbone.config.get("vocab_size", len(found))):
        raise ModelError(
            f"the tokenizer of {backbone.word!r} has {len(found)} tokens, its model {rows}; "
            "they are not of the same checkpoint"
        )
    kinds.check_tokens(found.get_vocab(), backbone.kind, backbone.word)
    return found


@contextmanager
def _told(backbone: Backbone, what: str) -> Iterator[None]:
    """Whatever transformers raises while it loads, told in one sentence; its own reports are silenced."""
    import pickle

    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError
    from transformers.utils import logging

    own = (OSError, RuntimeError, ValueError, KeyError)
    theirs = (SafetensorError, pickle.UnpicklingError, StrictDataclassError)

    loud = logging.get_verbosity()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    except (*own, *theirs) as error:
        if backbone.commit and isinstance(error, OSError):
            raise offline(backbone.word) from None
        if "ignore_mismatched_sizes" in str(error):
            raise ModelError(
                f"the tensors of model {backbone.word!r} have other shapes than its config.json tells; "
                "give the config that was saved with them"
            ) from None
        why = shorten(str(error) or type(error).__name__, 300, placeholder=" …").rstrip(".")
        raise ModelError(
            f"the model {backbone.word!r} {what}: {why}\n"
            "give a whole checkpoint, as save_pretrained writes it"
        ) from None
    finally:
        logging.set_verbosity(loud)
