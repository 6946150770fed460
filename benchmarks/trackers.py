"""What trackers cost: process seconds of a training with each of them and without, in interleaved pairs.

    python benchmarks/trackers.py [--steps 3000] [--pairs 5] [TRACKER …]

Each run is a process of its own that trains one net of `csqa --model tiny` in the process of its trackers:
with worker processes they cost the trainings less. The ratio is that of the seconds of all threads of the
process, from an early step of the training to its last. What is spent besides is shown as `once`: the import
of a package, the beginning and end of its run, and processes that it starts, such as that of wandb.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile

TRACKERS = ("tensorboard", "mlflow", "wandb:mode=offline", "trackio")

RUN = """
import resource, sys, threading
import smc_eval
from smc_eval.engine.tracker_thread import TrackerThread
from smc_eval.engine.train import Training

def spent():
    kinds = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, kinds))

begun, begin = threading.Event(), TrackerThread._begin
def begins(self, cell):
    begin(self, cell)
    begun.set()
TrackerThread._begin = begins

marks, advance = [], Training._advance
def counted(self):
    loss = advance(self)
    if self.step == WARM_UP:
        assert not sys.argv[2] or begun.wait(300)  # the package is imported, and its run has begun
        marks.append(spent())
    if self.step == self.last:
        marks.append(spent())
    return loss
WARM_UP = 20
Training._advance = counted
smc_eval.evaluate(model="tiny", tasks="csqa", method="dense", sparsity="0.5", recipe=f"steps={sys.argv[1]}",
                  track=sys.argv[2] or None, threads=1, checkpoint_every=1e9, progress=False)
print(marks[1] - marks[0])
"""


def seconds(steps: int, tracker: str) -> tuple[float, float]:
    """Process seconds of the training, and of the whole process with all that it started."""
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
    return float(shown.split()[-1]), usage.ru_utime + usage.ru_stime


def main() -> None:
    """Print a line for each tracker."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("trackers", nargs="*", default=TRACKERS)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--pairs", type=int, default=5)
    chosen = parser.parse_args()
    for tracker in chosen.trackers:
        ratios, once, trained = [], [], []
        for _ in range(chosen.pairs):
            without, whole_without = seconds(chosen.steps, "")
            tracked, whole = seconds(chosen.steps, tracker)
            ratios.append(tracked / without)
            trained.append(without)
            once.append((whole - tracked) - (whole_without - without))
        ratio = statistics.median(ratios)
        print(
            f"{tracker:20} training {statistics.median(trained):.1f} s, ratio {ratio:.4f} "
            f"({min(ratios):.4f} to {max(ratios):.4f}), once {statistics.median(once):.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
