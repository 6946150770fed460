"""A section of a diagnosis: facts, and what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Obstacle:
    """Something that makes runs impossible."""

    fault: str
    remedy: str
    """What the user can do."""


@dataclass(frozen=True)
class DiagnosisSection:
    """What was looked at in one place. Values are plain JSON values."""

    facts: Any
    problems: tuple[Obstacle, ...] = ()
    notes: tuple[str, ...] = ()
    """What is worth knowing, and stops no run."""
    lines: tuple[str, ...] = ()
    """The facts in short, for the screen."""
