"""Meltome in FLIP's splits: a CSV, or the older FASTA with its answers in the headers.

Looked for in `meltome`: the CSV of FLIP's `splits.zip` under its name there, `mixed_split.csv` say, or a
FASTA file of that name; or else the one `.csv` or `.fasta` file that lies there. All may be `.gz`.

    sequence,target,set,validation                           target in °C; set is train or test
    >Sequence0 TARGET=43.3 SET=train VALIDATION=False        and the sequence below
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from smc_eval.errors import DataError
from smc_eval.tasks.csv_rows import read_csv_rows
from smc_eval.tasks.folder import WAY_OUT, lines
from smc_eval.tasks.protein import fasta
from smc_eval.tasks.protein.example import Protein, Split, celsius, residues, told_apart

MELTOME_PLACES = ("meltome", "meltome/splits")

MELTOME_ENDINGS = (".csv", ".csv.gz", ".fasta", ".fasta.gz")

MELTOME_TRAIN = ("train", "val", "validation")
"""What is trained on. FLIP marks some of it for early stopping; nothing here stops early."""


def find_flip(folder: Path, split: str) -> Split:
    """The split of that name.

    Raises:
        DataError: there is no file of it, and not one alone that could be it.
    """
    places = [folder / place for place in MELTOME_PLACES if (folder / place).is_dir()]
    for place in places:
        for ending in MELTOME_ENDINGS:
            if (path := place / f"{split}{ending}").is_file():
                return Flip(path)
    for place in places:
        lone = sorted(
            path for path in place.iterdir() if path.name.endswith(MELTOME_ENDINGS) and path.is_file()
        )
        if len(lone) == 1:
            return Flip(lone[0])
        if lone:
            raise DataError(
                f"{place} has no {split}.csv, but {len(lone)} others, {lone[0].name} first; "
                f"rename the one that is meant to {split}{''.join(lone[0].suffixes)}"
            )
    if not folder.is_dir():
        raise DataError(f"the data folder {str(folder)!r} does not exist; {WAY_OUT}")
    raise DataError(
        f"the data folder {str(folder)!r} has no meltome/{split}.csv, nor any other CSV or FASTA file there\n"
        f"wanted is {split}.csv of FLIP's splits.zip, or its FASTA\n{WAY_OUT}"
    )


@dataclass(frozen=True)
class Flip:
    """A file of FLIP's."""

    path: Path

    @property
    def files(self) -> Sequence[Path]:
        return (self.path,)

    def parts(self) -> tuple[list[Protein], list[Protein]]:
        parts: dict[bool, list[Protein]] = {True: [], False: []}
        for trained, protein in self._fasta() if ".fasta" in self.path.suffixes else self._csv():
            parts[trained].append(protein)
        train, test = parts[True], parts[False]
        told_apart([one.name for one in train], [one.name for one in test], str(self.path))
        return train, test

    def _csv(self) -> Iterator[tuple[bool, Protein]]:
        for line, row in read_csv_rows(self.path, ("sequence", "target", "set")):
            try:
                sequence = residues(row["sequence"])
                yield _trained(row["set"]), Protein(f"line {line}", sequence, celsius(row["target"]))
            except ValueError as error:
                raise DataError(f"{self.path}, line {line}: {error}") from None

    def _fasta(self) -> Iterator[tuple[bool, Protein]]:
        for record in fasta.records(lines(self.path), str(self.path)):
            name, *pairs = record.header.split() or [""]
            told = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
            try:
                yield (
                    _trained(_told(told, "SET")),
                    Protein(name, record.sequence, celsius(_told(told, "TARGET"))),
                )
            except ValueError as error:
                raise DataError(f"{self.path}, line {record.line}: {error}") from None


def _told(pairs: Mapping[str, str], key: str) -> str:
    if key not in pairs:
        raise ValueError(f"the header has no {key}; wanted >NAME TARGET=43.3 SET=train")
    return pairs[key]


def _trained(part: str) -> bool:
    if part not in (*MELTOME_TRAIN, "test"):
        raise ValueError(f"the set is {part!r}; wanted train or test")
    return part != "test"
