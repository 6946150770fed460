"""Leases: the exclusive right to work on something in a shared folder, held while it is renewed."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from smc_eval.errors import LeaseLost
from smc_eval.files.atomic import Owner, server_time

RENEWAL = 10.0
"""Seconds between two renewals."""
EXPIRY = 60.0
"""Seconds without a renewal after which any process may take a lease."""
POLLS = 0.01, 1.0
"""Seconds between two attempts to take a lease: the first pause, and the longest."""


class Lease:
    """A lease that is held. A thread renews it until it is released."""

    def __init__(self, path: Path) -> None:
        """`path` is the owner's file inside the folder of the lease."""
        self.path = path
        self.lost = False
        self._released = threading.Event()
        threading.Thread(target=self._keep_renewing, name="lease", daemon=True).start()

    def renew(self) -> None:
        """Renew the lease. Sets `lost` if another process has taken it."""
        try:
            os.utime(self.path)  # no time is given: the file server sets its own
        except FileNotFoundError:
            self.lost = True
        except OSError:  # a fault of the file server; the next renewal finds out more
            return

    def check(self) -> None:
        """Check that the lease is still held.

        Raises:
            LeaseLost: it ran out, and another process has it.
        """
        self.renew()
        if self.lost:
            raise LeaseLost(
                f"this process was silent for more than {EXPIRY:g} s and another took over its work "
                f"({self.path.parent.name[:12]})"
            )

    def release(self) -> None:
        """Give the lease back."""
        self._released.set()
        with suppress(OSError):  # the lease or its folder is lost
            self.path.unlink()
            self.path.parent.rmdir()

    def _keep_renewing(self) -> None:
        while not self._released.wait(RENEWAL):
            self.renew()


class Leases:
    """The leases of a folder. The folder may lie on any file system with POSIX renames, NFS too.

    A lease is a folder that holds one file. The file is named after its owner and touched at each renewal.
    To take a free lease, a folder is renamed onto it; that works only where the lease is missing or empty.
    To take an expired lease, its owner's file is renamed; that works for one process only, because
    owner names are unique. No lock of a file system is used, and no clock but the file server's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._watched: dict[str, tuple[tuple[str, int], float]] = {}

    def take(self, name: str) -> Lease | None:
        """The lease of a name; None while another holds it. OSError where the folder cannot be written."""
        path, owner = self.folder / name, str(Owner.new())
        holder = self._holder(path)
        taken = self._take_over(path, holder, owner) if holder else self._take_free(path, owner)
        return Lease(path / owner) if taken else None

    @contextmanager
    def held(self, name: str) -> Iterator[Lease]:
        """Hold a lease; wait until it is free."""
        pause, most = POLLS
        while not (lease := self.take(name)):
            time.sleep(pause)
            pause = min(2 * pause, most)
        try:
            yield lease
        finally:
            lease.release()

    def active(self) -> set[str]:
        """Names of the leases that a process holds, this one or another. Expired leases are freed."""
        names = set[str]()
        for path in self._paths():
            if holder := self._holder(path):
                if self._expired(path, holder) and (lease := self.take(path.name)):
                    lease.release()
                else:
                    names.add(path.name)
        return names

    def owner(self, name: str) -> Owner | None:
        """The owner of a lease; None where it is free."""
        holder = self._holder(self.folder / name)
        return Owner.read(holder) if holder else None

    def _paths(self) -> list[Path]:
        try:
            return [path for path in self.folder.iterdir() if not path.name.startswith(".")]
        except FileNotFoundError:
            return []

    @staticmethod
    def _holder(path: Path) -> str | None:
        """The name of the owner's file. Hidden files of a file server begin with a dot."""
        try:
            return next((file.name for file in sorted(path.iterdir()) if not file.name.startswith(".")), None)
        except (FileNotFoundError, NotADirectoryError):
            return None

    @staticmethod
    def _take_free(path: Path, owner: str) -> bool:
        draft = path.parent / f".~{owner}"
        draft.mkdir()
        try:
            (draft / owner).touch()
            draft.rename(path)
        except OSError as error:
            if (path / owner).exists():  # the rename worked, and only the reply of the server got lost
                return True
            shutil.rmtree(draft, ignore_errors=True)
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return False
            raise
        return True

    def _take_over(self, path: Path, holder: str, owner: str) -> bool:
        if not self._expired(path, holder):
            return False
        try:
            (path / holder).rename(path / owner)
            os.utime(path / owner)
        except FileNotFoundError:  # another process was faster
            return (path / owner).exists()
        return True

    def _expired(self, path: Path, holder: str) -> bool:
        """Whether a lease may be taken over.

        It may if its process ran on this kernel and has ended. Otherwise it must stay unrenewed while
        this process watches it: for all of EXPIRY, or for two renewals if it is also older than EXPIRY
        by the server's clock. So no clock that jumps makes a running owner look dead.
        """
        owner = Owner.read(holder)
        if owner and owner.exited:
            return True
        try:
            with (path / holder).open("rb") as file:  # opened, because NFS then asks the server
                touched = os.fstat(file.fileno()).st_mtime_ns
        except OSError:
            return False
        seen, now = (holder, touched), time.monotonic()
        before, since = self._watched.get(path.name, (None, now))
        if before != seen:
            self._watched[path.name] = seen, now
            return False
        quiet = now - since
        return quiet > EXPIRY or (quiet > 2 * RENEWAL and server_time(self.folder) - touched / 1e9 > EXPIRY)
