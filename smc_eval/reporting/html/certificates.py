"""The page's table of certificates: the engine's checks of each net, failed ones first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from smc_eval.reporting.footnotes import cell_name, failed_checks
from smc_eval.reporting.html.results_table import PageCell
from smc_eval.store.certificate import Certificate
from smc_eval.store.record import Record
from smc_eval.store.speeds import FindSpeeds, Speeds

VERDICT_HEADS = (
    "cell",
    "model",
    "verdict",
    "problem",
    "target sparsity",
    "reached",
    "effective",
    "all weights",
    "dead",
    "mask",
    "× speed",
)


@dataclass(frozen=True)
class Verdict:
    """The certificate of one record as a row of a table."""

    failed: bool
    """Whether the cell or its certificate failed."""
    cells: tuple[PageCell, ...]


def verdicts(records: Sequence[Record], find_speeds: FindSpeeds = lambda _: None) -> list[Verdict]:
    """One row per record: failed cells, then failed certificates, then all others.

    `find_speeds` returns the measured speeds of a record.
    """
    order = {"failed": 0, "doubt": 1, "ok": 2, "skipped": 3}
    return [
        _verdict(record, find_speeds(record.digest))
        for record in sorted(records, key=lambda record: order[_state(record)])
    ]


def _state(record: Record) -> str:
    return "doubt" if record.status == "ok" and not record.sound else record.status


def _verdict(record: Record, speeds: Speeds | None) -> Verdict:
    state, certificate = _state(record), record.certificate
    words = {"doubt": "not certified", "ok": "certified", "failed": "failed", "skipped": "skipped"}
    cells = (
        PageCell(cell_name(record), sort_key=cell_name(record)),
        PageCell(record.model, sort_key=record.model),
        PageCell(words[state], sort_key=words[state], state=state),
        PageCell(_problem(record, state)),
        _share(certificate.asked if certificate else None),
        _share(certificate.reached if certificate else None),
        _share(certificate.effective if certificate else None),
        _share(record.sparsity.all if record.sparsity else None),
        _dead(certificate),
        PageCell(certificate.mask_digest[:8] if certificate else "–"),
        _speed(speeds),
    )
    return Verdict(state in {"failed", "doubt"}, cells)


def _share(value: float | None) -> PageCell:
    return PageCell("–") if value is None else PageCell(f"{value:.4f}", sort_key=value)


def _speed(speeds: Speeds | None) -> PageCell:
    """The fastest kernel beside dense products."""
    if speeds is None or speeds.best is None:
        return PageCell("–")
    return PageCell(f"{speeds.best.speed:.2f} ({speeds.best.kernel})", sort_key=speeds.best.speed)


def _dead(certificate: Certificate | None) -> PageCell:
    """Dead tensors, and dead units: rows and columns without any unpruned weight."""
    if certificate is None:
        return PageCell("–")
    units = sum(sum(pair) for pair in certificate.dead_units.values())
    tensors = len(certificate.dead_tensors)
    return PageCell(
        f"{tensors} tensors, {units:,} units" if tensors or units else "none", sort_key=tensors + units / 1e9
    )


def _problem(record: Record, state: str) -> str:
    if state == "doubt":
        return failed_checks(record)
    return " ".join(record.reason.splitlines())
