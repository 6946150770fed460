"""Made-up records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from smc_eval.reporting.table import table_of
from smc_eval.store.record import Record
from smc_eval.testing import record_with
from smc_eval.testing.records import merged

SECONDS = {"train": 10.0, "prune": 0.5, "predict": 1.5}


def make_record(
    method: str = "omp-after", sparsity: float = 0.5, value: float | None = 80.0, **changes: Any
) -> Record:
    """A record; a failed one if `value` is None."""
    if method == "dense":
        sparsity = 0.0
    task, seed, fold = (
        changes.pop(name, default) for name, default in (("task", "t/a"), ("seed", 0), ("fold", None))
    )
    pattern, ok = changes.pop("pattern", "free"), changes.pop("ok", True)
    distribution = changes.pop("distribution", "global" if pattern == "free" else "uniform")
    n, also, unit = changes.pop("n", 100), changes.pop("also", {}), changes.pop("metric", "accuracy (%)")
    higher, reached = changes.pop("higher", True), changes.pop("reached", sparsity)
    source, limited = changes.pop("source", "there"), changes.pop("limited", None)
    done = value is not None
    plain: dict[str, Any] = {
        "task": task,
        "group": task.partition("/")[0],
        "method": method,
        "seed": seed,
        "fold": fold,
        "target": {
            "sparsity": sparsity,
            "pattern": pattern,
            "distribution": distribution,
            "scope": changes.pop("scope", "body"),
        },
        "data": {
            "source": source,
            "digest": changes.pop("data_digest", "da7a" if source == "there" else f"da7a in {source}"),
            "limited": limited,
        },
        "digest": f"{task} {method} {sparsity} {pattern} {seed} {fold}",
        "status": "ok" if done else "failed",
        "reason": "" if done else "out of memory\ntry less",
        "score": {"metric": unit, "value": value, "n": n, "higher_is_better": higher}
        | {"signature": "acc|v1", "also": also}
        if done
        else None,
        "sparsity": {"scope": reached, "weights": reached * 0.9, "all": reached * 0.8} if done else None,
        "certificate": {"ok": ok, "failed": [] if ok else ["50 weights remain, 40 expected"]}
        | changes.pop("certificate", {})
        if done
        else None,
        "cost": merged(
            {"steps": 7, "examples": 70, "scoring_passes": 2, "seconds": SECONDS}, changes.pop("cost", {})
        )
        if done
        else None,
    }
    return record_with(**merged(plain, changes))


@pytest.fixture(scope="session")
def record() -> Callable[..., Record]:
    """Makes records; by default of one certified cell at sparsity 0.5."""
    return make_record


def cell_texts(records: Sequence[Record]) -> dict[str, list[str]]:
    return {row.method: [cell_value.text for cell_value in row.cell_values] for row in table_of(records).rows}


@pytest.fixture(scope="session")
def shown() -> Callable[[Sequence[Record]], dict[str, list[str]]]:
    """Returns the cells of a table of one task as text, by method."""
    return cell_texts
