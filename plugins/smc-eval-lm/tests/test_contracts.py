"""The contracts of the kind and of the task."""

from __future__ import annotations

from pathlib import Path

from smc_eval_lm.model_kind import CausalLanguageModel
from smc_eval_lm.perplexity import Perplexity

from smc_eval.testing import KindContract, TaskContract


class TestCausalLanguageModel(KindContract):
    kind = CausalLanguageModel()

    def save(self, folder: Path) -> None:
        tokenizer = self.kind.build_tokenizer("tiny", ("the first text", "and another one"))
        tokenizer.save_pretrained(folder)
        self.kind.build("tiny", tokenizer).save_pretrained(folder)


class TestPerplexity(TaskContract):
    task = Perplexity()


class TestPerplexityOfBytes(TaskContract):
    task = Perplexity(per="byte", stride=16, bos="windows")
