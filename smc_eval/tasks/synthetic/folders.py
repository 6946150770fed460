"""Folders of synthetic data: written once, complete, and named by a digest of their files."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

from smc_eval.errors import DataError, UnknownName
from smc_eval.files.atomic import write_atomic
from smc_eval.tasks.synthetic import multiple_choice, parallel_text, proteins, stories

Files = Mapping[str, bytes]
"""Contents by official name, such as `cv_mawps/fold0/train.csv`; the same on every machine."""

WRITERS: Mapping[str, Callable[[], Files]] = {
    "cv_mawps": stories.mawps,
    "cv_asdiv-a": stories.asdiv,
    "mawps-asdiv-a_svamp": stories.svamp,
    "hotprotein/s": proteins.hp_s,
    "hotprotein/s2c2": proteins.hp_s2c2,
    "hotprotein/s2c5": proteins.hp_s2c5,
    "meltome": proteins.meltome,
    "commonsenseqa": multiple_choice.csqa,
    "winogrande_1.1": multiple_choice.winogrande,
    "RACE": multiple_choice.race,
    "translation": parallel_text.multiway,
}
"""The function that makes the synthetic form of each data set, by the set's official folder."""


def synthetic_folder(name: str, into: Path | None = None) -> Path:
    """A data folder with synthetic data in place of the set `name`; its name begins with `synthetic-`.

    It is made under `into`: by default in the user's cache, or in the temporary folder if there is no
    cache. Files that exist are compared, and written again if they differ. Any number of processes may
    call this at once.

    Raises:
        UnknownName: there is no synthetic data for this set.
        DataError: no folder can be written.
    """
    if name not in WRITERS:
        raise UnknownName("synthetic data set", name, WRITERS)
    return written_folder(_files(name), name, into)


def written_folder(files: Files, name: str, into: Path | None = None) -> Path:
    """A data folder with these files, made as `synthetic_folder` makes it; `name` is for error messages.

    Raises:
        DataError: no folder can be written.
    """
    failures = []
    for place in [into] if into else _places():
        folder = place / f"synthetic-{_key(files)}"
        try:
            for file, content in files.items():
                _write(folder / file, content)
        except OSError as error:
            failures.append(f"{folder}: {error.strerror}")
        else:
            return folder
    raise DataError(
        f"cannot write synthetic data for {name} ({'; '.join(failures)}); "
        "set XDG_CACHE_HOME or TMPDIR to a folder that can be written"
    )


@cache
def _files(name: str) -> Files:
    return WRITERS[name]()


def _key(files: Files) -> str:
    total = hashlib.sha256()
    for file in sorted(files):
        total.update(hashlib.sha256(file.encode()).digest() + hashlib.sha256(files[file]).digest())
    return total.hexdigest()[:16]


def _places() -> Iterator[Path]:
    with suppress(RuntimeError):  # the user has no home directory
        yield Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "smc-eval"
    user = os.getuid() if hasattr(os, "getuid") else ""
    yield Path(tempfile.gettempdir()) / f"smc-eval-{user}"


def _write(path: Path, content: bytes) -> None:
    """Write the content in one step, unless the file already has it."""
    try:
        if path.read_bytes() == content:
            return
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, content)
