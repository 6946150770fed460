"""Languages: their codes in files and in tokenizers, and how BLEU cuts them into words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from smc_eval.errors import UnknownName, UsageError

PIVOT = "en"
"""What every direction leads from or to, unless all pairs are asked for."""

LanguagePairs = Literal["english", "all"]


@dataclass(frozen=True)
class Language:
    """One language, by the names it goes by."""

    code: str
    """ISO 639-1, as in file names."""
    name: str
    region: str
    """The token of mBART and mBART-50."""
    script: str
    """The token of NLLB, FLORES's code."""
    cut: str = "13a"
    """sacrebleu's tokenizer for it: scripts without blanks between words need one of their own."""

    @property
    def tokens(self) -> tuple[str, ...]:
        """What a tokenizer may call it: mBART's, NLLB's and M2M-100's token."""
        return self.region, self.script, f"__{self.code}__"


LANGUAGES = {
    language.code: language
    for language in (
        Language("en", "English", "en_XX", "eng_Latn"),
        Language("fr", "French", "fr_XX", "fra_Latn"),
        Language("cs", "Czech", "cs_CZ", "ces_Latn"),
        Language("de", "German", "de_DE", "deu_Latn"),
        Language("gu", "Gujarati", "gu_IN", "guj_Gujr"),
        Language("ja", "Japanese", "ja_XX", "jpn_Jpan", "ja-mecab"),
        Language("my", "Burmese", "my_MM", "mya_Mymr", "char"),
        Language("ro", "Romanian", "ro_RO", "ron_Latn"),
        Language("ru", "Russian", "ru_RU", "rus_Cyrl"),
        Language("vi", "Vietnamese", "vi_VN", "vie_Latn"),
        Language("zh", "Chinese", "zh_CN", "zho_Hans", "zh"),
    )
}
"""English and the ten that SMC-Bench is believed to take, in its order."""

TEN = tuple(code for code in LANGUAGES if code != PIVOT)


@dataclass(frozen=True)
class Direction:
    """From one language to another."""

    source: str
    target: str

    def __str__(self) -> str:
        return f"{self.source}-{self.target}"


def directions(codes: Sequence[str], pairs: LanguagePairs) -> Iterator[Direction]:
    """All directions between languages, or those from and to English alone, in a fixed order.

    Raises:
        UnknownName: a code that no language here has.
        UsageError: a language stands twice, or is English, which is always there.
    """
    for code in codes:
        if code not in LANGUAGES:
            raise UnknownName("language", code, TEN)
    if PIVOT in codes or len(set(codes)) < len(codes):
        raise UsageError(f"languages are {', '.join(codes)}; name each once, and leave out {PIVOT!r}")
    if pairs == "english":
        for code in codes:
            yield Direction(PIVOT, code)
            yield Direction(code, PIVOT)
        return
    everyone = (PIVOT, *codes)
    yield from (Direction(one, other) for one in everyone for other in everyone if one != other)
