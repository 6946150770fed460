"""Exports: records and their table as Markdown, CSV, LaTeX or JSON, and onto disk."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from smc_eval.budget import Budget
from smc_eval.entry import Entry
from smc_eval.errors import StoreError, UsageError
from smc_eval.footnotes import footnotes
from smc_eval.results import SCHEMA, Result
from smc_eval.table import Row, Table

LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "–": "--",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}
"""Characters that LaTeX would read as orders, or not at all."""


def document(results: Sequence[Result]) -> dict[str, Any]:
    """The records as one JSON document: `{"schema": 1, "results": [...]}`."""
    return {"schema": SCHEMA, "results": [asdict(result) for result in results]}


def as_json(table: Table) -> str:
    """The document, indented."""
    return json.dumps(document(table.results), indent=2, ensure_ascii=False) + "\n"


def as_csv(table: Table) -> str:
    """One line a record, in their order; further numbers of the score are columns `also_NAME`."""
    lines = [_flat(result) for result in table.results]
    columns = list(dict.fromkeys(name for line in lines for name in line)) or ["task"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _flat(result: Result) -> dict[str, Any]:
    score, seconds = result.score or {}, result.cost.get("seconds", {})
    flops = result.cost.get("flops", {})
    return {
        **{name: getattr(result, name) for name in ("task", "group", "model", "method", "protocol")},
        **{name: getattr(result, name) for name in ("seed", "fold")},
        **{name: result.target[name] for name in ("sparsity", "pattern", "spread", "scope")},
        "match": Budget(**result.match).words if result.match else None,
        "status": result.status,
        "reason": " / ".join(result.reason.splitlines()),
        **{name: score.get(name) for name in ("metric", "value", "n", "higher_is_better", "signature")},
        **{f"sparsity_{name}": result.sparsity.get(name) for name in ("scope", "weights", "all")},
        "certified": result.certificate.get("ok"),
        "doubts": "; ".join(result.certificate.get("failed", ())),
        "effective_sparsity": result.certificate.get("effective"),
        **{name: result.cost.get(name) for name in ("steps", "examples", "scoring_passes")},
        **{
            f"flops_{name}_{kind}": (flops.get(name) or {}).get(kind)
            for name in ("train", "prune", "predict")
            for kind in ("dense", "sparse")
        },
        **{f"seconds_{name}": seconds.get(name) for name in ("train", "prune", "predict")},
        **{f"data_{name}": result.data.get(name) for name in ("source", "digest", "limited")},
        "digest": result.digest,
        **{f"also_{name.replace(' ', '_')}": value for name, value in score.get("also", {}).items()},
    }


def as_markdown(table: Table) -> str:
    """The table as GitHub shows it, its footnotes as a list below; the best of a column is bold."""
    heads = [*table.heads, *table.columns]
    lines = [heads, ["---"] * len(table.heads) + ["---:"] * len(table.columns)]
    for row in table.rows:
        squares = [f"**{entry.text}**" if entry.best else entry.text for entry in row.entries]
        lines.append([*(_markdown(word) for word in _labels(row, table)), *squares])
    notes = footnotes(table)
    below = [f"- **{_markdown(line)}**" for line in notes.loud]
    below += [
        f"- {_markdown(' / '.join(line.splitlines()))}"
        for line in (*notes.troubles, *notes.setting, *notes.account)
    ]
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", *below]) + "\n"


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_<>\[\]|])", r"\\\1", text)


def as_latex(table: Table) -> str:
    """The table for the `booktabs` package; its caption says protocol, scope, data and seeds."""
    notes = footnotes(table)
    heads = [_latex(head) for head in (*table.heads, *table.columns)]
    body, before = list[str](), ("", "")
    for row in table.rows:
        squares = [_square(entry) for entry in row.entries]
        if body and (row.task, row.model) != before:
            body.append(r"\midrule")
        before = row.task, row.model
        body.append(" & ".join([*(_latex(word) for word in _labels(row, table)), *squares]) + r" \\")
    caption = " ".join(_latex(f"{line[:1].upper()}{line[1:]}.") for line in (*notes.loud, *notes.setting))
    return "\n".join(
        [
            *(f"% {part}" for line in (*notes.troubles, *notes.account) for part in line.splitlines()),
            r"\begin{table}",
            r"\centering",
            rf"\begin{{tabular}}{{{'l' * len(table.heads)}{'r' * len(table.columns)}}}",
            r"\toprule",
            " & ".join(heads) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            rf"\caption{{{caption}}}",
            r"\end{table}",
            "",
        ]
    )


def _square(entry: Entry) -> str:
    """The best is bold, what went wrong slanted."""
    if entry.best:
        return rf"\textbf{{{_latex(entry.text)}}}"
    return rf"\textit{{{_latex(entry.text)}}}" if entry.state in {"failed", "doubt"} else _latex(entry.text)


def _latex(text: str) -> str:
    return "".join(LATEX.get(sign, sign) for sign in text)


def _labels(row: Row, table: Table) -> list[str]:
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


def write(path: Path, text: str) -> None:
    """Put text into a file: whole, or not at all and what stood there stays.

    Raises:
        StoreError: the file cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")
            return
        try:
            with beside.open("w", encoding="utf-8", newline="") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path.resolve())
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from None
