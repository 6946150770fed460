"""Cores of this machine that this process can use."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Number of processor cores that this process may run on, at least 1."""
    if hasattr(os, "sched_getaffinity"):  # a container or a batch job may have fewer than the machine
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
