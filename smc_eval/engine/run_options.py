"""RunOptions: where and how a run carries out its cells. No number depends on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from smc_eval.engine.progress import Silent, Watcher
from smc_eval.experiment.cell import Chain
from smc_eval.experiment.config import Keep


@dataclass(frozen=True)
class RunOptions:
    """Where and how a run carries out its cells."""

    folder: Path
    """Of the store."""
    device: str = "auto"
    threads: int | None = None
    """CPU threads of a job; None leaves them to torch."""
    jobs: int | None = None
    """Worker processes; None means one for each accelerator."""
    keep: Keep = "nets"
    """What stays in the store besides records and predictions."""
    executor: str = "local"
    alone: bool = True
    """Wait for cells that another process works on. If False, they are left to it."""
    retry: bool = True
    """Run cells again that failed in an earlier run."""
    shard: bool = False
    """Split each net over the ranks, by rows."""
    ahead: Sequence[Chain] = ()
    """Chains that may be asked for later: the nets that they would share stay in the store."""
    watcher: Watcher = field(default_factory=Silent)
