"""TensorBoard: event files in the store, written without torch or TensorFlow."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from smc_eval.trackers.tracker import Outcome, TrackedCell, TrackedRun, Tracker, TrackerCard

if TYPE_CHECKING:
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

TEXT_PLUGIN = "text"
"""Name of TensorBoard's plugin that shows texts."""


class TensorBoard(Tracker):
    """Event files of TensorBoard: a folder for each grid, and in it one for each cell."""

    card: ClassVar[TrackerCard] = TrackerCard(
        name="tensorboard",
        summary="event files in the store; no network",
        source="https://www.tensorflow.org/tensorboard",
        packages=("tensorboard",),
        install="smc-eval[trackers]",
    )

    dir: str = ""
    """Folder of the event files. Empty: `tensorboard` in the store."""

    def begin(self, cell: TrackedCell) -> TrackedRun:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        top = Path(self.dir).absolute() if self.dir else cell.store / "tensorboard"
        folder = top / cell.group / cell.file_name
        seen = folder.is_dir() and any(folder.iterdir())
        run = EventFiles(EventFileWriter(str(folder)), resumed=seen)
        if not seen:
            run.write_text("config", json.dumps(dict(cell.config), indent=1))
        return run


class EventFiles(TrackedRun):
    """The event files of one cell. A run that continues writes a further file."""

    def __init__(self, writer: EventFileWriter, *, resumed: bool) -> None:
        self.writer, self.resumed = writer, resumed

    def log(self, step: int, values: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        if self.resumed:  # TensorBoard then forgets what an earlier file has from this step on
            from tensorboard.compat.proto.event_pb2 import SessionLog

            self._write(step, session_log=SessionLog(status=SessionLog.START))
            self.resumed = False
        entries = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(step, summary=Summary(value=entries))

    def end(self, outcome: Outcome) -> None:
        self.resumed = False  # nothing came again
        if outcome.values:
            self.log(outcome.step, outcome.values)
        if outcome.reason:
            self.write_text(outcome.status, outcome.reason)
        self.writer.close()

    def write_text(self, name: str, text: str) -> None:
        """Write a text that TensorBoard shows."""
        from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.types_pb2 import DT_STRING

        plugin = SummaryMetadata.PluginData(plugin_name=TEXT_PLUGIN)
        tensor = TensorProto(dtype=DT_STRING, string_val=[text.encode()])
        entry = Summary.Value(tag=name, metadata=SummaryMetadata(plugin_data=plugin), tensor=tensor)
        self._write(0, summary=Summary(value=[entry]))

    def _write(self, step: int, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self.writer.add_event(Event(wall_time=time.time(), step=step, **content))
