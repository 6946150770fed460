"""Certified: what the engine checked of each net, failures first and in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from smc_eval.reporting.footnotes import cell_name
from smc_eval.reporting.html.results_table import PageCell
from smc_eval.store.records import Result

VERDICT_HEADS = (
    "cell",
    "model",
    "verdict",
    "asked",
    "reached",
    "effective",
    "all weights",
    "dead",
    "mask",
    "what is wrong",
)


@dataclass(frozen=True)
class Verdict:
    """The certificate of one record as a line of a table."""

    loud: bool
    cells: tuple[PageCell, ...]


def verdicts(records: Sequence[Result]) -> list[Verdict]:
    """A line a record: those that failed, then those that lost their certificate, then all others."""
    order = {"failed": 0, "doubt": 1, "ok": 2, "skipped": 3}
    return [_line(record) for record in sorted(records, key=lambda record: order[_state(record)])]


def _state(record: Result) -> str:
    return "doubt" if record.status == "ok" and not record.sound else record.status


def _line(record: Result) -> Verdict:
    state, told = _state(record), record.certificate
    words = {"doubt": "not certified", "ok": "certified", "failed": "failed", "skipped": "skipped"}
    loud = state in {"failed", "doubt"}
    cells = (
        PageCell(cell_name(record), key=cell_name(record)),
        PageCell(record.model, key=record.model),
        PageCell(words[state], key=words[state], state=state),
        _share(told.get("asked")),
        _share(told.get("reached", record.sparsity.get("scope"))),
        _share(told.get("effective")),
        _share(record.sparsity.get("all")),
        _dead(record),
        PageCell(str(told.get("mask_digest", "–"))[:8]),
        PageCell(_wrong(record, state)),
    )
    return Verdict(loud, cells)


def _share(value: object) -> PageCell:
    return PageCell(f"{value:.4f}", key=float(value)) if isinstance(value, int | float) else PageCell("–")


def _dead(record: Result) -> PageCell:
    """Tensors, and units: rows without inputs and columns without outputs."""
    told = record.certificate
    if "dead_tensors" not in told:
        return PageCell("–")
    units = sum(sum(pair) for pair in (told.get("dead_units") or {}).values())
    tensors = len(told["dead_tensors"])
    return PageCell(
        f"{tensors} tensors, {units:,} units" if tensors or units else "none", key=tensors + units / 1e9
    )


def _wrong(record: Result, state: str) -> str:
    if state == "doubt":
        return "; ".join(record.certificate.get("failed") or ["the record holds no sound certificate"])
    return " ".join(record.reason.splitlines())
