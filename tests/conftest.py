"""What holds for every test: no network, one thread, no data but what a test asks for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

# Read once, when their libraries are first imported, in this process and in those that tests start.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"  # toy nets are faster on one

# Popped, so that no test reads real data because of where it runs.
REAL = Path(os.environ.pop("SMC_EVAL_DATA", "") or ROOT.parent / "shared" / "data")

# time is no promise of a shared machine
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real data in the official layout; skips where there is none."""
    if not REAL.is_dir():
        pytest.skip("no real data here: set SMC_EVAL_DATA to a folder in the official layout")
    return REAL


@pytest.fixture
def training(tmp_path: Path) -> Callable[[str, str], subprocess.Popen[str]]:
    """Starts a run of the program with `tmp_path` for a store, and waits for a word of it.

    It heeds Ctrl-C even if who started the tests does not, as a shell has it of what it sends into
    the background; and it has a session of its own.
    """

    def start(words: str, until: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "smc_eval", *words.split(), "--output", str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  tests have no threads
        )
        assert process.stderr is not None
        while until not in (line := process.stderr.readline()):
            assert line, "it ended before it said so"
        return process

    return start
