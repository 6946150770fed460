"""Parallel text on disk: aligned files, one a language, or one a language and pair."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from smc_eval.errors import DataError
from smc_eval.files.user_path import is_folder
from smc_eval.tasks.folder import DATA_DIR_HINT, lines
from smc_eval.tasks.translation.languages import Direction

CORPORA = "translation"
"""Folder of all corpora under a data folder."""

PARTS = ("train", "test")

Texts = tuple[Path, Path]
"""The source file and the target file of a direction."""


@dataclass(frozen=True)
class Sentence:
    """A sentence and its translation."""

    direction: Direction
    source: str
    target: str


def find_corpus(folder: Path, name: str | None, wanted: Sequence[Direction]) -> Path:
    """The folder of the named corpus, or of the only corpus that has all directions.

    A corpus is a folder `translation/NAME`, or `translation` itself.

    Raises:
        DataError: no corpus has all directions, more than one does, or the named one lacks a file.
    """
    home = folder / CORPORA
    if not home.is_dir():
        raise DataError(f"the data folder {str(folder)!r} has no folder {CORPORA!r}; {DATA_DIR_HINT}")
    if name is not None:
        if name in {"", ".", ".."} or {"/", "\\", "\0"} & set(name):
            raise DataError(f"corpus {name!r} is no name of a folder in {home}; wanted a plain name, no path")
        if not is_folder(home / name):
            names = ", ".join(sorted(path.name for path in home.iterdir() if path.is_dir())) or "none"
            raise DataError(f"there is no corpus {name!r} in {home}; it holds: {names}")
        if message := missing_file(home / name, wanted):
            raise DataError(message)
        return home / name
    places = [home, *sorted(path for path in home.iterdir() if path.is_dir())]
    complete = [place for place in places if not missing_file(place, wanted)]
    if len(complete) > 1:
        names = ", ".join(place.name for place in complete)
        raise DataError(
            f"{home} has several corpora with these languages: {names}; choose one with the option corpus"
        )
    if not complete:
        message = missing_file(places[:2][-1], wanted)
        raise DataError(f"no corpus under {home} has all {len(wanted)} directions\n{message}")
    return complete[0]


def missing_file(place: Path, wanted: Sequence[Direction]) -> str:
    """An error message for the first file that a corpus lacks; empty if it has all."""
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
    """The two files of a direction, plain or `.gz`. Files of one language come before files of a pair."""
    a, b = direction.source, direction.target
    for stem in (part, f"{part}.{a}-{b}", f"{part}.{b}-{a}"):
        source, target = (_file(place / f"{stem}.{code}") for code in (a, b))
        if source and target:
            return source, target
    return None


def read_pairs(files: Texts) -> list[tuple[str, str]]:
    """The lines of two files in pairs, in file order; a line may be blank.

    Raises:
        DataError: one file has more lines than the other, or both have none; names the file.
    """
    pairs = list[tuple[str, str]]()
    for number, pair in enumerate(zip_longest(*map(lines, files)), 1):
        source, target = pair
        if source is None or target is None:
            short, long = files if source is None else files[::-1]
            raise DataError(
                f"{short} ends after {number - 1} lines, but {long} is longer; "
                "both must be translations of each other, line by line"
            )
        pairs.append((source, target))
    if not any(source.strip() and target.strip() for source, target in pairs):
        raise DataError(f"{files[0]} is empty, or {files[1]} is; wanted sentences, one a line")
    return pairs


def without_blanks(
    pairs: Iterable[tuple[str, str]], direction: Direction, most: int | None
) -> tuple[list[Sentence], int]:
    """The first `most` sentences, and the number of pairs before the last one that have a blank side.

    Such pairs are left out: parallel text marks a sentence without a translation by a blank line.
    """
    sentences, blank = list[Sentence](), 0
    for source, target in pairs:
        if most is not None and len(sentences) == most:
            break
        if source.strip() and target.strip():
            sentences.append(Sentence(direction, source.strip(), target.strip()))
        else:
            blank += 1
    return sentences, blank


def balanced_counts(counts: Mapping[Direction, int], temperature: float) -> dict[Direction, int]:
    """Training examples of each direction, in proportion to (n / N) ^ (1 / temperature).

    Arivazhagan et al. (2019), section 4.1. The largest direction keeps its size, and smaller ones are
    repeated, so that no sentence is lost.
    """
    shares = {direction: count ** (1 / temperature) for direction, count in counts.items()}
    largest = max(counts, key=lambda direction: counts[direction])
    return {
        direction: round(counts[largest] * share / shares[largest]) for direction, share in shares.items()
    }


def _file(path: Path) -> Path | None:
    forms = (path, path.with_name(f"{path.name}.gz"))
    return next((form for form in forms if form.is_file()), None)
