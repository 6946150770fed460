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
"""What the words of each are spelt with. Nobody speaks them."""

CONCEPTS = {"who": 6, "does": 5, "how": 4, "whom": 6}
"""Words of a sentence in their order, and how many there are for each place."""

LINES = {"train": 64, "dev": 8, "test": 8}


def multiway() -> dict[str, bytes]:
    """One file a language and part. The words of a language are drawn once, and never two alike."""
    words = {code: _lexicon(code) for code in LETTERS}
    draws, files = Draws("translation, version 1"), dict[str, bytes]()
    for part, count in LINES.items():
        said = [
            [(place, draws.between(0, most - 1)) for place, most in CONCEPTS.items()] for _ in range(count)
        ]
        for code, known in words.items():
            blank = "" if code in {"ja", "zh"} else " "
            files[f"translation/synthetic/{part}.{code}"] = _text(
                blank.join(map(known.__getitem__, one)) for one in said
            )
    return files


def _lexicon(code: str) -> dict[tuple[str, int], str]:
    """A word for each concept."""
    draws, words = Draws(f"translation, words of {code}"), list[str]()
    while len(words) < sum(CONCEPTS.values()):
        word = "".join(draws.pick(LETTERS[code]) for _ in range(draws.between(2, 4)))
        if word not in words:
            words.append(word)
    places = [(place, number) for place, most in CONCEPTS.items() for number in range(most)]
    return dict(zip(places, words, strict=True))


def _text(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
