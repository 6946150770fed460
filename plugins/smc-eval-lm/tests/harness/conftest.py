"""Tasks in a folder, and a small Llama in another."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from smc_eval_lm.model_kind import CausalLanguageModel

sys.path.insert(0, str(Path(__file__).parent))  # for `local_tasks`

from local_tasks import ANIMALS, PLACES, need_lm_eval, write_tasks

os.environ["HF_DATASETS_OFFLINE"] = "1"


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """A folder with the three tasks."""
    need_lm_eval()
    folder = tmp_path / "tasks"
    folder.mkdir()
    write_tasks(folder)
    return folder


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama that was never trained, with 256 positions."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("llama")
    words = [f"how many legs has a {animal} by the {place}" for animal in ANIMALS for place in PLACES]
    tokenizer = CausalLanguageModel().build_tokenizer("tiny", words)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        initializer_range=0.3,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder
