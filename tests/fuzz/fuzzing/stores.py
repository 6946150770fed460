"""Stores: files of a finished run that are changed, cut, swapped, deleted or written by a liar."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from fuzzing import checker
from fuzzing.mutator import Mutator
from fuzzing.world import World

FLAGS = (
    *("--model", "tiny", "--tasks", "toy", "--method", "omp-after,lth", "--sparsity", "0.36,0.488"),
    *("--recipe", "steps=2", "--keep", "masks", "--device", "cpu", "--quiet", "--output", "s"),
)
READERS: tuple[tuple[str, ...], ...] = (
    ("report", "s"),
    ("report", "s", "--curves"),
    ("report", "s", "--format", "csv"),
    ("report", "s", "--format", "json"),
    ("report", "s", "--html", "page.html"),
    ("compare", "omp-after", "lth", "s"),
    ("score", "s", "--dry-run"),
    ("store", "s"),
    ("work", "--output", "s", "--quiet"),
)
MEASURED = ("cost", "versions")
"""Parts of a record that differ from run to run."""


class MadeStore:
    """A store that was made once, and is copied into each case."""

    def __init__(self, world: World) -> None:
        made = world.run("run", *FLAGS, store="s")
        assert not made.exit_code and not world.faults, (made, world.faults)
        self.folder, self.nets = world.folder / "s", dict(world.nets)
        self.records = _results(self.folder)
        assert len(self.records) == 5

    def copy(self, world: World) -> Path:
        """A copy in the folder of a case."""
        world.nets |= self.nets
        return Path(shutil.copytree(self.folder, world.folder / "s"))


def damaged_store(draw: Mutator, world: World, made: MadeStore) -> None:
    """Changed files without the right seal: they are found, and the same results are computed again."""
    store = made.copy(world)
    files = sorted(path for path in store.rglob("*") if path.is_file() and path.name != "layout")
    damaged = draw.some(files, 3)
    for path in damaged:
        _damage(draw, world, path, files)
    changed = any(path.exists() for path in damaged)
    verified = world.run("store", "s", "--verify")
    if verified.exit_code == 0 and changed:
        world.faults.append("store --verify found nothing")
    for words in draw.some(READERS, 2):
        world.run(*words)
    again = world.run("run", *FLAGS, store="s")
    if again.exit_code == 0:
        _compare(world, made)
    elif again.exit_code == 1:
        world.faults.append(f"cells failed: {_reasons(store)}")


def foreign_store(draw: Mutator, world: World, made: MadeStore) -> None:
    """Changed values under the right seal, as another program may write them."""
    store = made.copy(world)
    match draw.randrange(4):
        case 0:
            lines = [json.loads(line) for line in (store / "results.jsonl").read_text().splitlines()]
            for number in draw.some(range(len(lines)), 2):
                line = draw.json({name: value for name, value in lines[number].items() if name != "seal"})
                if isinstance(line, dict):
                    lines[number] = {**line, "seal": checker.seal(line)} if "seal" not in line else line
                world.steps.append(f"results.jsonl, line {number + 1}: {json.dumps(line)[:1500]}")
            _write(
                world, store / "results.jsonl", "".join(f"{json.dumps(line)}\n" for line in lines).encode()
            )
        case 1:
            path = draw.choice(sorted(store.glob("predictions/*")))
            content = json.loads(gzip.decompress(path.read_bytes()))
            del content["seal"]
            part = draw.choice(("predicted", "items"))
            content = {**content, part: draw.json(content[part])} if draw.chance(0.8) else draw.json(content)
            _write(world, path, _sealed(content))
        case 2:
            path = draw.choice(sorted([*store.glob("mask_samples/*"), *store.glob("uses/*")]))
            content = json.loads(gzip.decompress(path.read_bytes()))
            del content["seal"]
            _write(world, path, _sealed(draw.json(content)))
        case _:
            content = draw.json(json.loads((store / "grid.json").read_text()))
            _write(world, store / "grid.json", json.dumps(content).encode())
    before = {record["digest"]: record for record in checker.good_records(store)}
    for words in draw.some(READERS, 3):
        world.run(*words)
    world.run("score", "s")
    for record in checker.good_records(store):
        old = before.get(record["digest"])
        if old and old["score"] != record["score"]:
            world.faults += [f"score wrote: {fault}" for fault in checker.faults(store, world.nets)]
    world.run("store", "s", "--verify")
    world.run("run", *FLAGS)


def _damage(draw: Mutator, world: World, path: Path, files: list[Path]) -> None:
    match draw.randrange(6):
        case 0 if path.exists():
            path.unlink()
            world.steps.append(f"delete {path.relative_to(world.folder)}")
        case 1 if path.exists():
            path.unlink()
            path.mkdir()
            world.steps.append(f"{path.relative_to(world.folder)} is a folder")
        case 2:
            same = [other for other in files if other.name[-5:] == path.name[-5:] and other.parent != path]
            other = draw.choice([file for file in same if file.is_file()] or [path])
            if other.is_file() and not path.is_dir():
                first, second = path.read_bytes() if path.exists() else b"", other.read_bytes()
                if first != second:
                    _write(world, path, second)
                else:
                    _write(world, path, draw.bytes(first))
        case _:
            if path.is_file():
                _write(world, path, draw.bytes(path.read_bytes()))


def _write(world: World, path: Path, content: bytes) -> None:
    path.write_bytes(content)
    world.steps.append(f"{path.relative_to(world.folder)}: {len(content)} bytes, {content[:200]!r}")


def _sealed(content: Any) -> bytes:
    if isinstance(content, dict):
        content = {**content, "seal": hashlib.sha256(json.dumps(content).encode()).hexdigest()}
    packed = gzip.compress(json.dumps(content, ensure_ascii=False).encode(errors="surrogatepass"), mtime=0)
    return b"\x1f\x8b\x08" + bytes(5) + packed[8:]


def _results(store: Path) -> dict[str, Any]:
    """Each good record without the values that differ from run to run."""
    return {
        record["digest"]: {name: value for name, value in record.items() if name not in MEASURED}
        for record in checker.good_records(store)
    }


def _compare(world: World, made: MadeStore) -> None:
    found = _results(world.folder / "s")
    for digest, wanted in made.records.items():
        if found.get(digest) != wanted:
            parts = [name for name in wanted if found.get(digest, {}).get(name) != wanted[name]]
            world.faults.append(f"the record of {wanted['method']} {wanted['target']} differs in {parts}")


def _reasons(store: Path) -> list[str]:
    lines = (store / "results.jsonl").read_bytes().splitlines()
    return [line[-600:].decode(errors="replace") for line in lines if b'"status": "failed"' in line]
