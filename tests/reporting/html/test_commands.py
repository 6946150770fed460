"""The commands on the page make the cells of the page."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

import pytest

from smc_eval.experiment.config import configured, keys
from smc_eval.experiment.grid import Grid
from smc_eval.registry import load_registry
from smc_eval.reporting.html.commands import commands_of
from smc_eval.store.record import Record, blank_record

REGISTRY = load_registry().checked()


def records(**flags: object) -> list[Record]:
    """Blank records of all cells of a run configuration."""
    return [blank_record(cell) for cell in Grid.of(configured(flags), REGISTRY).cells()]


def parsed(command: str) -> dict[str, object]:
    """The flags of a command line, as the command line reads them."""
    words, fields = shlex.split(command)[1:], keys()
    dense = "--no-dense" not in words
    words = [word for word in words if word != "--no-dense"]
    pairs = list(zip(words[::2], words[1::2], strict=True))
    several = {"model", "method", "tasks", "sparsity", "recipe", "ablate"}
    flags = {flag[2:]: (value,) if flag[2:] in several else value for flag, value in pairs}
    return {"dense": dense, **{fields[flag]: value for flag, value in flags.items()}}


def digests(results: Iterable[Record]) -> set[str]:
    return {record.digest for record in results}


@pytest.mark.parametrize(
    "flags",
    [
        {"model": ("tiny",), "tasks": ("csqa",), "method": ("lth,snip",)},
        {"model": ("tiny",), "tasks": ("mawps",), "method": ("lth:share=0.3",), "sparsity": ("0.5,2:4",)},
        {"model": ("tiny",), "tasks": ("csqa,mawps",), "method": ("gmp",), "seeds": "3,", "folds": "0,"},
        {"model": ("tiny",), "tasks": ("mawps/gts",), "method": ("snip",), "seeds": "2", "folds": "1,3"},
        {"model": ("tiny",), "tasks": ("csqa",), "method": ("omp-after",), "protocol": "paper"},
        {
            "model": ("tiny",),
            "tasks": ("csqa",),
            "method": ("omp-after",),
            "scope": "all-2d",
            "distribution": "erk",
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
        {"model": ("tiny",), "tasks": ("csqa",), "method": ("lth",), "kernels": "sparse"},
        {"model": ("tiny",), "tasks": ("csqa",)},
    ],
    ids=lambda flags: " ".join(f"{v[0] if isinstance(v, tuple) else v}" for v in flags.values()),
)
def test_the_command_of_records_makes_the_same_cells(flags: dict[str, object]) -> None:
    made = records(**flags)
    (command,) = commands_of(made, REGISTRY)
    assert digests(records(**parsed(command))) == digests(made)


def test_there_is_one_command_per_model() -> None:
    made = [*records(model=("tiny",), tasks=("svamp/gts",), method=("lth",), sparsity=("0.5",))]
    made += records(model=("scratch",), tasks=("svamp/gts",), method=("lth",), sparsity=("0.5",))
    commands = commands_of(made, REGISTRY)
    assert [re.search(r"--model (\S+)", command)[1] for command in commands] == ["tiny", "scratch"]  # type: ignore[index]
    assert digests(record for command in commands for record in records(**parsed(command))) == digests(made)
