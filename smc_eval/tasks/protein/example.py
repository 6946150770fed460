"""Proteins, and the rules for sequences, answers and splits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from smc_eval.errors import DataError

RESIDUES = "ACDEFGHIKLMNPQRSTVWYXBZUO"
"""The twenty amino acids; X any, B and Z one of two, U selenocysteine, O pyrrolysine."""

STOP = "*"
"""End of translation. It is not a residue, and is removed everywhere, as FLIP's authors do."""

_NO_RESIDUE = {ord(letter): None for letter in RESIDUES}


@dataclass(frozen=True)
class Protein:
    """One example: a protein with its answer."""

    name: str
    sequence: str
    """Capital letters of `RESIDUES`."""
    answer: float
    """A class, from 0; or a temperature in °C."""


class Split(Protocol):
    """The files of a data set, and the two parts that are read from them."""

    @property
    def files(self) -> Sequence[Path]:
        """All files that are read."""

    def parts(self) -> tuple[list[Protein], list[Protein]]:
        """The training part and the test part.

        Raises:
            DataError: a file cannot be read or is invalid; the message names file and line.
        """


def residues(text: str) -> str:
    """A sequence in capitals, without stops. Small letters, which mark masked regions, are accepted.

    Raises:
        ValueError: the sequence is empty, or a letter is not a residue.
    """
    if not (sequence := letters(text)):
        raise ValueError("the sequence is empty")
    return sequence


def letters(text: str) -> str:
    """A part of a sequence, as for `residues`; it may be empty.

    Raises:
        ValueError: a letter is not a residue.
    """
    sequence = text.upper().replace(STOP, "")
    if others := sequence.translate(_NO_RESIDUE):
        raise ValueError(f"{others[0]!r} in the sequence is not a residue; wanted letters of {RESIDUES}")
    return sequence


def class_label(classes: int) -> Callable[[object], float]:
    """A parser of class labels, given as numbers or text; it raises ValueError for other values."""

    def read(value: object) -> float:
        number = _number(value)
        if number not in range(classes):
            raise ValueError(f"the label is {value!r}; wanted a class from 0 to {classes - 1}")
        return int(number)

    return read


def celsius(value: object) -> float:
    """Parse a temperature in °C, given as a number or text; ValueError for other values."""
    number = _number(value)
    if not math.isfinite(number) or number < -273.15:
        raise ValueError(f"the temperature is {value!r}; wanted degrees Celsius")
    return number


def check_disjoint(train: Iterable[str], test: Iterable[str], where: str) -> None:
    """Refuse a split in which a name occurs twice, in one part or in both, or a part is empty.

    Raises:
        DataError: the message names the first such protein.
    """
    seen: dict[str, str] = {}
    for part, names in (("train", train), ("test", test)):
        for name in names:
            if name in seen:
                both = "in train and in test" if seen[name] != part else f"twice in {part}"
                raise DataError(f"{where}: the protein {name!r} is {both}; wanted each protein once")
            seen[name] = part
    if set(seen.values()) != {"train", "test"}:
        raise DataError(f"{where}: one part holds no proteins; wanted proteins in train and in test")


def check_folds(folds: Mapping[str, Iterable[str]]) -> None:
    """Refuse a protein that is in the test part of two folds; the keys say where each fold was read.

    Its predictions would count twice in the mean over folds, and the folds were not made by a partition.

    Raises:
        DataError: the message names the first such protein, and both folds.
    """
    seen: dict[str, str] = {}
    for where, names in folds.items():
        for name in dict.fromkeys(names):
            if name in seen:
                raise DataError(
                    f"the protein {name!r} is tested in two folds: {seen[name]} and {where}; "
                    "wanted each protein in the test part of one fold"
                )
            seen[name] = where


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan
