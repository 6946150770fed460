"""Grid files: TOML with random keys and values."""

from __future__ import annotations

import json
from typing import Any

from fuzzing.commands import GOOD, METHODS
from fuzzing.mutator import Mutator
from fuzzing.world import World

ODD_TOML = (
    "limit = 1979-05-27",
    "[[tasks]]\na = 1",
    "tasks" + ".a" * 3000 + " = 1",
    "tasks = " + "[" * 20_000,
    "checkpoint_every = inf",
    "limit = " + "9" * 5000,
    '"\\u001b[2J" = 1',
    'output = "a\\u0000b"',
    "seeds = 0x10",
    "no-dense = 3",
    "model = {csqa = [1, 2]}",
    "recipe = {steps = [2]}",
    "jobs = -3",
)


def wrong_grid(draw: Mutator, world: World) -> None:
    """A grid file with wrong keys, values or bytes; planned, seldom run."""
    keys: dict[str, Any] = {"model": ["tiny"], "tasks": ["toy"], "method": draw.choice(METHODS), "limit": 8}
    keys |= {"sparsity": [0.5, "2:4"], "recipe": {"steps": 2}}
    for flag in draw.some(list(GOOD), 3):
        value = draw.choice(GOOD[flag])
        keys[flag.removeprefix("--")] = [value] if draw.chance(0.3) else value
    for _ in range(draw.choice((0, 0, 1, 2))):
        keys[draw.choice((*keys, "quiet", "dense", "no-dense", "shard", "output", "jobs", "a"))] = (
            draw.value()
        )
    lines = [f"{_key(name)} = {_toml(value)}" for name, value in keys.items()]
    if draw.chance(0.15):
        lines.append(draw.choice(ODD_TOML))
    content = "\n".join(lines).encode(errors="replace")
    if draw.chance(0.25):
        content = draw.bytes(content)
    (world.folder / "grid.toml").write_bytes(content)
    world.steps.append(f"grid.toml: {content[:3000]!r}")
    words = ("--grid", "grid.toml", "--device", "cpu", "--format", "table")
    planned = world.run("plan", *words)
    if planned.exit_code == 0:
        safe = (
            "--tasks",
            "toy",
            "--limit",
            "8",
            "--recipe",
            "steps=2",
            "--output",
            "s",
            "--keep",
            "masks",
            "--jobs",
        )
        world.run("run", *words, *safe, "1", "--executor", "local", "--quiet", store="s")
    if draw.chance(0.3):
        world.run("plan", "--model", "tiny", "--tasks", "toy", "--method", "gmp", "--rates", "grid.toml")


def _key(name: str) -> str:
    return json.dumps(name) if not name.isidentifier() else name


def _toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case None:
            return '""'
        case dict():
            return "{" + ", ".join(f"{_key(name)} = {_toml(part)}" for name, part in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case float():
            return repr(value)
    return json.dumps(value)
