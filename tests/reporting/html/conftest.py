"""Records written by hand, and what lies beside them."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from smc_eval.store.mask_samples import MaskSample
from smc_eval.store.record import Record
from smc_eval.testing import record_with


def made(method: str = "lth", sparsity: float = 0.36, value: float | None = 60.0, **changes: Any) -> Record:
    """A record of a known task; a value of None makes it a failed one."""
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
        model="roberta-large",
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
    return made


def drawn(bits: str) -> MaskSample:
    """A tensor of a few weights, each looked at."""
    number = int(bits, 2) << (-len(bits) % 8)
    text = base64.b64encode(number.to_bytes(-(-len(bits) // 8), "big")).decode()
    return MaskSample.read(len(bits), len(bits), text)


@pytest.fixture(scope="session")
def sketch() -> Callable[[str], MaskSample]:
    """Makes sketches of masks from their bits."""
    return drawn


@pytest.fixture(scope="session")
def several() -> list[Record]:
    """Two tasks, three methods, two seeds, two sparsities; one cell fails, one is not certified."""
    found = []
    for seed in (0, 1):
        found += [
            made("dense", value=77 + seed, seed=seed),
            made("dense", value=75, seed=seed, task="race/high"),
        ]
        for method, lost in (("lth", 2), ("omp-after", 5), ("snip", 40)):
            for sparsity in (0.36, 0.672):
                value = 77 + seed - lost * sparsity * 2
                tensors = {"a.weight": sparsity, "b.weight": 1.0 if method == "snip" else sparsity}
                found.append(made(method, sparsity, value, seed=seed, tensors=tensors, steps=100 + lost))
    return [
        *found,
        made("gmp", 0.36, None),
        made("gmp", 0.672, 50.0, ok=False),
        made("lth", 0.36, 70.0, task="race/high"),
    ]
