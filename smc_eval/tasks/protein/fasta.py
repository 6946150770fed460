"""FASTA: sequences with header lines, in one file, or one a file in a folder or archive."""

from __future__ import annotations

import tarfile
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from smc_eval.errors import DataError
from smc_eval.tasks.csv_rows import quoted
from smc_eval.tasks.folder import lines, open_file
from smc_eval.tasks.protein.example import letters, residues

FASTA_ENDINGS = (".fasta", ".fa", ".faa")

LAYOUTS = ("", ".tar", ".tar.gz", ".tgz", ".fasta", ".fasta.gz")
"""Endings of a set of sequences, in order of preference: a folder, an archive of it, one file of all."""


@dataclass(frozen=True)
class FastaRecord:
    """A sequence with its header, without `>`, and the line of the header."""

    header: str
    sequence: str
    line: int
    """Line number of the header, from 1."""


def read_records(text: Iterable[str], where: str) -> Iterator[FastaRecord]:
    """The records of a FASTA file, in order; `where` names the file in error messages.

    Raises:
        DataError: text before the first header, an empty sequence, or a letter that is not a residue.
    """
    header, at, parts = None, 0, list[str]()
    for number, line in enumerate(text, 1):
        words = line.strip()
        if words.startswith(">"):
            if header is not None:
                yield _record(header, parts, at, where)
            header, at, parts = words[1:].strip(), number, []
        elif words and header is None:
            raise DataError(f"{where}, line {number}: {quoted(words)} is before any header; wanted >NAME")
        elif words:
            parts.append(_letters(words, number, where))
    if header is not None:
        yield _record(header, parts, at, where)


def find_sequences(folder: Path, name: str) -> Path | None:
    """The path of the sequences with a name, in the first of `LAYOUTS` that exists; None if none does."""
    for ending in LAYOUTS:
        path = folder / f"{name}{ending}"
        if path.is_dir() if not ending else path.is_file():
            return path
    return None


def sequence_files(place: Path, names: Iterable[str]) -> list[Path]:
    """The files that hold the sequences of these proteins.

    Raises:
        DataError: the folder has no file for a protein.
    """
    return [_file(place, name) for name in names] if place.is_dir() else [place]


def read_sequences(place: Path, names: Collection[str]) -> dict[str, str]:
    """The sequences of these proteins by name, from a path that `find_sequences` gave.

    In a folder or archive the name of a protein is its file's name. In one file it is taken from the
    header: the accession between bars (`tr|S2KSW0|S2KSW0_9PSED`), or else the first word.

    Raises:
        DataError: a sequence is missing, occurs twice or is invalid; the message names file and line.
    """
    wanted = set(names)
    if place.is_dir():
        sequences = {
            name: _single_sequence(lines(path), str(path))
            for name, path in ((name, _file(place, name)) for name in wanted)
        }
    elif place.name.endswith((".tar", ".tar.gz", ".tgz")):
        stat = place.stat()
        state = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        sequences = dict(_from_archive(place, frozenset(wanted), state))
    else:
        sequences = _from_file(place, wanted)
    if missing := sorted(wanted - sequences.keys()):
        raise DataError(
            f"{place} has no sequence of {missing[0]!r}; {len(missing)} of the split's proteins are missing"
        )
    return sequences


def accession(header: str) -> str:
    """The name of the protein in a header."""
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


def _single_sequence(text: Iterable[str], where: str) -> str:
    """The sequence of a file that holds exactly one."""
    records = list(read_records(text, where))
    if len(records) != 1:
        raise DataError(f"{where} holds {len(records)} sequences; wanted the one of its name")
    return records[0].sequence


def _file(folder: Path, name: str) -> Path:
    for ending in FASTA_ENDINGS:
        for path in (folder / f"{name}{ending}", folder / f"{name}{ending}.gz"):
            if path.is_file():
                return path
    raise DataError(f"{folder} has no {name}.fasta, though {name!r} is a protein of the split")


@lru_cache(maxsize=4)  # a cell asks for both parts of its split; a file that changed is read again
def _from_archive(path: Path, wanted: frozenset[str], _state: tuple[int, ...]) -> dict[str, str]:
    sequences = dict[str, str]()
    try:
        with open_file(path) as stream, tarfile.open(fileobj=stream, mode="r|*") as archive:
            for member in archive:
                inner = PurePosixPath(member.name)
                if not member.isfile() or inner.suffix not in FASTA_ENDINGS or inner.stem not in wanted:
                    continue
                where = f"{path}, {member.name}"
                if inner.stem in sequences:
                    raise DataError(f"{where}: the archive holds {inner.stem!r} twice")
                content = archive.extractfile(member)
                assert content is not None  # it is a file
                sequences[inner.stem] = _single_sequence(_text(content.read(), where), where)
    except tarfile.TarError as error:
        raise DataError(f"{path} is truncated or not a tar archive ({error}); fetch it again") from None
    return sequences


def _text(content: bytes, where: str) -> list[str]:
    try:
        return content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: byte {error.object[error.start]:#04x} is not UTF-8") from None


def _from_file(path: Path, wanted: Collection[str]) -> dict[str, str]:
    sequences = dict[str, str]()
    for record in read_records(lines(path), str(path)):
        name = accession(record.header)
        if name in sequences:
            raise DataError(f"{path}, line {record.line}: {name!r} occurs a second time")
        if name in wanted:
            sequences[name] = record.sequence
    return sequences
