"""Parallel text on disk: one file a language, or one file a language of each pair; line by line the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from smc_eval.errors import DataError
from smc_eval.tasks.folder import WAY_OUT, lines
from smc_eval.tasks.translation.languages import Direction

HOME = "translation"
"""Folder of all corpora under a data folder."""

PARTS = ("train", "test")

Texts = tuple[Path, Path]
"""The files of a direction: what is read, and what it is translated to."""


@dataclass(frozen=True)
class Sentence:
    """A sentence and its translation."""

    direction: Direction
    source: str
    target: str


def corpus(folder: Path, name: str | None, wanted: Sequence[Direction]) -> Path:
    """The folder of the corpus that is named, or of the only one that has every direction.

    A corpus is a folder `translation/NAME`, or `translation` itself.

    Raises:
        DataError: there is none, or there are several to choose from, or the named one lacks a file.
    """
    home = folder / HOME
    if not home.is_dir():
        raise DataError(f"the data folder {str(folder)!r} has no folder {HOME!r}; {WAY_OUT}")
    if name is not None:
        if not (home / name).is_dir():
            held = ", ".join(sorted(path.name for path in home.iterdir() if path.is_dir())) or "none"
            raise DataError(f"there is no corpus {name!r} in {home}; it holds: {held}")
        if lacking := missing(home / name, wanted):
            raise DataError(lacking)
        return home / name
    places = [home, *sorted(path for path in home.iterdir() if path.is_dir())]
    whole = [place for place in places if not missing(place, wanted)]
    if len(whole) > 1:
        names = ", ".join(place.name for place in whole)
        raise DataError(
            f"{home} has several corpora with these languages: {names}; choose one with the option corpus"
        )
    if not whole:
        told = "\n".join(filter(None, (missing(place, wanted) for place in places[:1] + places[1:][:1])))
        raise DataError(f"no corpus under {home} has all {len(wanted)} directions\n{told.splitlines()[-1]}")
    return whole[0]


def missing(place: Path, wanted: Sequence[Direction]) -> str:
    """Which file a corpus lacks first, in words; empty where it has all."""
    for part in PARTS:
        for direction in wanted:
            if not text_files(place, part, direction):
                a, b = direction.source, direction.target
                return (
                    f"{place} has no {part} text for {direction}; wanted {part}.{a} and {part}.{b}, "
                    f"or {part}.{direction}.{a} and {part}.{direction}.{b}, plain or .gz"
                )
    return ""


def text_files(place: Path, part: str, direction: Direction) -> Texts | None:
    """The two files of a direction, plain or `.gz`; of one file a language before one of each pair."""
    a, b = direction.source, direction.target
    for stem in (part, f"{part}.{a}-{b}", f"{part}.{b}-{a}"):
        found = [_file(place / f"{stem}.{code}") for code in (a, b)]
        if found[0] and found[1]:
            return found[0], found[1]
    return None


def read_sentences(files: Texts, direction: Direction) -> list[Sentence]:
    """The sentences of a direction, in the files' order.

    Raises:
        DataError: one file has more lines than the other, or a line is empty; names file and line.
    """
    found = list[Sentence]()
    for number, pair in enumerate(zip_longest(*map(lines, files)), 1):
        source, target = pair
        if source is None or target is None:
            short, long = files if source is None else files[::-1]
            raise DataError(
                f"{short} ends after {number - 1} lines, {long} goes on; "
                "both must tell the same, line by line"
            )
        for path, text in zip(files, (source, target), strict=True):
            if not text.strip():
                raise DataError(f"{path}, line {number}: the line is empty; wanted a sentence")
        found.append(Sentence(direction, source.strip(), target.strip()))
    if not found:
        raise DataError(f"{files[0]} is empty; wanted sentences, one a line")
    return found


def balanced(counts: Mapping[Direction, int], temperature: float) -> dict[Direction, int]:
    """How often each direction's sentences come, so that its share is (n / N) ^ (1 / temperature).

    Arivazhagan et al. (2019), section 4.1. The largest comes once and whole; what is smaller is
    repeated, so that no sentence is lost.
    """
    shares = {one: count ** (1 / temperature) for one, count in counts.items()}
    most = max(counts, key=lambda one: counts[one])
    return {one: round(counts[most] * share / shares[most]) for one, share in shares.items()}


def _file(path: Path) -> Path | None:
    return next((one for one in (path, path.with_name(f"{path.name}.gz")) if one.is_file()), None)
