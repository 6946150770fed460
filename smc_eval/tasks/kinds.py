"""Kinds of checkpoint, recognised from config and vocabulary, never from the name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from string import ascii_uppercase
from textwrap import shorten
from typing import Any, Literal

from smc_eval.errors import ModelError
from smc_eval.files.json_text import parse_json

ModelKind = Literal["text-encoder", "protein-encoder", "encoder-decoder"]

AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
"""The twenty amino acids. Every protein encoder has a token for each."""

EXAMPLES: Mapping[ModelKind, str] = {
    "text-encoder": "roberta-base",
    "protein-encoder": "facebook/esm2_t12_35M_UR50D",
    "encoder-decoder": "facebook/mbart-large-cc25",
}

VOCABULARIES = ("vocab.txt", "vocab.json", "tokenizer.json")
"""Files of a checkpoint folder that list its tokens."""


MASKED_HEADS = ("XLMWithLMHeadModel", "FlaubertWithLMHeadModel")
"""Classes with a head for masked words whose names end as those of causal language models do."""

TEXT_TOKENS = 512
"""The longest input of a text task, in tokens."""

UNFIT: Mapping[str, str] = {
    "mra": "without a CUDA kernel that it fetches from the hub, transformers takes its attention as zero",
    "perceiver": "its states are those of latents, and not one for each token",
    "reformer": "it trains on inputs of one fixed length alone",
}
"""Model types with a head for masked words that no task can use, and why."""

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


class WrongKind(ModelError):
    """The checkpoint exists, but the task takes another kind."""


def check_kind(
    config: Mapping[str, Any], tokens: Collection[str] | None, kind: ModelKind, model_name: str
) -> None:
    """Refuse a checkpoint if config or vocabulary show that it is of another kind.

    `tokens` is None if the vocabulary is not known yet; it is checked again when the model is loaded.

    Raises:
        ModelError: the model is of another kind.
    """
    check_fields(config, model_name)
    if "model_type" not in config:
        raise ModelError(
            f"the config.json of model {model_name!r} names no model_type, so it is not a transformers model"
        )
    heads = config.get("architectures") or ["a model"]
    if kind == "encoder-decoder":
        if not config.get("is_encoder_decoder"):
            raise wrong_kind(model_name, f"not an encoder-decoder ({heads[0]})", kind)
        return
    if config.get("is_encoder_decoder"):
        raise wrong_kind(model_name, f"an encoder-decoder ({heads[0]})", kind)
    if config.get("is_decoder") or config.get("causal") or is_causal_head(heads[0]):
        raise wrong_kind(model_name, f"a causal language model ({heads[0]})", kind)
    if reason := _unfit(config):
        description = f"a {config['model_type']} model, which cannot be used: {reason}"
        raise wrong_kind(model_name, description, kind)
    if tokens is not None:
        check_tokens(tokens, kind, model_name)


def _unfit(config: Mapping[str, Any]) -> str | None:
    """Why an encoder would compute something else than it should, or nothing; None if it can be used."""
    model_type = config["model_type"]
    if model_type == "xmod" and not config.get("default_language"):
        return "its config.json names no default_language, without which it reads no text"
    if model_type == "yoso" and config.get("use_expectation") is False:
        return "use_expectation is false, and its random hashes need a CUDA kernel"
    if model_type == "big_bird" and config.get("attention_type", "block_sparse") == "block_sparse":
        # below this length it switches to full attention, for all batches to come
        blocks, size = config.get("num_random_blocks", 3), config.get("block_size", 64)
        if (5 + 2 * blocks) * size < TEXT_TOKENS:
            return (
                "with these blocks, the length of the first batch decides which attention it has later on; "
                "set attention_type to original_full in its config.json"
            )
    return UNFIT.get(model_type)


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


def is_masked_head(architecture: str) -> bool:
    """Whether a class of transformers has a head for masked words, by its name."""
    return architecture.endswith("ForMaskedLM") or architecture in MASKED_HEADS


def is_causal_head(architecture: str) -> bool:
    """Whether a class of transformers is a causal language model, by its name."""
    return architecture.endswith(("ForCausalLM", "LMHeadModel")) and architecture not in MASKED_HEADS


def check_tokens(tokens: Collection[str], kind: ModelKind, model_name: str) -> None:
    """Refuse a vocabulary of words for a protein encoder, and one of residues for a text encoder.

    Raises:
        ModelError: the model is of another kind.
    """
    if kind == "encoder-decoder" or reads_residues(tokens) == (kind == "protein-encoder"):
        return
    count = len(tokens)
    if kind == "protein-encoder":
        raise wrong_kind(
            model_name, f"not a protein encoder (its {count} tokens are not the letters of residues)", kind
        )
    raise wrong_kind(model_name, f"a protein encoder (its {count} tokens are the letters of residues)", kind)


def reads_residues(tokens: Collection[str]) -> bool:
    """Whether a vocabulary is one of proteins: single capital letters, among them all amino acids.

    Special tokens such as `<cls>`, `[MASK]` or `-` are ignored.
    """
    letters = {token for token in tokens if token.isalpha()}
    return set(AMINO_ACIDS) <= letters <= set(ascii_uppercase)


def tokens_in(folder: Path) -> Collection[str] | None:
    """The tokens of a checkpoint folder, if one of its `VOCABULARIES` can be read; else None."""
    for name in VOCABULARIES:
        try:
            text = (folder / name).read_text(encoding="utf-8")
            if tokens := text.split() if name.endswith(".txt") else _tokens_of_json(parse_json(text)):
                return tokens
        except (OSError, ValueError):  # loading it will raise an error
            continue
    return None


def wrong_kind(model_name: str, description: str, kind: ModelKind) -> WrongKind:
    """The error for a model of another kind."""
    return WrongKind(
        f"the model {model_name!r} is {description}; "
        f"this task takes a {kind.replace('-', ' ')} such as {EXAMPLES[kind]}"
    )


def _tokens_of_json(content: object) -> Collection[str] | None:
    """The tokens of a `vocab.json`, which maps tokens to ids, or of a `tokenizer.json`."""
    if not isinstance(content, dict):
        return None
    model = content.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else content
    if isinstance(vocabulary, list):  # pairs of a token and its score
        return [str(pair[0]) for pair in vocabulary if isinstance(pair, list) and pair]
    return list(vocabulary) if isinstance(vocabulary, dict) else None
