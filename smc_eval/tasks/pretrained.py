"""Loading a backbone: its net and its tokenizer, or an error that names what is wrong."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from smc_eval.errors import ModelError
from smc_eval.kind import Checkpoint, ModelKind, reason_against
from smc_eval.tasks.checkpoint_tensors import read_tensors
from smc_eval.tasks.load_errors import readable_errors
from smc_eval.tasks.load_report import UNUSED_PARTS, checkpoint_use

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Loading:
    """How transformers loads the models of a kind."""

    auto: str
    """Name of the Auto class."""
    table: str
    """Name of the table of `transformers.models.auto.modeling_auto` with the model types of the kind."""
    settings: Mapping[str, Any]
    """Fields of the config that are replaced."""
    encoder_decoders: bool = False
    """Whether the models of the kind are encoder-decoders."""


def load_pretrained(checkpoint: Checkpoint, kind: ModelKind, how: Loading) -> nn.Module:
    """The pretrained net in fp32, without its `UNUSED_PARTS`, with `checkpoint_use` as an attribute.

    Raises:
        ModelError: the model is of another kind; its config lacks one of the settings; or its weights are
            missing, truncated or of other shapes.
    """
    import transformers

    with readable_errors(checkpoint, "cannot be loaded"):
        config = _config(checkpoint, kind, how)
        tensors = read_tensors(checkpoint)
        model, report, ties = _filled(getattr(transformers, how.auto), config, tensors)
    # a class without this option calls its pooler in any case
    takes_none = "add_pooling_layer" in inspect.signature(type(model).__init__).parameters
    for part in UNUSED_PARTS:
        if getattr(model, part, None) is not None:
            setattr(model, part, _nothing() if part == "pooler" and not takes_none else None)
    model.checkpoint_use = checkpoint_use(model, tensors, report, ties, checkpoint.name)
    return model  # type: ignore[no-any-return]


def positions_of(checkpoint: Checkpoint) -> int | None:
    """The number of positions of an encoder, in tokens; None if it has no table of positions.

    Raises:
        ModelError: no encoder can be built from the config.
    """
    import torch
    from transformers import AutoConfig, AutoModel

    with readable_errors(checkpoint, "cannot be built from its config.json"), torch.device("meta"):
        config = AutoConfig.from_pretrained(
            checkpoint.location, revision=checkpoint.commit, trust_remote_code=False
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


def _nothing() -> nn.Module:
    from torch import nn

    return nn.Identity()


def _config(checkpoint: Checkpoint, kind: ModelKind, how: Loading) -> Any:
    """The config with these settings, of a model type that the kind has."""
    from transformers import AutoConfig
    from transformers.models.auto import modeling_auto

    config = AutoConfig.from_pretrained(
        checkpoint.location, revision=checkpoint.commit, trust_remote_code=False
    )
    if config.is_encoder_decoder and not how.encoder_decoders:  # some config files do not state it
        raise kind.wrong(checkpoint.name, f"an encoder-decoder ({config.model_type})")
    if config.model_type not in getattr(modeling_auto, how.table):
        raise kind.wrong(checkpoint.name, f"a {config.model_type} model")
    for name, value in how.settings.items():
        if not hasattr(config, name):
            raise ModelError(f"the config of model {checkpoint.name!r} has no {name!r}, which this task sets")
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


def load_tokenizer(checkpoint: Checkpoint, kind: ModelKind, *, maps_characters: bool = False) -> Any:
    """The tokenizer of a checkpoint; on request, one that maps characters to tokens.

    Raises:
        ModelError: there is no tokenizer, it cannot map characters, or it belongs to another model.
    """
    from transformers import AutoTokenizer

    with readable_errors(checkpoint, "has no tokenizer that can be loaded"):
        tokenizer = AutoTokenizer.from_pretrained(
            checkpoint.location, revision=checkpoint.commit, trust_remote_code=False
        )
    if maps_characters and not tokenizer.is_fast:
        raise ModelError(
            f"the tokenizer of {checkpoint.name!r}, {type(tokenizer).__name__}, cannot map characters to "
            "tokens; give a model with a tokenizer.json"
        )
    # transformers makes an empty tokenizer if there is none
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise ModelError(
            f"the model {checkpoint.name!r} has no vocabulary for its {type(tokenizer).__name__}; "
            "put its tokenizer.json beside its config.json"
        )
    if len(tokenizer) > (rows := checkpoint.config.get("vocab_size", len(tokenizer))):
        raise ModelError(
            f"the tokenizer of {checkpoint.name!r} has {len(tokenizer)} tokens, its model {rows}; "
            "they do not belong to the same checkpoint"
        )
    if reason := reason_against(kind, checkpoint.config, tokenizer.get_vocab()):
        raise kind.wrong(checkpoint.name, reason)
    return tokenizer
