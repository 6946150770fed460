"""The verb `report`: the table again, from records alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smc_eval.cli.run import print_results
from smc_eval.errors import UsageError
from smc_eval.experiment.config import configured
from smc_eval.registry import load
from smc_eval.reporting.export import check_writable, write_text
from smc_eval.reporting.summary import Summaries
from smc_eval.reporting.table import table_of
from smc_eval.store import mask_samples, predictions
from smc_eval.store.record import Record, same_data
from smc_eval.store.records import RECORDS_NAME, RecordsFile

if TYPE_CHECKING:
    from smc_eval.reporting.html.page import Page

Folders = Annotated[list[Path], typer.Argument(metavar="DIR…", help="Folders given to --output before.")]


def report(
    folders: Folders,
    *,
    shown_as: Annotated[
        str | None, typer.Option("--format", metavar="table|markdown|csv|latex|json", help="How to show it.")
    ] = None,
    json_file: Annotated[
        str | None, typer.Option("--json", metavar="FILE|-", help="Write the records there as JSON too.")
    ] = None,
    curves: Annotated[
        bool,
        typer.Option(
            "--curves",
            help="Also show what is kept over sparsities and at what cost; as CSV, that alone.",
        ),
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html",
            metavar="FILE",
            help="Write one page with curves, layers, costs, certificates; it loads nothing.",
        ),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option("--figures", metavar="DIR", help="Write its figures there as PDF, SVG, PNG."),
    ] = None,
) -> None:
    """Show the table of earlier runs, from their records; needs no torch."""
    flags = {"format": shown_as, "json_file": json_file}
    config = configured({name: value for name, value in flags.items() if value is not None})
    if config.json_file and config.json_file != "-":
        check_writable(Path(config.json_file))
    if html:
        check_writable(html)
    table = table_of(records_of(folders), predictions.items_in(folders))
    summaries = Summaries.of(table, load().chances) if curves or html or figures else None
    print_results(table, config, summaries if curves else None)
    if html or figures:
        from smc_eval.reporting.html.page import Page

        write_page(Page.of(table, mask_samples.samples_in(folders), summaries), html, figures)


def write_page(page: Page, html: Path | None, figures: Path | None) -> None:
    """Write the page and its figures, and say where.

    Raises:
        UsageError: the extra `page` is not installed.
        StoreError: they cannot be written.
    """
    if html:
        write_text(html, page.html)
        typer.echo(f"page: {html}", err=True)
    if figures:
        from smc_eval.reporting.html.figure_files import save_figures

        count = len(list(save_figures(page, figures)))
        typer.echo(f"figures: {count} files in {figures}", err=True)


def records_of(folders: list[Path]) -> list[Record]:
    """The newest record of each cell in several stores; a later folder's counts.

    Raises:
        UsageError: a folder is no store, or there is no record in any.
    """
    latest = dict[str, Record]()
    for folder in folders:
        book = book_of(folder)
        latest |= book.latest()
        if book.broken:
            typer.echo(f"warning: {book.broken} broken records in {book.path} are passed over", err=True)
    if not latest:
        raise UsageError(f"there are no records in {', '.join(map(str, folders))}")
    return same_data(latest.values())


def book_of(folder: Path) -> RecordsFile:
    """The book in a store's folder.

    Raises:
        UsageError: there is none.
    """
    if not (folder / RECORDS_NAME).is_file():
        raise UsageError(f"{str(folder)!r} holds no {RECORDS_NAME}; name a folder that was an --output")
    return RecordsFile(folder)
