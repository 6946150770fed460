"""Made-up records, to test code that reads records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smc_eval.recipe import Recipe
from smc_eval.store.record import Record

NO_OPERATIONS = {"dense": 0, "sparse": 0}

TEMPLATE: dict[str, Any] = {
    "task": "toy",
    "group": "toy",
    "model": "tiny",
    "method": "omp-after",
    "protocol": "sound",
    "seed": 0,
    "fold": None,
    "target": {"sparsity": 0.5, "pattern": "free", "distribution": "global", "scope": "body"},
    "recipe": Recipe(epochs=1.0).model_dump(mode="json"),
    "data": {"source": "synthetic", "digest": "da7a", "limited": None},
    "digest": "0" * 64,
    "status": "ok",
    "reason": "",
    "match": {},
    "score": {
        "metric": "accuracy (%)",
        "value": 80.0,
        "n": 100,
        "higher_is_better": True,
        "signature": "made up",
        "also": {},
        "also_n": {},
    },
    "sparsity": {"scope": 0.5, "weights": 0.5, "all": 0.5},
    "certificate": {
        "ok": True,
        "failed": [],
        "asked": 0.5,
        "reached": 0.5,
        "remaining": 50,
        "expected": 50,
        "in_scope": 100,
        "largest_under_mask": 0.0,
        "revived": 0,
        "finite": True,
        "misfits": [],
        "tensors": {},
        "dead_tensors": [],
        "dead_units": {},
        "mask_digest": "",
        "mask_changes": 1,
        "regrown": 0,
        "bytes": {"dense": 400, "bitmask": 213, "csr": 300},
        "moved": {"scope": 0.1, "scope_remaining": 0.1, "tensors": {}, "tensors_remaining": {}},
        "effective": None,
    },
    "cost": {
        "steps": 10,
        "examples": 80,
        "scoring_passes": 0,
        "teacher_passes": 0,
        "selections": 0,
        "seconds": {"train": 1.0, "prune": 0.0, "predict": 0.0},
        "flops": {"train": NO_OPERATIONS, "prune": NO_OPERATIONS, "predict": NO_OPERATIONS},
        "peak_memory_mb": 1,
        "peak_memory_of": "cell",
    },
    "versions": {"smc-eval": "0"},
}


def record_with(**changes: Any) -> Record:
    """A made-up record of a successful cell, with some fields replaced.

    A nested mapping replaces only the keys that it names; None removes a part.
    """
    return Record.from_json(merged(TEMPLATE, changes))


def merged(plain: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings, with some values replaced."""
    return {
        **plain,
        **{
            name: merged(plain[name], value)
            if isinstance(value, Mapping) and isinstance(plain.get(name), Mapping)
            else value
            for name, value in changes.items()
        },
    }
