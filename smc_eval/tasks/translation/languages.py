"""Languages: their codes in file names and in tokenizers, and their tokenizers for BLEU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from smc_eval.errors import UnknownName, UsageError

PIVOT = "en"
"""The source or target of every direction, unless `pairs` is `all`."""

LanguagePairs = Literal["english", "all"]


class Language(NamedTuple):
    """A language with its names."""

    code: str
    """ISO 639-1, as in file names."""
    name: str
    """In English."""
    region: str
    """The token of mBART and mBART-50."""
    script: str
    """The token of NLLB, FLORES's code."""
    bleu_tokenizer: str = "13a"
    """The tokenizer of sacrebleu. Scripts without blanks between words need a special one."""

    @property
    def tokens(self) -> tuple[str, ...]:
        """Possible tokens of the language: of mBART, NLLB and M2M-100."""
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
"""English and ten others. SMC-Bench does not list its languages: these ten and their order are assumed."""

TEN = tuple(code for code in LANGUAGES if code != PIVOT)


@dataclass(frozen=True)
class Direction:
    """A translation direction."""

    source: str
    target: str

    def __str__(self) -> str:
        return f"{self.source}-{self.target}"


def directions(codes: Sequence[str], pairs: LanguagePairs) -> Iterator[Direction]:
    """All directions from and to English, or between any two languages, in a fixed order.

    Raises:
        UnknownName: no language has this code.
        UsageError: a language is named twice, or English is named, which is always included.
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
    all_codes = (PIVOT, *codes)
    yield from (Direction(source, target) for source in all_codes for target in all_codes if source != target)
