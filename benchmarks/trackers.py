"""What trackers cost a training: the seconds of all that works beside its thread, as a share of its own.

    python benchmarks/trackers.py [--steps 1500] [--runs 3] [TRACKER …]

Each run is a process of its own that trains one net of `csqa --model tiny` in the process of its trackers:
with worker processes they cost the trainings less. A tracker can slow a training by the processor seconds
that others spend meanwhile, and by the seconds in which the training hands its values over, and by no more:
a thread that waits for the interpreter's lock waits while another works. So the share is a bound of the
slowdown, and other load on the machine does not blur it. A training without a tracker is measured too.

`share` counts threads of this process. `processes` counts those that a tracker starts, such as that of
wandb; they slow a training only if no core is free. Shares are of the seconds from an early step of the
training to its last. `once` is spent before and after: the import of a package, the beginning and end of
its run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

TRACKERS = ("tensorboard", "mlflow", "wandb:mode=offline", "trackio")
MOST = 0.02
"""The share of a training that a tracker may cost."""

RUN = """
import json, sys, threading, time
import psutil
import smc_eval
from smc_eval.engine.tracker_thread import TrackerThread
from smc_eval.engine.train import Training

steps, tracker, here = int(sys.argv[1]), sys.argv[2], psutil.Process()
begun, begin, log = threading.Event(), TrackerThread._begin, TrackerThread.log
handed = 0.0

def begins(self, cell):
    begin(self, cell)
    begun.set()

def logs(self, *values, **named):
    global handed
    start = time.perf_counter()
    log(self, *values, **named)
    handed += time.perf_counter() - start

def now():
    others = sum(sum(p.cpu_times()[:2]) for p in here.children(recursive=True))
    return {"trained": time.thread_time(), "process": time.process_time(), "handed": handed, "others": others}

TrackerThread._begin, TrackerThread.log = begins, logs
marks, advance = [], Training._advance

def counted(self):
    loss = advance(self)
    if self.step == 20:
        assert not tracker or begun.wait(300)  # the package is imported, and its run has begun
        marks.append(now())
    if self.step == self.last:
        marks.append(now())
    return loss

Training._advance = counted
smc_eval.evaluate(model="tiny", tasks="csqa", method="dense", sparsity="0.5", recipe=f"steps={steps}",
                  track=tracker or None, threads=1, checkpoint_every=1e9, progress=False)
print(json.dumps({name: marks[1][name] - marks[0][name] for name in marks[0]}))
"""


def measured(steps: int, tracker: str) -> dict[str, float]:
    """Seconds of a training: of its thread, its process, handing over, other processes, and of all."""
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "OMP_NUM_THREADS": "1", "TRACKIO_DIR": f"{folder}/trackio", "DO_NOT_TRACK": "1"}
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(steps), tracker],
            cwd=folder, env=env, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        shown = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{tracker or 'no tracker'}: exit code {process.returncode}\n{shown}")
    seconds: dict[str, float] = json.loads(shown.split("\n")[-2])
    return {**seconds, "whole": usage.ru_utime + usage.ru_stime}


def main() -> None:
    """Print a line for each tracker; exit with 1 if one costs more than it may."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("trackers", nargs="*", default=TRACKERS)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--runs", type=int, default=3)
    chosen = parser.parse_args()
    missed = []
    for tracker in ("", *chosen.trackers):
        runs = [measured(chosen.steps, tracker) for _ in range(chosen.runs)]
        shares = [(run["process"] - run["trained"] + run["handed"]) / run["trained"] for run in runs]
        others = statistics.median(run["others"] / run["trained"] for run in runs)
        trained, once = (
            statistics.median(values)
            for values in ([run["trained"] for run in runs], [run["whole"] - run["process"] for run in runs])
        )
        print(
            f"{tracker or 'none':20} training {trained:.1f} s, share {statistics.median(shares):.4f} "
            f"({min(shares):.4f} to {max(shares):.4f}), processes {others:.4f}, once {once:.1f} s",
            flush=True,
        )
        if statistics.median(shares) > MOST:
            missed.append(tracker or "none")
    if missed:
        raise SystemExit(f"more than {MOST:.0%} of the training: {', '.join(missed)}")


if __name__ == "__main__":
    main()
