"""Texts: WikiText-2, C4, or any file of a folder; plain or `.gz`, or from the hub."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from smc_eval.errors import DataError
from smc_eval.task import Part, Source
from smc_eval.tasks.folder import content_digest, find_file, lines
from smc_eval.tasks.hub import HUB, HubSet
from smc_eval_lm.synthetic import synthetic_text_folder

WIKITEXT, C4 = "wikitext-2", "c4"

Documents = Literal["whole", "lines"]

C4_DOCUMENTS: Mapping[Part, int] = {"train": 10_000, "test": 1_100}
"""Documents that are read of C4, from the first one on. 1,100 are those of the published perplexities."""


@dataclass(frozen=True)
class Text:
    """A text in pieces that are tokenized one after the other."""

    name: str
    pieces: tuple[str, ...]
    apart: bool = False
    """Whether windows stay within a piece. Else the pieces follow each other, each with an end of text."""


@dataclass(frozen=True)
class TextSet:
    """A text that is known by its name."""

    files: Mapping[Part, str]
    """Official paths in the data folder."""
    read: Callable[[Path, Part], Text]
    rows: Callable[[Part], Text] | None = None
    """Reads it from the hub."""
    hub: HubSet | None = None


def read_text(folder: str, name: str, part: Part, documents: Documents) -> Text:
    """A text by its name: that of a known set, or of a file in the data folder.

    Raises:
        DataError: it does not exist, cannot be read or is empty.
    """
    known = SETS.get(name)
    if known and folder == HUB and known.rows:
        text = known.rows(part)
    elif known:
        text = known.read(_file(folder, name, part), part)
    else:
        text = _plain(_file(folder, name, part), name, documents)
    if not any(piece.strip() for piece in text.pieces):
        raise DataError(f"the text {text.name!r} is empty; give one with words: text=FILE, train_text=FILE")
    return text


def text_source(folder: str, name: str, part: Part, *, trained: bool) -> Source:
    """Where a text comes from, and its digest.

    Raises:
        DataError: it does not exist or cannot be read.
    """
    known = SETS.get(name)
    if known and folder == HUB and known.hub:
        source = known.hub.source([part])
        return Source("data", source.name, source.digest, trained=trained)
    return Source("data", folder, content_digest([_file(folder, name, part)]), trained=trained)


def _file(folder: str, name: str, part: Part) -> Path:
    known = SETS.get(name)
    path = known.files[part] if known else name
    if known is None and (Path(name).is_absolute() or ".." in Path(name).parts):
        raise DataError(
            f"the text {name!r} is no path inside the data folder; name its folder with --data-dir, "
            "and the file with text=FILE or train_text=FILE"
        )
    try:
        return find_file(synthetic_text_folder() if folder == "synthetic" else folder, path)
    except DataError as error:
        option = "text" if part == "test" else "train_text"
        raise DataError(f"{option}={name}: {error}") from None


def _plain(path: Path, name: str, documents: Documents) -> Text:
    """A text file: one document, or one in each line."""
    if documents == "whole":
        return Text(name, ("".join(lines(path)),))
    return Text(name, tuple(line.strip() for line in lines(path) if line.strip()))


def _joined_rows(rows: Iterator[str]) -> tuple[str, ...]:
    """WikiText-2 as the published perplexities read it: its lines with their ends, between empty lines."""
    return ("\n\n".join(row if row.strip() else "" for row in rows),)


def _wikitext(path: Path, _: Part) -> Text:
    return Text(WIKITEXT, _joined_rows(lines(path)))


def _wikitext_rows(part: Part) -> Text:
    return Text(WIKITEXT, _joined_rows(str(row["text"]) for row in WIKITEXT_HUB.rows(part)))


def _c4(path: Path, part: Part) -> Text:
    """Training documents apart, and the first of the validation split joined by blanks, as published."""
    documents = tuple(islice(_json_texts(path), C4_DOCUMENTS[part]))
    return Text(C4, documents, apart=True) if part == "train" else Text(C4, (" ".join(documents),))


def _json_texts(path: Path) -> Iterator[str]:
    for number, line in enumerate(lines(path), 1):
        try:
            text = json.loads(line)["text"]
        except (ValueError, KeyError, TypeError):
            raise DataError(f"{path}, line {number}: no JSON object with a 'text'") from None
        if not isinstance(text, str):
            raise DataError(f"{path}, line {number}: its 'text' is no text")
        yield text


WIKITEXT_HUB = HubSet("Salesforce/wikitext", "wikitext-2-raw-v1", ("text",))

SETS: Mapping[str, TextSet] = {
    WIKITEXT: TextSet(
        {"train": "wikitext-2-raw/wiki.train.raw", "test": "wikitext-2-raw/wiki.test.raw"},
        _wikitext,
        _wikitext_rows,
        WIKITEXT_HUB,
    ),
    C4: TextSet(
        {
            "train": "en/c4-train.00000-of-01024.json",
            "test": "en/c4-validation.00000-of-00008.json",
        },
        _c4,
    ),
}
"""The texts that are known by name."""
