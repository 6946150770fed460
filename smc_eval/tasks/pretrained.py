"""Loading a backbone: its net and its tokenizer, or an error that names what is wrong."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from textwrap import shorten
from typing import TYPE_CHECKING, Any, cast

from smc_eval.errors import ModelError
from smc_eval.tasks import kinds
from smc_eval.tasks.backbone import Backbone, offline_error
from smc_eval.tasks.checkpoint_tensors import read_tensors
from smc_eval.tasks.load_report import UNUSED_PARTS, checkpoint_use

if TYPE_CHECKING:
    from torch import nn


def load_encoder(backbone: Backbone) -> nn.Module:
    """The pretrained encoder in fp32, without pooler and without heads.

    Raises:
        ModelError: the model is not an encoder, or its weights are missing, truncated or of other shapes.
    """
    from transformers import AutoModel

    return _loaded(backbone, AutoModel)


def load_masked_model(backbone: Backbone) -> nn.Module:
    """The pretrained encoder with its head for masked words, in fp32.

    Raises:
        ModelError: as for `load_encoder`, or the checkpoint has no such head.
    """
    from transformers import AutoModelForMaskedLM

    return _loaded(backbone, AutoModelForMaskedLM)


def load_encoder_decoder(backbone: Backbone, settings: Mapping[str, Any]) -> nn.Module:
    """The pretrained encoder-decoder with its output layer, in fp32; `settings` replace config values.

    Raises:
        ModelError: as for `load_encoder`, or the config does not have one of the settings.
    """
    from transformers import AutoModelForSeq2SeqLM

    return _loaded(backbone, AutoModelForSeq2SeqLM, settings)


def positions_of(backbone: Backbone) -> int | None:
    """The number of positions of an encoder, in tokens; None if it has no table of positions.

    Raises:
        ModelError: no encoder can be built from the config.
    """
    import torch
    from transformers import AutoConfig, AutoModel

    with _readable_errors(backbone, "cannot be built from its config.json"), torch.device("meta"):
        config = AutoConfig.from_pretrained(
            backbone.location, revision=backbone.commit, trust_remote_code=False
        )
        model = AutoModel.from_config(config, trust_remote_code=False)  # type: ignore[no-untyped-call]
    wanted = getattr(config.get_text_config(), "max_position_embeddings", None)
    tables = [table for table in model.modules() if isinstance(table, torch.nn.Embedding)]
    counts = [
        # RoBERTa and others start to count after the position of the padding
        table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
        for table in tables
        if table.num_embeddings == wanted
    ]
    return min(counts, default=None)


def _loaded(backbone: Backbone, auto: Any, settings: Mapping[str, Any] | None = None) -> nn.Module:
    """The net of an Auto class without its `UNUSED_PARTS`, with `checkpoint_use` as an attribute."""
    with _readable_errors(backbone, "cannot be loaded"):
        config = _config(backbone, settings or {})
        tensors = read_tensors(backbone)
        model, report, ties = _filled(auto, config, tensors)
    # a class without this option calls its pooler in any case
    takes_none = "add_pooling_layer" in inspect.signature(type(model).__init__).parameters
    for part in UNUSED_PARTS:
        if getattr(model, part, None) is not None:
            setattr(model, part, _nothing() if part == "pooler" and not takes_none else None)
    model.checkpoint_use = checkpoint_use(model, tensors, report, ties, backbone.name)
    return model  # type: ignore[no-any-return]


def _nothing() -> nn.Module:
    from torch import nn

    return nn.Identity()


def _config(backbone: Backbone, settings: Mapping[str, Any]) -> Any:
    """The config with these settings, of a model type that the task can use."""
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    )

    writes_text = backbone.kind == "encoder-decoder"
    config = AutoConfig.from_pretrained(backbone.location, revision=backbone.commit, trust_remote_code=False)
    if config.is_encoder_decoder and not writes_text:  # some config files do not state it
        raise kinds.wrong_kind(backbone.name, f"an encoder-decoder ({config.model_type})", backbone.kind)
    # a model is an encoder if transformers has a masked-LM class for it
    model_types = (
        MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES if writes_text else MODEL_FOR_MASKED_LM_MAPPING_NAMES
    )
    if config.model_type not in model_types:
        raise kinds.wrong_kind(backbone.name, f"a {config.model_type} model", backbone.kind)
    for name, value in settings.items():
        if not hasattr(config, name):
            raise ModelError(f"the config of model {backbone.name!r} has no {name!r}, which this task sets")
        setattr(config, name, value)
    return config


def _filled(auto: Any, config: Any, tensors: Mapping[str, Any]) -> tuple[Any, dict[str, Any], dict[str, str]]:
    """The net of an Auto class with these tensors, the full report of loading, and the ties of the config.

    transformers leaves names out of its report, by patterns of the class. Here nothing is left out.
    """
    import torch

    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        blank = auto.from_config(copy.deepcopy(config), trust_remote_code=False)
    whole = type(blank)
    reporting_all = type(
        whole.__name__,
        (whole,),
        {
            "__module__": whole.__module__,
            "__qualname__": whole.__qualname__,
            "_adjust_missing_and_unexpected_keys": lambda _model, _report: None,
        },
    )
    model, report = cast("Any", reporting_all).from_pretrained(
        None,
        config=config,
        state_dict=dict(tensors),
        output_loading_info=True,
        dtype=torch.float32,
        trust_remote_code=False,
    )
    model.__class__ = whole
    return model, report, dict(getattr(blank, "all_tied_weights_keys", None) or {})


def load_tokenizer(backbone: Backbone) -> Any:
    """The tokenizer of a checkpoint; for a text encoder, one that maps characters to tokens.

    Raises:
        ModelError: there is no tokenizer, it cannot map characters, or it belongs to another model.
    """
    from transformers import AutoTokenizer

    with _readable_errors(backbone, "has no tokenizer that can be loaded"):
        tokenizer = AutoTokenizer.from_pretrained(
            backbone.location, revision=backbone.commit, trust_remote_code=False
        )
    if backbone.kind == "text-encoder" and not tokenizer.is_fast:
        raise ModelError(
            f"the tokenizer of {backbone.name!r}, {type(tokenizer).__name__}, cannot map characters to "
            "tokens; give a model with a tokenizer.json"
        )
    # transformers makes an empty tokenizer if there is none
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise ModelError(
            f"the model {backbone.name!r} has no vocabulary for its {type(tokenizer).__name__}; "
            "put its tokenizer.json beside its config.json"
        )
    if len(tokenizer) > (rows := backbone.config.get("vocab_size", len(tokenizer))):
        raise ModelError(
            f"the tokenizer of {backbone.name!r} has {len(tokenizer)} tokens, its model {rows}; "
            "they do not belong to the same checkpoint"
        )
    kinds.check_tokens(tokenizer.get_vocab(), backbone.kind, backbone.name)
    return tokenizer


@contextmanager
def _readable_errors(backbone: Backbone, failure: str) -> Iterator[None]:
    """Turn any error of transformers into a ModelError of one sentence, and silence its messages."""
    import pickle

    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError
    from transformers.utils import logging

    python_errors = (OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError)
    # a config of wrong values can cause any of these
    further_errors = (AssertionError, ArithmeticError, ImportError)
    library_errors = (SafetensorError, pickle.UnpicklingError, StrictDataclassError)

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    except (*python_errors, *further_errors, *library_errors) as error:
        if backbone.commit and isinstance(error, OSError):
            raise offline_error(backbone.name) from None
        if "trust_remote_code" in str(error):
            raise ModelError(
                f"the model {backbone.name!r} brings Python code of its own, which smc-eval never runs; "
                "give a model of a type that transformers knows"
            ) from None
        if "ignore_mismatched_sizes" in str(error):
            raise ModelError(
                f"the tensors of model {backbone.name!r} have other shapes than in its config.json; "
                "give the config that was saved with them"
            ) from None
        if "tiktoken" in str(error):  # transformers' answer if a SentencePiece model cannot be read
            raise ModelError(
                f"the SentencePiece model of {backbone.name!r} cannot be read by transformers; "
                "update protobuf (pip install -U protobuf), or put a tokenizer.json beside its config.json"
            ) from None
        reason = shorten(str(error) or type(error).__name__, 300, placeholder=" …").rstrip(".")
        raise ModelError(
            f"the model {backbone.name!r} {failure}: {reason}\n"
            "give a complete checkpoint, as save_pretrained writes it"
        ) from None
    finally:
        logging.set_verbosity(verbosity)
