"""The text encoder: reads text, and gives one state for each token."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from smc_eval.kind import Form, KindCard
from smc_eval.tasks import tiny
from smc_eval.tasks.encoder import why_no_encoder
from smc_eval.tasks.transformers_kind import TransformersKind
from smc_eval.tasks.vocabulary import reads_residues

if TYPE_CHECKING:
    from torch import nn


class TextEncoder(TransformersKind):
    """An encoder of text. `tiny` is a RoBERTa of 2 layers, with a tokenizer trained on the data."""

    card: ClassVar[KindCard] = KindCard(
        name="text-encoder",
        summary="reads text, and gives one state for each token, as BERT and RoBERTa do",
        source="Devlin et al. (2019), BERT; Liu et al. (2019), RoBERTa, arXiv:1907.11692",
        example="roberta-base",
        builds=("tiny",),
    )
    auto: ClassVar[str] = "AutoModel"
    table: ClassVar[str] = "MODEL_FOR_MASKED_LM_MAPPING_NAMES"
    maps_characters: ClassVar[bool] = True

    masked: bool = False
    """With its head for masked words."""

    @property
    def auto_class(self) -> str:
        return "AutoModelForMaskedLM" if self.masked else self.auto

    def why_not(self, config: Mapping[str, Any], tokens: Collection[str] | None) -> str:
        if reason := why_no_encoder(config):
            return reason
        if tokens is not None and reads_residues(tokens):
            return f"a protein encoder (its {len(tokens)} tokens are the letters of residues)"
        return ""

    def build_tokenizer(self, form: Form, texts: Iterable[str]) -> Any:
        return tiny.tiny_tokenizer(texts, mask=self.masked)

    def build(self, form: Form, tokenizer: Any = None) -> nn.Module:
        if form != "tiny":
            raise self.builds_no(form)
        from transformers import RobertaForMaskedLM, RobertaModel

        config = tiny.tiny_config(len(tokenizer))
        return RobertaForMaskedLM(config) if self.masked else RobertaModel(config, add_pooling_layer=False)
