"""OPUS-100 on the hub: up to a million sentence pairs between English and each of many languages.

Zhang et al. (2020), arXiv:2004.11867; the text is OPUS's, Tiedemann (2012).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from smc_eval.errors import DataError
from smc_eval.spec import digest
from smc_eval.task import Part, Source
from smc_eval.tasks.hub import HUB, HubSet
from smc_eval.tasks.translation.corpus import Sentence
from smc_eval.tasks.translation.languages import PIVOT, Direction

OPUS_NAME = "Helsinki-NLP/opus-100"

COLUMN = "translation"

MOST_PAIRS_OF = 1_000_000
"""Training pairs that it has of a language, but of the `FEW`."""

FEW = {"gu": 318_306, "my": 24_594}

TESTED = 2000
"""Test pairs of each language."""


def training_pairs(direction: Direction) -> int:
    """Training pairs of a direction, as published."""
    return min(FEW.get(code, MOST_PAIRS_OF) for code in (direction.source, direction.target))


def opus_source(directions: Sequence[Direction]) -> Source:
    """Which text it is, by the commits of all its pairs.

    Raises:
        DataError: it cannot be had, or a direction does not lead from or to English.
    """
    commits = [pair.source(["train", "test"]).digest for pair in dict.fromkeys(map(_pair, directions))]
    return Source("data", f"{HUB}:{OPUS_NAME}", digest(commits))


def opus_sentences(direction: Direction, part: Part, most: int | None) -> list[Sentence]:
    """The first so many sentences of a direction; pairs with an empty side are passed over, as OPUS has some.

    Raises:
        DataError: the text cannot be had.
    """
    return list(islice(_told(direction, part), most))


def _told(direction: Direction, part: Part) -> Iterator[Sentence]:
    for row in _pair(direction).rows(part):
        source, target = (row[COLUMN][code].strip() for code in (direction.source, direction.target))
        if source and target:
            yield Sentence(direction, source, target)


def _pair(direction: Direction) -> HubSet:
    if PIVOT not in (direction.source, direction.target):
        raise DataError(
            f"{OPUS_NAME} has no text for {direction}; it leads from and to English: choose pairs=english"
        )
    return HubSet(OPUS_NAME, "-".join(sorted((direction.source, direction.target))), (COLUMN,))
