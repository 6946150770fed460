"""Start-up time: medians of `smc-eval --help` and `smc-eval list`, in seconds."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

LIMITS = {"--help": 0.4, "list": 0.7}
"""Targets in seconds, on two cores."""


def seconds(word: str) -> float:
    """Wall-clock seconds of one `smc-eval WORD`, without its output."""
    program = Path(sys.executable).with_name("smc-eval")
    began = time.perf_counter()
    subprocess.run([program, word], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    """Print a line for each command; exit with 1 if one is slower than its target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=11, help="runs of each, after one that is not counted")
    runs = parser.parse_args().runs
    slow = False
    for word, limit in LIMITS.items():
        seconds(word)
        times = sorted(seconds(word) for _ in range(runs))
        median = statistics.median(times)
        slow |= median > limit
        between = f"{times[0]:.3f} to {times[-1]:.3f}"
        print(f"smc-eval {word:<8} median {median:.3f} s ({between}); target {limit} s")
    sys.exit(slow)


if __name__ == "__main__":
    main()
