"""Kinds whose models are all loaded by one class of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from smc_eval.kind import Checkpoint, ModelKind
from smc_eval.tasks import pretrained
from smc_eval.tasks.model_types import model_types

if TYPE_CHECKING:
    from torch import nn


class TransformersKind(ModelKind):
    """A kind that an Auto class of transformers loads."""

    auto: ClassVar[str]
    """The Auto class that loads it: `AutoModelForCausalLM`."""
    table: ClassVar[str]
    """The table of `transformers.models.auto.modeling_auto` with the model types of this kind:
    `MODEL_FOR_CAUSAL_LM_MAPPING_NAMES`."""
    encoder_decoders: ClassVar[bool] = False
    """Whether its models are encoder-decoders."""
    maps_characters: ClassVar[bool] = False
    """Whether its tasks need a tokenizer that maps characters to tokens."""

    @property
    def auto_class(self) -> str:
        """The Auto class that loads it with these options."""
        return self.auto

    @property
    def settings(self) -> Mapping[str, Any]:
        """Fields of the config that are replaced before loading, by name."""
        return {}

    def why_not_loadable(self, config: Mapping[str, Any]) -> str:
        model_type, known = config["model_type"], model_types(self.table)
        if not known or model_type in known:
            return ""
        return f"of the type {model_type!r}, and transformers has no {self.card.name.replace('-', ' ')}"

    def load(self, checkpoint: Checkpoint) -> nn.Module:
        how = pretrained.Loading(self.auto_class, self.table, self.settings, self.encoder_decoders)
        return pretrained.load_pretrained(checkpoint, self, how)

    def load_tokenizer(self, checkpoint: Checkpoint) -> Any:
        return pretrained.load_tokenizer(checkpoint, self, maps_characters=self.maps_characters)
