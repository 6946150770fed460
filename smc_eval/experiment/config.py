"""An Order: everything a user may ask of a run, still in words; a flag each, a key of a grid file each."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from smc_eval.errors import UnknownName, UsageError
from smc_eval.experiment.parsing import parse_spec
from smc_eval.recipe import Precision
from smc_eval.spec import Spec
from smc_eval.target import Distribution, Scope

Keep = Literal["nets", "masks", "results"]
"""What stays in a store besides records and predictions: nets that cells share; masks; neither."""

Format = Literal["table", "markdown", "csv", "latex", "json"]

DATA_VARIABLE = "SMC_EVAL_DATA"
"""Environment variable that stands for `--data-dir` where neither flag nor file says it."""

PUBLISHED = "published"
"""What `--data-dir` says where there is no data at hand, and a plan is to count with its published sizes."""

GRIDS = Path(__file__).parents[1] / "grids"
"""Where the grids that are shipped lie; their bare names will do."""


class RunConfig(Spec):
    """One run, as asked for. The descriptions are the help of the command line."""

    model: tuple[str, ...] = ()
    """Hub id, folder, pkg:NAME, scratch or tiny; GROUP=MODEL for one group or task. Repeatable.
    A task that none of them can serve keeps its published one."""
    method: tuple[str, ...] = ()
    """NAME[:key=value,…], comma lists, or all: every method but those that are given their masks.
    Repeatable. Dense runs beside, named or not."""
    ablate: tuple[str, ...] = ()
    """Sanity checks. Run each method again with its masks changed (shuffle, random), with its unpruned
    weights drawn anew (reinit), or with the least salient weights kept (invert). Comma lists.
    Repeatable."""
    tasks: tuple[str, ...] = ()
    """NAME[:key=value,…], groups of tasks, comma lists, or all."""
    sparsity: tuple[str, ...] = ("smc",)
    """Shares of the weights that go, in [0, 1); N:M patterns; or smc, the ten points of the paper.
    Default: smc."""
    distribution: Distribution | None = None
    """How sparsity is distributed over tensors. Default: each method's own."""
    scope: Scope | None = None
    """Which tensors count. Default: the protocol's."""
    include: tuple[str, ...] = ()
    """Of the tensors in scope, prune only those whose name, or module's name, matches: a glob such as
    *.query, or re:REGEX. Repeatable. Default: all."""
    exclude: tuple[str, ...] = ()
    """Prune no tensor whose name, or module's name, matches: a glob, or re:REGEX. Repeatable."""
    protocol: Literal["sound", "paper"] = "sound"
    """Rules for all methods: sound, or paper for SMC-Bench's own choices. Default: sound."""
    seeds: str = "1"
    """A count (3 means 0,1,2) or a list (0,1,2; 5, is seed 5 alone). Default: 1."""
    folds: str = "all"
    """Folds of the tasks that have them, counted from 0: all, or a list. Default: all."""
    recipe: tuple[str, ...] = ()
    """Fields in place of the tasks' own: epochs or steps, batch_size, lr, weight_decay, warmup,
    accumulation, clip, precision, … Repeatable."""
    precision: Precision | None = None
    """Arithmetic of forward and backward passes. Default: the recipe's."""
    match: str | None = None
    """Give every method the same budget along its whole chain, its trainings stretched to it: steps, the
    optimizer steps of the dense recipe, or flops, what they cost where zeros cost nothing; steps=3
    is three times that. Default: each method trains as its paper does."""
    find: str | None = None
    """Look for the largest sparsity that keeps a share of the dense score above chance, by halving a
    bracket over rounds of cells, in place of --sparsity: s@95, s@99:within=0.02,runs=6; low and high
    are its ends. Default: the sparsities that are asked for."""
    limit: int | None = Field(None, ge=1)
    """Keep only so many examples of each part. For trials, never for results."""
    data_dir: str = "synthetic"
    """Folder with the data in its official layout, hub to use the data sets there, synthetic for
    made-up data, or published to plan without data, by published sizes.
    Default: $SMC_EVAL_DATA, or synthetic."""
    dense: bool = True
    """Run the dense baseline beside the methods. Default: yes."""
    output: str = "smc-eval-runs"
    """Folder of the store: finished nets and records. Default: smc-eval-runs."""
    json_file: str | None = Field(None, alias="json")
    """Write the records there as JSON too; - is the standard output, which then holds nothing else."""
    format: Format = "table"
    """How results are shown. Default: table."""
    device: str = "auto"
    """cpu, cuda, cuda:1, …; auto takes cuda where there is one. Default: auto."""
    jobs: int | None = Field(None, ge=1)
    """Cells to run at once, a process each. Default: one for each accelerator, else 1; with slurm 64,
    with ray as many as the cluster has room for."""
    executor: str = "local"
    """What carries out cells: local, processes on this machine; slurm[:KEY=VALUE,…], jobs with these
    options of sbatch; ray[:ADDRESS], tasks of a Ray cluster. Default: local."""
    keep: Keep = "nets"
    """What stays on disk beside records and answers: nets where stages are shared, for later runs; or,
    with those deleted once no cell needs them, each cell's masks; or neither. Default: nets."""
    threads: int | None = Field(None, ge=1)
    """CPU threads of each job. Default: 1 where all models are tiny, as more slow these down; else
    torch's choice, or the job's share of the cores."""
    shard: bool = False
    """Of several ranks each holds rows of every parameter alone (FSDP2), for nets that do not fit one
    device: docs/ranks.md says which methods and tasks that can be."""
    quiet: bool = False
    """Show results only, no progress."""


def configured(flags: Mapping[str, Any], grid: str | None = None) -> RunConfig:
    """An Order from flags by field name; under them, a grid file; under that, the environment.

    Raises:
        UnknownName: the file holds a key that is no flag, or there is no shipped grid of the name.
        UsageError: the file cannot be read, or a value cannot be meant.
    """
    file = read_grid_file(grid) if grid else {}
    if file:
        parse_spec(RunConfig, file, "key", f"grid {grid}")  # so that its faults are told with its name
    around = {"data_dir": folder} if (folder := os.environ.get(DATA_VARIABLE)) else {}
    if around and file.get("data_dir") == PUBLISHED:
        del file["data_dir"]  # a folder there is goes before sizes alone
    return parse_spec(RunConfig, {**around, **file, **_keyed(flags)}, "flag", "the command line")


def read_grid_file(grid: str) -> dict[str, Any]:
    """The keys of a grid file, by name or path, in the form the flags have.

    Raises:
        UnknownName: a key is no flag; there is no shipped grid of the name.
        UsageError: the file is missing or no TOML.
    """
    path = Path(grid)
    if path.suffix != ".toml" and not path.is_file():
        path = GRIDS / f"{grid}.toml"
        if not path.is_file():
            raise UnknownName("grid", grid, [shipped.stem for shipped in GRIDS.glob("*.toml")])
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read grid {path}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"grid {path} is no TOML: {error}") from None
    return {key: value for name, raw in content.items() for key, value in [_said(name, raw, path)]}


def keys() -> dict[str, str]:
    """Flags without their dashes, and the fields they fill."""
    return {(field.alias or name).replace("_", "-"): name for name, field in RunConfig.model_fields.items()}


def _keyed(flags: Mapping[str, Any]) -> dict[str, Any]:
    return {RunConfig.model_fields[name].alias or name: value for name, value in flags.items()}


def _said(name: str, raw: object, path: Path) -> tuple[str, Any]:
    """A key of a grid file as the field it fills, its value as the flag's words."""
    key, known = name.replace("_", "-"), keys()
    if key == "no-dense" and isinstance(raw, bool):
        return "dense", not raw
    if key not in known:
        raise UnknownName(f"key of grid {path}", name, known)
    field = RunConfig.model_fields[known[key]]
    value: Any = raw
    if field.annotation == tuple[str, ...]:
        if isinstance(raw, dict):
            value = [f"{inner}={_word(part)}" for inner, part in raw.items()]
        else:
            value = [_word(part) for part in raw] if isinstance(raw, list) else [_word(raw)]
    elif field.annotation is str and not isinstance(raw, bool):
        # the comma at the end keeps a list of one a list
        value = ",".join(_word(part) for part in raw) + "," if isinstance(raw, list) else _word(raw)
    return field.alias or known[key], value


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
