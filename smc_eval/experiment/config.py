"""The run configuration: one field for each flag of the command line and each key of a grid file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from smc_eval.errors import UnknownName
from smc_eval.experiment.spec_text import COMMAND_LINE, parse_spec
from smc_eval.experiment.toml_file import read_toml
from smc_eval.files.user_path import is_file
from smc_eval.recipe import Kernels, Precision
from smc_eval.spec import Spec
from smc_eval.target import Distribution, Scope

Keep = Literal["nets", "final", "masks", "results"]
"""Files that stay in a store besides records and predictions: shared nets, the last nets, masks, or none."""

Format = Literal["table", "markdown", "csv", "latex", "json"]
"""Forms in which results are printed."""

DATA_VARIABLE = "SMC_EVAL_DATA"
"""Environment variable with the default of `--data-dir`."""

PUBLISHED = "published"
"""Value of `--data-dir` that plans with published sizes, without data."""

GRIDS = Path(__file__).parents[1] / "grids"
"""Folder of the built-in grid files. Their names work without the ending."""


class RunConfig(Spec):
    """One run, as the user asks for it. The docstrings of the fields are the help of the command line."""

    model: tuple[str, ...] = ()
    """Model: a hub id, a folder, pkg:NAME, scratch or tiny. GROUP=MODEL sets it for one group or task.
    Repeatable. Default: each task's published model. Tasks of a group that accept no named model keep it
    too, and the table says so; a task that is named alone is refused."""
    method: tuple[str, ...] = ()
    """Methods: NAME[:key=value,…], comma lists, or all (every method except those with custom masks).
    Repeatable. Default: only the dense baseline."""
    ablate: tuple[str, ...] = ()
    """Sanity checks: run each method again with shuffled masks (shuffle), random masks (random), new values
    of unpruned weights (reinit), or the least salient weights kept (invert). Comma list. Repeatable.
    Default: none."""
    tasks: tuple[str, ...] = ()
    """Tasks: NAME[:key=value,…], groups of tasks, comma lists, or all. Repeatable. Required, unless
    --grid names them, or work joins a grid."""
    sparsity: tuple[str, ...] = ("smc",)
    """Shares of weights to prune, in [0, 1); N:M patterns, which keep N of every M weights; heads:N and
    neurons:N, which prune a share of these whole; or smc, the ten sparsities of the paper. Comma list.
    Repeatable. Default: smc."""
    distribution: Distribution | None = None
    """Distribution of the sparsity over tensors. Default: each method's own."""
    scope: Scope | None = None
    """Tensors that may be pruned: body leaves out embeddings and new output layers; all-2d is that of
    SMC-Bench. Default: the protocol's (sound: body; paper: all-2d)."""
    include: tuple[str, ...] = ()
    """Prune only tensors in scope whose parameter or module name matches: a glob such as *.query, or
    re:REGEX. Repeatable. Default: all tensors in scope."""
    exclude: tuple[str, ...] = ()
    """Leave out tensors whose parameter or module name matches: a glob, or re:REGEX. Repeatable. Default:
    none."""
    protocol: Literal["sound", "paper"] = "sound"
    """Choices for all methods: sound, or paper for those of SMC-Bench. Default: sound."""
    seeds: str = "1"
    """Number of seeds (3 means 0,1,2), or a list (0,1,2; write `5,` with the comma for seed 5 only).
    Default: 1."""
    folds: str = "all"
    """Folds of tasks with cross-validation: all, or a list, counted from 0. Default: all."""
    recipe: tuple[str, ...] = ()
    """Recipe fields that replace those of each task: epochs or steps, batch_size, lr, weight_decay, warmup,
    accumulation, clip, precision, … Repeatable. Default: each task's recipe."""
    precision: Precision | None = None
    """Precision of forward and backward passes. Default: the recipe's."""
    kernels: Kernels = "dense"
    """Products of masked matrices: dense, or sparse where that is faster on this device, which is measured
    once and kept in the store; see docs/kernels.md. Default: dense."""
    match: str | None = None
    """Equal training budget for every method over its whole chain: steps (optimizer steps of the dense
    recipe) or flops (their cost if zeros cost nothing); steps=3 is three times that. Trainings are
    stretched. Default: each method trains as in its paper."""
    find: str | None = None
    """Search for the largest sparsity that keeps a share of the dense score above chance, instead of
    --sparsity: s@95, or s@95:within=0.02,runs=6 (width of the final bracket, most sparsities to try; low and
    high set the first bracket). Default: no search."""
    limit: int | None = Field(None, ge=1)
    """Use only this many examples of each part: for trials, never for results. Default: all."""
    data_dir: str = "synthetic"
    """Data: a folder in the official layout, hub (data sets of the Hugging Face hub), synthetic, or published
    (no data: plan with published sizes). Default: $SMC_EVAL_DATA, or synthetic."""
    dense: bool = True
    """Run the dense baseline too. Default: --dense."""
    output: str = "smc-eval-runs"
    """Folder of the store, with records and nets. The next run with the same folder continues. Default:
    smc-eval-runs."""
    json_file: str | None = Field(None, alias="json")
    """Write the records to this file as JSON too; - writes them to the standard output, and no table.
    Default: no file."""
    format: Format = "table"
    """Form of the printed results. Default: table."""
    device: str = "auto"
    """Device of the nets: cpu, cuda, cuda:1, mps, or auto (an accelerator if there is one). Default: auto."""
    jobs: int | None = Field(None, ge=1)
    """Cells that run at the same time, one process each. Default: one for each accelerator; else 1, or one
    for each core if all nets are tiny and cells are many; with slurm 64; with ray as many as the cluster has
    room for."""
    executor: str = "local"
    """Where cells run: local (processes on this machine), slurm[:KEY=VALUE,…] (jobs with these sbatch
    options) or ray[:ADDRESS] (tasks of a Ray cluster). Default: local."""
    keep: Keep = "nets"
    """What to keep besides records and predictions: nets (those that cells share, for later runs), final (the
    last net of each cell, for export), masks (those of each cell), or results (nothing else). Unless nets are
    kept, a shared net is deleted once no cell needs it. Default: nets."""
    threads: int | None = Field(None, ge=1)
    """CPU threads of each job. Default: 1 if all models are tiny, else torch's default (or cores / jobs)."""
    checkpoint_every: float | None = Field(None, ge=0)
    """Seconds between two checkpoints of a training. Default: at least 30, and so many that checkpoints take
    at most 3 % of the training time."""
    shard: bool = False
    """Shard each parameter by rows over the ranks of torchrun (FSDP2), for nets larger than one device;
    docs/ranks.md lists the methods and tasks that support it. Default: off."""
    track: tuple[str, ...] = ()
    """Trackers that show loss, learning rate, sparsity, score and certificate of each cell: trackio, wandb,
    mlflow, tensorboard or one of a plugin, as NAME[:key=value,…]. Repeatable. Default: none."""
    quiet: bool = False
    """Show only results and warnings, no progress. Default: off."""


def configured(flags: Mapping[str, Any], grid: str | None = None) -> RunConfig:
    """The configuration of flags by field name; a grid file fills the rest, then the environment.

    Raises:
        UnknownName: the file has a key that is no flag, or there is no built-in grid of the name.
        UsageError: the file cannot be read, or a value is wrong.
    """
    file = read_grid_file(grid) if grid else {}
    if file:
        parse_spec(RunConfig, file, "key", f"grid {grid}")  # so that its errors name the file
    environment = {"data_dir": folder} if (folder := os.environ.get(DATA_VARIABLE)) else {}
    if environment and file.get("data_dir") == PUBLISHED:
        del file["data_dir"]  # a data folder is better than published sizes
    return parse_spec(RunConfig, {**environment, **file, **_keyed(flags)}, *COMMAND_LINE)


def read_grid_file(grid: str) -> dict[str, Any]:
    """The keys of a grid file, by name or path, with values as flags have them.

    Raises:
        UnknownName: a key is no flag, or there is no built-in grid of the name.
        UsageError: the file is missing or is no TOML.
    """
    path = Path(grid)
    if path.suffix != ".toml" and not is_file(path):
        path = GRIDS / f"{grid}.toml"
        if not is_file(path):
            raise UnknownName("grid", grid, [file.stem for file in GRIDS.glob("*.toml")])
    content = read_toml(path, "grid")
    return {key: value for name, raw in content.items() for key, value in [_field_value(name, raw, path)]}


def keys() -> dict[str, str]:
    """Flags without their dashes, and the fields that they set."""
    return {(field.alias or name).replace("_", "-"): name for name, field in RunConfig.model_fields.items()}


def _keyed(flags: Mapping[str, Any]) -> dict[str, Any]:
    return {RunConfig.model_fields[name].alias or name: value for name, value in flags.items()}


def _field_value(name: str, raw: object, path: Path) -> tuple[str, Any]:
    """The field of a grid file's key, and its value in the words of the flag."""
    key, known = name.replace("_", "-"), keys()
    if key == "no-dense" and isinstance(raw, bool):
        return "dense", not raw
    if key not in known:
        raise UnknownName(f"key of grid {path}", name, known, see="smc-eval run --help")
    field = RunConfig.model_fields[known[key]]
    value: Any = raw
    if field.annotation == tuple[str, ...]:
        if isinstance(raw, dict):
            value = [f"{inner}={_word(part)}" for inner, part in raw.items()]
        else:
            value = [_word(part) for part in raw] if isinstance(raw, list) else [_word(raw)]
    elif field.annotation is str and not isinstance(raw, bool):
        # the comma at the end keeps a list of one element a list
        value = ",".join(_word(part) for part in raw) + "," if isinstance(raw, list) else _word(raw)
    return field.alias or known[key], value


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
