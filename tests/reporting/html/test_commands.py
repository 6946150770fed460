"""The command on the page makes the very cells of the page."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

import pytest

from smc_eval.experiment.config import configured, keys
from smc_eval.experiment.grid import Grid
from smc_eval.registry import load
from smc_eval.reporting.html.commands import commands_of
from smc_eval.store.record import Record, blank_record

SHELVES = load().checked()


def records(**flags: object) -> list[Record]:
    """Blank records of all cells of an order."""
    return [blank_record(cell) for cell in Grid.of(configured(flags), SHELVES).cells()]


def obeyed(command: str) -> dict[str, object]:
    """The flags of a command line, as the command line reads them."""
    words, fields = shlex.split(command)[1:], keys()
    dense = "--no-dense" not in words
    words = [word for word in words if word != "--no-dense"]
    pairs = list(zip(words[::2], words[1::2], strict=True))
    several = {"model", "method", "tasks", "sparsity", "recipe", "ablate"}
    said = {flag[2:]: (value,) if flag[2:] in several else value for flag, value in pairs}
    return {"dense": dense, **{fields[flag]: value for flag, value in said.items()}}


def names(found: Iterable[Record]) -> set[str]:
    return {record.digest for record in found}


@pytest.mark.parametrize(
    "flags",
    [
        {"model": ("tiny",), "tasks": ("csqa",), "method": ("lth,snip",)},
        {"model": ("tiny",), "tasks": ("mawps",), "method": ("lth:share=0.3",), "sparsity": ("0.5,2:4",)},
        {"model": ("tiny",), "tasks": ("csqa,svamp",), "method": ("gmp",), "seeds": "3,", "folds": "0,"},
        {"model": ("tiny",), "tasks": ("mawps/gts",), "method": ("snip",), "seeds": "2", "folds": "1,3"},
        {"model": ("tiny",), "tasks": ("csqa",), "method": ("omp-after",), "protocol": "paper"},
        {
            "model": ("tiny",),
            "tasks": ("csqa",),
            "method": ("omp-after",),
            "scope": "all-2d",
            "spread": "erk",
        },
        {
            "model": ("tiny",),
            "tasks": ("csqa",),
            "method": ("omp-after",),
            "recipe": ("steps=7,lr=2e-3,warmup=3",),
        },
        {"model": ("tiny",), "tasks": ("csqa",), "method": ("omp-after",), "ablate": ("shuffle,reinit",)},
        {"model": ("tiny",), "tasks": ("csqa",), "method": ("omp-after",), "dense": False, "limit": "5"},
        {"model": ("tiny",), "tasks": ("csqa",), "method": ("lth",), "match": "flops=2"},
        {"model": ("tiny",), "tasks": ("csqa",)},
    ],
    ids=lambda flags: " ".join(f"{v[0] if isinstance(v, tuple) else v}" for v in flags.values()),
)
def test_a_run_is_made_again_by_the_command_told_from_its_records(flags: dict[str, object]) -> None:
    asked = records(**flags)
    (command,) = commands_of(asked, SHELVES)
    assert names(records(**obeyed(command))) == names(asked)


def test_several_models_are_several_commands() -> None:
    asked = [*records(model=("tiny",), tasks=("svamp/gts",), method=("lth",), sparsity=("0.5",))]
    asked += records(model=("scratch",), tasks=("svamp/gts",), method=("lth",), sparsity=("0.5",))
    commands = commands_of(asked, SHELVES)
    assert [re.search(r"--model (\S+)", command)[1] for command in commands] == ["tiny", "scratch"]  # type: ignore[index]
    assert names(one for command in commands for one in records(**obeyed(command))) == names(asked)
