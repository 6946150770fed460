"""Synthetic multi-way parallel text: sentences of four words in eleven invented languages, word for word.

A sentence has one word for each of four roles, in the same order in all languages. A language has four words
for each role. So a net has to learn which word of the source stands for which one of the target, and the more
languages there are, the more words that are.

Two of the twelve English test sentences have a wrong adverb on purpose, and nothing tells which. So the
ceiling is a BLEU of 87.7, or of 87.9 with ten languages, because BLEU counts characters in Burmese: a net
that has learned the words scores that. No test sentence is in the training part.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from itertools import product

from smc_eval.tasks.synthetic.draws import Draws

LETTERS = {
    "en": "abdefgiklmnoprstu",
    "fr": "abdeéèfgilmnoprstu",
    "cs": "abdeěčiklmnoprřstu",
    "de": "abdefgiklmnoprstuäö",
    "gu": "અઆકખગચજટડતદનપબમરલવસહ",
    "ja": "アイウカキクサシスタナニハマミヤラリ",
    "my": "ကခဂငစဆညတထဒနပဖဗမယရလဝသ",
    "ro": "abcdeăâfilmnoprsșțu",
    "ru": "абвдеиклмнопрсту",
    "vi": "abcdđêghiklmnơpstư",
    "zh": "山水火木金土日月天人大小上下中口手心",
}
"""The letters of each language. The words are invented."""

ROLES = ("subject", "verb", "adverb", "object")
"""The words of a sentence in their order."""

WORDS_BY_ROLE = 4

LINES_BY_PART = {"train": 64, "dev": 8, "test": 12}

WRONG_SENTENCE_EVERY = 6
"""Of so many English test sentences in a row, the last has a wrong adverb."""

Concepts = tuple[int, ...]
"""For each role the number of its word."""


def multiway() -> dict[str, bytes]:
    """One file for each language and part. The words of a language are drawn once, and all differ."""
    lexicons = {code: _lexicon(code) for code in LETTERS}
    draws, files, start = Draws("translation, version 2"), dict[str, bytes](), 0
    trained = LINES_BY_PART["train"]
    every = draws.shuffled(list(product(range(WORDS_BY_ROLE), repeat=len(ROLES))))
    for part, count in LINES_BY_PART.items():
        sentences, start = every[start : start + count], start + count
        for code, lexicon in lexicons.items():
            wrong = (part, code) == ("test", "en")
            shown = _with_wrong(sentences, set(every[:trained])) if wrong else sentences
            files[f"translation/synthetic/{part}.{code}"] = _text(
                " ".join(lexicon[which] for which in enumerate(sentence)) for sentence in shown
            )
    return files


def _with_wrong(sentences: Iterable[Concepts], trained: Container[Concepts]) -> list[Concepts]:
    """The sentences, with another adverb in one of each `WRONG_SENTENCE_EVERY`: none is trained on."""
    shown = list(sentences)
    for at in range(WRONG_SENTENCE_EVERY - 1, len(shown), WRONG_SENTENCE_EVERY):
        subject, verb, adverb, thing = shown[at]
        others = ((subject, verb, (adverb + more) % WORDS_BY_ROLE, thing) for more in range(1, WORDS_BY_ROLE))
        shown[at] = next(other for other in others if other not in trained)
    return shown


def _lexicon(code: str) -> dict[tuple[int, int], str]:
    """A word for each role and number: of two letters, in Chinese of one."""
    draws, words = Draws(f"translation, words of {code}"), dict[str, None]()
    while len(words) < len(ROLES) * WORDS_BY_ROLE:
        words["".join(draws.pick(LETTERS[code]) for _ in range(1 if code == "zh" else 2))] = None
    concepts = product(range(len(ROLES)), range(WORDS_BY_ROLE))
    return dict(zip(concepts, words, strict=True))


def _text(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
