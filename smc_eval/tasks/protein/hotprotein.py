"""HotProtein's releases: official pickles with FASTA, or a CSV with folds in JSON.

A fold is read from its pickle if pickle and sequences exist, else from the CSV with the folds. Folders are
`hotprotein/s2c2`, `hotprotein/d1` and `d1`, in this order (likewise `s2c5` and `d2`, `s` and `S`):

    d1_{fold}_classification.pkl, d1_{fold}.pkl   names and labels, names and temperatures of both parts
    d1_fasta_clean, …tar[.gz], …fasta             sequences: a folder, an archive of it, one file of all
    hp_s2c2.csv                                   name, sequence, temperature, label: all proteins
    hp_s2c2_folds.json                            {fold: {"test": [name, …]}}; all others are for training
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from smc_eval.errors import DataError
from smc_eval.tasks.csv_rows import quoted, read_csv_rows
from smc_eval.tasks.folder import DATA_DIR_HINT, open_file
from smc_eval.tasks.protein import fasta
from smc_eval.tasks.protein.example import (
    Protein,
    Split,
    celsius,
    check_disjoint,
    check_folds,
    class_label,
    residues,
)
from smc_eval.tasks.protein.pickles import Names, read_names

Answer = Literal["label", "temperature"]

FOLDS = 10
"""Folds of the cross-validation."""

LONGEST_NAME = 200
"""Longest name of a protein: it is also a file name."""


class Release(NamedTuple):
    """A HotProtein set with the names of its files."""

    places: tuple[str, ...]
    """Possible folders under the data folder."""
    split: str
    """Name of its pickles: `d1_{fold}`."""
    fasta: str
    """Name of its sequences, without an ending."""
    table: str
    """Name of its CSV: `hp_s2c2`."""
    classes: int
    proteins: int
    """Published number of proteins."""


HP_S2C2 = Release(
    ("hotprotein/s2c2", "hotprotein/d1", "d1"), "d1_{fold}", "d1_fasta_clean", "hp_s2c2", 2, 1965
)
HP_S2C5 = Release(
    ("hotprotein/s2c5", "hotprotein/d2", "d2"), "d2_{fold}", "d2_fasta_clean", "hp_s2c5", 5, 1040
)
HP_S = Release(("hotprotein/s", "hotprotein/S", "S"), "S_target", "S_target", "hp_s", 5, 182_000)


def find_release(
    folder: Path, release: Release, fold: int, answer: Answer, bins: Sequence[float] | None = None
) -> Split:
    """The split of a fold, found by official names under a data folder.

    `bins` are the lower limits of the second and each further class. They are used only for a CSV
    without labels.

    Raises:
        DataError: the fold has no files; the message names the wanted ones.
    """
    ending = "_classification" if answer == "label" else ""
    name = release.split.format(fold=fold) + ending
    read = class_label(release.classes) if answer == "label" else celsius
    lone_pickle: Path | None = None
    for place in _places(folder, release):
        if split := _file(place, f"{name}.pkl"):
            if sequences := fasta.find_sequences(place, release.fasta):
                names = dict.fromkeys(f"{release.split.format(fold=n)}{ending}.pkl" for n in range(FOLDS))
                others = [path for other in names if (path := _file(place, other)) and path != split]
                return PickleSplit(split, sequences, read, tuple(others))
            lone_pickle = split
    for place in _places(folder, release):
        table, folds = _file(place, f"{release.table}.csv"), _file(place, f"{release.table}_folds.json")
        if table and folds:
            return TableSplit(table, folds, fold, answer, read, tuple(bins) if bins else None)
    raise DataError(_missing(folder, release, name, lone_pickle))


@dataclass(frozen=True)
class PickleSplit:
    """A pickle of names and answers, with the sequences of these proteins."""

    split: Path
    fasta: Path
    read: Callable[[object], float]
    others: tuple[Path, ...] = ()
    """The pickles of other folds. Nothing is read of them but the names of their test proteins."""

    @property
    def files(self) -> list[Path]:
        names = self._names()
        return [self.split, *fasta.sequence_files(self.fasta, [name for name, _ in names.train + names.test])]

    def parts(self) -> tuple[list[Protein], list[Protein]]:
        names = self._names()
        known = fasta.read_sequences(self.fasta, [name for name, _ in names.train + names.test])
        return self._proteins(names.train, known), self._proteins(names.test, known)

    def _names(self) -> Names:
        """The names of both parts, checked to be disjoint, tested in one fold, and safe as file names."""
        names = read_names(self.split)
        check_disjoint([name for name, _ in names.train], [name for name, _ in names.test], str(self.split))
        tested = {self.split: names.test, **{path: read_names(path).test for path in self.others}}
        check_folds({str(path): [name for name, _ in test] for path, test in tested.items()})
        for name, _ in names.train + names.test:
            if not 0 < len(name) <= LONGEST_NAME or "/" in name or "\\" in name:
                raise DataError(f"{self.split}: {quoted(name)} is not a name of a protein")
        return names

    def _proteins(self, part: Sequence[tuple[str, int | float]], known: dict[str, str]) -> list[Protein]:
        proteins = []
        for name, answer in part:
            try:
                proteins.append(Protein(name, known[name], self.read(answer)))
            except ValueError as error:
                raise DataError(f"{self.split}, protein {name!r}: {error}") from None
        return proteins


@dataclass(frozen=True)
class TableSplit:
    """A CSV of all proteins, and a JSON file with the test proteins of each fold."""

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
        test = self._test_names()
        train = [name for name in proteins if name not in set(test)]
        check_disjoint(train, test, f"{self.folds}, fold {self.fold}")
        if missing := [name for name in test if name not in proteins]:
            raise DataError(f"{self.folds}, fold {self.fold}: {self.table} has no protein {missing[0]!r}")
        return [proteins[name] for name in train], [proteins[name] for name in test]

    def _proteins(self) -> Iterator[Protein]:
        seen = dict[str, int]()
        for line, row in read_csv_rows(self.table, ("name", "sequence"), ("temperature", "label")):
            name = row["name"]
            if name in seen:
                raise DataError(
                    f"{self.table}, line {line}: {name!r} is already on line {seen[name]}; name it once"
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
            f"no column {self.answer}; it could be made of a column temperature and the option bins"
        )

    def _test_names(self) -> list[str]:
        """The test proteins of the fold, in file order, checked to be tested in no other fold."""
        content = _json(self.folds)
        folds = content if isinstance(content, dict) else {}
        tests = {fold: _names(part) for fold, part in folds.items()}
        names = tests.get(str(self.fold))
        if names is None:
            raise DataError(
                f'{self.folds} has no fold {self.fold}; wanted {{"{self.fold}": {{"test": [NAME, …]}}, …}}'
            )
        check_folds({f"fold {fold} of {self.folds}": test for fold, test in tests.items() if test})
        return names


def _names(part: object) -> list[str] | None:
    """The test proteins of a fold; None if there is no list of names."""
    names = part.get("test") if isinstance(part, dict) else None
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def _json(path: Path) -> Any:
    with open_file(path) as stream:
        try:
            return json.loads(stream.read())
        except (ValueError, RecursionError) as error:  # UnicodeDecodeError is one
            raise DataError(f"{path} is not JSON: {error}") from None


def _places(folder: Path, release: Release) -> list[Path]:
    return [folder / place for place in release.places if (folder / place).is_dir()]


def _file(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _missing(folder: Path, release: Release, name: str, lone_pickle: Path | None) -> str:
    """An error message with the files that are missing, and their places."""
    table = f"{release.table}.csv and {release.table}_folds.json"
    if lone_pickle:
        return (
            f"{lone_pickle} has no sequences beside it: wanted {lone_pickle.parent / release.fasta}, as a "
            f"folder, .tar, .tar.gz or .fasta\nor else {table}, for all folds\n{DATA_DIR_HINT}"
        )
    if not folder.is_dir():
        return f"the data folder {str(folder)!r} does not exist; {DATA_DIR_HINT}"
    place = next(iter(_places(folder, release)), folder / release.places[0])
    return (
        f"the data folder {str(folder)!r} has no {name}.pkl: wanted at {place / name}.pkl, "
        f"beside the sequences {release.fasta}\nor else {table}, for all folds\n{DATA_DIR_HINT}"
    )
