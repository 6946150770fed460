"""Records and their table as Markdown, CSV, LaTeX or JSON, and files written whole."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smc_eval.errors import StoreError, UsageError
from smc_eval.files.atomic import atomic_file
from smc_eval.reporting.cell_value import CellValue
from smc_eval.reporting.footnotes import footnotes
from smc_eval.reporting.json_document import document_parts
from smc_eval.reporting.printable import spreadsheet_text
from smc_eval.reporting.table import Table, TableRow
from smc_eval.reporting.text_table import TextTable, booktabs, latex, markdown
from smc_eval.store.record import Record

if TYPE_CHECKING:
    from smc_eval.reporting.summary import Summaries


def json_parts(table: Table, summaries: Summaries | None = None) -> Iterator[str]:
    """The parts of a JSON text: the records, the cells of the table and the summaries of its curves."""
    return document_parts(table.results, {"table": _cells(table), **_summary_values(summaries)})


def as_csv(table: Table, summaries: Summaries | None = None) -> str:
    """One line per record, in their order; further numbers of the score are columns `also_NAME`, and the
    highest possible scores `ceiling_NAME`.

    `mean` and its interval are those of the table cell that a record is part of. With summaries, there
    is one line per curve, then one per method over all tasks, instead of records.
    """
    if summaries:
        lines = [line for part in _summary_values(summaries).values() for line in part]
    else:
        lines = record_lines(table)
    columns = list(dict.fromkeys(name for line in lines for name in line)) or ["task"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writerow({name: spreadsheet_text(name) for name in columns})
    writer.writerows(
        {name: spreadsheet_text(value) if isinstance(value, str) else value for name, value in line.items()}
        for line in lines
    )
    return text.getvalue()


def _summary_values(summaries: Summaries | None) -> dict[str, Any]:
    if not summaries:
        return {}
    from smc_eval.reporting.summary_table import plain_values  # loads numpy

    return plain_values(summaries)


def summary_tables(summaries: Summaries | None, warnings: tuple[str, ...] = ()) -> Sequence[TextTable]:
    """The summaries as tables of texts; none without summaries."""
    if not summaries:
        return ()
    from smc_eval.reporting.summary_table import text_tables  # loads numpy

    return text_tables(summaries, warnings)


def record_lines(table: Table) -> list[dict[str, Any]]:
    """One mapping for each record of a table, in their order: the columns of the CSV form."""
    cell_values = {
        id(record): cell_value
        for row in table.rows
        for cell_value in row.cell_values
        for record in cell_value.records
    }
    named = any(result.kernels for result in table.results)  # a table of dense kernels does not name them
    return [_csv_line(result, cell_values.get(id(result)), named=named) for result in table.results]


def _cells(table: Table) -> list[dict[str, Any]]:
    """Every cell with a record: its state, number and confidence interval."""
    return [
        {
            **{name: getattr(row, name) for name in ("task", "model", "method")},
            "column": column,
            "state": cell_value.state,
            **_interval_values(cell_value),
            "seeds": sorted({record.seed for record in cell_value.records}),
            "remarks": list(cell_value.remarks),
            "best": cell_value.best,
        }
        for row in table.rows
        for column, cell_value in zip(table.columns, row.cell_values, strict=True)
        if cell_value.state != "missing"
    ]


def _interval_values(cell_value: CellValue | None) -> dict[str, Any]:
    """The number of a cell and its interval; None where they are missing."""
    interval = cell_value.interval if cell_value else None
    interval = interval if interval and interval.finite else None  # JSON has no infinity
    return {
        "mean": cell_value.value if cell_value and cell_value.records else None,
        "interval_low": interval.low if interval else None,
        "interval_high": interval.high if interval else None,
        "over": interval.over if interval else None,
    }


def _csv_line(result: Record, cell_value: CellValue | None, *, named: bool) -> dict[str, Any]:
    kernels = {"kernels": "sparse" if result.kernels else "dense"} if named else {}
    plain = result.to_json()
    score, cost, certificate = plain["score"] or {}, plain["cost"], plain["certificate"]
    return {
        **{name: getattr(result, name) for name in ("task", "group", "model", "method", "protocol")},
        **{name: getattr(result, name) for name in ("seed", "fold")},
        **plain["target"],
        **{name: ", ".join(getattr(result.target, name)) for name in ("include", "exclude")},
        "match": result.match.label if result.match else None,
        **kernels,
        "status": result.status,
        "reason": " / ".join(result.reason.splitlines()),
        "notes": "; ".join((*result.refused_models, *result.notes)),
        **{name: score.get(name) for name in ("metric", "value", "n", "higher_is_better", "signature")},
        **_interval_values(cell_value),
        **{f"sparsity_{name}": plain["sparsity"].get(name) for name in ("scope", "weights", "all")},
        "certified": certificate.get("ok"),
        "doubts": "; ".join(certificate.get("failed", ())),
        "effective_sparsity": certificate.get("effective"),
        **{name: cost.get(name) for name in ("steps", "examples", "scoring_passes")},
        **{
            f"flops_{name}_{kind}": cost.get("flops", {}).get(name, {}).get(kind)
            for name in ("train", "prune", "predict")
            for kind in ("dense", "sparse")
        },
        **{f"seconds_{name}": cost.get("seconds", {}).get(name) for name in ("train", "prune", "predict")},
        **_flat("data", plain["data"]),
        "digest": result.digest,
        **{f"also_{name.replace(' ', '_')}": value for name, value in score.get("also", {}).items()},
        **{f"ceiling_{name}": value for name, value in score.get("ceiling", {}).items()},
    }


def _flat(name: str, value: Any) -> dict[str, Any]:
    """A value by its name; the parts of a mapping as `NAME_PART`."""
    if not isinstance(value, Mapping):
        return {name: value}
    return {key: part for inner, own in value.items() for key, part in _flat(f"{name}_{inner}", own).items()}


def as_markdown(table: Table, summaries: Summaries | None = None) -> str:
    """The table in GitHub's Markdown, its footnotes as a list below; the best of a column is bold."""
    heads = [*table.heads, *table.columns]
    rows = [heads, ["---"] * len(table.heads) + ["---:"] * len(table.columns)]
    for row in table.rows:
        numbers = [f"**{value.text}**" if value.best else value.text for value in row.cell_values]
        rows.append([*(markdown(word) for word in _labels(row, table)), *numbers])
    notes = footnotes(table)
    below = [f"- **{markdown(line)}**" for line in notes.warnings]
    below += [
        f"- {markdown(' / '.join(line.splitlines()))}"
        for line in (*notes.problems, *notes.settings, *notes.totals)
    ]
    text = "\n".join([*(f"| {' | '.join(cells)} |" for cells in rows), "", *below]) + "\n"
    further = summary_tables(summaries)
    return "\n".join([text, *(text_table.markdown for text_table in further)])


def as_latex(table: Table, summaries: Summaries | None = None) -> str:
    """The table for the `booktabs` package; its caption gives protocol, scope, data and seeds."""
    notes = footnotes(table)
    body, before = list[str](), ("", "")
    for row in table.rows:
        numbers = [_latex_cell(cell_value) for cell_value in row.cell_values]
        if body and (row.task, row.model) != before:
            body.append(r"\midrule")
        before = row.task, row.model
        body.append(" & ".join([*(latex(word) for word in _labels(row, table)), *numbers]) + r" \\")
    align = "l" * len(table.heads) + "r" * len(table.columns)
    above = [part for line in (*notes.problems, *notes.totals) for part in line.splitlines()]
    text = booktabs(align, (*table.heads, *table.columns), body, [*notes.warnings, *notes.settings], above)
    further = summary_tables(summaries, notes.warnings)
    return "\n".join([text, *(text_table.latex for text_table in further)])


def _latex_cell(cell_value: CellValue) -> str:
    """The best number is bold; failed cells and failed certificates are in italics."""
    if cell_value.best:
        return rf"\textbf{{{latex(cell_value.text)}}}"
    return (
        rf"\textit{{{latex(cell_value.text)}}}"
        if cell_value.state in {"failed", "doubt"}
        else latex(cell_value.text)
    )


def _labels(row: TableRow, table: Table) -> list[str]:
    return [getattr(row, head) for head in table.heads]


def check_writable(path: Path) -> None:
    """Refuse a file that cannot be written, before its content is computed.

    Raises:
        UsageError: its folder is missing or read-only, or the path is a folder.
    """
    if path.is_dir():
        raise UsageError(f"cannot write {path}: it is a folder; name a file in it")
    if not path.parent.is_dir():
        raise UsageError(f"cannot write {path}: there is no folder {str(path.parent)!r}; create it first")
    try:
        if path.exists() and not path.is_file():  # a device or a pipe
            with path.open("ab"):
                return
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; name a file in another folder") from None


def write_text(path: Path, parts: Iterable[str]) -> None:
    """Write a text file from its parts: whole, or not at all; then its old content stays.

    Raises:
        StoreError: the file cannot be written.
    """
    try:
        special = path.exists() and not path.is_file()  # a device or a pipe
        with path.open("wb") if special else atomic_file(path.resolve()) as file:
            file.writelines(part.encode() for part in parts)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from None
