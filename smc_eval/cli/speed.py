"""The verb `speed`: how fast pruned nets are on this machine, dense and with every kernel."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smc_eval.cli.cell_choice import choose_record
from smc_eval.cli.export import score_choices
from smc_eval.errors import UsageError, counted
from smc_eval.experiment.config import configured
from smc_eval.experiment.grid import Grid, data_folder
from smc_eval.experiment.parsing import parse_pairs
from smc_eval.exported.manifest import Manifest
from smc_eval.method import DENSE
from smc_eval.planning.recorded_cell import chain_of_record
from smc_eval.planning.resolve import Resolver
from smc_eval.registry import registry
from smc_eval.reporting.footnotes import cell_name
from smc_eval.reporting.printable import printable
from smc_eval.reporting.text_table import TextTable
from smc_eval.store.record import Record
from smc_eval.store.records import RECORDS_NAME, RecordsFile
from smc_eval.store.speeds import SpeedFiles, Speeds

if TYPE_CHECKING:
    from smc_eval.engine.device import Device
    from smc_eval.engine.progress import Watcher
    from smc_eval.experiment.cell import Chain

SPEED_HEADS = ("cell", "kernel", "layers", "× speed", "quartiles", "dense ms", "ms", "bytes", "difference")


def speed(  # noqa: PLR0913  typer makes an option of each
    place: Annotated[
        Path,
        typer.Argument(metavar="STORE|DIR", help="A folder of an earlier --output, or an exported net."),
    ],
    cells: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="METHOD@SPARSITY", help="Cells of the store. Default: all that are certified and pruned."
        ),
    ] = None,
    *,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where", metavar="key=value,…", help="Use only records with these values. Default: all."
        ),
    ] = None,
    examples: Annotated[
        int,
        typer.Option("--examples", min=1, metavar="N", help="Examples that each pass predicts. Default: 64."),
    ] = 64,
    pairs: Annotated[
        int, typer.Option("--pairs", min=2, metavar="N", help="Pairs of passes. Default: 15.")
    ] = 15,
    data_dir: Annotated[
        str | None,
        typer.Option(
            "--data-dir", metavar="DIR", help="Folder of the data now. Default: that of the record."
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option("--device", metavar="auto|cpu|cuda[:N]|mps", help="Device of the nets. Default: auto."),
    ] = "auto",
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, metavar="N", help="CPU threads. Default: torch's.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON. Default: off.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress. Default: off.")] = False,
) -> None:
    """Time the predictions of pruned nets on this machine.

    Each net is timed dense, and with every kernel that is there. A number above 1 is faster than dense
    products, one below 1 is slower. The times of a store are kept in it, and reports show them. Close other
    programs first.
    """
    from rich.console import Console

    from smc_eval.cli.progress import progress_on
    from smc_eval.engine.device import Device

    if not (place / RECORDS_NAME).is_file() and Manifest.read(place) is None:
        raise UsageError(f"{str(place)!r} is neither a store nor an exported net; run smc-eval first")
    chosen = list(_chosen(place, cells or [], parse_pairs(where or (), "--where"), data_dir))
    machine, measured = Device(device, threads), list[tuple[str, Speeds]]()
    with progress_on(Console(stderr=True), quiet) as watcher:
        watcher.begin(len(chosen))
        for number, (name, chain, record) in enumerate(chosen, 1):
            watcher.cell(number, name)
            speeds = _measured(place, chain, record, machine, watcher, examples, pairs)
            if record is not None:
                SpeedFiles(place).save(record.digest, speeds)
            measured.append((name, speeds))
    if as_json:
        plain = [{"cell": name, **asdict(speeds)} for name, speeds in measured]
        typer.echo(json.dumps(plain, indent=1, allow_nan=False))
        return
    from smc_eval.reporting.terminal import print_text_table

    print_text_table(speed_table(measured), Console())


def _chosen(
    place: Path, cells: Sequence[str], where: dict[str, str], data_dir: str | None
) -> Iterator[tuple[str, Chain, Record | None]]:
    """Names and chains of the cells to time, with their records if they are those of a store.

    Raises:
        UsageError: a cell is none of the store, or no cell is left.
    """
    folder = data_folder(data_dir) if data_dir else None
    if not (place / RECORDS_NAME).is_file():
        if cells or where:
            raise UsageError(f"{str(place)!r} is an exported net, and holds one cell; name none")
        yield _exported(place, data_dir)
        return
    records = list(RecordsFile.of_store(place).latest().values())
    if cells:
        wanted: Iterable[Record] = [choose_record(records, cell, {}, where) for cell in cells]
    else:
        from smc_eval.reporting.compare import selected_records

        wanted = [
            record
            for record in selected_records([record for record in records if record.sound], where)
            if record.method != DENSE
        ]
    if not wanted:
        raise UsageError(f"{str(place)!r} has no certified record of a pruned net")
    for record in wanted:
        yield cell_name(record), chain_of_record(record, registry(), folder), record


def _exported(place: Path, data_dir: str | None) -> tuple[str, Chain, None]:
    """The cell that an exported folder scores again: its net, without training."""
    manifest = Manifest.read(place)
    assert manifest is not None
    record = Record.from_json(dict(manifest.record))
    chosen = score_choices(record)
    flags = {name.replace("-", "_"): _as_flag(name, value) for name, value in chosen.items()}
    flags |= {"model": [str(place)], **({"data_dir": data_dir} if data_dir else {})}
    (resolved,) = Resolver().resolve_all(Grid.of(configured(flags), registry()).cells())
    if resolved.chain is None:
        raise UsageError(str(resolved.error))
    return cell_name(record), resolved.chain, None


def _as_flag(name: str, value: str | bool) -> Any:  # noqa: FBT001  a value like any other
    """The value of a flag as a run configuration reads it."""
    return [value] if name in {"tasks", "method", "recipe"} else value


def _measured(
    place: Path,
    chain: Chain,
    record: Record | None,
    device: Device,
    watcher: Watcher,
    examples: int,
    pairs: int,
) -> Speeds:
    """The speeds of one cell."""
    from smc_eval.engine.cell_run import CellRun
    from smc_eval.engine.export.final_net import final_net
    from smc_eval.engine.finished_cell import versions
    from smc_eval.engine.kernel_speed import measure_speeds
    from smc_eval.experiment.checked_score import reported_examples
    from smc_eval.store.store import Store

    if record is not None:
        store = Store(place)
        store.open()
        net = final_net(chain, record, store, device, watcher).net
    else:
        with tempfile.TemporaryDirectory() as scratch:
            store = Store(Path(scratch))
            store.open()
            net = CellRun(chain, store, device, watcher).run_stages()
    task = chain.cell.task
    some = reported_examples(task)[:examples]
    watcher.stage(f"time {counted(len(some), 'example')}", 1, 0)
    machine = versions() | device.description
    return measure_speeds(task, net.model, net.masks, device, examples=some, pairs=pairs, machine=machine)


def speed_table(measured: Sequence[tuple[str, Speeds]]) -> TextTable:
    """The kernels of all cells, the fastest of a cell first."""
    rows = [
        (
            name,
            kernel.kernel,
            str(kernel.layers),
            f"{kernel.speed:.2f}",
            f"{kernel.low:.2f} to {kernel.high:.2f}",
            f"{kernel.dense_seconds * 1000:.1f}",
            f"{kernel.seconds * 1000:.1f}",
            f"{kernel.bytes / kernel.dense_bytes:.2f}",
            f"{kernel.difference:.1g}",
        )
        for name, speeds in measured
        for kernel in sorted(speeds.kernels, key=lambda kernel: -kernel.speed)
    ]
    return TextTable(SPEED_HEADS, "llrrrrrrr", tuple(rows), notes=tuple(map(printable, _notes(measured))))


def _notes(measured: Sequence[tuple[str, Speeds]]) -> Iterator[str]:
    """What the numbers are, what is slower than dense, and what serves no layer."""
    slower = [name for name, speeds in measured if speeds.best is None or speeds.best.speed < 1]
    if slower:
        of = counted(len(measured), "cell")
        yield f"in {len(slower)} of {of} no kernel is faster than dense products"
    if any(kernel.same < 1 for _, speeds in measured for kernel in speeds.kernels):
        least = min(kernel.same for _, speeds in measured for kernel in speeds.kernels)
        yield f"predictions are the same for at least {least:.1%} of the examples"
    absent = {f"{kernel}: {why}" for _, speeds in measured for kernel, why in speeds.absent.items()}
    yield from sorted(absent)
    first = measured[0][1]
    place = f"{first.machine.get('device')}, {counted(int(first.machine.get('threads', 1)), 'thread')}"
    yield (
        f"× speed: dense over kernel, median of {first.pairs} pairs of passes over {first.examples} "
        f"examples; {place}, torch {first.machine.get('torch')}"
    )
    yield "layers, bytes (share of dense), difference (largest): of linear layers with masks; ms: predictions"
