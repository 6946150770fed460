"""From sentences to batches of ids and back, with a token for each language.

Shapes: N sentences, S tokens of sources, T tokens of targets.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from smc_eval.errors import ModelError
from smc_eval.tasks.translation.corpus import Sentence
from smc_eval.tasks.translation.languages import LANGUAGES
from smc_eval.tasks.translation.normalization import Normalize, unchanged

IGNORED = -100
"""Label of positions that have no loss."""

LanguageSide = Literal["first", "last"]
"""Position of the language token: mBART-50, M2M-100 and NLLB begin a text with it, mBART ends with it."""


@dataclass(frozen=True)
class TextBatch:
    """Sentences as tensors."""

    source_NS: Tensor
    real_NS: Tensor
    """Which source tokens are not padding."""
    decoder_NT: Tensor
    """Input of the decoder: the prefix with the language token, then the target."""
    label_NT: Tensor
    """The next token at each position of the decoder: the target, then the end token."""
    prefix_NP: Tensor
    """The first tokens of each translation, before its first word."""


class Codec:
    """A tokenizer with the tokens of all languages."""

    def __init__(
        self,
        tokenizer: Any,
        side: LanguageSide,
        longest: int,
        codes: Sequence[str],
        model_name: str,
        normalize: Normalize = unchanged,
    ) -> None:
        """Texts are normalized, then tokenized. Sources and targets are truncated to `longest` tokens.

        Raises:
            ModelError: the tokenizer has no token for a language, for padding or for the end.
        """
        self.tokenizer, self.language_side, self.longest = tokenizer, side, longest
        self.normalize = normalize
        for role in ("pad", "eos"):
            if getattr(tokenizer, f"{role}_token_id") is None:
                raise ModelError(
                    f"the tokenizer of model {model_name!r} has no {role} token, which translation needs"
                )
        self.padding: int = tokenizer.pad_token_id
        self.end: int = tokenizer.eos_token_id
        vocabulary = tokenizer.get_vocab()
        self.language: dict[str, int] = {}
        for code in codes:
            names = LANGUAGES[code].tokens
            token = next((vocabulary[name] for name in names if name in vocabulary), None)
            if token is None:
                raise ModelError(
                    f"the tokenizer of model {model_name!r} has no token for {LANGUAGES[code].name} "
                    f"({', '.join(names)}); choose other languages or a multilingual encoder-decoder"
                )
            self.language[code] = token
        self._ids: dict[str, list[int]] = {}

    @property
    def normalizes(self) -> bool:
        """Whether a table of replacements was found in the files of the tokenizer, or it needs none."""
        return self.normalize is not unchanged or not getattr(self.tokenizer, "is_fast", True)

    def side_lengths(self, sentence: Sentence) -> tuple[int, int]:
        """Tokens of source and target, including those of language and end."""
        return len(self.ids(sentence.source)) + 2, len(self.ids(sentence.target)) + 2

    def ids(self, text: str) -> list[int]:
        """Ids of a text without special tokens; each text is tokenized once."""
        if text not in self._ids:
            self._ids[text] = self._all_ids(text)[: self.longest - 2]
        return self._ids[text]

    def unknown_share(self, texts: Iterable[str]) -> float:
        """Share of tokens of some texts that are unknown, in [0, 1]. Truncation does not matter to it."""
        unknown: int | None = getattr(self.tokenizer, "unk_token_id", None)
        found = total = 0
        for text in texts:
            ids = self._all_ids(text)
            found += sum(token == unknown for token in ids)
            total += len(ids)
        return found / total if total else 0.0

    def rewritten(self, text: str) -> str:
        """A text as a net writes it that makes no mistake: through the tokenizer and back."""
        return self.text(self.ids(text))

    def batch(self, sentences: Sequence[Sentence]) -> TextBatch:
        """Sentences of any directions as one batch."""
        sources, inputs, labels, prefixes = [], [], [], []
        for sentence in sentences:
            direction = sentence.direction
            source_token, target_token = self.language[direction.source], self.language[direction.target]
            source, target = self.ids(sentence.source), self.ids(sentence.target)
            first = self.language_side == "first"
            sources.append([source_token, *source, self.end] if first else [*source, self.end, source_token])
            prefix = [self.end, target_token] if first else [target_token]
            prefixes.append(prefix)
            inputs.append([*prefix, *target])
            labels.append([*[IGNORED] * (len(prefix) - 1), *target, self.end])
        source_NS = _padded(sources, self.padding)
        real_NS = _padded([[1] * len(ids) for ids in sources], 0).bool()
        return TextBatch(
            source_NS,
            real_NS,
            _padded(inputs, self.padding),
            _padded(labels, IGNORED),
            torch.tensor(prefixes),
        )

    def text(self, ids: Sequence[int]) -> str:
        """The text of generated ids."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip()

    def _all_ids(self, text: str) -> list[int]:
        normal = self.normalize(text)
        return list(self.tokenizer(normal, add_special_tokens=False, verbose=False).input_ids)


def _padded(rows: Sequence[Sequence[int]], filler: int) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[filler] * (longest - len(row))] for row in rows])
