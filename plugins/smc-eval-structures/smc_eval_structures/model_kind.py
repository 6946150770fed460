"""The kind of model of this package: a structure encoder, with sizes in its `config.json`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from smc_eval.errors import ModelError
from smc_eval.kind import Checkpoint, Form, KindCard, ModelKind
from smc_eval_structures.config import MODEL_TYPE, TINY, EncoderConfig

if TYPE_CHECKING:
    from smc_eval_structures.encoder import StructureEncoder

PUBLISHED = "esm_if1_gvp4_t16_142M_UR50"
"""Folder of the published encoder, as the converter writes it."""


class StructureKind(ModelKind):
    """A structure encoder: the one of ESM-IF1, or one of other sizes."""

    card: ClassVar[KindCard] = KindCard(
        name="structure-encoder",
        summary="reads backbone coordinates: the encoder of ESM-IF1",
        source="Hsu et al., ICML 2022, https://proceedings.mlr.press/v162/hsu22a.html",
        example=f"{PUBLISHED} (a folder that smc-eval-convert-esm-if1 writes)",
        builds=("tiny",),
    )

    def why_not(self, config: Mapping[str, Any], tokens: Collection[str] | None) -> str:
        model_type = config.get("model_type")
        return "" if model_type == MODEL_TYPE else f"of the type {model_type!r}, which reads no coordinates"

    def why_not_loadable(self, config: Mapping[str, Any]) -> str:
        try:
            EncoderConfig.of_json(config)
        except ValueError as error:
            return f"a structure encoder whose config.json is wrong: {error}"
        return ""

    def load(self, checkpoint: Checkpoint) -> StructureEncoder:
        from safetensors import SafetensorError

        from smc_eval.tasks.checkpoint_tensors import read_tensors
        from smc_eval_structures.convert import check_tensors
        from smc_eval_structures.encoder import StructureEncoder

        if reason := self.why_not_loadable(checkpoint.config):
            raise self.wrong(checkpoint.name, reason)
        config = EncoderConfig.of_json(checkpoint.config)
        try:
            tensors = read_tensors(checkpoint)
        except (SafetensorError, OSError, ValueError) as error:
            raise ModelError(f"the weights of model {checkpoint.name!r} cannot be read: {error}") from None
        check_tensors(config, tensors, checkpoint.name)
        encoder = StructureEncoder(config)
        encoder.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
        return encoder

    def build(self, form: Form, tokenizer: Any = None) -> StructureEncoder:
        from smc_eval_structures.encoder import StructureEncoder

        if form != "tiny":
            return cast("StructureEncoder", super().build(form, tokenizer))
        return StructureEncoder(TINY)
