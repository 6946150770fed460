"""Leases: the right to work on a thing, alone among all who share a folder, for as long as it is renewed."""

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
"""Seconds without a renewal after which a lease is anybody's."""
POLLS = 0.01, 1.0
"""Seconds between two looks at a lease one waits for: at first, and at most."""


class Lease:
    """A lease that is held. A thread renews it until it is released."""

    def __init__(self, path: Path) -> None:
        """`path` is the owner's file inside the folder of the lease."""
        self.path = path
        self.lost = False
        self._over = threading.Event()
        threading.Thread(target=self._beat, name="lease", daemon=True).start()

    def renew(self) -> None:
        """Tell the file server that the owner lives; notice if somebody else took over."""
        try:
            os.utime(self.path)  # no time is given: the file server sets its own
        except FileNotFoundError:
            self.lost = True
        except OSError:  # the server stumbles; the next beat tells
            return

    def check(self) -> None:
        """Make sure that the lease is held still.

        Raises:
            LeaseLost: it ran out, and somebody else has it.
        """
        self.renew()
        if self.lost:
            raise LeaseLost(
                f"this process was silent for more than {EXPIRY:g} s and another took over its work "
                f"({self.path.parent.name[:12]})"
            )

    def release(self) -> None:
        """Let others have it."""
        self._over.set()
        with suppress(OSError):  # lost, or its folder is
            self.path.unlink()
            self.path.parent.rmdir()

    def _beat(self) -> None:
        while not self._over.wait(RENEWAL):
            self.renew()


class Leases:
    """The leases of a folder, which may lie on any file system that renames as POSIX says, NFS too.

    A lease is a folder that holds one file, named by its owner, touched at each beat. Taking a free one
    is renaming a folder onto it, which succeeds only where that is missing or empty; taking a dead
    one is renaming its owner's file, which succeeds for one only, as no owner has a name twice. No
    lock of a file system and no clock but the file server's is trusted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._watched: dict[str, tuple[tuple[str, int], float]] = {}

    def take(self, name: str) -> Lease | None:
        """The lease of a name; None where somebody holds it. OSError where the folder cannot be written."""
        path, owner = self.folder / name, str(Owner.new())
        holder = self._holder(path)
        taken = self._take_over(path, holder, owner) if holder else self._take_free(path, owner)
        return Lease(path / owner) if taken else None

    @contextmanager
    def held(self, name: str) -> Iterator[Lease]:
        """Hold a lease; wait for it as long as it takes."""
        pause, most = POLLS
        while not (lease := self.take(name)):
            time.sleep(pause)
            pause = min(2 * pause, most)
        try:
            yield lease
        finally:
            lease.release()

    def living(self) -> set[str]:
        """Names that somebody holds, this process or another; what the dead held is freed."""
        names = set[str]()
        for path in self._paths():
            if holder := self._holder(path):
                if self._dead(path, holder) and (lease := self.take(path.name)):
                    lease.release()
                else:
                    names.add(path.name)
        return names

    def owner(self, name: str) -> Owner | None:
        """Who holds a lease."""
        holder = self._holder(self.folder / name)
        return Owner.read(holder) if holder else None

    def _paths(self) -> list[Path]:
        try:
            return [path for path in self.folder.iterdir() if not path.name.startswith(".")]
        except FileNotFoundError:
            return []

    @staticmethod
    def _holder(path: Path) -> str | None:
        """The name of the owner's file; what a file server hides beside it begins with a dot."""
        try:
            return next((one.name for one in sorted(path.iterdir()) if not one.name.startswith(".")), None)
        except (FileNotFoundError, NotADirectoryError):
            return None

    @staticmethod
    def _take_free(path: Path, owner: str) -> bool:
        made = path.parent / f".~{owner}"
        made.mkdir()
        try:
            (made / owner).touch()
            made.rename(path)
        except OSError as error:
            if (path / owner).exists():  # it was done, and only the answer got lost
                return True
            shutil.rmtree(made, ignore_errors=True)
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return False
            raise
        return True

    def _take_over(self, path: Path, holder: str, owner: str) -> bool:
        if not self._dead(path, holder):
            return False
        try:
            (path / holder).rename(path / owner)
            os.utime(path / owner)
        except FileNotFoundError:  # another was faster
            return (path / owner).exists()
        return True

    def _dead(self, path: Path, holder: str) -> bool:
        """Whether a lease may be taken over.

        Beyond doubt, if this very kernel knows its process no longer. Else it must stand untouched
        under our eyes: for the whole of EXPIRY; or for two beats, if it is that old by the server's
        clock, too. So no clock that jumps, here or there, makes a living owner look dead.
        """
        owner = Owner.read(holder)
        if owner and owner.gone:
            return True
        try:
            with (path / holder).open("rb") as file:  # opened, as NFS then asks the server
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
