"""What the vocabulary of a tokenizer lacks: the share of unknown tokens of each language."""

from __future__ import annotations

from collections.abc import Iterable

from smc_eval.errors import ModelError
from smc_eval.tasks.translation.codec import Codec
from smc_eval.tasks.translation.corpus import Sentence
from smc_eval.tasks.translation.languages import LANGUAGES

MOST_UNKNOWN = 0.03
"""Largest share of unknown tokens of a language. Each one breaks up to four n-grams of four words. Without
its normalization, a tokenizer does not know 5 % of Chinese, whose commas have full width; else 0.1 %."""

LACKS_NORMALIZATION = (
    "its files hold no normalization: put the SentencePiece model that it was trained with, such as "
    "sentencepiece.bpe.model, beside its config.json"
)

CHECKED_TEXTS = 1000
"""Texts of each language whose tokens are counted before training."""


def unknown_shares(codec: Codec, sentences: Iterable[Sentence], most: int | None = None) -> dict[str, float]:
    """Share of unknown tokens of each language, in [0, 1], in its first `most` different texts."""
    texts: dict[str, dict[str, None]] = {}
    for sentence in sentences:
        direction = sentence.direction
        for code, text in ((direction.source, sentence.source), (direction.target, sentence.target)):
            own = texts.setdefault(code, {})
            if most is None or len(own) < most:
                own[text] = None
    return {code: codec.unknown_share(own) for code, own in texts.items()}


def check_vocabulary(codec: Codec, sentences: Iterable[Sentence], model_name: str) -> None:
    """Refuse a tokenizer that does not know the text of a language.

    Raises:
        ModelError: more than `MOST_UNKNOWN` of the tokens of a language's first texts are unknown.
    """
    shares = unknown_shares(codec, sentences, CHECKED_TEXTS)
    code = max(shares, key=lambda code: shares[code])
    if shares[code] > MOST_UNKNOWN:
        raise ModelError(
            f"{shares[code]:.1%} of the {LANGUAGES[code].name} tokens are unknown to the tokenizer of model "
            f"{model_name!r}; wanted at most {MOST_UNKNOWN:.0%}, as they vanish from sources and references\n"
            f"{'choose other languages or another model' if codec.normalizes else LACKS_NORMALIZATION}"
        )
