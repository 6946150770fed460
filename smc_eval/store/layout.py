"""The version of a store's folders and files, and the refusal of stores of other releases."""

from __future__ import annotations

from pathlib import Path

from smc_eval.errors import StoreError

LAYOUT = 2
"""Version of the folders and files of a store; a store of another version is refused."""
LAYOUT_FILE = "layout"
"""Name of the file inside a store that holds its version."""


def check_layout(folder: Path) -> None:
    """Refuse a store of another release. A folder without a store passes. Nothing is changed.

    Raises:
        StoreError: the folder holds a store of another layout, or its version cannot be read.
    """
    try:
        layout = (folder / LAYOUT_FILE).read_text(encoding="utf-8", errors="replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise StoreError(f"cannot read the store {folder}: {error.strerror}; choose another folder") from None
    if layout != str(LAYOUT):
        raise StoreError(
            f"the store {folder} has layout {layout!r} of another release of smc-eval, this release has "
            f"layout {LAYOUT}; choose another --output, or use the release that wrote the store"
        )
