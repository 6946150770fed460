"""OPUS-100 on the hub: up to a million sentence pairs of English with each of many languages.

Zhang et al. (2020), arXiv:2004.11867; the text is OPUS's, Tiedemann (2012).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from smc_eval.errors import DataError
from smc_eval.spec import digest
from smc_eval.task import Part, Source
from smc_eval.tasks.hub import HUB, HubSet
from smc_eval.tasks.translation.languages import PIVOT, Direction

OPUS_NAME = "Helsinki-NLP/opus-100"

OPUS_COLUMN = "translation"

MAX_PAIRS = 1_000_000
"""Training pairs of each language with English, except for `SMALLER_PAIRS`."""

SMALLER_PAIRS = {"gu": 318_306, "my": 24_594}

TEST_PAIRS = 2000
"""Test pairs of each language with English."""


def training_pairs(direction: Direction) -> int:
    """The published number of training pairs of a direction."""
    return min(SMALLER_PAIRS.get(code, MAX_PAIRS) for code in (direction.source, direction.target))


def opus_source(directions: Sequence[Direction]) -> Source:
    """The text of all directions with a digest over the commits of its language pairs.

    Raises:
        DataError: the text cannot be fetched, or a direction is neither from nor to English.
    """
    commits = [pair.source(["train", "test"]).digest for pair in dict.fromkeys(map(_pair, directions))]
    return Source("data", f"{HUB}:{OPUS_NAME}", digest(commits))


def opus_pairs(direction: Direction, part: Part) -> Iterator[tuple[str, str]]:
    """The rows of a direction: source and target. Some rows of OPUS-100 have a blank side.

    Raises:
        DataError: the text cannot be fetched.
    """
    for row in _pair(direction).rows(part):
        yield row[OPUS_COLUMN][direction.source], row[OPUS_COLUMN][direction.target]


def _pair(direction: Direction) -> HubSet:
    if PIVOT not in (direction.source, direction.target):
        raise DataError(
            f"{OPUS_NAME} has no text for {direction}; all its directions are from or to English: "
            "choose pairs=english"
        )
    return HubSet(OPUS_NAME, "-".join(sorted((direction.source, direction.target))), (OPUS_COLUMN,))
