"""Results: one record a cell, and the book of them on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from smc_eval.errors import StoreError
from smc_eval.experiment.cell import Cell, Chain
from smc_eval.score import Score, pooled
from smc_eval.spec import digest
from smc_eval.store.lease import Leases

RECORD_SCHEMA = 2
"""Version of the records; a book of another version is refused by name."""

BOOK = "results.jsonl"
"""Name of the book inside a store."""


@dataclass(frozen=True)
class Result:
    """What one cell came to. Plain JSON values only, so that no reader needs torch."""

    task: str
    """The task with the options that differ from its defaults: `winogrande:size=xs`."""
    group: str
    model: str
    method: str
    """The method with the options that differ from its defaults: `lth:share=0.1`."""
    protocol: str
    seed: int
    fold: int | None
    target: dict[str, Any]
    """sparsity, pattern, spread, scope."""
    recipe: dict[str, Any]
    data: dict[str, Any]
    """source (`twin` or a folder), digest, limited."""
    digest: str
    status: Literal["ok", "failed", "skipped"]
    reason: str = ""
    match: dict[str, Any] = field(default_factory=dict)
    """The budget it was held to: measure, factor, inside; empty where there was none."""
    score: dict[str, Any] | None = None
    """metric, value, n, higher_is_better, signature, also."""
    sparsity: dict[str, Any] = field(default_factory=dict)
    """Reached: scope (share of the tensors in scope), weights (all but embeddings), all."""
    certificate: dict[str, Any] = field(default_factory=dict)
    """ok, failed (what speaks against it, in words), and what was counted and looked at to say so."""
    cost: dict[str, Any] = field(default_factory=dict)
    """steps, examples, scoring_passes, seconds{train, prune, predict}, flops{train, prune, predict} of
    dense and sparse each, peak_memory_mb, peak_memory_of (the cell or the whole process)."""
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def sound(self) -> bool:
        """Whether the score may enter a mean: done, and certified."""
        return self.status == "ok" and bool(self.certificate.get("ok"))


def blank_record(cell: Cell, chain: Chain | None = None) -> Result:
    """The record of a cell before anything is known of its outcome; status `skipped`."""
    sources = {source.role: source for source in chain.sources} if chain else {}
    task = cell.task
    data = sources.get("data")
    return Result(
        task=task.label,
        group=task.card.groups[0] if task.card.groups else task.card.name,
        model=task.backbone,
        method=cell.method.label,
        protocol=cell.protocol.name,
        seed=cell.seed,
        fold=task.fold,
        target=cell.target.model_dump(mode="json"),
        recipe=task.recipe.model_dump(mode="json"),
        data={
            "source": data.name if data else task.folder,
            "digest": data.digest if data else "",
            "limited": task.limit,
        },
        digest=chain.digest if chain else digest(cell),
        status="skipped",
        match=cell.budget.model_dump(mode="json") if cell.budget else {},
    )


def failed_record(result: Result, reason: str) -> Result:
    """The same record with status `failed` and the reason, in one to three lines."""
    return replace(result, status="failed", reason=reason)


def scored_record(result: Result, score: Score, **parts: Any) -> Result:
    """The same record with a score; `parts` are sparsity, certificate, cost and versions."""
    told = asdict(replace(score, items=None))
    del told["items"]
    return replace(result, status="ok", score=told, **parts)


def same_data(results: Iterable[Result]) -> list[Result]:
    """The records, with data that is the same under one name, whatever folders it was read from."""
    names: dict[tuple[str, int | None, str], str] = {}
    named = []
    for result in results:
        source, digest = str(result.data.get("source")), result.data.get("digest")
        name = names.setdefault((result.task, result.fold, digest), source) if digest else source
        named.append(result if name == source else replace(result, data={**result.data, "source": name}))
    return named


def scores_by_seed(records: Iterable[Result]) -> dict[int, float]:
    """The score of each seed, its folds pooled by how many examples each has."""
    folds: dict[int, list[dict[str, Any]]] = {}
    for record in records:
        assert record.score is not None
        folds.setdefault(record.seed, []).append(record.score)
    return {
        seed: pooled([score["value"] for score in scores], [max(1, score["n"]) for score in scores])
        for seed, scores in folds.items()
    }


class Book:
    """The records of a store: JSON lines, each sealed by a digest of its content.

    A line that was cut short or altered is passed over, and its cell runs again.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / BOOK
        self.broken = 0
        """Lines passed over so far."""
        self._read = 0
        self._latest: dict[str, Result] = {}

    def latest(self) -> dict[str, Result]:
        """The newest sound record of each cell, by digest; reads only what was added since.

        Raises:
            StoreError: the book cannot be read, or is another release's.
        """
        try:
            with self.path.open("rb") as book:
                book.seek(self._read)
                added = book.read()
        except FileNotFoundError:
            return dict(self._latest)
        except OSError as error:
            raise StoreError(f"cannot read {self.path}: {error.strerror}") from None
        whole = added.rfind(b"\n") + 1  # another process may be writing what follows
        for line in added[:whole].splitlines():
            result = self._opened(line.decode(errors="replace"))
            if result is None:
                self.broken += 1
            else:
                self._latest[result.digest] = result
        self._read += whole
        return dict(self._latest)

    def get(self, digest: str) -> Result | None:
        """The newest sound record of one cell; None where it has none.

        Raises:
            StoreError: the book cannot be read, or is another release's.
        """
        return self.latest().get(digest)

    def _opened(self, line: str) -> Result | None:
        try:
            record = json.loads(line)
            seal = record.pop("seal")
            if seal != digest(record):
                return None
            if record.pop("schema") != RECORD_SCHEMA:
                raise StoreError(
                    f"{self.path} was written by another release of smc-eval; use another --output"
                )
            return Result(**record)
        except (ValueError, TypeError, KeyError, AttributeError):
            return None

    def add(self, result: Result) -> None:
        """Append one record: whole and on disk, or not at all.

        Raises:
            StoreError: the book cannot be written.
        """
        record = {"schema": RECORD_SCHEMA, **asdict(result)}
        line = json.dumps({**record, "seal": digest(record)}, ensure_ascii=False) + "\n"
        try:
            leases = Leases(self.path.parent / "leases")
            leases.folder.mkdir(parents=True, exist_ok=True)
            # Unbuffered: a buffer would write its rest again after the book was cut back.
            with leases.held(BOOK), self.path.open("ab+", buffering=0) as book:
                end = book.seek(0, os.SEEK_END)
                if end:  # a writer killed half-way left no line end: begin a new line
                    book.seek(end - 1)
                    line = line if book.read(1) == b"\n" else "\n" + line
                try:
                    left = memoryview(line.encode())
                    while left:
                        left = left[book.write(left) :]
                    os.fsync(book.fileno())
                except OSError:
                    book.truncate(end)
                    raise
        except OSError as error:
            raise StoreError(f"cannot write {self.path}: {error.strerror}") from None
