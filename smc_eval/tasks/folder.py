"""Files of a data folder: found by their official names, read plain or `.gz`, identified by content."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from smc_eval.errors import DataError
from smc_eval.files.checksum import combined_sha256
from smc_eval.tasks.hub import HUB

DATA_DIR_HINT = (
    "name another folder with --data-dir DIR or SMC_EVAL_DATA, or take synthetic data: --data-dir synthetic"
)

_CHUNK = 1 << 20


def official_folder(data_dir: str, files: str) -> Path:
    """The data folder that `--data-dir` names, for files that the hub does not have.

    Raises:
        DataError: it names the hub; the message lists the files.
    """
    if data_dir == HUB:
        raise DataError(
            f"the hub has no official copy of {files}; wanted a folder that holds it\n{DATA_DIR_HINT}"
        )
    return Path(data_dir)


def find_file(folder: str | Path, name: str) -> Path:
    """The file with an official name under a data folder, or else with `.gz` added.

    Raises:
        DataError: the folder or the file does not exist, or the hub is named.
    """
    folder = official_folder(folder, name) if isinstance(folder, str) else folder
    try:
        if not folder.exists():
            raise DataError(f"the data folder {str(folder)!r} does not exist; {DATA_DIR_HINT}")
        if not folder.is_dir():
            raise DataError(f"the data folder {str(folder)!r} is a file, not a folder; {DATA_DIR_HINT}")
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
        contents = _nearest_contents(folder, name)
    except OSError as error:
        raise DataError(
            f"cannot list the data folder {str(folder)!r}: {error.strerror}; {DATA_DIR_HINT}"
        ) from None
    raise DataError(
        f"the data folder {str(folder)!r} has no {name} or {name}.gz: {contents}\n"
        f"the official release has the file at {folder / name}\n{DATA_DIR_HINT}"
    )


def find_files(folder: str | Path, name: str, ending: str) -> list[Path]:
    """The files of an official folder with an ending, plain or `.gz`, sorted by number and name.

    Raises:
        DataError: the folder does not exist or has no such file, or the hub is named.
    """
    place = (official_folder(folder, f"{name}/*{ending}") if isinstance(folder, str) else folder) / name
    if not place.is_dir():
        find_file(folder, name)  # its error names the folder that is missing
        raise DataError(f"{place} is a file; wanted a folder of {ending} files")
    files = dict[str, Path]()
    try:
        for path in sorted(place.iterdir()):  # a plain file comes before its `.gz`, and is taken
            stem = path.name.removesuffix(".gz").removesuffix(ending)
            if path.name in (stem + ending, f"{stem}{ending}.gz") and path.is_file():
                files.setdefault(stem, path)
    except OSError as error:
        raise DataError(f"cannot list {place}: {error.strerror}; {DATA_DIR_HINT}") from None
    if not files:
        raise DataError(
            f"{place} holds no {ending} or {ending}.gz file; fetch the set again\n{DATA_DIR_HINT}"
        )
    return [files[stem] for stem in sorted(files, key=lambda stem: (len(stem), stem))]


def lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 text file, plain or `.gz`, with their line ends.

    Raises:
        DataError: the file cannot be read, is truncated or is not UTF-8.
    """
    with open_file(path) as stream:
        for number, line in enumerate(stream, 1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                byte = error.object[error.start]
                raise DataError(f"{path}, line {number}: byte {byte:#04x} is not UTF-8") from None


@contextmanager
def open_file(path: Path) -> Iterator[BinaryIO]:
    """The uncompressed bytes of a file, plain or `.gz`; an error while reading becomes a DataError."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            yield cast("BinaryIO", stream)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is truncated or not a gzip file ({error}); fetch it again") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None


def content_digest(paths: Iterable[Path]) -> str:
    """SHA-256 over the uncompressed content of files in this order, wherever they lie.

    Raises:
        DataError: a file cannot be read.
    """
    return combined_sha256(content_sha256(path) for path in paths)


def content_sha256(path: Path) -> str:
    """SHA-256 of the uncompressed content of a file.

    Raises:
        DataError: the file cannot be read.
    """
    content = hashlib.sha256()
    with open_file(path) as stream:
        while chunk := stream.read(_CHUNK):
            content.update(chunk)
    return content.hexdigest()


def _nearest_contents(folder: Path, name: str) -> str:
    """The contents of the deepest folder on the way to a missing file."""
    deepest = folder
    for part in Path(name).parts[:-1]:
        if not (deepest / part).is_dir():
            break
        deepest /= part
    entries = sorted(entry.name for entry in deepest.iterdir())
    shown = ", ".join(entries[:8]) + (", …" if len(entries) > 8 else "")
    if (folder / name).is_dir():
        return "there is a folder of that name"
    return f"{deepest} holds {shown or 'nothing'}"
