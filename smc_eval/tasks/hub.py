"""Data sets on the hub: parquet files, fetched once into the local cache and identified by their commit."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from smc_eval.errors import DataError, first_line
from smc_eval.spec import digest
from smc_eval.task import Source

T = TypeVar("T")

HUB = "hub"
"""The value of `--data-dir` for the hub."""

PARQUET = "refs/convert/parquet"
"""The branch to which the hub converts every data set: CONFIG/SPLIT/0000.parquet and so on.
It needs no loading script, which `datasets` no longer runs."""

HUB_TIMEOUT = 5.0
"""Seconds without an answer after which the hub counts as unreachable."""


@cache
def hub_reachable() -> bool:
    """Whether the hub answers. Checked once a process: its client retries for half a minute on each file."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    try:
        get_session().head(constants.ENDPOINT, timeout=HUB_TIMEOUT)
    except Exception:  # noqa: BLE001  the client's HTTP library, and so the exception, depends on its version
        return False
    return True


@dataclass(frozen=True)
class HubSet:
    """One configuration of a data set on the hub."""

    name: str
    config: str
    columns: tuple[str, ...]
    """The columns that are read; all must exist."""
    revision: str = PARQUET
    """A branch or a commit."""

    def source(self, splits: Sequence[str]) -> Source:
        """The data with its digest, which is the commit of the files.

        Raises:
            DataError: the files are not in the cache and cannot be fetched.
        """
        return Source("data", f"{HUB}:{self.name}/{self.config}", self._snapshot(splits).name)

    def read(self, split: str, convert: Callable[[dict[str, Any]], Iterable[T]]) -> Iterator[T]:
        """The examples of a split, in order. `convert` turns one row into any number of examples.

        Raises:
            DataError: the rows cannot be read, or `convert` raised a ValueError; the message names
                the split and the row, from 1.
        """
        for number, row in enumerate(self.rows(split), 1):
            try:
                yield from convert(row)
            except ValueError as error:
                raise DataError(f"{HUB}:{self.name}/{self.config}, {split}, row {number}: {error}") from None

    def rows(self, split: str) -> Iterator[dict[str, Any]]:
        """The rows of a split, in order, each with `columns` alone.

        Raises:
            DataError: the files cannot be fetched or read, or lack a column.
        """
        from datasets import Dataset, disable_progress_bars
        from datasets.exceptions import DatasetGenerationError

        disable_progress_bars()
        files = self._files(self._snapshot([split]), split)
        try:
            table = Dataset.from_parquet([str(path) for path in files])
        except (DatasetGenerationError, OSError, ValueError) as error:
            reason = first_line(error.__cause__ or error)
            raise DataError(f"{files[0]} of data set {self.name!r} cannot be read: {reason}") from None
        if missing := sorted(set(self.columns) - set(table.column_names)):
            raise DataError(
                f"data set {self.name!r} ({self.config}) has no column {missing[0]!r}; "
                f"it has: {', '.join(table.column_names)}"
            )
        yield from table.select_columns(list(self.columns))

    def _snapshot(self, splits: Sequence[str]) -> Path:
        """The folder of the commit in the local cache; missing files are fetched."""
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        wanted: dict[str, Any] = {
            "repo_id": self.name,
            "repo_type": "dataset",
            "revision": self.revision,
            "allow_patterns": [f"{self.config}/{split}/*.parquet" for split in splits],
        }
        snapshot: Path | None = None
        try:
            snapshot = Path(snapshot_download(**wanted, local_files_only=True))
            if all(self._files(snapshot, split) for split in splits):
                return snapshot
        except LocalEntryNotFoundError:
            pass
        if hub_reachable():
            with _readable_errors(self.name):
                snapshot = Path(snapshot_download(**wanted))
        if snapshot is None:
            raise _incomplete(f"{self.name!r} is not complete", self.name)
        for split in splits:
            if not self._files(snapshot, split):
                raise _incomplete(f"{self.name!r} has no split {split!r} of {self.config!r}", self.name)
        return snapshot

    def _files(self, snapshot: Path, split: str) -> list[Path]:
        return sorted((snapshot / self.config / split).glob("*.parquet"))


def joint_source(sets: Sequence[HubSet], splits: Sequence[str]) -> Source:
    """Several configurations of one data set as one source, `hub:NAME/ONE+OTHER`.

    Raises:
        DataError: the files are not in the cache and cannot be fetched.
    """
    parts = [hub_set.source(splits) for hub_set in sets]
    if len(parts) == 1:
        return parts[0]
    name = f"{HUB}:{sets[0].name}/{'+'.join(hub_set.config for hub_set in sets)}"
    return Source("data", name, digest([part.digest for part in parts]))


@contextmanager
def _readable_errors(name: str) -> Iterator[None]:
    """Turn any error of the hub's client into a DataError."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError:
        raise DataError(
            f"the data set {name!r} is gated; accept its terms on the hub and log in with: hf auth login"
        ) from None
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError):
        raise DataError(
            f"the hub has no data set {name!r} with these files, or it is private; check the name"
        ) from None
    except (OSError, errors.OfflineModeIsEnabled, errors.HfHubHTTPError):  # LocalEntryNotFoundError is one
        raise _incomplete(f"{name!r} is not complete", name) from None


def _incomplete(fact: str, name: str) -> DataError:
    offline = os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0")
    reason = "HF_HUB_OFFLINE is set" if offline else "it has no such files, or it does not answer"
    return DataError(
        f"the data set {fact} in the local cache, and it cannot be fetched from the hub ({reason})\n"
        "connect this machine to the hub, or fetch it beforehand with: hf download --repo-type dataset "
        f"--revision {PARQUET} {name}\nor name a folder with the official files: --data-dir DIR"
    )
