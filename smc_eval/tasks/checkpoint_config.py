"""The config.json of a checkpoint: types of its fields, and what its class names say."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import shorten
from typing import Any

from smc_eval.errors import ModelError

MASKED_HEADS = ("XLMWithLMHeadModel", "FlaubertWithLMHeadModel")
"""Classes with a head for masked words whose names end as those of causal language models do."""

FIELD_TYPES: Mapping[str, tuple[type, ...]] = {
    "model_type": (str,),
    "architectures": (list,),
    "is_decoder": (bool,),
    "is_encoder_decoder": (bool,),
    "causal": (bool,),
    "tie_word_embeddings": (bool,),
    "vocab_size": (int,),
    "hidden_size": (int,),
    "num_hidden_layers": (int,),
    "num_attention_heads": (int,),
    "max_position_embeddings": (int,),
    "type_vocab_size": (int,),
    "position_embedding_type": (str,),
    "quantization_config": (dict,),
    "transformers_weights": (str,),
    "attention_type": (str,),
    "num_random_blocks": (int,),
    "block_size": (int,),
}
"""Fields of a config.json that are read here or by a task, with their types. All may be null."""


def check_fields(config: Mapping[str, Any], model_name: str) -> None:
    """Refuse a config with a field of a wrong type.

    Raises:
        ModelError: there is one; it is named, with its value.
    """
    for name, types in FIELD_TYPES.items():
        value = config.get(name)
        if value is None:
            continue
        right = isinstance(value, types) and (bool in types or not isinstance(value, bool))
        if not right or (name == "architectures" and not all(isinstance(head, str) for head in value)):
            wanted = "a list of names" if name == "architectures" else types[0].__name__
            raise ModelError(
                f"the config.json of model {model_name!r} has {name} = {shorten(repr(value), 60)}; "
                f"wanted {wanted}"
            )


def refuse_nameless(config: Mapping[str, Any], model_name: str) -> None:
    """Refuse a config without a model type.

    Raises:
        ModelError: there is none.
    """
    if not config.get("model_type"):
        raise ModelError(
            f"the config.json of model {model_name!r} names no model_type, so it is not a transformers model"
        )


def head_of(config: Mapping[str, Any]) -> str:
    """The first class that a config names; `a model` if it names none."""
    return (config.get("architectures") or ["a model"])[0]  # type: ignore[no-any-return]


def is_masked_head(architecture: str) -> bool:
    """Whether a class of transformers has a head for masked words, by its name."""
    return architecture.endswith("ForMaskedLM") or architecture in MASKED_HEADS


def is_causal_head(architecture: str) -> bool:
    """Whether a class of transformers is a causal language model, by its name."""
    return architecture.endswith(("ForCausalLM", "LMHeadModel")) and architecture not in MASKED_HEADS
