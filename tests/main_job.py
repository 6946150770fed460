"""Run the main job of the README with the installed smc-eval, in a new folder outside of the repository.

Arguments are added to its flags: `tox -e wheel -- --limit 20 --folds 0` is a trial.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import smc_eval

ROOT = Path(__file__).resolve().parents[1]


def main_flags() -> list[str]:
    """The flags of the first command of the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    command = re.findall(r"^```sh\n(.*?)\n```$", text, flags=re.MULTILINE | re.DOTALL)[0]
    return str(command.rpartition("bin/smc-eval ")[2]).split()


def run_main_job(*more: str) -> int:
    """Run it with further flags. Returns its exit code."""
    installed = Path(smc_eval.__file__).resolve().parent
    if installed == ROOT / "smc_eval":
        sys.exit(f"{installed} is that of the repository; install the wheel")
    program = Path(sys.executable).with_name("smc-eval")
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run([program, *main_flags(), *more], cwd=folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(run_main_job(*sys.argv[1:]))
