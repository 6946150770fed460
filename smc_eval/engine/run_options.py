"""Run options: where and how a run computes its cells. No number depends on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from smc_eval.engine.progress import Silent, Watcher
from smc_eval.experiment.cell import Chain, last_nets, shared_nets
from smc_eval.experiment.config import Keep
from smc_eval.trackers.tracker import Tracker


@dataclass(frozen=True)
class RunOptions:
    """Where and how a run computes its cells."""

    folder: Path
    """Folder of the store."""
    device: str = "auto"
    threads: int | None = None
    """CPU threads of a job; None takes torch's default."""
    jobs: int | None = None
    """Worker processes; None means one for each accelerator, or what `tiny` says, or one."""
    tiny: bool = False
    """All nets are tiny. Isolated cells on a CPU then run in several processes, each with its own core."""
    keep: Keep = "nets"
    """What stays in the store besides records and predictions."""
    executor: str = "local"
    alone: bool = True
    """Wait for cells in progress elsewhere. If False, other cells run meanwhile."""
    isolated: bool = False
    """Run cells in a worker process even where one runs at a time. A cell that ends its process, by a crash
    of a library or for want of memory, then costs itself alone."""
    retry: bool = True
    """Run cells again that failed in an earlier run."""
    shard: bool = False
    """Shard each net by rows over the ranks."""
    checkpoint_seconds: float | None = None
    """Seconds between two checkpoints of a training. None: at most 3 % of the training time goes to them."""
    ahead: Sequence[Chain] = ()
    """Chains that may be needed later. The nets that they would share stay in the store."""
    trackers: Sequence[Tracker] = ()
    """Trackers that see the progress beside the watcher."""
    group: str = ""
    """Name of the grid, for trackers."""
    watcher: Watcher = field(default_factory=Silent)

    def kept_nets(self, chains: Sequence[Chain]) -> frozenset[str]:
        """Digests of the nets that stay while a cell of these chains, or of those ahead, needs them."""
        return shared_nets([*chains, *self.ahead]) | self.final_nets(chains)

    def final_nets(self, chains: Sequence[Chain]) -> frozenset[str]:
        """Digests of the nets that stay for good, because they are the last of a cell."""
        return last_nets(chains) if self.keep == "final" else frozenset()
