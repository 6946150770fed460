"""TOML files that users write: grids and rates."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from smc_eval.errors import UsageError

LONGEST_TOML = 2**20
"""Bytes of a TOML file. A longer one is refused, and so is one without an end."""


DEEPEST_TOML = 8
"""Levels of tables and lists in a TOML file."""


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The content of a TOML file; `what` names it in errors: `grid`, `rates`.

    Raises:
        UsageError: the file is missing or is no TOML.
    """
    try:
        with path.open("rb") as file:
            text = file.read(LONGEST_TOML + 1)
        if len(text) > LONGEST_TOML:
            raise UsageError(f"{what} {path} is longer than {LONGEST_TOML:,} bytes; is it another file?")
        content = tomllib.loads(text.decode())
    except OSError as error:
        raise UsageError(f"cannot read {what} {path}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{what} {path} is not a valid TOML file: {error}") from None
    except RecursionError:
        raise UsageError(f"{what} {path} is nested too deeply; wanted one key for each flag") from None
    if _depth(content) > DEEPEST_TOML:
        raise UsageError(f"{what} {path} is nested too deeply; wanted one key for each flag")
    return content


def _depth(content: object) -> int:
    """Levels of tables and lists, at most one more than are allowed."""
    level, depth = [content], 0
    while level and depth <= DEEPEST_TOML:
        parts = [part for part in level if isinstance(part, dict | list)]
        level = [v for part in parts for v in (part.values() if isinstance(part, dict) else part)]
        depth += bool(parts)
    return depth
