"""HotProtein's releases: official pickles with FASTA, or a CSV with folds in JSON.

For each fold the pickle is taken where it lies with its sequences, else the CSV with the folds.
Looked for under `hotprotein/s2c2`, `hotprotein/d1` and `d1`, in this order (`s2c5` and `d2`, `s` and `S`):

    d1_{fold}_classification.pkl, d1_{fold}.pkl   names and labels, names and temperatures of both parts
    d1_fasta_clean, …tar[.gz], …fasta             sequences: a folder, an archive of it, one file of all
    hp_s2c2.csv                                   name, sequence, temperature, label: all proteins
    hp_s2c2_folds.json                            {fold: {"test": [name, …]}}; all others are trained on
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from smc_eval.errors import DataError
from smc_eval.tasks.csv_rows import quoted, read_csv_rows
from smc_eval.tasks.folder import WAY_OUT, open_file
from smc_eval.tasks.protein import fasta
from smc_eval.tasks.protein.example import Protein, Split, celsius, class_label, residues, told_apart
from smc_eval.tasks.protein.pickles import Names, read_names

Answer = Literal["label", "temperature"]

LONGEST_NAME = 200
"""A protein's name is a file's name, too, and those have an end."""


@dataclass(frozen=True)
class Release:
    """One of HotProtein's sets, by the names of its files."""

    places: tuple[str, ...]
    """Folders under the data folder in which it may lie."""
    split: str
    """Of its pickles: `d1_{fold}`."""
    fasta: str
    table: str
    """Of its CSV: `hp_s2c2`."""
    classes: int
    proteins: int
    """As published."""


S2C2 = Release(("hotprotein/s2c2", "hotprotein/d1", "d1"), "d1_{fold}", "d1_fasta_clean", "hp_s2c2", 2, 1965)
S2C5 = Release(("hotprotein/s2c5", "hotprotein/d2", "d2"), "d2_{fold}", "d2_fasta_clean", "hp_s2c5", 5, 1040)
S = Release(("hotprotein/s", "hotprotein/S", "S"), "S_target", "S_target", "hp_s", 5, 182_000)


def find_release(
    folder: Path, release: Release, fold: int, answer: Answer, bins: Sequence[float] | None = None
) -> Split:
    """A fold's split, by official names under a data folder.

    `bins` are the temperatures at which the second and each further class begins; they make
    labels only of a CSV without any.

    Raises:
        DataError: no files of the fold are there; says which are wanted.
    """
    name = release.split.format(fold=fold) + ("_classification" if answer == "label" else "")
    read = class_label(release.classes) if answer == "label" else celsius
    lone: Path | None = None
    for place in _places(folder, release):
        if split := _file(place, f"{name}.pkl"):
            if sequences := fasta.sequences_in(place, release.fasta):
                return Pickled(split, sequences, read)
            lone = split
    for place in _places(folder, release):
        table, folds = _file(place, f"{release.table}.csv"), _file(place, f"{release.table}_folds.json")
        if table and folds:
            return Tabled(table, folds, fold, answer, read, tuple(bins) if bins else None)
    raise DataError(_nothing(folder, release, name, lone))


@dataclass(frozen=True)
class Pickled:
    """A pickle of names and answers, and the sequences of those names."""

    split: Path
    fasta: Path
    read: Callable[[object], float]

    @property
    def files(self) -> list[Path]:
        names = self._names()
        return [self.split, *fasta.files(self.fasta, [name for name, _ in names.train + names.test])]

    def parts(self) -> tuple[list[Protein], list[Protein]]:
        names = self._names()
        known = fasta.sequences(self.fasta, [name for name, _ in names.train + names.test])
        return self._proteins(names.train, known), self._proteins(names.test, known)

    def _names(self) -> Names:
        """The split, once it has been seen that its parts are apart and its names make no paths."""
        found = read_names(self.split)
        told_apart([name for name, _ in found.train], [name for name, _ in found.test], str(self.split))
        for name, _ in found.train + found.test:
            if not 0 < len(name) <= LONGEST_NAME or "/" in name or "\\" in name:
                raise DataError(f"{self.split}: {quoted(name)} is no name of a protein")
        return found

    def _proteins(self, part: Sequence[tuple[str, int | float]], known: dict[str, str]) -> list[Protein]:
        found = []
        for name, answer in part:
            try:
                found.append(Protein(name, known[name], self.read(answer)))
            except ValueError as error:
                raise DataError(f"{self.split}, protein {name!r}: {error}") from None
        return found


@dataclass(frozen=True)
class Tabled:
    """A CSV of all proteins, and which of them each fold tests."""

    table: Path
    folds: Path
    fold: int
    answer: Answer
    read: Callable[[object], float]
    bins: tuple[float, ...] | None

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.table, self.folds)

    def parts(self) -> tuple[list[Protein], list[Protein]]:
        proteins = {protein.name: protein for protein in self._proteins()}
        tested = self._tested()
        train = [name for name in proteins if name not in set(tested)]
        told_apart(train, tested, f"{self.folds}, fold {self.fold}")
        if missing := [name for name in tested if name not in proteins]:
            raise DataError(f"{self.folds}, fold {self.fold}: {self.table} has no protein {missing[0]!r}")
        return [proteins[name] for name in train], [proteins[name] for name in tested]

    def _proteins(self) -> Iterator[Protein]:
        seen = dict[str, int]()
        for line, row in read_csv_rows(self.table, ("name", "sequence"), ("temperature", "label")):
            name = row["name"]
            if name in seen:
                raise DataError(
                    f"{self.table}, line {line}: {name!r} already stands on line {seen[name]}; name it once"
                )
            seen[name] = line
            try:
                yield Protein(name, residues(row["sequence"]), self._answer(row))
            except ValueError as error:
                raise DataError(f"{self.table}, line {line}: {error}") from None

    def _answer(self, row: dict[str, str]) -> float:
        if self.answer in row:
            return self.read(row[self.answer])
        if self.bins and "temperature" in row:
            return bisect_right(self.bins, celsius(row["temperature"]))
        raise ValueError(
            f"no column {self.answer}, and nothing that it could be made of (temperature and bins)"
        )

    def _tested(self) -> list[str]:
        """Names the fold tests, in the file's order."""
        found = _json(self.folds)
        part = found.get(str(self.fold)) if isinstance(found, dict) else None
        names = part.get("test") if isinstance(part, dict) else None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DataError(
                f'{self.folds} has no fold {self.fold}; wanted {{"{self.fold}": {{"test": [NAME, …]}}, …}}'
            )
        return names


def _json(path: Path) -> Any:
    with open_file(path) as stream:
        try:
            return json.loads(stream.read())
        except (ValueError, RecursionError) as error:  # UnicodeDecodeError is one
            raise DataError(f"{path} is no JSON: {error}") from None


def _places(folder: Path, release: Release) -> list[Path]:
    return [folder / place for place in release.places if (folder / place).is_dir()]


def _file(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _nothing(folder: Path, release: Release, name: str, lone: Path | None) -> str:
    """What is missing, and where it is wanted."""
    table = f"{release.table}.csv and {release.table}_folds.json"
    if lone:
        return (
            f"{lone} has no sequences beside it: {lone.parent / release.fasta} is wanted, as a folder, "
            f".tar, .tar.gz or .fasta\nor else {table}, for all folds\n{WAY_OUT}"
        )
    if not folder.is_dir():
        return f"the data folder {str(folder)!r} does not exist; {WAY_OUT}"
    place = next(iter(_places(folder, release)), folder / release.places[0])
    return (
        f"the data folder {str(folder)!r} has no {name}.pkl: wanted at {place / name}.pkl, "
        f"beside the sequences {release.fasta}\nor else {table}, for all folds\n{WAY_OUT}"
    )
