"""The command line of `smc-eval`.

Exit codes: 0 every cell is done; 1 some cell or a download failed, the others are done and shown; 2 the
command line, or a file that it names, is wrong, and nothing ran; 130, 143, 129 interrupted by SIGINT,
SIGTERM, SIGHUP.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smc_eval.cli.program import app

__all__ = ["app", "main"]


def main() -> None:
    """The program `smc-eval`. Ctrl-C ends it without a traceback, also while it is still being imported."""
    try:
        from smc_eval.cli.program import run_program

        run_program()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)


def __getattr__(name: str) -> Any:
    """Import `app` when it is first used: `main` must be able to catch Ctrl-C during the import."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from smc_eval.cli import program

    return program.app
