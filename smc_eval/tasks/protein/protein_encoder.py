"""The protein encoder: reads amino acids, and gives one state for each residue."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from smc_eval.kind import Form, KindCard
from smc_eval.tasks.encoder import why_no_encoder
from smc_eval.tasks.protein.alphabet import ESM, esm_alphabet
from smc_eval.tasks.transformers_kind import TransformersKind
from smc_eval.tasks.vocabulary import reads_residues

if TYPE_CHECKING:
    from torch import nn


class ProteinEncoder(TransformersKind):
    """An encoder of proteins. `tiny` is an ESM of 2 layers, with ESM-2's alphabet."""

    card: ClassVar[KindCard] = KindCard(
        name="protein-encoder",
        summary="reads amino acids, and gives one state for each residue, as ESM does",
        source="Rives et al. (2021), ESM-1b; Lin et al. (2023), ESM-2",
        example="facebook/esm2_t12_35M_UR50D",
        builds=("tiny",),
    )
    auto: ClassVar[str] = "AutoModel"
    table: ClassVar[str] = "MODEL_FOR_MASKED_LM_MAPPING_NAMES"

    def why_not(self, config: Mapping[str, Any], tokens: Collection[str] | None) -> str:
        if reason := why_no_encoder(config):
            return reason
        if tokens is not None and not reads_residues(tokens):
            return f"not a protein encoder (its {len(tokens)} tokens are not the letters of residues)"
        return ""

    def build_tokenizer(self, form: Form, texts: Iterable[str]) -> Any:
        """The tokenizer of ESM-2, which needs no text."""
        from tempfile import TemporaryDirectory

        from transformers import EsmTokenizer

        with TemporaryDirectory() as folder:  # it reads its vocabulary from a file alone
            path = Path(folder) / "vocab.txt"
            path.write_text("\n".join(ESM), encoding="utf-8")
            return EsmTokenizer(str(path))  # type: ignore[no-untyped-call]

    def build(self, form: Form, tokenizer: Any = None) -> nn.Module:
        """An ESM of 2 layers and 64 features, with ESM-2's rotary positions and alphabet."""
        if form != "tiny":
            raise self.builds_no(form)
        from transformers import EsmConfig, EsmModel

        config = EsmConfig(
            vocab_size=len(ESM),
            pad_token_id=esm_alphabet().padding,
            mask_token_id=ESM.index("<mask>"),
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=128,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            position_embedding_type="rotary",
            token_dropout=True,
        )
        model = EsmModel(config, add_pooling_layer=False)
        model.contact_head = None  # type: ignore[assignment]  # it is not used
        return model
