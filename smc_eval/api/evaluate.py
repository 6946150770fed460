"""Evaluate: the cells of the command line, from Python; and the records of earlier runs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from smc_eval.api.results import Results
from smc_eval.cli.grid_run import check_outputs, forecast_of, run_resolved, save_grid
from smc_eval.engine.distributed import launch
from smc_eval.engine.progress import Silent, Watcher
from smc_eval.errors import UnknownName, UsageError, named_value
from smc_eval.experiment.config import RunConfig, configured, keys
from smc_eval.experiment.grid import Grid
from smc_eval.files.user_path import as_path
from smc_eval.planning.forecast import Forecast
from smc_eval.planning.resolve import Resolver
from smc_eval.registry import registry
from smc_eval.store.records import latest_records

NUMBER_LISTS = ("seeds", "folds")
"""Flags whose text is a list of numbers, or one number with a meaning of its own."""

Option = str | float | Sequence[str | float] | Mapping[str, Any] | Path | None


def evaluate(*, progress: bool = True, grid: str | None = None, **flags: Option) -> Results:
    """Run the cells that the same flags give on the command line, and return their records.

    `evaluate(model="tiny", method=["snip", "lth"], tasks="csqa", sparsity=[0.5, 0.9], seeds=3)` has the
    cells, the store and the digests of `smc-eval --model tiny --method snip,lth …`. Finished cells come from
    the store. A cell that fails does not raise: see `Results.failed`.

    Args:
        progress: show progress on the standard error.
        grid: a grid file, or the name of a built-in one.
        flags: the flags of `smc-eval run` without dashes, with `_` for `-`. A list stands for a comma list, a
            mapping for `key=value,…`.

    Raises:
        UnknownName: a flag does not exist.
        UsageError: a value is wrong, or ranks or a search are asked for.
    """
    config = _config(flags, grid)
    if launch.world_size() > 1:
        raise UsageError("evaluate runs in one process; start ranks with torchrun and the command smc-eval")
    if config.find:
        raise UsageError("evaluate does not search sparsities; use the command smc-eval --find")
    cells = Grid.of(config, registry())
    check_outputs(config)
    resolved = Resolver().resolve_all(cells.cells())
    save_grid(config, resolved)
    forecast = forecast_of(resolved, config) if progress else None
    with _watching(progress, forecast) as watcher, _process_as_before():
        records = run_resolved(resolved, config, watcher)
    return Results(tuple(records), (Path(config.output),))


def load(*folders: str | Path) -> Results:
    """The newest record of each cell in one or several stores; that of a later folder counts.

    Raises:
        UsageError: a folder is no store, or there are no records.
        StoreError: another release wrote a store, or it cannot be read.
    """
    paths = [as_path(folder, "a folder") for folder in folders]
    records = latest_records(paths, partial(warnings.warn, stacklevel=4))
    return Results(tuple(records), tuple(paths))


def _config(flags: Mapping[str, Option], grid: str | None) -> RunConfig:
    """The run configuration of flags."""
    fields = {key.replace("-", "_"): name for key, name in keys().items()}
    given = dict[str, Any]()
    for flag, value in flags.items():
        if flag not in fields:
            raise UnknownName("flag of evaluate", flag, fields, see="smc-eval run --help")
        if value is not None:
            given[fields[flag]] = _flag_value(fields[flag], value)
    return configured(given, grid)


def _flag_value(name: str, value: Option) -> Any:
    """A value in the form that the command line has."""
    if isinstance(value, bool):
        return value
    words = _words(name, value)
    if RunConfig.model_fields[name].annotation == tuple[str, ...]:
        return words
    if name in NUMBER_LISTS and not isinstance(value, str | int):
        return ",".join(words) + ","  # the comma keeps a list of one element a list
    if len(words) != 1:
        raise UsageError(f"{name} is {named_value(value)}; wanted one value")
    return words[0]


def _words(name: str, value: Any) -> list[str]:
    """The texts of a value.

    Raises:
        UsageError: a part is neither a text nor a number.
    """
    if isinstance(value, Mapping):
        return [f"{key}={part}" for key, part in value.items()]
    if isinstance(value, str | int | float | Path):
        return [str(value)]
    if isinstance(value, Sequence):
        return [word for part in value for word in _words(name, part)]
    raise UsageError(f"{name} is {named_value(value)}; wanted a text, a number or a list of these")


@contextmanager
def _watching(progress: bool, forecast: Forecast | None) -> Iterator[Watcher]:  # noqa: FBT001
    """A watcher that shows progress, or none."""
    if not progress:
        yield Silent()
        return
    from rich.console import Console

    from smc_eval.cli.progress import progress_on

    with progress_on(Console(stderr=True), quiet=False, forecast=forecast) as watcher:
        yield watcher


@contextmanager
def _process_as_before() -> Iterator[None]:
    """Afterwards the global random generators and the number of threads are as before."""
    import torch

    from smc_eval.engine.device import Device

    device, threads = Device("cpu"), torch.get_num_threads()
    state = device.rng_state()
    try:
        yield
    finally:
        device.set_rng_state(state)
        torch.set_num_threads(threads)
