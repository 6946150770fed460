"""FASTA: sequences under header lines, in one file, or one a file in a folder or an archive."""

from __future__ import annotations

import tarfile
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from smc_eval.errors import DataError
from smc_eval.tasks.csv_rows import quoted
from smc_eval.tasks.folder import lines, open_file
from smc_eval.tasks.protein.example import letters, residues

FASTA_ENDINGS = (".fasta", ".fa", ".faa")

LAYOUTS = ("", ".tar", ".tar.gz", ".tgz", ".fasta", ".fasta.gz")
"""How a set of sequences may lie: a folder, an archive of it, one file of all; in this order."""


@dataclass(frozen=True)
class FastaRecord:
    """A sequence with its header, `>` left out, and the line that stands on."""

    header: str
    sequence: str
    line: int


def records(text: Iterable[str], where: str) -> Iterator[FastaRecord]:
    """The records of a FASTA file, in order; `where` names it in errors.

    Raises:
        DataError: text before the first header, an empty sequence or a letter that is no residue.
    """
    header, at, parts = None, 0, list[str]()
    for number, line in enumerate(text, 1):
        words = line.strip()
        if words.startswith(">"):
            if header is not None:
                yield _record(header, parts, at, where)
            header, at, parts = words[1:].strip(), number, []
        elif words and header is None:
            raise DataError(f"{where}, line {number}: {quoted(words)} stands before any header; wanted >NAME")
        elif words:
            parts.append(_letters(words, number, where))
    if header is not None:
        yield _record(header, parts, at, where)


def sequences_in(folder: Path, name: str) -> Path | None:
    """Where in a folder the sequences of that name lie, in whichever of `LAYOUTS`; None where nowhere."""
    for ending in LAYOUTS:
        path = folder / f"{name}{ending}"
        if path.is_dir() if not ending else path.is_file():
            return path
    return None


def files(place: Path, names: Iterable[str]) -> list[Path]:
    """The files in which the sequences of these proteins stand.

    Raises:
        DataError: a folder has no file of a name.
    """
    return [_file(place, name) for name in names] if place.is_dir() else [place]


def sequences(place: Path, names: Collection[str]) -> dict[str, str]:
    """The sequences of these proteins, from wherever `sequences_in` found them.

    In a folder or archive a protein is named by its file, in one file by its header: the accession
    between bars (`tr|S2KSW0|S2KSW0_9PSED`), or else the first word.

    Raises:
        DataError: a sequence is missing, stands there twice or holds no residues; names file and line.
    """
    wanted = set(names)
    if place.is_dir():
        found = {
            name: _only(lines(path), str(path))
            for name, path in ((name, _file(place, name)) for name in wanted)
        }
    elif place.name.endswith((".tar", ".tar.gz", ".tgz")):
        found = _archived(place, wanted)
    else:
        found = _together(place, wanted)
    if missing := sorted(wanted - found.keys()):
        raise DataError(
            f"{place} has no sequence of {missing[0]!r}; {len(missing)} of the split's proteins are missing"
        )
    return found


def accession(header: str) -> str:
    """What a header names its protein."""
    first = (header.split() or [""])[0]
    bars = first.split("|")
    return bars[1] if len(bars) > 2 else first


def _letters(words: str, line: int, where: str) -> str:
    try:
        return letters(words)
    except ValueError as error:
        raise DataError(f"{where}, line {line}: {error}") from None


def _record(header: str, parts: Iterable[str], line: int, where: str) -> FastaRecord:
    try:
        return FastaRecord(header, residues("".join(parts)), line)
    except ValueError as error:
        raise DataError(f"{where}, line {line}: {error}") from None


def _only(text: Iterable[str], where: str) -> str:
    """The sequence of a file that holds one."""
    found = list(records(text, where))
    if len(found) != 1:
        raise DataError(f"{where} holds {len(found)} sequences; wanted the one it is named after")
    return found[0].sequence


def _file(folder: Path, name: str) -> Path:
    for ending in FASTA_ENDINGS:
        for path in (folder / f"{name}{ending}", folder / f"{name}{ending}.gz"):
            if path.is_file():
                return path
    raise DataError(f"{folder} has no {name}.fasta, though {name!r} is a protein of the split")


def _archived(path: Path, wanted: Collection[str]) -> dict[str, str]:
    found = dict[str, str]()
    try:
        with open_file(path) as stream, tarfile.open(fileobj=stream, mode="r|*") as archive:
            for member in archive:
                inner = PurePosixPath(member.name)
                if not member.isfile() or inner.suffix not in FASTA_ENDINGS or inner.stem not in wanted:
                    continue
                where = f"{path}, {member.name}"
                if inner.stem in found:
                    raise DataError(f"{where}: the archive holds {inner.stem!r} twice")
                content = archive.extractfile(member)
                assert content is not None  # as it is a file
                found[inner.stem] = _only(_text(content.read(), where), where)
    except tarfile.TarError as error:
        raise DataError(f"{path} is cut short or no tar archive ({error}); fetch it again") from None
    return found


def _text(content: bytes, where: str) -> list[str]:
    try:
        return content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: byte {error.object[error.start]:#04x} is not UTF-8") from None


def _together(path: Path, wanted: Collection[str]) -> dict[str, str]:
    found = dict[str, str]()
    for record in records(lines(path), str(path)):
        name = accession(record.header)
        if name in found:
            raise DataError(f"{path}, line {record.line}: {name!r} stands there for the second time")
        if name in wanted:
            found[name] = record.sequence
    return found
