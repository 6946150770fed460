"""A protein, and what a split of them must keep."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from smc_eval.errors import DataError

RESIDUES = "ACDEFGHIKLMNPQRSTVWYXBZUO"
"""The twenty amino acids; X any, B and Z one of two, U selenocysteine, O pyrrolysine."""

STOP = "*"
"""Where translation ends. It is no residue, and is left out wherever it stands, as FLIP's authors do."""

_NO_RESIDUE = {ord(letter): None for letter in RESIDUES}


@dataclass(frozen=True)
class Protein:
    """One example."""

    name: str
    sequence: str
    """Capital letters of `RESIDUES`."""
    answer: float
    """Its class, from 0; or a temperature in °C."""


class Split(Protocol):
    """Files that have been found, and the two parts that can be read from them."""

    @property
    def files(self) -> Sequence[Path]:
        """All files that are read."""

    def parts(self) -> tuple[list[Protein], list[Protein]]:
        """What is trained on and what is scored.

        Raises:
            DataError: a file cannot be read or makes no sense; names file and line.
        """


def residues(text: str) -> str:
    """A sequence as it is read: in capitals (small letters mark what is masked in FASTA), no stops.

    Raises:
        ValueError: it is empty, or a letter stands for no residue.
    """
    if not (sequence := letters(text)):
        raise ValueError("the sequence is empty")
    return sequence


def letters(text: str) -> str:
    """A piece of a sequence, as `residues` reads it; it may be empty.

    Raises:
        ValueError: a letter stands for no residue.
    """
    sequence = text.upper().replace(STOP, "")
    if wrong := sequence.translate(_NO_RESIDUE):
        raise ValueError(f"{wrong[0]!r} in the sequence is no residue; wanted letters of {RESIDUES}")
    return sequence


def class_label(classes: int) -> Callable[[object], float]:
    """A reader of classes, as a number or in words; ValueError where there is no such class."""

    def read(value: object) -> float:
        number = _number(value)
        if number not in range(classes):
            raise ValueError(f"the label is {value!r}; wanted a class from 0 to {classes - 1}")
        return int(number)

    return read


def celsius(value: object) -> float:
    """A temperature, as a number or in words; ValueError where it is none."""
    number = _number(value)
    if not math.isfinite(number) or number < -273.15:
        raise ValueError(f"the temperature is {value!r}; wanted degrees Celsius")
    return number


def told_apart(train: Iterable[str], test: Iterable[str], where: str) -> None:
    """Refuse names that stand twice in a part, or in both.

    Raises:
        DataError: names the first of them.
    """
    seen: dict[str, str] = {}
    for part, names in (("train", train), ("test", test)):
        for name in names:
            if name in seen:
                both = "in train and in test" if seen[name] != part else f"twice in {part}"
                raise DataError(f"{where}: the protein {name!r} stands {both}; a split must tell them apart")
            seen[name] = part
    if set(seen.values()) != {"train", "test"}:
        raise DataError(f"{where}: one part holds no proteins; wanted some to train on and some to test on")


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan
