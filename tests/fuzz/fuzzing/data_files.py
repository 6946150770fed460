"""Data files: folders of synthetic data in the official layouts, with a change."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path

from fuzzing.mutator import Mutator
from fuzzing.world import World
from smc_eval.tasks.synthetic.folders import WRITERS

TASKS = {
    "csqa": "commonsenseqa",
    "winogrande": "winogrande_1.1",
    "race/middle": "RACE",
    "mawps/gts": "cv_mawps",
    "asdiv-a/graph2tree": "cv_asdiv-a",
    "svamp/gts": "mawps-asdiv-a_svamp",
    "hp-s": "hotprotein/s",
    "hp-s2c2/tm": "hotprotein/s2c2",
    "hp-s2c5": "hotprotein/s2c5",
    "meltome": "meltome",
    "translation/2-to-2": "translation",
}
"""A task of each data set. Its models are tiny."""
RUN_SHARE = 0.4
"""Share of the cases that train, which takes seconds."""


@cache
def _files(name: str) -> dict[str, bytes]:
    return dict(WRITERS[name]())


def wrong_data(draw: Mutator, world: World) -> None:
    """A data folder with one to three changed files: verified, planned, and sometimes trained on."""
    task = draw.choice(list(TASKS))
    files = dict(_files(TASKS[task]))
    for name in draw.some(list(files), draw.choice((1, 1, 3))):
        _change(draw, world, files, name)
    for name, content in files.items():
        path = world.folder / "data" / name.replace("translation/synthetic", "translation/ted")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    world.run("data", "verify", "data", task)
    flags = [
        "--model",
        "tiny",
        "--tasks",
        task,
        "--data-dir",
        "data",
        "--method",
        "omp-before",
        "--sparsity",
        "0.5",
    ]
    flags += ["--limit", draw.choice(("1", "4", "9"))]
    if task in {"mawps/gts", "asdiv-a/graph2tree", "hp-s2c2/tm", "hp-s2c5"}:
        flags += ["--folds", "0,"]
    world.run("plan", *flags)
    if draw.chance(RUN_SHARE):
        flags += ["--recipe", "steps=1", "--keep", "masks", "--output", "s", "--quiet", "--no-dense"]
        world.run("run", *flags, "--device", "cpu", store="s")


def _change(draw: Mutator, world: World, files: dict[str, bytes], name: str) -> None:
    content = files[name]
    match draw.randrange(8):
        case 0:
            del files[name]
            note = "deleted"
        case 1:
            files[name] = draw.bytes(content)
            note = repr(files[name][:1500])
        case 2:
            files[f"{name}.gz"] = draw.bytes(gzip.compress(files.pop(name)))
            note = "packed and damaged"
        case 3:
            other = draw.choice(list(files))
            files[name] = files[other]
            note = f"that of {Path(other).name}"
        case _:
            lines = content.split(b"\n")
            number = draw.randrange(len(lines))
            lines[number] = _line(draw, lines[number])
            files[name] = b"\n".join(lines)
            note = f"line {number + 1}: {lines[number][:1500]!r}"
    world.steps.append(f"data/{name}: {note}")


def _line(draw: Mutator, line: bytes) -> bytes:
    """A line with one change that fits its format, or with any other."""
    if line.startswith(b"{") and draw.chance(0.7):
        try:
            return json.dumps(draw.json(json.loads(line))).encode(errors="replace")
        except ValueError:
            pass
    if b"," in line and draw.chance(0.6):
        cells = line.split(b",")
        place = draw.randrange(len(cells))
        match draw.randrange(3):
            case 0:
                del cells[place]
            case 1:
                cells.insert(place, draw.word().encode(errors="replace"))
            case _:
                cells[place] = draw.word().encode(errors="replace")
        return b",".join(cells)
    if draw.chance(0.3):
        return draw.word().encode(errors="replace")
    return draw.bytes(line)
