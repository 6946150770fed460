"""The seed of the fuzzer, from the environment or by chance, and where its modules are."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def seed() -> int:
    """SMC_EVAL_FUZZ_SEED, or a random number."""
    return int(os.environ.get("SMC_EVAL_FUZZ_SEED") or random.SystemRandom().randrange(10**6))


@pytest.fixture(scope="session")
def numbers() -> list[int]:
    """Numbers of the cases: SMC_EVAL_FUZZ_COUNT of them, or only SMC_EVAL_FUZZ_ONLY (5 or 5,9)."""
    if only := os.environ.get("SMC_EVAL_FUZZ_ONLY"):
        return [int(word) for word in only.split(",")]
    return list(range(int(os.environ.get("SMC_EVAL_FUZZ_COUNT") or 2000)))
