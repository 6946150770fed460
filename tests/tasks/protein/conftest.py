"""A small protein checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from smc_eval.tasks.protein.alphabet import ESM


@pytest.fixture(scope="session")
def esm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A very small ESM-1b with positions for 10 tokens, saved with a head, as is usual."""
    from transformers import EsmConfig, EsmForSequenceClassification

    folder = tmp_path_factory.mktemp("esm") / "small"
    torch.manual_seed(0)
    config = EsmConfig(
        vocab_size=len(ESM),
        pad_token_id=1,
        mask_token_id=ESM.index("<mask>"),
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=12,
        position_embedding_type="absolute",
        emb_layer_norm_before=True,
        token_dropout=True,
    )
    EsmForSequenceClassification(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(ESM))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "EsmTokenizer"}))
    return folder
