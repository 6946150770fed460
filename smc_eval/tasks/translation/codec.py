"""From sentences to batches and back: ids, with a token that says which language is written.

Shapes: N sentences, S tokens of sources, T tokens of targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from smc_eval.errors import ModelError
from smc_eval.tasks.translation.corpus import Sentence
from smc_eval.tasks.translation.languages import LANGUAGES

IGNORED = -100
"""Label of what no loss is taken of."""

LanguageSide = Literal["first", "last"]
"""Where a sentence has its language's token: mBART-50, M2M-100 and NLLB begin with it, mBART ends with it."""


@dataclass(frozen=True)
class TextBatch:
    """Sentences as tensors."""

    source_NS: Tensor
    real_NS: Tensor
    """Which source tokens are no padding."""
    given_NT: Tensor
    """What the decoder sees: the prefix that names the language, then the target."""
    label_NT: Tensor
    """What it is to say next: the target and its end."""
    prefix_NP: Tensor
    """What is written before the first word when translating."""


class Codec:
    """A tokenizer and the tokens of the languages."""

    def __init__(
        self, tokenizer: Any, place: LanguageSide, longest: int, codes: Sequence[str], word: str
    ) -> None:
        """Sources and targets are cut after `longest` tokens.

        Raises:
            ModelError: the tokenizer of model `word` knows a language not, or lacks a token that is needed.
        """
        self.tokenizer, self.place, self.longest = tokenizer, place, longest
        for role in ("pad", "eos"):
            if getattr(tokenizer, f"{role}_token_id") is None:
                raise ModelError(
                    f"the tokenizer of model {word!r} has no {role} token, which translation needs"
                )
        self.padding: int = tokenizer.pad_token_id
        self.end: int = tokenizer.eos_token_id
        known = tokenizer.get_vocab()
        self.language: dict[str, int] = {}
        for code in codes:
            names = LANGUAGES[code].tokens
            found = next((known[name] for name in names if name in known), None)
            if found is None:
                raise ModelError(
                    f"the tokenizer of model {word!r} has no token for {LANGUAGES[code].name} "
                    f"({', '.join(names)}); choose other languages or a multilingual encoder-decoder"
                )
            self.language[code] = found
        self._cut: dict[str, list[int]] = {}

    def side_lengths(self, sentence: Sentence) -> tuple[int, int]:
        """Tokens of source and target, those that mark language and end among them."""
        return len(self.ids(sentence.source)) + 2, len(self.ids(sentence.target)) + 2

    def ids(self, text: str) -> list[int]:
        """A text's tokens, without any that mark its ends; each text is cut once."""
        if text not in self._cut:
            found = self.tokenizer(text, add_special_tokens=False, verbose=False).input_ids
            self._cut[text] = found[: self.longest - 2]
        return self._cut[text]

    def batch(self, sentences: Sequence[Sentence]) -> TextBatch:
        """Sentences of any directions as one batch."""
        sources, given, labels, prefixes = [], [], [], []
        for one in sentences:
            here, there = self.language[one.direction.source], self.language[one.direction.target]
            words, said = self.ids(one.source), self.ids(one.target)
            first = self.place == "first"
            sources.append([here, *words, self.end] if first else [*words, self.end, here])
            prefix = [self.end, there] if first else [there]
            prefixes.append(prefix)
            given.append([*prefix, *said])
            labels.append([*[IGNORED] * (len(prefix) - 1), *said, self.end])
        source_NS = _padded(sources, self.padding)
        real_NS = _padded([[1] * len(ids) for ids in sources], 0).bool()
        return TextBatch(
            source_NS, real_NS, _padded(given, self.padding), _padded(labels, IGNORED), torch.tensor(prefixes)
        )

    def text(self, ids: Sequence[int]) -> str:
        """The words of generated ids."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip()


def _padded(rows: Sequence[Sequence[int]], filler: int) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[filler] * (longest - len(row))] for row in rows])
