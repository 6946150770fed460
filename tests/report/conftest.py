"""Records written by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from smc_eval.store.record import Record

SECONDS = {"train": 10.0, "prune": 0.5, "predict": 1.5}


def made(
    method: str = "omp-after", sparsity: float = 0.5, value: float | None = 80.0, **changes: Any
) -> Record:
    """A record; a value of None makes it a failed one."""
    if method == "dense":
        sparsity = 0.0
    task, seed, fold = (
        changes.pop(name, default) for name, default in (("task", "t/a"), ("seed", 0), ("fold", None))
    )
    pattern, ok = changes.pop("pattern", "free"), changes.pop("ok", True)
    distribution = changes.pop("spread", "global" if pattern == "free" else "uniform")
    n, also, unit = changes.pop("n", 100), changes.pop("also", {}), changes.pop("metric", "accuracy (%)")
    higher, reached = changes.pop("higher", True), changes.pop("reached", sparsity)
    source, limited = changes.pop("source", "there"), changes.pop("limited", None)
    record: dict[str, Any] = {
        "task": task,
        "group": task.partition("/")[0],
        "model": "tiny",
        "method": method,
        "protocol": "sound",
        "seed": seed,
        "fold": fold,
        "target": {
            "sparsity": sparsity,
            "pattern": pattern,
            "spread": distribution,
            "scope": changes.pop("scope", "body"),
        },
        "recipe": {"epochs": 1.0, "steps": None},
        "data": {
            "source": source,
            "digest": changes.pop("data_digest", "da7a" if source == "there" else f"da7a in {source}"),
            "limited": limited,
        },
        "digest": f"{task} {method} {sparsity} {pattern} {seed} {fold}",
        "status": "failed",
        "reason": "out of memory\ntry less",
    }
    if value is not None:
        record |= {
            "status": "ok",
            "reason": "",
            "score": {
                "metric": unit,
                "value": value,
                "n": n,
                "higher_is_better": higher,
                "signature": "acc|v1",
                "also": also,
            },
            "sparsity": {"scope": reached, "weights": reached * 0.9, "all": reached * 0.8},
            "certificate": {"ok": ok, "kept": 50, "wanted": 50 if ok else 40} | changes.pop("told", {}),
            "cost": {"steps": 7, "examples": 70, "scoring_passes": 2, "seconds": SECONDS},
        }
    return Record(**{**record, **changes})


@pytest.fixture(scope="session")
def record() -> Callable[..., Record]:
    """Makes records; the defaults are one sound cell at sparsity 0.5."""
    return made
