"""What it costs to come in: help, lists, finished runs, reports and pages, beside revision 3bee712.

    python benchmarks/doors.py                               as docs and README name it
    python benchmarks/doors.py --records 2000 --pairs 5      a short look

Both builds get the same made-up records: of `--records` cells for the table, of half as many for the page,
and of the 216 cells of the README's main job. A record is as large as one of GTS: 21 tensors, 6 KB. There
are no predictions and no mask samples. Every command is a process of its own. The builds run in turns; the
script prints medians of processor seconds, the median of the pairs' ratios with its quartiles, and the peak
of resident memory. Last it prints what a cell of SLURM or Ray pays to see whether it is done already, in a
store of a tenth of the records and of all. The script ends with 1 if a target is missed; targets in
seconds are those of an idle core.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from memory import REVISION, old_release

METHODS = ("lth", "omp-after", "random-after", "gmp", "omp-before", "snip", "random-before", "omp-rigl")
TASKS = (
    "csqa", "winogrande", "race/high", "race/middle", "mawps/gts", "svamp/gts", "asdiv-a/gts", "hp-s",
    "hp-s2c2", "hp-s2c5",
)  # fmt: skip
SEEDS, FOLDS, TENSORS = 5, 5, 21
MAIN_JOB = "--model tiny --method snip --tasks all --sparsity 0.5,0.8"


class Door(NamedTuple):
    """A command, and what it may cost."""

    words: str
    """With {table}, {page}, {done} and {file} for folders and a file of the build."""
    seconds: float
    """Of a processor."""
    share: int = 1
    """Pairs are divided by this."""
    megabytes: float = math.inf


DOORS = {
    "help": Door("--help", 0.2),
    "list": Door("list", 0.35),
    "finished run": Door(f"run {MAIN_JOB} --quiet --output {{done}}", 1.2, share=2),
    "report": Door("report {table}", 5.0, share=5, megabytes=300),
    "report as JSON": Door("report {table} --json {file}", 6.0, share=5, megabytes=300),
    "page": Door("report {page} --html {file}", 8.0, share=5),
}


class Cost(NamedTuple):
    """What one process cost."""

    seconds: float
    megabytes: float


def records(count: int) -> Iterator[dict[str, Any]]:
    """The fields of made-up records, as changes of a template."""
    from smc_eval.target import SMC_GRID

    levels = [("dense", 0.0), *((method, sparsity) for method in METHODS for sparsity in SMC_GRID)]
    places = [(seed, fold) for seed in range(SEEDS * (1 + count // 20_000)) for fold in range(FOLDS)]
    cells = [(*level, task, *place) for place in places for task in TASKS for level in levels]
    for method, sparsity, task, seed, fold in cells[:count]:
        text = f"{task} {method} {sparsity} {seed} {fold}"
        draw = random.Random(text)
        names = [f"encoder.layer.{n // 6}.{'qkvoud'[n % 6]}.weight" for n in range(TENSORS)]
        tensors = {name: min(1.0, sparsity * draw.uniform(0.85, 1.15)) for name in names}
        moved = {name: 10 ** draw.uniform(-3, -1) for name in names}
        operations = {"dense": 10**12, "sparse": int(10**12 * (1 - sparsity / 2))}
        digest = hashlib.sha256(text.encode()).hexdigest()
        yield {
            "task": task,
            "group": task,
            "model": "roberta-large",
            "method": method,
            "seed": seed,
            "fold": fold,
            "target": {"sparsity": sparsity},
            "digest": digest,
            "data": {"source": "data", "digest": hashlib.sha256(f"{task} {fold}".encode()).hexdigest()},
            "score": {"value": 80 / (1 + math.exp(14 * (sparsity - 0.9))) + draw.gauss(0, 1), "n": 1221},
            "sparsity": {"scope": sparsity, "weights": sparsity, "all": 0.9 * sparsity},
            "certificate": {
                "asked": sparsity,
                "reached": sparsity,
                "effective": sparsity,
                "mask_digest": digest,
                "tensors": tensors,
                "effective_tensors": tensors,
                "moved": {"tensors": moved, "tensors_remaining": moved},
            },
            "cost": {
                "steps": 1000,
                "seconds": {"train": 60 + draw.random()},
                "flops": {"train": operations, "predict": operations},
            },
            "versions": {"python": "3.11.7", "torch": "2.13.0+cpu", "numpy": "2.4.6", "device": "cpu"},
        }


def make_plain(plain: Path, count: int) -> None:
    """Write the records as plain JSON lines without seals."""
    from smc_eval.testing import record_with

    with plain.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(record_with(**fields).to_json()) + "\n" for fields in records(count))


def fill_new(folder: Path, plain: Path) -> None:
    """Write a store of records, in this build."""
    from smc_eval.store.record import Record
    from smc_eval.store.record_line import sealed_line

    with (folder / "results.jsonl").open("wb") as file, plain.open(encoding="utf-8") as lines:
        file.writelines(sealed_line(Record.from_json(json.loads(line))) for line in lines)


def finish_new(folder: Path, words: list[str]) -> None:
    """Write a store in which every cell of a grid is done, in this build."""
    from dataclasses import replace

    from smc_eval.experiment.config import configured
    from smc_eval.experiment.grid import Grid
    from smc_eval.planning.resolve import Resolver
    from smc_eval.registry import registry
    from smc_eval.store.record import blank_record
    from smc_eval.store.record_line import sealed_line
    from smc_eval.testing import record_with

    flags = {name[2:]: [word] for name, word in zip(words[::2], words[1::2], strict=True)}
    done, parts = record_with(), ("score", "sparsity", "certificate", "cost")
    found = {name: getattr(done, name) for name in parts}
    with (folder / "results.jsonl").open("wb") as file:
        for cell in Resolver().resolve_all(Grid.of(configured(flags), registry()).cells()):
            file.write(sealed_line(replace(blank_record(cell.cell, cell.chain), status="ok", **found)))


def old_line(record: dict[str, Any]) -> str:
    """The line of a record in the old build."""
    from smc_eval.spec import digest

    record = {"schema": 1, **record}
    return json.dumps({**record, "seal": digest(record)}, ensure_ascii=False) + "\n"


def fill_old(folder: Path, plain: Path) -> None:
    """The same store in the old build: `spread` is its name of the distribution."""
    with (folder / "results.jsonl").open("w", encoding="utf-8") as file:
        for line in plain.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            record["target"]["spread"] = record["target"].pop("distribution")
            file.write(old_line(record))


def finish_old(folder: Path, words: list[str], plain: Path) -> None:
    """The same finished store in the old build."""
    from dataclasses import asdict, replace
    from importlib import import_module

    binder, order, grid, registry, results = (
        import_module(f"smc_eval.{name}") for name in ("binder", "order", "grid", "registry", "results")
    )
    flags = {name[2:]: [word] for name, word in zip(words[::2], words[1::2], strict=True)}
    done = json.loads(plain.read_text(encoding="utf-8").splitlines()[0])
    parts = {name: done[name] for name in ("score", "sparsity", "certificate", "cost")}
    cells = grid.Grid.of(order.ordered(flags), registry.registry()).cells()
    with (folder / "results.jsonl").open("w", encoding="utf-8") as file:
        for bound in binder.Binder().bound(cells):
            record = replace(results.opened(bound.cell, bound.chain), status="ok", **parts)
            file.write(old_line(asdict(record)))


def look(build: str, folder: Path) -> None:
    """Print the processor seconds in which a cell of a job sees whether the store has its record."""
    size = (folder / "results.jsonl").stat().st_size
    if build == "new":
        from smc_eval.store.store import Store

        store = Store(folder)
        began = time.process_time()
        found = store.records.added("0" * 64, size)
    else:
        from importlib import import_module

        book = import_module("smc_eval.results").Book(folder)
        began = time.process_time()
        found = book.get("0" * 64)
    assert found is None
    print(time.process_time() - began)


class Build(NamedTuple):
    """A build with its stores."""

    name: str
    folder: Path
    environment: dict[str, str]

    def fill(self, plain: Path, count: int) -> None:
        """Make the stores: of the table, of the page, of the finished job, and a small one."""
        lines = plain.read_text(encoding="utf-8").splitlines(keepends=True)
        for name, size in {"table": count, "page": count // 2, "small": count // 10}.items():
            (self.folder / name).mkdir()
            (self.folder / f"{name}.jsonl").write_text("".join(lines[:size]), encoding="utf-8")
            self.script("--fill", self.name, str(self.folder / name), str(self.folder / f"{name}.jsonl"))
        (self.folder / "done").mkdir()
        self.script("--finish", self.name, str(self.folder / "done"), str(plain), *MAIN_JOB.split())

    def script(self, *words: str) -> str:
        """The output of this script in this build."""
        command = [sys.executable, __file__, *words]
        ran = subprocess.run(
            command, env=self.environment, cwd=self.folder, stdout=subprocess.PIPE, check=True, text=True
        )
        return ran.stdout

    def cost(self, door: Door) -> Cost:
        """The cost of one process of a command."""
        places = {name: str(self.folder / name) for name in ("table", "page", "done")}
        words = door.words.format(**places, file=self.folder / "written").split()
        command = [sys.executable, "-m", "smc_eval", *words]
        process = subprocess.Popen(
            command,
            env=self.environment,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
        return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6)


def compare(new: Build, old: Build, name: str, pairs: int) -> bool:
    """Measure a command in both builds in turns, and print a line; whether its targets are reached."""
    door = DOORS[name]
    costs = [(new.cost(door), old.cost(door)) for _ in range(max(3, pairs // door.share))]
    seconds, before = (statistics.median(pair[side].seconds for pair in costs) for side in (0, 1))
    size, size_before = (max(pair[side].megabytes for pair in costs) for side in (0, 1))
    low, ratio, high = statistics.quantiles([ours.seconds / theirs.seconds for ours, theirs in costs], n=4)
    target = f"target {door.seconds} s" + (f", {door.megabytes} MB" if door.megabytes < math.inf else "")
    print(
        f"{name:14} {seconds:6.2f} s, old {before:6.2f} s: {ratio:.2f} ({low:.2f} to {high:.2f}); "
        f"{size:4.0f} MB, old {size_before:4.0f} MB; {target}",
        flush=True,
    )
    return seconds <= door.seconds and size <= door.megabytes


def main() -> None:
    """Measure both builds; exit with 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--records", type=int, default=20_000, help="records of the table")
    parser.add_argument("--pairs", type=int, default=15, help="pairs of processes of the short commands")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        plain = folder / "plain.jsonl"
        here = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
        new, old = Build("new", folder / "new", here), Build("old", folder / "before", old_release(folder))
        for build in (new, old):
            build.folder.mkdir()
        # in another process: a child's peak of memory begins with that of this one
        new.script("--make", str(plain), str(asked.records))
        for build in (new, old):
            build.fill(plain, asked.records)
        print(f"{asked.records:,} records; old: {REVISION}; medians of processor seconds", flush=True)
        reached = [compare(new, old, name, asked.pairs) for name in DOORS]
        for build in (new, old):
            small, large = (
                statistics.median(
                    float(build.script("--look", build.name, str(build.folder / name))) for _ in range(3)
                )
                for name in ("small", "table")
            )
            times = f"{small * 1e3:.2f} ms with a tenth, {large * 1e3:.2f} ms with all"
            print(f"a cell of a job, {build.name}: {times}")
        raise SystemExit(not all(reached))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--make", plain, count]:
            make_plain(Path(plain), int(count))
        case ["--fill", "new", folder, plain]:
            fill_new(Path(folder), Path(plain))
        case ["--fill", "old", folder, plain]:
            fill_old(Path(folder), Path(plain))
        case ["--finish", "new", folder, _, *words]:
            finish_new(Path(folder), words)
        case ["--finish", "old", folder, plain, *words]:
            finish_old(Path(folder), words, Path(plain))
        case ["--look", build, folder]:
            look(build, Path(folder))
        case _:
            main()
