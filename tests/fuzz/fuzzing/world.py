"""The World of one case: a folder, the program in it, and what a user may never see."""

from __future__ import annotations

import json
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint, distributions
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fuzzing import checker
from smc_eval import registry, spec
from smc_eval.cli import app, run
from smc_eval.engine.cell_run import CellRun

SECONDS = 60
"""Time limit of one command. Most take far less than a second."""
LONGEST_LINE = 1100
"""Characters of a line of an error."""

TOYS = """
from typing import ClassVar
from smc_eval import Recipe, TaskCard, hookimpl
from smc_eval.testing import Toy

class Folded(Toy):
    card: ClassVar[TaskCard] = TaskCard(
        name="folded", summary="toy in folds", source="none", metric="accuracy (%)",
        folds=2, accepts=("tiny",), published="tiny",
    )
    recipe: Recipe = Recipe(steps=2, batch_size=8, lr=0.01)

@hookimpl
def smc_eval_tasks():
    return [Toy, Folded]
"""


class Hang(BaseException):
    """A command took longer than its time limit."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    exit_code: int
    stdout: str
    stderr: str


class World:
    """A folder with the program. It remembers what was done there, and each fault that came to light."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.steps: list[str] = []
        """Commands and changes of files, to reproduce the case."""
        self.faults: list[str] = []
        self.nets: dict[str, str] = {}
        """The digest of the last net of each record that was made here."""
        self.counts = Counter[str]()
        """How commands ended, and how many results were checked."""
        self._patch = patch
        folder.mkdir(parents=True)

        def keep(cell: CellRun) -> None:
            if cell.chain.links:
                self.nets[cell.chain.digest] = cell.chain.links[-1].digest

        patch.chdir(folder)
        patch.setenv("COLUMNS", "200")
        patch.delenv("SMC_EVAL_DATA", raising=False)
        patch.setattr(run, "ISOLATED", False)  # a worker process takes seconds to start
        patch.setattr(CellRun, "drop_last_net", keep)  # the checker looks at its net
        patch.setattr(spec, "_CLAIMED", dict(spec._CLAIMED))  # each case makes the classes anew
        self._entries = list(registry.installed())
        self.install("toys", TOYS)

    def install(self, name: str, source: str) -> None:
        """Install a plugin beside those that are there."""
        place = self.folder.parent / f"{self.folder.name}-{name}"
        module = place.name.replace("-", "_")
        info = place / f"{name}-3.1.dist-info"
        info.mkdir(parents=True)
        (place / f"{module}.py").write_text(source, encoding="utf-8", errors="surrogatepass")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 3.1\n")
        (info / "entry_points.txt").write_text(f"[smc_eval]\n{name} = {module}\n")
        self._patch.syspath_prepend(place)
        added = [point for found in distributions(path=[str(place)]) for point in found.entry_points]
        self._entries = [*self._entries, *added]
        entries: list[EntryPoint] = self._entries
        self._patch.setattr(registry, "installed", lambda: entries)
        if name != "toys":
            self.steps.append(f"plugin {name}:\n{source}")

    def run(self, *words: object, store: str | None = None, own_code: bool = False) -> Outcome:
        """Run the program, and note what it may never do.

        Args:
            words: the command line.
            store: the store in which it works; its results are checked.
            own_code: whether a plugin of the case runs, whose errors leave tracebacks in the store's logs.
        """
        text = [str(word) for word in words]
        self.steps.append("smc-eval " + " ".join(map(repr, text)))
        self.steps[-1] = self.steps[-1][:3000]
        try:
            with _limited(SECONDS):
                result = CliRunner().invoke(app, text)
        except Hang:
            self.faults.append(f"took more than {SECONDS} s: {self.steps[-1]}")
            return Outcome(-1, "", "")
        except BaseException as error:  # noqa: BLE001  anything else is a traceback too
            self.faults.append(_traceback(error))
            return Outcome(-1, "", "")
        outcome = Outcome(result.exit_code, result.stdout, result.stderr)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            self.faults.append(_traceback(result.exception))
            return outcome
        self.steps[-1] += f"\n    exit {outcome.exit_code}; {outcome.stderr.strip()[-300:]}"
        self.faults += _display_faults(outcome)
        self.counts[f"exit {outcome.exit_code}"] += 1
        if store is not None:
            self.check(store, own_code=own_code)
        return outcome

    def check(self, store: str, *, own_code: bool = False) -> None:
        """Note what is wrong in a store, and errors that smc-eval did not foresee."""
        folder = self.folder / store
        self.counts["results"] += len(checker.good_records(folder))
        self.faults += checker.faults(folder, self.nets)
        for log in [] if own_code else folder.glob("logs/*"):
            if "Traceback" in (text := log.read_text(errors="replace")):
                self.faults.append(f"an unforeseen error in a cell:\n{text[-2500:]}")
        if own_code:
            self.faults += _nameless(folder)


def _nameless(store: Path) -> Iterator[str]:
    """The reason of each failed cell that does not name the plugin, or is longer than three lines."""
    file = store / "results.jsonl"
    for line in file.read_text().splitlines() if file.is_file() else []:
        record = json.loads(line)
        reason = record["reason"]
        named = "odd" in reason.lower() or "the traceback is in" not in reason
        if record["status"] == "failed" and not (named and len(reason.splitlines()) <= 3):
            yield f"the reason of a failed cell does not name the plugin in three lines: {reason[:900]!r}"


def _traceback(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))[-3000:]


def _display_faults(outcome: Outcome) -> Iterator[str]:
    lines = outcome.stderr.strip().splitlines()
    if outcome.exit_code not in {0, 1, 2}:
        yield f"exit code {outcome.exit_code}"
    if "Traceback (most recent" in outcome.stdout + outcome.stderr:
        yield f"a traceback is shown: {outcome.stderr[-2000:]}"
    if outcome.exit_code == 2:
        first = next((n for n, line in enumerate(lines) if line.startswith("error: ")), None)
        if first is None:
            yield f"exit code 2 without an error: {outcome.stderr[-500:]!r}"
        elif len(lines) - first > 3:
            yield f"an error of {len(lines) - first} lines: {outcome.stderr[-1500:]!r}"
    if long := [line for line in lines if len(line) > LONGEST_LINE]:
        yield f"a line of {len(long[0])} characters: {long[0][:200]!r}"
    shown = outcome.stdout + outcome.stderr
    if wild := {
        sign for sign in shown if (ord(sign) < 32 and sign not in "\n\r\t") or 0x7F <= ord(sign) < 0xA0
    }:
        yield f"control characters {sorted(wild)} are shown: {shown[-500:]!r}"


@contextmanager
def _limited(seconds: int) -> Iterator[None]:
    """Raise Hang after this time."""

    def stop(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def forget_modules(folder: Path) -> None:
    """Remove the plugins of a case from Python's modules."""
    prefix = folder.name.replace("-", "_") + "_"
    for name in [name for name in sys.modules if name.startswith(prefix)]:
        del sys.modules[name]
