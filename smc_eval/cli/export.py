"""The verb `export`: the net of a finished cell as a folder that others can load."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from smc_eval.cli.cell_choice import choose_record
from smc_eval.errors import UnknownName, UsageError
from smc_eval.experiment.grid import data_folder
from smc_eval.experiment.parsing import parse_pairs
from smc_eval.exported.manifest import Manifest, WeightFormat
from smc_eval.method import DENSE
from smc_eval.planning.recorded_cell import chain_of_record
from smc_eval.protocol import PROTOCOLS
from smc_eval.registry import registry
from smc_eval.reporting.footnotes import cell_name
from smc_eval.reporting.html.commands import commands_of
from smc_eval.reporting.printable import error_lines, printable
from smc_eval.store.predictions import items_in
from smc_eval.store.record import Record
from smc_eval.store.records import RecordsFile

if TYPE_CHECKING:
    from smc_eval.engine.export.final_net import FinalNet
    from smc_eval.experiment.cell import Chain
    from smc_eval.exported.base_checkpoint import BaseCheckpoint


def export(  # noqa: PLR0913  typer makes an option of each
    folder: Annotated[
        Path, typer.Argument(metavar="STORE", help="The store: a folder of an earlier --output.")
    ],
    cell: Annotated[
        str,
        typer.Argument(metavar="METHOD@SPARSITY", help="The cell, as in lth@0.9 or omp-after@2:4; or dense."),
    ],
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="The new folder.")],
    *,
    task: Annotated[
        str | None, typer.Option("--task", metavar="NAME", help="The task. Default: the only one.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="MODEL", help="The model. Default: the only one.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", help="The seed. Default: the only one.")
    ] = None,
    fold: Annotated[
        int | None, typer.Option("--fold", metavar="N", help="The fold. Default: the only one.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            metavar="key=value,…",
            help="Other values of its record: scope=body, … Repeatable. Default: all.",
        ),
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="|".join(get_args(WeightFormat)),
            help="Form of the weights: dense, which transformers loads; bitmask or csr, which smc-eval "
            "and the reader in its docs load. Default: dense.",
            show_default=False,
        ),
    ] = "dense",
    push: Annotated[
        str | None,
        typer.Option(
            "--push",
            metavar="REPO",
            help="Upload the folder to this repository of the hub too; a new one is private. Default: none.",
        ),
    ] = None,
    data_dir: Annotated[
        str | None,
        typer.Option(
            "--data-dir", metavar="DIR", help="Folder of the data now. Default: the folder in the record."
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            metavar="auto|cpu|cuda[:N]|mps",
            help="Device to compute on. Default: that of the record.",
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, metavar="N", help="CPU threads. Default: those of the record."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress. Default: off.")] = False,
) -> None:
    """Write the net of a finished cell as a folder of its own.

    transformers loads the folder. A net that the store does not hold (run --keep final holds it) is computed
    again from the stages that it holds. If its masks are not those of the record, nothing is written.
    """
    if form not in get_args(WeightFormat):
        raise UnknownName("format", form, get_args(WeightFormat))
    _refuse_place(to)
    if push:
        from smc_eval.exported.push import check_repo

        check_repo(push)
    exact = {"task": task, "model": model, "seed": seed, "fold": fold}
    records = list(RecordsFile.of_store(folder).latest().values())
    record = choose_record(records, cell, exact, parse_pairs(where or (), "--where"))
    chain = chain_of_record(record, registry(), data_folder(data_dir) if data_dir else None)

    from smc_eval.tasks.base_files import base_of

    base = base_of(record.model)
    final = _final_net(folder, chain, record, device, threads, quiet=quiet)
    manifest = _written(folder, to, chain, record, final, base, form)
    _print(manifest, final, record)
    if push:
        _push(to, push, record)


def _push(to: Path, repo: str, record: Record) -> None:
    """Upload the folder. It stays where that fails, and the exit code is 1."""
    from smc_eval.exported.push import PushFailed
    from smc_eval.exported.push import push as upload

    try:
        address = upload(to, repo, f"{cell_name(record)}, exported by smc-eval")
    except PushFailed as error:
        typer.echo(f"error: {error_lines(error)}", err=True)
        raise typer.Exit(1) from None
    typer.echo(printable(f"pushed to {address}"))


def _refuse_place(to: Path) -> None:
    """Refuse a folder that exists, or that lies nowhere.

    Raises:
        UsageError: it is one.
    """
    try:
        exists, parent = to.exists() or to.is_symlink(), to.absolute().parent.is_dir()
    except OSError as error:
        raise UsageError(f"--to {str(to)!r} can be no folder: {error.strerror}") from None
    if exists:
        raise UsageError(f"{str(to)!r} exists; give a new name by --to, or remove it")
    if not parent:
        raise UsageError(f"there is no folder {str(to.parent)!r} to write {to.name!r} to; make it first")


def _final_net(
    folder: Path, chain: Chain, record: Record, device: str | None, threads: int | None, *, quiet: bool
) -> FinalNet:
    from rich.console import Console

    from smc_eval.cli.progress import progress_on
    from smc_eval.engine.device import Device
    from smc_eval.engine.export.final_net import final_net
    from smc_eval.engine.stop_signals import STOP_SIGNALS
    from smc_eval.store.store import Store

    own = record.versions.get("threads")
    place = Device(
        device or ("cpu" if record.versions.get("device") == "cpu" else "auto"),
        threads or (own if isinstance(own, int) else None),
    )
    store = Store(folder)
    store.open()
    with progress_on(Console(stderr=True), quiet) as watcher, STOP_SIGNALS.handled():
        watcher.begin(1)
        watcher.cell(1, chain.cell.label)
        return final_net(chain, record, store, place, watcher)


def _written(
    folder: Path, to: Path, chain: Chain, record: Record, final: FinalNet, base: BaseCheckpoint, form: str
) -> Manifest:
    from smc_eval.engine.export.folder import Export, write_folder

    (command,) = commands_of([record], registry())
    flags = " ".join(score_flags(record))
    return write_folder(
        Export(chain, record, final, base, form, items_in([folder]), command, flags),  # type: ignore[arg-type]
        to,
    )


def score_choices(record: Record) -> dict[str, str | bool]:
    """Flags, without dashes, that score the exported net of a record again, besides `model`."""
    dense = record.method == DENSE
    flags: dict[str, str | int | None] = {
        "tasks": record.task,
        "method": DENSE if dense else "from-checkpoint",
        "recipe": "steps=0",
        "folds": None if record.fold is None else f"{record.fold},",
        "data-dir": record.data.source.partition(":")[0],
        "limit": record.data.limited,
        "protocol": record.protocol if record.protocol != "sound" else None,
        "scope": record.target.scope if record.target.scope != PROTOCOLS[record.protocol].scope else None,
    }
    chosen: dict[str, str | bool] = {name: str(value) for name, value in flags.items() if value}
    return chosen if dense else {**chosen, "dense": False}


def score_flags(record: Record) -> Iterator[str]:
    """The same as words of a command."""
    for name, value in score_choices(record).items():
        yield f"--{name} {shlex.quote(value)}" if isinstance(value, str) else f"--no-{name}"


def _print(manifest: Manifest, final: FinalNet, record: Record) -> None:
    from smc_eval.cli.store import bytes_text
    from smc_eval.engine.export.folder import packed_shares

    place = manifest.folder
    sizes = {
        path.name: path.stat().st_size for path in sorted(place.iterdir()) if path.name in manifest.files
    }
    lines = [
        f"exported {cell_name(record)} to {place}: {bytes_text(sum(sizes.values()))}",
        f"net: {manifest.weights}",
    ]
    lines += [f"  {name:<24} {bytes_text(size):>8}" for name, size in sizes.items()]
    shares = [f"{name} {share:.1%}" for name, share in packed_shares(final).items()]
    if shares:
        lines.append(f"weights in scope, of their dense bytes: {'; '.join(shares)}")
    if manifest.form == "state dict":
        lines.append("its net is no model of transformers, so the folder holds a state dict")
    words = " ".join(score_flags(record))
    lines.append(f"score it again: smc-eval --model {shlex.quote(str(place))} {words}")
    for line in lines:
        typer.echo(printable(line))
