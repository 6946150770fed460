"""Exports: records and their table as Markdown, CSV, LaTeX or JSON, and onto disk."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smc_eval.errors import StoreError, UsageError
from smc_eval.files.atomic import write_atomic
from smc_eval.reporting.cell_value import CellValue
from smc_eval.reporting.footnotes import footnotes
from smc_eval.reporting.summary import Summaries
from smc_eval.reporting.summary_table import plain_values, text_tables
from smc_eval.reporting.table import Table, TableRow
from smc_eval.reporting.text_table import booktabs, latex, markdown
from smc_eval.store.record import RECORD_SCHEMA, Record


def document(results: Sequence[Record]) -> dict[str, Any]:
    """The records as one JSON document: `{"schema": 2, "results": [...]}`."""
    return {"schema": RECORD_SCHEMA, "results": [result.to_json() for result in results]}


def as_json(table: Table, summaries: Summaries | None = None) -> str:
    """The document, the squares of the table and what standings tell of its curves, indented."""
    told = {
        **document(table.results),
        "table": _squares(table),
        **(plain_values(summaries) if summaries else {}),
    }
    return json.dumps(told, indent=2, ensure_ascii=False) + "\n"


def as_csv(table: Table, summaries: Summaries | None = None) -> str:
    """One line a record, in their order; further numbers of the score are columns `also_NAME`.

    `mean` and its interval are those of the square of the table that a record is part of. Of
    standings there is one line a curve, then one a method over all tasks, in place of records.
    """
    if summaries:
        lines = [line for part in plain_values(summaries).values() for line in part]
    else:
        squares = {
            id(one): cell_value
            for row in table.rows
            for cell_value in row.cell_values
            for one in cell_value.records
        }
        lines = [_flat(result, squares.get(id(result))) for result in table.results]
    columns = list(dict.fromkeys(name for line in lines for name in line)) or ["task"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _squares(table: Table) -> list[dict[str, Any]]:
    """Every square that holds something; what its number lies between and over what that was found."""
    return [
        {
            **{name: getattr(row, name) for name in ("task", "model", "method")},
            "column": column,
            "state": cell_value.state,
            **_sure(cell_value),
            "seeds": sorted({record.seed for record in cell_value.records}),
            "remarks": list(cell_value.remarks),
            "best": cell_value.best,
        }
        for row in table.rows
        for column, cell_value in zip(table.columns, row.cell_values, strict=True)
        if cell_value.state != "missing"
    ]


def _sure(cell_value: CellValue | None) -> dict[str, Any]:
    """A square's number and its interval; None where there is none."""
    sure = cell_value.interval if cell_value else None
    return {
        "mean": cell_value.value if cell_value and cell_value.records else None,
        "interval_low": sure.low if sure else None,
        "interval_high": sure.high if sure else None,
        "over": sure.over if sure else None,
    }


def _flat(result: Record, cell_value: CellValue | None) -> dict[str, Any]:
    plain = result.to_json()
    score, cost, certificate = plain["score"] or {}, plain["cost"], plain["certificate"]
    return {
        **{name: getattr(result, name) for name in ("task", "group", "model", "method", "protocol")},
        **{name: getattr(result, name) for name in ("seed", "fold")},
        **plain["target"],
        "match": result.match.label if result.match else None,
        "status": result.status,
        "reason": " / ".join(result.reason.splitlines()),
        **{name: score.get(name) for name in ("metric", "value", "n", "higher_is_better", "signature")},
        **_sure(cell_value),
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
        **{f"data_{name}": value for name, value in plain["data"].items()},
        "digest": result.digest,
        **{f"also_{name.replace(' ', '_')}": value for name, value in score.get("also", {}).items()},
    }


def as_markdown(table: Table, summaries: Summaries | None = None) -> str:
    """The table as GitHub shows it, its footnotes as a list below; the best of a column is bold."""
    heads = [*table.heads, *table.columns]
    lines = [heads, ["---"] * len(table.heads) + ["---:"] * len(table.columns)]
    for row in table.rows:
        squares = [
            f"**{cell_value.text}**" if cell_value.best else cell_value.text for cell_value in row.cell_values
        ]
        lines.append([*(markdown(word) for word in _labels(row, table)), *squares])
    notes = footnotes(table)
    below = [f"- **{markdown(line)}**" for line in notes.loud]
    below += [
        f"- {markdown(' / '.join(line.splitlines()))}"
        for line in (*notes.troubles, *notes.setting, *notes.account)
    ]
    text = "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", *below]) + "\n"
    return "\n".join(
        [text, *(text_table.markdown for text_table in (text_tables(summaries) if summaries else []))]
    )


def as_latex(table: Table, summaries: Summaries | None = None) -> str:
    """The table for the `booktabs` package; its caption says protocol, scope, data and seeds."""
    notes = footnotes(table)
    body, before = list[str](), ("", "")
    for row in table.rows:
        squares = [_square(cell_value) for cell_value in row.cell_values]
        if body and (row.task, row.model) != before:
            body.append(r"\midrule")
        before = row.task, row.model
        body.append(" & ".join([*(latex(word) for word in _labels(row, table)), *squares]) + r" \\")
    align = "l" * len(table.heads) + "r" * len(table.columns)
    above = [part for line in (*notes.troubles, *notes.account) for part in line.splitlines()]
    text = booktabs(align, (*table.heads, *table.columns), body, [*notes.loud, *notes.setting], above)
    return "\n".join(
        [
            text,
            *(text_table.latex for text_table in (text_tables(summaries, notes.loud) if summaries else [])),
        ]
    )


def _square(cell_value: CellValue) -> str:
    """The best is bold, what went wrong slanted."""
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
    """Refuse a file that could not be written later, before hours are spent on what goes in.

    Raises:
        UsageError: its folder is missing or cannot be written, or the path is a folder.
    """
    if path.is_dir():
        raise UsageError(f"cannot write {path}: it is a folder; name a file in it")
    if not path.parent.is_dir():
        raise UsageError(f"cannot write {path}: there is no folder {str(path.parent)!r}; make it first")
    try:
        if path.exists() and not path.is_file():  # a device or a pipe
            with path.open("ab"):
                return
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; name a file elsewhere") from None


def write_text(path: Path, text: str) -> None:
    """Put text into a file: whole, or not at all and what stood there stays.

    Raises:
        StoreError: the file cannot be written.
    """
    try:
        if path.exists() and not path.is_file():  # a device or a pipe
            path.write_text(text, encoding="utf-8")
        else:
            write_atomic(path.resolve(), text.encode())
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from None
