"""Synthetic text in the layout of WikiText-2 and of C4: sentences from a small grammar."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from smc_eval.tasks.synthetic.draws import Draws
from smc_eval.tasks.synthetic.folders import written_folder

NAMES = ("the river", "the old mill", "a small town", "the northern road", "her brother", "the captain")
VERBS = ("crosses", "reaches", "leaves", "follows", "remembers", "divides")
PLACES = ("near the coast", "in the valley", "behind the hills", "after the war", "in early spring")
TITLES = ("Mill", "River", "Road", "Harbour", "Valley", "Town")


def synthetic_text_folder(into: Path | None = None) -> Path:
    """A data folder with synthetic text in place of WikiText-2 and C4.

    Raises:
        DataError: no folder can be written.
    """
    return written_folder(_files(), "texts", into)


@cache
def _files() -> Mapping[str, bytes]:
    train, test = _articles("texts, train, version 1", 60), _articles("texts, test, version 1", 16)
    return {
        "wikitext-2-raw/wiki.train.raw": "".join(train).encode(),
        "wikitext-2-raw/wiki.test.raw": "".join(test).encode(),
        "en/c4-train.00000-of-01024.json": _rows(train),
        "en/c4-validation.00000-of-00008.json": _rows(test),
    }


def _articles(seed: str, count: int) -> list[str]:
    """Articles as the lines of WikiText-2: a title, an empty line and paragraphs."""
    draws = Draws(seed)
    articles = []
    for number in range(count):
        title = f" \n = {draws.pick(TITLES)} {number + 1} = \n \n"
        paragraphs = [" ".join(_sentence(draws) for _ in range(8)) for _ in range(2)]
        articles.append(title + "".join(f" {paragraph} \n" for paragraph in paragraphs))
    return articles


def _sentence(draws: Draws) -> str:
    first, second = draws.pick(NAMES), draws.pick(NAMES)
    return f"{first} {draws.pick(VERBS)} {second} {draws.pick(PLACES)} ."


def _rows(articles: list[str]) -> bytes:
    return "".join(json.dumps({"text": article.strip()}) + "\n" for article in articles).encode()
