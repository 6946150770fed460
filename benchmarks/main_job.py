"""The wall time of the README's main job, beside that of revision 3bee712.

    python benchmarks/main_job.py
    python benchmarks/main_job.py --as-printed

Each build makes the job in a process and a store of its own, with its own default number of jobs, in turns.
Both make the job of the old README with as many steps of as many examples; or, with `--as-printed`, each
makes that of its own README. The script prints wall and processor seconds and the median ratio. It ends with
1 if that is above its target. It takes ten minutes, and needs an idle machine. The test parts of word
problems and temperatures are larger than those of the old build.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from doors import MAIN_JOB
from memory import REVISION, old_release

TARGET, TARGET_AS_PRINTED = 0.55, 1.0
"""Largest ratios of wall times on two cores."""
OLD_JOB = MAIN_JOB.replace("snip", "omp-after")
"""The job of the README of the old revision."""
STEPS = ["--recipe", "steps=40,batch_size=16"]
"""The same for all tasks and both builds: their own tiny recipes differ."""


class Cost(NamedTuple):
    """What a run cost."""

    wall: float
    processor: float
    """Of all its processes."""


def run(environment: dict[str, str], flags: list[str]) -> Cost:
    """Make a job in a new store, as the build of an environment does."""
    with tempfile.TemporaryDirectory() as folder:
        words = [*flags, "--quiet", "--output", f"{folder}/runs"]
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        command = [sys.executable, "-m", "smc_eval", *words]
        subprocess.run(command, check=True, env=environment, cwd=folder, stdout=subprocess.DEVNULL)
        wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def main() -> int:
    """Run both builds in turns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=1)
    parser.add_argument("--as-printed", action="store_true", help="each build as its own README prints it")
    options = parser.parse_args()
    printed, target = options.as_printed, TARGET_AS_PRINTED if options.as_printed else TARGET
    same = [*OLD_JOB.split(), *STEPS]
    flags = (MAIN_JOB.split(), OLD_JOB.split()) if printed else (same, same)
    new = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        builds = {"this build": new, REVISION: old_release(Path(folder))}
        for _ in range(options.pairs):
            costs = {
                name: run(environment, own)
                for (name, environment), own in zip(builds.items(), flags, strict=True)
            }
            for name, cost in costs.items():
                print(
                    f"{name:10}  {cost.wall:6.0f} s wall, {cost.processor:6.0f} s of processors", flush=True
                )
            ratios.append(costs["this build"].wall / costs[REVISION].wall)
    ratio = statistics.median(ratios)
    verdict = "" if ratio <= target else "NOT "
    print(f"wall of this build, as a share of that of {REVISION}: {ratio:.3f}; {verdict}<= {target}")
    return ratio > target


if __name__ == "__main__":
    sys.exit(main())
