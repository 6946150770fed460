"""Made-up records and mask samples."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from smc_eval.reporting.series import Panel, panels_of
from smc_eval.reporting.table import table_of
from smc_eval.store.mask_samples import MaskSample
from smc_eval.store.record import Record
from smc_eval.testing import record_with


def make_record(
    method: str = "lth", sparsity: float = 0.36, value: float | None = 60.0, **changes: Any
) -> Record:
    """A record of an installed task; a failed one if `value` is None."""
    sparsity = 0.0 if method == "dense" else sparsity
    seed, fold, ok = (changes.pop(k, d) for k, d in (("seed", 0), ("fold", None), ("ok", True)))
    task, pattern = changes.pop("task", "csqa"), changes.pop("pattern", "free")
    tensors = changes.pop("tensors", {"a.weight": sparsity, "b.weight": sparsity})
    done = value is not None
    certificate = {"ok": ok, "failed": [] if ok else ["3 weights remain, 2 expected"], "asked": sparsity}
    certificate |= {"reached": sparsity, "tensors": tensors, "mask_digest": "a" * 64}
    certificate |= {"dead_tensors": [name for name, share in tensors.items() if share == 1]}
    certificate |= changes.pop("certificate", {})
    score = {"metric": changes.pop("metric", "accuracy (%)"), "value": value, "n": 100, "signature": ""}
    cost = {"steps": changes.pop("steps", 100), **changes.pop("cost", {})}
    return record_with(
        task=task,
        group="g",
        model=changes.pop("model", "roberta-large"),
        method=method,
        seed=seed,
        fold=fold,
        target={"sparsity": sparsity, "pattern": pattern},
        digest=f"{task} {method} {sparsity} {pattern} {seed} {fold}",
        status="ok" if done else "failed",
        reason="" if done else "out of <memory>\ntry less",
        score=score if done else None,
        sparsity={"scope": sparsity, "weights": sparsity, "all": 0.9 * sparsity},
        certificate=certificate if done else None,
        cost=cost,
        versions={"torch": "2.13"},
        **changes,
    )


@pytest.fixture(scope="session")
def record() -> Callable[..., Record]:
    """Makes records."""
    return make_record


def first_panel(records: Sequence[Record]) -> Panel:
    return panels_of(table_of(records), {"csqa": 20.0, "meltome": 0.0})[0]


@pytest.fixture(scope="session")
def panel_of() -> Callable[[Sequence[Record]], Panel]:
    """Makes the first panel of records."""
    return first_panel


def mask_sample_of(bits: str) -> MaskSample:
    """The mask of a small tensor, with every place sampled."""
    number = int(bits, 2) << (-len(bits) % 8)
    text = base64.b64encode(number.to_bytes(-(-len(bits) // 8), "big")).decode()
    return MaskSample.read(len(bits), len(bits), text)


@pytest.fixture(scope="session")
def mask_sample() -> Callable[[str], MaskSample]:
    """Makes mask samples from their bits."""
    return mask_sample_of


@pytest.fixture(scope="session")
def several() -> list[Record]:
    """Two tasks, three methods, two seeds, two sparsities; one failed cell, one failed certificate."""
    records = []
    for seed in (0, 1):
        records += [
            make_record("dense", value=77 + seed, seed=seed),
            make_record("dense", value=75, seed=seed, task="race/high"),
        ]
        for method, lost in (("lth", 2), ("omp-after", 5), ("snip", 40)):
            for sparsity in (0.36, 0.672):
                value = 77 + seed - lost * sparsity * 2
                tensors = {"a.weight": sparsity, "b.weight": 1.0 if method == "snip" else sparsity}
                changes = {"seed": seed, "tensors": tensors, "steps": 100 + lost}
                records.append(make_record(method, sparsity, value, **changes))
    return [
        *records,
        make_record("gmp", 0.36, None),
        make_record("gmp", 0.672, 50.0, ok=False),
        make_record("lth", 0.36, 70.0, task="race/high"),
    ]
