"""The built-in kinds of model keep the contract of all kinds."""

from __future__ import annotations

from pathlib import Path

from smc_eval.tasks import tiny
from smc_eval.tasks.protein.alphabet import ESM
from smc_eval.tasks.protein.protein_encoder import ProteinEncoder
from smc_eval.tasks.text_encoder import TextEncoder
from smc_eval.tasks.translation.kind import EncoderDecoder
from smc_eval.testing import KindContract
from smc_eval.testing.kind_contract import TEXTS


class TestTextEncoder(KindContract):
    kind = TextEncoder()

    def save(self, folder: Path) -> None:
        tokenizer = tiny.tiny_tokenizer(TEXTS, mask=True)
        tokenizer.save_pretrained(folder)
        TextEncoder(masked=True).build("tiny", tokenizer).save_pretrained(folder)


class TestMaskedTextEncoder(TestTextEncoder):
    kind = TextEncoder(masked=True)


class TestProteinEncoder(KindContract):
    kind = ProteinEncoder()

    def save(self, folder: Path) -> None:
        from transformers import EsmConfig, EsmForMaskedLM, EsmTokenizer

        (folder / "vocab.txt").write_text("\n".join(ESM))
        EsmTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
        config = EsmConfig(
            vocab_size=len(ESM),
            pad_token_id=1,
            mask_token_id=32,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=16,
        )
        EsmForMaskedLM(config).save_pretrained(folder)


class TestEncoderDecoder(KindContract):
    kind = EncoderDecoder()

    def save(self, folder: Path) -> None:
        tokenizer = tiny.tiny_tokenizer(TEXTS)
        tokenizer.save_pretrained(folder)
        self.kind.build("tiny", tokenizer).save_pretrained(folder)
