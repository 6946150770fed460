"""The Record: all results of one cell, typed and frozen, readable without torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from smc_eval.experiment.budget import Budget
from smc_eval.experiment.cell import Cell, Chain
from smc_eval.recipe import Recipe
from smc_eval.score import Score, pooled
from smc_eval.spec import digest
from smc_eval.store.certificate import RECORD_CONFIG, Certificate, Count, Share
from smc_eval.task import Source

RECORD_SCHEMA = 2
"""Version of the JSON of a record."""

Seconds = Annotated[float, Field(ge=0)]

EMPTY_PARTS = ("match", "sparsity", "certificate", "cost")
"""Parts that are an empty object in JSON, and None in Python, where a record lacks them."""


@dataclass(frozen=True)
class TargetRecord:
    """The target that was asked for. For custom masks, `sparsity` is that of the masks."""

    __pydantic_config__ = RECORD_CONFIG

    sparsity: Share
    pattern: Annotated[str, Field(pattern=r"^(free|[1-9][0-9]*:[1-9][0-9]*)$")]
    distribution: str
    scope: str
    include: Annotated[tuple[str, ...], Field(exclude_if=lambda v: not v)] = ()
    """Patterns of `--include`."""
    exclude: Annotated[tuple[str, ...], Field(exclude_if=lambda v: not v)] = ()
    """Patterns of `--exclude`."""


@dataclass(frozen=True)
class DataSource:
    """The data that was read."""

    __pydantic_config__ = RECORD_CONFIG

    source: str
    """`synthetic`, `hub` or a folder; where nothing was read, the folder that was asked for, or empty."""
    digest: str
    """Empty where nothing was read."""
    limited: Count | None
    """The value of `--limit`."""


@dataclass(frozen=True)
class ScoreRecord:
    """A `Score` without its items. Fields are as there."""

    __pydantic_config__ = RECORD_CONFIG

    metric: str
    value: float
    n: Count
    higher_is_better: bool
    signature: str
    also: Mapping[str, float] = field(default_factory=dict)
    also_n: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ReachedSparsity:
    """Share of weights that masks remove, in [0, 1], of three totals."""

    __pydantic_config__ = RECORD_CONFIG

    scope: Share
    """Of the tensors in scope."""
    weights: Share
    """Of all tensors with two or more dimensions, embeddings left out."""
    all: Share
    """Of all parameters."""


@dataclass(frozen=True)
class ActivitySeconds:
    """Wall-clock seconds."""

    __pydantic_config__ = RECORD_CONFIG

    train: Seconds
    prune: Seconds
    predict: Seconds


@dataclass(frozen=True)
class FlopCount:
    """Floating-point operations."""

    __pydantic_config__ = RECORD_CONFIG

    dense: Count
    """As if nothing were pruned."""
    sparse: Count
    """If pruned weights cost nothing."""


@dataclass(frozen=True)
class ActivityFlops:
    """Operations of training, of the pruners' scoring passes, and of predicting the reported split."""

    __pydantic_config__ = RECORD_CONFIG

    train: FlopCount
    prune: FlopCount
    predict: FlopCount


@dataclass(frozen=True)
class Cost:
    """Cost of a net, over its whole chain."""

    __pydantic_config__ = RECORD_CONFIG

    steps: Count
    """Optimizer steps."""
    examples: Count
    """Training examples seen, with repetition."""
    scoring_passes: Count
    """Batches that pruners passed through the net."""
    teacher_passes: Count
    """Batches that a teacher predicted."""
    selections: Count
    """How often a validation split was predicted to select an epoch."""
    seconds: ActivitySeconds
    flops: ActivityFlops
    peak_memory_mb: Count
    peak_memory_of: str
    """Whether the peak is that of the cell or of the whole process."""
    parts: Annotated[int, Field(exclude_if=lambda v: v == 1)] = 1
    """Parts that each batch was split into, to fit into memory."""


@dataclass(frozen=True)
class Record:
    """All results of one cell."""

    __pydantic_config__ = RECORD_CONFIG

    task: str
    """The task with its options, where they are not the defaults: `winogrande:size=xs`."""
    group: str
    model: str
    method: str
    """The method with its options, where they are not the defaults: `lth:share=0.1`."""
    protocol: Literal["sound", "paper"]
    seed: Count
    fold: Count | None
    target: TargetRecord
    recipe: Recipe
    data: DataSource
    digest: str
    """Names the cell and everything its numbers depend on."""
    status: Literal["ok", "failed", "skipped"]
    reason: str = ""
    match: Budget | None = None
    """The training budget of `--match`."""
    score: ScoreRecord | None = None
    sparsity: ReachedSparsity | None = None
    certificate: Certificate | None = None
    cost: Cost | None = None
    refused_models: Annotated[tuple[str, ...], Field(exclude_if=lambda v: not v)] = ()
    """Why the task kept its published model: a sentence for each model that was named for it."""
    notes: Annotated[tuple[str, ...], Field(exclude_if=lambda v: not v)] = ()
    """What a reader must know of this result, in sentences."""
    versions: Mapping[str, str | int] = field(default_factory=dict)
    """Of Python, the libraries and the device."""

    @property
    def sound(self) -> bool:
        """Whether the score may enter a mean: the cell is done, and its certificate holds."""
        return self.status == "ok" and self.certificate is not None and self.certificate.ok

    @property
    def dead_tensors(self) -> tuple[str, ...]:
        """Tensors without any unpruned weight; none where there is no certificate."""
        return self.certificate.dead_tensors if self.certificate else ()

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        plain: dict[str, Any] = _adapter().dump_python(self, mode="json")
        return plain | {name: plain[name] or {} for name in EMPTY_PARTS}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Record:
        """The record of `to_json`.

        Raises:
            ValueError: the values are not a record's.
        """
        parts = {name: plain.get(name) or None for name in EMPTY_PARTS}
        return _adapter().validate_python({**plain, **parts})


def record_schema() -> dict[str, Any]:
    """The JSON Schema of `Record.to_json`, with the line's own `schema` and `seal`."""
    schema = _adapter().json_schema(mode="serialization")
    fields = schema["properties"]
    for name in EMPTY_PARTS:
        reference = next(kind for kind in fields[name]["anyOf"] if "$ref" in kind)
        fields[name] = {"anyOf": [reference, {"type": "object", "maxProperties": 0}]}
    fields["schema"] = {"const": RECORD_SCHEMA}
    fields["seal"] = {"type": "string", "description": "SHA-256 of the line's other values"}
    schema["required"] = ["schema", *schema["required"], "seal"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


@cache
def _adapter() -> TypeAdapter[Record]:
    return TypeAdapter(Record)


def blank_record(cell: Cell, chain: Chain | None = None, sources: Iterable[Source] = ()) -> Record:
    """The record of a cell that has not run; its status is `skipped`.

    `sources` are those of its task, if it has no chain.
    """
    task, read = cell.task, {source.role: source for source in (chain.sources if chain else sources)}
    data = read.get("data")
    asked = "" if task.folder == "synthetic" else task.folder  # a task can have data of its own
    return Record(
        task=task.label,
        group=task.card.groups[0] if task.card.groups else task.card.name,
        model=task.backbone,
        method=cell.method.label,
        protocol=cell.protocol.name,
        seed=cell.seed,
        fold=task.fold,
        target=TargetRecord(**dict(cell.target)),
        recipe=task.recipe,
        data=DataSource(data.name if data else asked, data.digest if data else "", task.limit),
        digest=chain.digest if chain else digest(cell),
        status="skipped",
        match=cell.budget,
        refused_models=cell.refused_models,
    )


def failed_record(record: Record, reason: str) -> Record:
    """The same record with status `failed` and the reason, in one to three lines."""
    return replace(record, status="failed", reason=reason)


def scored_record(record: Record, score: Score, **parts: Any) -> Record:
    """The same record with a score; `parts` are other fields of the record."""
    plain = {name: value for name, value in vars(score).items() if name != "items"}
    return replace(record, status="ok", score=ScoreRecord(**plain), **parts)


def same_data(records: Iterable[Record]) -> list[Record]:
    """The records, with equal data under one name, whatever folders it was read from."""
    names: dict[tuple[str, int | None, str], str] = {}
    renamed = []
    for record in records:
        data = record.data
        name = names.setdefault((record.task, record.fold, data.digest), data.source)
        same = not data.digest or name == data.source
        renamed.append(record if same else replace(record, data=replace(data, source=name)))
    return renamed


def scores_by_seed(records: Iterable[Record]) -> dict[int, float]:
    """The score of each seed: the mean over its folds, weighted by their numbers of examples."""
    folds: dict[int, list[ScoreRecord]] = {}
    for record in records:
        assert record.score is not None
        folds.setdefault(record.seed, []).append(record.score)
    return {
        seed: pooled([score.value for score in scores], [max(1, score.n) for score in scores])
        for seed, scores in folds.items()
    }
