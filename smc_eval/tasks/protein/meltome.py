"""Meltome in FLIP's splits: a CSV, or the older FASTA with the answers in the headers.

The folder `meltome` holds the CSV of FLIP's `splits.zip` with its original name, such as `mixed_split.csv`,
or a FASTA file of that name, or a single `.csv` or `.fasta` file of another name. All may be `.gz`.

    sequence,target,set,validation                           target in °C; set is train or test
    >Sequence0 TARGET=43.3 SET=train VALIDATION=False        the sequence follows on the next lines
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from smc_eval.errors import DataError
from smc_eval.tasks.csv_rows import read_csv_rows
from smc_eval.tasks.folder import DATA_DIR_HINT, lines
from smc_eval.tasks.protein import fasta
from smc_eval.tasks.protein.example import Protein, Split, celsius, check_disjoint, residues

MELTOME_PLACES = ("meltome", "meltome/splits")

MELTOME_ENDINGS = (".csv", ".csv.gz", ".fasta", ".fasta.gz")

MELTOME_TRAIN = ("train", "val", "validation")
"""Values of `set` for training. FLIP marks some rows for early stopping, which is not used here."""


def find_flip(folder: Path, split: str) -> Split:
    """The split with this name.

    Raises:
        DataError: there is no file with this name, and not exactly one other file.
    """
    places = [folder / place for place in MELTOME_PLACES if (folder / place).is_dir()]
    for place in places:
        for ending in MELTOME_ENDINGS:
            if (path := place / f"{split}{ending}").is_file():
                return FlipSplit(path)
    for place in places:
        candidates = sorted(
            path for path in place.iterdir() if path.name.endswith(MELTOME_ENDINGS) and path.is_file()
        )
        if len(candidates) == 1:
            return FlipSplit(candidates[0])
        if candidates:
            raise DataError(
                f"{place} has no {split}.csv, but {len(candidates)} others, {candidates[0].name} first; "
                f"rename the right one to {split}{''.join(candidates[0].suffixes)}"
            )
    if not folder.is_dir():
        raise DataError(f"the data folder {str(folder)!r} does not exist; {DATA_DIR_HINT}")
    raise DataError(
        f"the data folder {str(folder)!r} has no meltome/{split}.csv, nor any other CSV or FASTA file there\n"
        f"wanted {split}.csv of FLIP's splits.zip, or its FASTA\n{DATA_DIR_HINT}"
    )


@dataclass(frozen=True)
class FlipSplit:
    """A split in one file, CSV or FASTA."""

    path: Path

    @property
    def files(self) -> Sequence[Path]:
        return (self.path,)

    def parts(self) -> tuple[list[Protein], list[Protein]]:
        parts: dict[bool, list[Protein]] = {True: [], False: []}
        for for_training, protein in self._fasta() if ".fasta" in self.path.suffixes else self._csv():
            parts[for_training].append(protein)
        train, test = parts[True], parts[False]
        check_disjoint(
            [protein.name for protein in train], [protein.name for protein in test], str(self.path)
        )
        return train, test

    def _csv(self) -> Iterator[tuple[bool, Protein]]:
        for line, row in read_csv_rows(self.path, ("sequence", "target", "set")):
            try:
                sequence = residues(row["sequence"])
                yield _for_training(row["set"]), Protein(f"line {line}", sequence, celsius(row["target"]))
            except ValueError as error:
                raise DataError(f"{self.path}, line {line}: {error}") from None

    def _fasta(self) -> Iterator[tuple[bool, Protein]]:
        for record in fasta.read_records(lines(self.path), str(self.path)):
            name, *pairs = record.header.split() or [""]
            fields = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
            try:
                yield (
                    _for_training(_field(fields, "SET")),
                    Protein(name, record.sequence, celsius(_field(fields, "TARGET"))),
                )
            except ValueError as error:
                raise DataError(f"{self.path}, line {record.line}: {error}") from None


def _field(fields: Mapping[str, str], key: str) -> str:
    if key not in fields:
        raise ValueError(f"the header has no {key}; wanted >NAME TARGET=43.3 SET=train")
    return fields[key]


def _for_training(part: str) -> bool:
    if part not in (*MELTOME_TRAIN, "test"):
        raise ValueError(f"the set is {part!r}; wanted train or test")
    return part != "test"
