"""Settings of every test: no network, one thread, and no data unless a test asks for it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

# The libraries read these once, at their first import, here and in the processes that tests start.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"  # toy nets are faster on one

# Removed, so that no test reads real data because of the environment.
REAL = Path(os.environ.pop("SMC_EVAL_DATA", "") or ROOT.parent / "shared" / "data")

# A shared machine can be slow. The same examples each time: one state of the code gives one result.
# `--hypothesis-profile random` draws others, and many more.
settings.register_profile(
    "tests", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.register_profile("random", settings.get_profile("tests"), derandomize=False, max_examples=1000)
settings.load_profile("tests")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

BROWSER_PARTS = {
    "chromium": CHROMIUM is not None,
    "playwright": importlib.util.find_spec("playwright") is not None,
}
"""What tests with a browser need, and whether it is here."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests with a browser are skipped where a part of it is missing. Playwright needs sockets."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.enable_socket)
            for part, present in BROWSER_PARTS.items():
                reason = f"{part} is missing: tox -e browser installs it"
                item.add_marker(pytest.mark.skipif(not present, reason=reason))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, driven by Playwright."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real data in the official layout. The test is skipped if there is none."""
    if not REAL.is_dir():
        pytest.skip("no real data here: set SMC_EVAL_DATA to a folder in the official layout")
    return REAL


@pytest.fixture
def training(tmp_path: Path) -> Callable[[str, str], subprocess.Popen[str]]:
    """Starts a run of the program with `tmp_path` as its store, and waits until it prints a text.

    The run has a session of its own. It reacts to Ctrl-C even if the tests run in the background, where
    a shell turns it off.
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
            assert line, "it ended without this text"
        return process

    return start
