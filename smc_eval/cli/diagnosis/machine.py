"""The machine without torch: Python, platform, processor, memory and environment variables."""

from __future__ import annotations

import contextlib
import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from smc_eval.cli.diagnosis.section import DiagnosisSection, Obstacle
from smc_eval.cli.store import bytes_text
from smc_eval.experiment.config import DATA_VARIABLE
from smc_eval.files.user_path import is_folder

VARIABLES = (
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_VISIBLE_DEVICES",
    "HF_ENDPOINT",
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "PYTHONHASHSEED",
    "PYTORCH_CUDA_ALLOC_CONF",
    DATA_VARIABLE,
)
"""Environment variables that may change what a run does. None of them holds a secret."""

MEMORY_FILE = Path("/proc/meminfo")
MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Files with the memory limit of a container."""


def python_section() -> DiagnosisSection:
    """Python and the platform."""
    facts = {
        "version": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
    }
    return DiagnosisSection(facts, lines=("{implementation} {version} on {platform}".format_map(facts),))


def memory_section() -> DiagnosisSection:
    """Memory of the machine, what is free of it, and the limit of the container. None: not known here."""
    total_bytes = _total()
    facts = {
        "total_bytes": total_bytes,
        "available_bytes": _available(),
        "limit_bytes": _limit(total_bytes or 2**62),
    }
    total, available, limit = (
        bytes_text(count) if count else "unknown" for count in (facts[name] for name in facts)
    )
    line = f"{available} available of {total}"
    if facts["limit_bytes"]:
        line += f"; this container has at most {limit}"
    return DiagnosisSection(facts, lines=(line,))


def environment_section() -> DiagnosisSection:
    """The environment variables that change what a run does, as far as they are set."""
    facts = {name: _shown(name, os.environ[name]) for name in VARIABLES if name in os.environ}
    folder = os.environ.get(DATA_VARIABLE)
    problems = []
    if folder and not is_folder(folder) and folder not in {"hub", "synthetic", "published"}:
        problems.append(
            Obstacle(
                f"{DATA_VARIABLE} names {folder!r}, which is no folder",
                f"set it to a data folder, or unset it: unset {DATA_VARIABLE}",
            )
        )
    return DiagnosisSection(facts, tuple(problems), lines=(_listed(facts),))


def _listed(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in facts.items()) or "nothing that matters is set"


def _shown(name: str, value: str) -> str:
    """The value of a variable; an address without the user and password that it may have."""
    if name != "HF_ENDPOINT":
        return value
    return address_without_user(value)


def address_without_user(address: str) -> str:
    """An address without a user, a password and what follows the path."""
    try:
        parts = urlsplit(address)
        host = f"{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}"
    except ValueError:
        return "unreadable"
    return f"{parts.scheme}://{host}{parts.path}".rstrip("/")


def _total() -> int | None:
    with contextlib.suppress(AttributeError, OSError, ValueError):  # not on every system
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _available() -> int | None:
    with contextlib.suppress(OSError):
        match = re.search(r"^MemAvailable:\s+(\d+) kB", MEMORY_FILE.read_text(encoding="ascii"), re.MULTILINE)
        return int(match[1]) * 1024 if match else None
    return None


def _limit(total: int) -> int | None:
    """The limit of the container; None if there is none below the memory of the machine."""
    for path in MEMORY_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # ValueError: `max`, which is no limit
            limit = int(path.read_text(encoding="ascii"))
            return limit if limit < total else None
    return None
