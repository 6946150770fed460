"""Weights & Biases: its server, or a folder that `wandb sync` uploads later."""

from __future__ import annotations

import os
from collections.abc import Mapping
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from smc_eval.errors import UsageError
from smc_eval.trackers.tracker import Outcome, TrackedCell, TrackedRun, Tracker, TrackerCard

MODE_VARIABLE = "WANDB_MODE"
"""The environment variable of wandb that chooses its mode."""
KEY_VARIABLES = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")
"""Environment variables with a key, or with the file of one."""
SERVER = "https://api.wandb.ai"
"""The server, if $WANDB_BASE_URL names no other."""
STEP_AXIS = "step"
"""The axis of all values. It is a value of its own, because wandb drops steps that come again."""
ID_DIGITS = 32
"""Digits of a cell's digest that name its run; wandb takes at most 64 characters."""


class WeightsAndBiases(Tracker):
    """Runs of Weights & Biases: a group for each grid, a run for each cell."""

    card: ClassVar[TrackerCard] = TrackerCard(
        name="wandb",
        summary="Weights & Biases, online or in a folder of the store",
        source="https://docs.wandb.ai",
        packages=("wandb",),
        install="smc-eval[trackers]",
    )

    project: str = "smc-eval"
    """Project of the runs."""
    entity: str = ""
    """User or team. Empty: the default one of the account."""
    mode: Literal["", "online", "offline"] = ""
    """online, or offline for `wandb sync` to upload. Empty: $WANDB_MODE, else online if this machine has a
    key of an account."""
    dir: str = ""
    """Folder of the files of wandb. Empty: the store."""

    def check(self) -> None:
        super().check()
        if self._mode == "online" and not has_key():
            raise UsageError(
                f"--track {self.label} needs the key of an account: run wandb login, or add mode=offline"
            )

    @property
    def _mode(self) -> str:
        return self.mode or os.environ.get(MODE_VARIABLE) or ("online" if has_key() else "offline")

    def begin(self, cell: TrackedCell) -> TrackedRun:
        import wandb

        folder = Path(self.dir).absolute() if self.dir else cell.store
        folder.mkdir(parents=True, exist_ok=True)  # else wandb takes another one
        mode: Any = self._mode
        run = wandb.init(
            project=self.project,
            entity=self.entity or None,
            group=cell.group,
            id=cell.id[:ID_DIGITS],
            name=cell.name,
            config=dict(cell.config),
            dir=str(folder),
            mode=mode,
            resume="allow",
            reinit="create_new",  # several cells at a time
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                disable_code=True,
                x_disable_stats=True,
                x_save_requirements=False,
                x_disable_meta=True,
            ),
        )
        run.define_metric(STEP_AXIS, hidden=True)
        run.define_metric("*", step_metric=STEP_AXIS)
        return WandbRun(run)


def has_key() -> bool:
    """Whether this machine has a key of an account. Nothing is asked, neither a user nor a server."""
    if any(os.environ.get(name) for name in KEY_VARIABLES):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or SERVER).hostname or ""
    path = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()
    try:
        return netrc(path).authenticators(host) is not None
    except (OSError, NetrcParseError):
        return False


class WandbRun(TrackedRun):
    """The run of one cell."""

    def __init__(self, run: Any) -> None:
        self.run = run

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log({STEP_AXIS: step, **values})

    def end(self, outcome: Outcome) -> None:
        if outcome.values:
            self.log(outcome.step, outcome.values)
        self.run.summary.update({"status": outcome.status, "reason": outcome.reason})
        self.run.finish(exit_code=0 if outcome.status == "ok" else 1)
