"""A tracker for smc-eval: a file of JSON lines for each cell."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from smc_eval import Outcome, TrackedCell, TrackedRun, Tracker, TrackerCard, hookimpl


class Lines(Tracker):
    """A file of JSON lines for each cell, in a folder for each grid."""

    card: ClassVar[TrackerCard] = TrackerCard(
        name="lines",
        summary="a file of JSON lines for each cell",
        source="https://jsonlines.org",
    )

    folder: str = "lines"
    """Folder inside the store."""

    def begin(self, cell: TrackedCell) -> TrackedRun:
        path = cell.store / self.folder / cell.group / f"{cell.id}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        run = LinesRun(path)
        if not path.exists():
            run.write(cell=cell.label, **cell.config)
        return run


class LinesRun(TrackedRun):
    """The file of one cell."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.write(step=step, **values)

    def end(self, outcome: Outcome) -> None:
        self.write(status=outcome.status, step=outcome.step, reason=outcome.reason, **outcome.values)

    def write(self, **line: Any) -> None:
        """Append a line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


@hookimpl
def smc_eval_trackers() -> list[type[Tracker]]:
    return [Lines]
