"""The encoder-decoder: reads text, and writes text."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from smc_eval.kind import Form, KindCard
from smc_eval.tasks import tiny
from smc_eval.tasks.checkpoint_config import head_of
from smc_eval.tasks.transformers_kind import TransformersKind

if TYPE_CHECKING:
    from torch import nn

SIZES: Mapping[Form, tuple[int, int, int]] = {"tiny": (2, 64, 1000), "scratch": (3, 256, 8000)}
"""Layers on each side, features and vocabulary size of the nets that are built here."""


class EncoderDecoder(TransformersKind):
    """An encoder-decoder. `tiny` and `scratch` are small untrained mBARTs."""

    card: ClassVar[KindCard] = KindCard(
        name="encoder-decoder",
        summary="reads text and writes text, as BART and T5 do",
        source="Lewis et al. (2020), BART; Liu et al. (2020), mBART, arXiv:2001.08210",
        example="facebook/mbart-large-cc25",
        builds=("tiny", "scratch"),
    )
    auto: ClassVar[str] = "AutoModelForSeq2SeqLM"
    table: ClassVar[str] = "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES"
    encoder_decoders: ClassVar[bool] = True

    dropout: float | None = Field(None, ge=0, lt=1)
    """Dropout of the net; None leaves that of the model."""
    attention_dropout: float | None = Field(None, ge=0, lt=1)
    """Dropout of attention weights; None leaves that of the model."""

    @property
    def settings(self) -> Mapping[str, Any]:
        changes = {"dropout": self.dropout, "attention_dropout": self.attention_dropout}
        return {name: value for name, value in changes.items() if value is not None}

    def why_not(self, config: Mapping[str, Any], tokens: Collection[str] | None) -> str:
        return "" if config.get("is_encoder_decoder") else f"not an encoder-decoder ({head_of(config)})"

    def build_tokenizer(self, form: Form, texts: Iterable[str]) -> Any:
        return tiny.tiny_tokenizer(texts, SIZES[form][2])

    def build(self, form: Form, tokenizer: Any = None) -> nn.Module:
        from transformers import MBartConfig, MBartForConditionalGeneration

        layers, features, _ = SIZES[form]
        config = MBartConfig(
            vocab_size=len(tokenizer),
            max_position_embeddings=512,
            d_model=features,
            encoder_layers=layers,
            decoder_layers=layers,
            encoder_attention_heads=features // 32,
            decoder_attention_heads=features // 32,
            encoder_ffn_dim=2 * features,
            decoder_ffn_dim=2 * features,
            dropout=self.dropout or 0.0,
            attention_dropout=self.attention_dropout or 0.0,
            scale_embedding=True,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=tokenizer.bos_token_id,
            forced_eos_token_id=None,
        )
        return MBartForConditionalGeneration(config)
