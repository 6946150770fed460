"""The program: `pages DIR` writes what zensical builds, `check DIR` checks what it built."""

from __future__ import annotations

import sys
from pathlib import Path

from smc_eval_docs.check import faults
from smc_eval_docs.site import write_site

USAGE = "usage: python -m smc_eval_docs pages|check DIR"


def main(words: list[str]) -> int:
    """Run a verb; returns the exit code."""
    match words:
        case ["pages", folder]:
            sys.stdout.write(f"{write_site(Path(folder))} pages in {folder}\n")
            return 0
        case ["check", folder]:
            found = faults(Path(folder))
            sys.stdout.writelines(f"{fault}\n" for fault in found)
            sys.stdout.write(f"{len(found)} faults in {folder}\n")
            return 1 if found else 0
    sys.stderr.write(f"{USAGE}\n")
    return 2


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
