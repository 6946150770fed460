"""Files of a data folder: found by their official names, read plain or `.gz`, named by content."""

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

WAY_OUT = (
    "name another folder with --data-dir DIR or SMC_EVAL_DATA, or made-up data with --data-dir synthetic"
)

_CHUNK = 1 << 20


def official_folder(word: str, files: str) -> Path:
    """The data folder that `--data-dir` names, for files that the hub does not have.

    Raises:
        DataError: it names the hub; says which files are wanted instead.
    """
    if word == HUB:
        raise DataError(
            f"there is no official copy of {files} on the hub; a folder is wanted that holds it\n{WAY_OUT}"
        )
    return Path(word)


def find_file(folder: str | Path, name: str) -> Path:
    """The file of that official name under a data folder, or else the same name with `.gz`.

    Raises:
        DataError: there is no such folder, or no such file in it; or the hub is named.
    """
    folder = official_folder(folder, name) if isinstance(folder, str) else folder
    try:
        if not folder.exists():
            raise DataError(f"the data folder {str(folder)!r} does not exist; {WAY_OUT}")
        if not folder.is_dir():
            raise DataError(f"the data folder {str(folder)!r} is a file, not a folder; {WAY_OUT}")
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
        wrong = _missing(folder, name)
    except OSError as error:
        raise DataError(
            f"cannot look into the data folder {str(folder)!r}: {error.strerror}; {WAY_OUT}"
        ) from None
    raise DataError(
        f"the data folder {str(folder)!r} has no {name} or {name}.gz: {wrong}\n"
        f"the file is wanted at {folder / name}, as the official release lays it out\n{WAY_OUT}"
    )


def find_files(folder: str | Path, name: str, ending: str) -> list[Path]:
    """The files of an official folder that end in `ending` or the same with `.gz`, by number and name.

    Raises:
        DataError: there is no such folder, or no such file in it; or the hub is named.
    """
    whole = (official_folder(folder, f"{name}/*{ending}") if isinstance(folder, str) else folder) / name
    if not whole.is_dir():
        find_file(folder, name)  # says how far the name leads
        raise DataError(f"{whole} is a file; wanted a folder of {ending} files")
    found = dict[str, Path]()
    try:
        for path in sorted(whole.iterdir()):  # a plain file stands before its `.gz`, and is taken
            stem = path.name.removesuffix(".gz").removesuffix(ending)
            if path.name in (stem + ending, f"{stem}{ending}.gz") and path.is_file():
                found.setdefault(stem, path)
    except OSError as error:
        raise DataError(f"cannot look into {whole}: {error.strerror}; {WAY_OUT}") from None
    if not found:
        raise DataError(f"{whole} holds no {ending} or {ending}.gz file; fetch the set again\n{WAY_OUT}")
    return [found[stem] for stem in sorted(found, key=lambda stem: (len(stem), stem))]


def lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 text file, plain or `.gz`, each with its end as it stands there.

    Raises:
        DataError: the file cannot be read, is cut short or is not UTF-8.
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
    """The uncompressed bytes of a file, plain or `.gz`; a fault while reading is a DataError too."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            yield cast("BinaryIO", stream)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is cut short or no gzip file ({error}); fetch it again") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None


def content_digest(paths: Iterable[Path]) -> str:
    """SHA-256 that names what the files hold, uncompressed and in this order; not where they lie.

    Raises:
        DataError: a file cannot be read.
    """
    return combined_sha256(content_sha256(path) for path in paths)


def content_sha256(path: Path) -> str:
    """SHA-256 of what a file holds, uncompressed.

    Raises:
        DataError: it cannot be read.
    """
    found = hashlib.sha256()
    with open_file(path) as stream:
        while chunk := stream.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()


def _missing(folder: Path, name: str) -> str:
    """How far down the name leads, and what lies there instead."""
    here = folder
    for part in Path(name).parts[:-1]:
        if not (here / part).is_dir():
            break
        here /= part
    entries = sorted(entry.name for entry in here.iterdir())
    shown = ", ".join(entries[:8]) + (", …" if len(entries) > 8 else "")
    if (folder / name).is_dir():
        return "there is a folder of that name"
    return f"{here} holds {shown or 'nothing'}"
