"""Tracked cells: the cells of a store that a tracker has shown to their end."""

from __future__ import annotations

import re
from pathlib import Path

from smc_eval.spec import digest

FOLDER = "tracked"
"""The folder inside a store; a file for each tracker and its options."""


class TrackedCells:
    """The digests of these cells, one a line. Many processes may write it; a line that is cut short is lost.

    It is not needed for any result. Without it, a tracker shows finished cells again.
    """

    def __init__(self, store: Path, tracker: str) -> None:
        name = re.sub(r"[^a-z0-9-]+", "-", tracker.partition(":")[0])
        self.path = store / FOLDER / f"{name}-{digest(tracker)[:8]}.txt"

    def read(self) -> frozenset[str]:
        """All digests; none if there is no file."""
        try:
            text = self.path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return frozenset()
        return frozenset(re.findall(r"^[0-9a-f]{64}$", text, flags=re.MULTILINE))

    def add(self, cell: str) -> None:
        """Add a digest.

        Raises:
            OSError: the file cannot be written.
        """
        self.path.parent.mkdir(exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"\n{cell}\n")
