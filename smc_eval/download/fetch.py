"""Fetching: what tasks need is put into a data folder, each file whole and right, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from smc_eval.data_file import DataFile
from smc_eval.download.archive import unpack
from smc_eval.download.http import discard, download, finish
from smc_eval.errors import DataError
from smc_eval.files.checksum import file_sha256
from smc_eval.files.lease import Leases
from smc_eval.tasks.folder import content_sha256

LEASES_FOLDER = ".smc-eval-leases"
"""Inside a data folder: one lease, which the process that fetches holds."""

Say = Callable[[str], None]


def fetch_files(needs: Iterable[DataFile], folder: Path, say: Say) -> list[DataFile]:
    """Put into a data folder what is needed and not there; gives back what must be had by hand.

    Every step is told to `say`, and so is what no checksum vouches for.

    Raises:
        DataError: something cannot be fetched or written, or is not what was pinned; what other
            files were fetched before stays.
    """
    by_hand = []
    with _alone(folder):
        for address, group in _grouped(needs).items():
            lacking = [one for one in group if not _there(one, folder, say)]
            if not address:
                by_hand += lacking
            elif lacking and lacking[0].in_archive:
                _archive(lacking, folder, say)
            else:
                for one in lacking:
                    _file(one, folder, say)
    return by_hand


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Only one process fetches into a folder; two would write into one half of a file."""
    leases = Leases(folder / LEASES_FOLDER)
    try:
        leases.folder.mkdir(parents=True, exist_ok=True)
        lease = leases.take("fetch")
    except OSError as error:
        raise DataError(f"cannot write to {folder}: {error.strerror or error}; name another folder") from None
    if lease is None:
        raise DataError(f"another smc-eval is fetching into {folder}; wait for it to end, then try again")
    try:
        yield
    finally:
        lease.release()
        with suppress(OSError):  # another process may have taken the lease by now
            leases.folder.rmdir()


def _grouped(needs: Iterable[DataFile]) -> dict[str, list[DataFile]]:
    """By address, so that an archive is fetched once for all that it holds."""
    groups = dict[str, list[DataFile]]()
    for one in dict.fromkeys(needs):
        groups.setdefault(one.address, []).append(one)
    return groups


def _there(one: DataFile, folder: Path, say: Say) -> bool:
    path = one.under(folder)
    if not path:
        return False
    pinned = one.sha256 and not one.in_archive
    if pinned and (found := content_sha256(path)) != one.sha256:
        raise DataError(
            f"{path} is there and is not what was pinned; move it away, and issue the same command again\n"
            f"sha256 found:  {found}\nsha256 pinned: {one.sha256}"
        )
    say(f"{one.path}: there already, {'sha256 as pinned' if pinned else 'taken as it is'}")
    return True


def _file(one: DataFile, folder: Path, say: Say) -> None:
    target = folder / one.path
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    _came(one, part, say)
    finish(part, target)
    say(f"{one.path}: done")


def _archive(needs: list[DataFile], folder: Path, say: Say) -> None:
    first = needs[0]
    part = folder / f".{PurePosixPath(urlsplit(first.address).path).name}.part"
    _came(first, part, say)
    try:
        unpack(part, first.address, [one.path for one in needs], folder)
    finally:
        discard(part)  # a broken one too: it would be broken next time
    for one in needs:
        say(f"{one.path}: done")


def _came(one: DataFile, part: Path, say: Say) -> None:
    """Download, and see whether it is what was pinned; what is not is thrown away."""
    say(f"fetching {one.address}")
    whole = download(one.address, part)
    if not (whole or one.sha256):
        discard(part)
        raise DataError(
            f"{one.address} does not say how long it is, and no checksum is known: a half of it would "
            "look whole; get it by hand"
        )
    found = file_sha256(part)
    if not one.sha256:
        say(f"NOT PINNED: no checksum is known of {one.address}; what came has sha256 {found}")
    elif found != one.sha256:
        discard(part)
        raise DataError(
            f"{one.address} holds something else than was pinned; it is thrown away\n"
            f"sha256 found:  {found}\nsha256 pinned: {one.sha256}"
        )
