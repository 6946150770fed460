"""Fetching: the data files of tasks are put into a data folder, each complete and verified, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from smc_eval.data_file import DataFile
from smc_eval.download.archive import unpack
from smc_eval.download.http import discard, download, finish
from smc_eval.errors import DataError, DownloadError
from smc_eval.files.checksum import file_sha256
from smc_eval.files.lease import Leases
from smc_eval.tasks.folder import content_sha256

LEASES_FOLDER = ".smc-eval-leases"
"""Folder inside a data folder. It holds one lease, that of the process that fetches."""

Report = Callable[[str], None]


def fetch_files(files: Iterable[DataFile], folder: Path, report: Report) -> list[DataFile]:
    """Fetch the files that a data folder lacks; returns the files that must be downloaded by hand.

    `report` gets one line for each step, and a warning for each file without a known checksum.

    Raises:
        DataError: a file cannot be fetched or written, or its checksum is wrong. Files that were
            fetched before it stay.
    """
    by_hand = []
    with _lease(folder):
        for address, group in _by_address(files).items():
            missing = [file for file in group if not _is_present(file, folder, report)]
            if not address:
                by_hand += missing
            elif missing and missing[0].in_archive:
                _fetch_archive(missing, folder, report)
            else:
                for file in missing:
                    _fetch_file(file, folder, report)
    return by_hand


@contextmanager
def _lease(folder: Path) -> Iterator[None]:
    """Hold the lease of a data folder: two processes would write into the same partial file."""
    leases = Leases(folder / LEASES_FOLDER)
    try:
        leases.folder.mkdir(parents=True, exist_ok=True)
        lease = leases.take("fetch")
        if lease is None:
            raise DataError(f"another smc-eval is fetching into {folder}; wait for it to end, then try again")
        try:
            yield
        finally:
            lease.release()
            with suppress(OSError):  # another process may have taken the lease by now
                leases.folder.rmdir()
    except OSError as error:
        raise DataError(f"cannot write to {folder}: {error.strerror or error}; name another folder") from None


def _by_address(files: Iterable[DataFile]) -> dict[str, list[DataFile]]:
    """Files grouped by address, so that an archive is fetched once for all its files."""
    groups = dict[str, list[DataFile]]()
    for file in dict.fromkeys(files):
        groups.setdefault(file.address, []).append(file)
    return groups


def _is_present(file: DataFile, folder: Path, report: Report) -> bool:
    """Whether a file is in the data folder; an error if its checksum is wrong."""
    path = file.under(folder)
    if not path:
        return False
    pinned = file.sha256 and not file.in_archive
    if pinned and (sha256 := content_sha256(path)) != file.sha256:
        raise DataError(
            f"{path} exists, but its checksum is not the pinned one; move it away, and run the same command "
            f"again\nsha256 found:  {sha256}\nsha256 pinned: {file.sha256}"
        )
    report(f"{file.path}: already there, {'sha256 as pinned' if pinned else 'not checked'}")
    return True


def _fetch_file(file: DataFile, folder: Path, report: Report) -> None:
    target = folder / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    _download_verified(file, part, report)
    finish(part, target)
    report(f"{file.path}: done")


def _fetch_archive(files: list[DataFile], folder: Path, report: Report) -> None:
    first = files[0]
    part = folder / f".{PurePosixPath(urlsplit(first.address).path).name}.part"
    _download_verified(first, part, report)
    try:
        unpack(part, first.address, [file.path for file in files], folder)
    finally:
        discard(part)  # also if it is broken: resuming would not repair it
    for file in files:
        report(f"{file.path}: done")


def _download_verified(file: DataFile, part: Path, report: Report) -> None:
    """Download a file and compare its checksum with the pinned one; delete it if they differ."""
    report(f"fetching {file.address}")
    complete = download(file.address, part)
    if not (complete or file.sha256):
        discard(part)
        raise DownloadError(
            f"the server of {file.address} gives no length, and no checksum is known, so an incomplete "
            "download could not be noticed; download the file by hand"
        )
    sha256 = file_sha256(part)
    if not file.sha256:
        report(f"no known checksum for {file.address}; the downloaded file has sha256 {sha256}")
    elif sha256 != file.sha256:
        discard(part)
        raise DownloadError(
            f"{file.address} does not have the pinned checksum; the download was deleted\n"
            f"sha256 found:  {sha256}\nsha256 pinned: {file.sha256}"
        )
