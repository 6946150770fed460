"""The kind of model of this package: a causal language model."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from smc_eval.kind import Form, KindCard
from smc_eval.tasks.tiny import tiny_tokenizer
from smc_eval.tasks.transformers_kind import TransformersKind

if TYPE_CHECKING:
    from torch import nn

    from smc_eval.kind import Checkpoint

HEADS = ("ForCausalLM", "LMHeadModel")
"""Ends of the names of classes that predict the next token."""

POSITIONS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length")
"""Fields of configs with the number of positions, in the order in which they are asked."""


class Size(NamedTuple):
    """The size of a net that is built here."""

    layers: int
    features: int
    tokens: int
    positions: int


SIZES: Mapping[Form, Size] = {"tiny": Size(2, 64, 512, 64), "scratch": Size(4, 256, 4000, 512)}


class CausalLanguageModel(TransformersKind):
    """A decoder that predicts each token from those before it.

    `tiny` and `scratch` are small untrained Llamas with tied embeddings, and a tokenizer trained on the text.
    """

    card: ClassVar[KindCard] = KindCard(
        name="causal-lm",
        summary="predicts the next token from those before it, as GPT, OPT, Llama and Mixtral do",
        source="GPT, Radford et al. (2018); OPT, arXiv:2205.01068; Llama, arXiv:2302.13971",
        example="facebook/opt-125m",
        builds=("tiny", "scratch"),
    )
    auto: ClassVar[str] = "AutoModelForCausalLM"
    table: ClassVar[str] = "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"
    maps_characters: ClassVar[bool] = True

    def why_not(self, config: Mapping[str, Any], tokens: Collection[str] | None) -> str:
        if config.get("is_encoder_decoder"):
            return "an encoder-decoder"
        head = (config.get("architectures") or ["a model without a head"])[0]
        return "" if str(head).endswith(HEADS) else f"no causal language model ({head})"

    def load(self, checkpoint: Checkpoint) -> nn.Module:
        net = super().load(checkpoint)
        # One map for each expert: fused kernels do not say which inputs an expert gets.
        if callable(choose := getattr(net, "set_experts_implementation", None)) and _has_experts(net):
            choose("eager")
        return net

    def build_tokenizer(self, form: Form, texts: Iterable[str]) -> Any:
        """A byte-level BPE; a text begins with `<s>`."""
        from tokenizers import processors

        tokenizer = tiny_tokenizer(texts, SIZES[form].tokens)
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
        )
        return tokenizer

    def build(self, form: Form, tokenizer: Any = None) -> nn.Module:
        from transformers import LlamaConfig, LlamaForCausalLM

        if form not in SIZES:
            raise self.builds_no(form)
        size = SIZES[form]
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=size.features,
            intermediate_size=2 * size.features,
            num_hidden_layers=size.layers,
            num_attention_heads=size.features // 32,
            num_key_value_heads=max(1, size.features // 64),
            max_position_embeddings=size.positions,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
        return LlamaForCausalLM(config)


def positions_of(config: Mapping[str, Any]) -> int | None:
    """The number of positions of a model, in tokens, as its config.json says; None if it says none."""
    for name in POSITIONS:
        if isinstance(count := config.get(name), int) and count > 0:
            return count
    return None


def _has_experts(net: nn.Module) -> bool:
    """Whether the weights of experts are stacked in one tensor."""
    return any(
        weight.ndim == 3 and "expert" in name.rpartition(".")[0] for name, weight in net.named_parameters()
    )
