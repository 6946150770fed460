"""Data sets on the hub: their parquet files, fetched once into the local cache and named by their commit."""

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
"""What `--data-dir` says for the hub."""

PARQUET = "refs/convert/parquet"
"""The branch into which the hub itself converts every data set: CONFIG/SPLIT/0000.parquet and so on.
It needs no loading script, which `datasets` no longer runs."""


HUB_TIMEOUT = 5.0
"""Seconds in which a hub says something, or is taken for one that does not answer."""


@cache
def hub_answers() -> bool:
    """Whether the hub answers at all; asked once a process, as its client tries half a minute a file."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    try:
        get_session().head(constants.ENDPOINT, timeout=HUB_TIMEOUT)
    except Exception:  # noqa: BLE001  it is of the library beneath the client, and which depends on its age
        return False
    return True


@dataclass(frozen=True)
class HubSet:
    """One configuration of a data set on the hub."""

    name: str
    config: str
    columns: tuple[str, ...]
    """Those that are read; all must be there."""
    revision: str = PARQUET
    """A branch or a commit."""

    def source(self, splits: Sequence[str]) -> Source:
        """Which data it is, by the commit that its files are of.

        Raises:
            DataError: the files are neither in the cache nor to be had.
        """
        return Source("data", f"{HUB}:{self.name}/{self.config}", self._snapshot(splits).name)

    def read(self, split: str, made: Callable[[dict[str, Any]], Iterable[T]]) -> Iterator[T]:
        """All that `made` makes of each row of a split, in order.

        Raises:
            DataError: the rows cannot be had, or one makes no sense to `made`, which says so by
                ValueError; names the split and the row, from 1.
        """
        for number, row in enumerate(self.rows(split), 1):
            try:
                yield from made(row)
            except ValueError as error:
                raise DataError(f"{HUB}:{self.name}/{self.config}, {split}, row {number}: {error}") from None

    def rows(self, split: str) -> Iterator[dict[str, Any]]:
        """The rows of a split, in order, each with the columns that are read.

        Raises:
            DataError: the files cannot be had or read, or lack a column.
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
        if lacking := sorted(set(self.columns) - set(table.column_names)):
            raise DataError(
                f"data set {self.name!r} ({self.config}) has no column {lacking[0]!r}; "
                f"it has: {', '.join(table.column_names)}"
            )
        yield from table.select_columns(list(self.columns))

    def _snapshot(self, splits: Sequence[str]) -> Path:
        """The folder of the commit in the local cache; files that are not there yet are fetched."""
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        wanted: dict[str, Any] = {
            "repo_id": self.name,
            "repo_type": "dataset",
            "revision": self.revision,
            "allow_patterns": [f"{self.config}/{split}/*.parquet" for split in splits],
        }
        found: Path | None = None
        try:
            found = Path(snapshot_download(**wanted, local_files_only=True))
            if all(self._files(found, split) for split in splits):
                return found
        except LocalEntryNotFoundError:
            pass
        if hub_answers():
            with _told(self.name):
                found = Path(snapshot_download(**wanted))
        if found is None:
            raise _lacking(f"{self.name!r} is not whole", self.name)
        for split in splits:
            if not self._files(found, split):
                raise _lacking(f"{self.name!r} has no split {split!r} of {self.config!r}", self.name)
        return found

    def _files(self, snapshot: Path, split: str) -> list[Path]:
        return sorted((snapshot / self.config / split).glob("*.parquet"))


def joint_source(sets: Sequence[HubSet], splits: Sequence[str]) -> Source:
    """Which data several configurations of one data set are together: `hub:NAME/ONE+OTHER`.

    Raises:
        DataError: the files are neither in the cache nor to be had.
    """
    parts = [one.source(splits) for one in sets]
    if len(parts) == 1:
        return parts[0]
    name = f"{HUB}:{sets[0].name}/{'+'.join(one.config for one in sets)}"
    return Source("data", name, digest([part.digest for part in parts]))


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Whatever the hub's client raises, told in words."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError:
        raise DataError(
            f"the data set {name!r} is gated; accept its terms on the hub and log in with: hf auth login"
        ) from None
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError):
        raise DataError(
            f"the hub has no data set {name!r} in that form, or it is private; check the name"
        ) from None
    except (OSError, errors.OfflineModeIsEnabled, errors.HfHubHTTPError):  # LocalEntryNotFoundError is one
        raise _lacking(f"{name!r} is not whole", name) from None


def _lacking(what: str, name: str) -> DataError:
    offline = os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0")
    why = "HF_HUB_OFFLINE is set" if offline else "it has none, or there is no answer from it"
    return DataError(
        f"the data set {what} in the local cache, and the hub gives none ({why})\n"
        "connect this machine to the hub, or fetch it beforehand with: hf download --repo-type dataset "
        f"--revision {PARQUET} {name}\nor name a folder with the official files: --data-dir DIR"
    )
