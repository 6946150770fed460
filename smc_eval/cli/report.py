"""The verb `report`: the results table again, from records alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smc_eval.cli.flags import FORMATS
from smc_eval.cli.run import print_results
from smc_eval.errors import counted
from smc_eval.experiment.config import configured
from smc_eval.registry import load_registry
from smc_eval.reporting.chance import chances_of
from smc_eval.reporting.export import check_writable, write_text
from smc_eval.reporting.printable import printable
from smc_eval.reporting.table import Table, table_of
from smc_eval.store import mask_samples, predictions
from smc_eval.store.record import Record, same_data
from smc_eval.store.records import latest_records
from smc_eval.store.speeds import speeds_in

if TYPE_CHECKING:
    from smc_eval.reporting.html.page import Page
    from smc_eval.reporting.summary import Summaries

Folders = Annotated[list[Path], typer.Argument(metavar="DIR", help="Stores: folders of earlier --output.")]


def report(
    folders: Folders,
    *,
    form: Annotated[
        str | None,
        typer.Option("--format", metavar=FORMATS, help="Form of the printed results. Default: table."),
    ] = None,
    json_file: Annotated[
        str | None,
        typer.Option(
            "--json",
            metavar="FILE|-",
            help="Write the records to this file as JSON too; - writes them to the standard output, and no "
            "table. Default: no file.",
        ),
    ] = None,
    curves: Annotated[
        bool,
        typer.Option(
            "--curves",
            help="Add a summary of each method over sparsities, with its cost; with --format csv, print only "
            "the summary. Default: off.",
        ),
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html",
            metavar="FILE",
            help="Write one HTML page with curves, layers, costs and certificates. It needs no network, but "
            "pip install 'smc-eval[page]'. Default: no page.",
        ),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(
            "--figures",
            metavar="DIR",
            help="Write the figures of the page as PDF, SVG and PNG; needs pip install 'smc-eval[page]'. "
            "Default: no figures.",
        ),
    ] = None,
) -> None:
    """Print the results of earlier runs from their records.

    It runs no net. If two folders have a record of the same cell, the later folder's is used.
    """
    flags = {"format": form, "json_file": json_file}
    config = configured({name: value for name, value in flags.items() if value is not None})
    if config.json_file and config.json_file != "-":
        check_writable(Path(config.json_file))
    if html or figures:
        from smc_eval.reporting.html.page import check_extra

        check_extra()
    if html:
        check_writable(html)
    table = table_of(records_of(folders), predictions.items_in(folders))
    summaries = summaries_of(table) if curves or html or figures else None
    print_results(table, config, summaries if curves else None)
    if html or figures:
        from smc_eval.reporting.html.page import Page

        write_page(
            Page.of(table, mask_samples.samples_in(folders), summaries, speeds_in(folders)), html, figures
        )


def summaries_of(table: Table) -> Summaries:
    """The summaries of a table, with the chance levels of installed tasks."""
    from smc_eval.reporting.summary import Summaries  # loads numpy, which a table alone does not need

    return Summaries.of(table, chances_of((row.task for row in table.rows), load_registry()))


def write_page(page: Page, html: Path | None, figures: Path | None) -> None:
    """Write the page and its figures, and print their paths.

    Raises:
        UsageError: the extra `page` is not installed.
        StoreError: they cannot be written.
    """
    if html:
        write_text(html, [page.html])
        typer.echo(f"page: {printable(str(html))}", err=True)
    if figures:
        from smc_eval.reporting.html.figure_files import save_figures

        count = len(list(save_figures(page, figures)))
        typer.echo(f"figures: {counted(count, 'file')} in {printable(str(figures))}", err=True)


def records_of(folders: list[Path]) -> list[Record]:
    """The newest record of each cell in several stores, with warnings about broken lines.

    Raises:
        UsageError: a folder is no store, or there are no records.
        StoreError: another release wrote a store, or it cannot be read.
    """
    found = latest_records(folders, lambda text: typer.echo(f"warning: {printable(text)}", err=True))
    return same_data(found)
