"""The command line of `smc-eval`.

Exit codes: 0 every cell is done; 1 some cell failed, the others are done and shown; 2 the command line, or a
file that it names, is wrong, and nothing ran; 130, 143, 129 interrupted by SIGINT, SIGTERM, SIGHUP.
"""

from smc_eval.cli.app import app, main

__all__ = ["app", "main"]
