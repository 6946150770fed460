"""Synthetic multi-way parallel text: short sentences in eleven invented languages, word for word."""

from __future__ import annotations

from collections.abc import Iterable

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

WORDS_BY_ROLE = {"subject": 6, "verb": 5, "adverb": 4, "object": 6}
"""The words of a sentence in their order, and the number of words for each role."""

LINES_BY_PART = {"train": 64, "dev": 8, "test": 8}


def multiway() -> dict[str, bytes]:
    """One file for each language and part. The words of a language are drawn once, and all differ."""
    lexicons = {code: _lexicon(code) for code in LETTERS}
    draws, files = Draws("translation, version 1"), dict[str, bytes]()
    for part, count in LINES_BY_PART.items():
        sentences = [
            [(role, draws.between(0, most - 1)) for role, most in WORDS_BY_ROLE.items()] for _ in range(count)
        ]
        for code, lexicon in lexicons.items():
            blank = "" if code in {"ja", "zh"} else " "
            files[f"translation/synthetic/{part}.{code}"] = _text(
                blank.join(lexicon[concept] for concept in sentence) for sentence in sentences
            )
    return files


def _lexicon(code: str) -> dict[tuple[str, int], str]:
    """A word for each role and number."""
    draws, words = Draws(f"translation, words of {code}"), list[str]()
    while len(words) < sum(WORDS_BY_ROLE.values()):
        word = "".join(draws.pick(LETTERS[code]) for _ in range(draws.between(2, 4)))
        if word not in words:
            words.append(word)
    concepts = [(role, number) for role, most in WORDS_BY_ROLE.items() for number in range(most)]
    return dict(zip(concepts, words, strict=True))


def _text(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
