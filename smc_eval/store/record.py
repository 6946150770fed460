"""The Record: all results of one cell, typed and frozen, readable without torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from smc_eval.experiment.budget import Budget
from smc_eval.experiment.cell import Cell, Chain
from smc_eval.experiment.data_facts import DataFacts, Repeats
from smc_eval.recipe import Recipe
from smc_eval.score import Score, pooled
from smc_eval.spec import digest
from smc_eval.store.certificate import RECORD_CONFIG, Certificate, Count, Share
from smc_eval.store.cost import Cost
from smc_eval.store.epoch_score import EpochScore
from smc_eval.task import CheckpointUse, Source

RECORD_SCHEMA = 2
"""Version of the JSON of a record."""

ONE_BY_ONE = "|batch:1"
"""End of the signature of a score whose examples were predicted one by one."""


EMPTY_PARTS = ("match", "sparsity", "certificate", "cost")
"""Parts that are an empty object in JSON, and None in Python, where a record lacks them."""


@dataclass(frozen=True)
class TargetRecord:
    """The target that was asked for. For custom masks, `sparsity` is that of the masks."""

    __pydantic_config__ = RECORD_CONFIG

    sparsity: Share
    """Share to prune of the weights in scope, or of the heads or neurons; 1 - N / M for an N:M pattern."""
    pattern: Annotated[str, Field(pattern=r"^(free|heads|neurons|[1-9][0-9]*:[1-9][0-9]*)$")]
    """`free`, N:M, `heads` or `neurons`."""
    distribution: str
    """How the sparsity is distributed over tensors: `--distribution`, or the method's own default."""
    scope: str
    """Which tensors count: `--scope`, or the protocol's default."""
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
    repeats: Annotated[Repeats | None, Field(exclude_if=lambda v: v is None)] = None
    """Test examples that are not new. None if they were not counted."""
    left_out: Annotated[Mapping[str, int], Field(exclude_if=lambda v: not v)] = field(default_factory=dict)
    """Number of incomplete examples that are left out of each part."""
    unknown_tokens: Annotated[Mapping[str, float], Field(exclude_if=lambda v: not v)] = field(
        default_factory=dict
    )
    """Share of unknown tokens in the test data, in [0, 1], by language."""

    def with_facts(self, facts: DataFacts) -> DataSource:
        """The same data with the counts of its examples."""
        return replace(self, **vars(facts))


@dataclass(frozen=True)
class ScoreRecord:
    """A `Score` without its items."""

    __pydantic_config__ = RECORD_CONFIG

    metric: str
    """Name of the metric, with its unit."""
    value: float
    """The score, in the metric's unit: per cent for accuracy."""
    n: Count
    """Number of scored examples."""
    higher_is_better: bool
    """Whether a higher score is better. Of perplexities, a lower one is."""
    signature: str
    """Details that must be equal for two scores to be comparable."""
    also: Mapping[str, float] = field(default_factory=dict)
    """Further scores of the same predictions, by name, in the same unit."""
    also_n: Mapping[str, int] = field(default_factory=dict)
    """Number of examples of each further score, unless it is `n`."""
    ceiling: Annotated[Mapping[str, float], Field(exclude_if=lambda v: not v)] = field(default_factory=dict)
    """Highest possible score of each part, if predictions cannot be perfect."""
    one_by_one: Annotated[bool, Field(exclude_if=lambda v: not v)] = False
    """Whether each example was predicted alone, because padding or other examples of a batch change what this
    net makes of it."""


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
class ObservedInputs:
    """What a method that looks at the inputs of weights did not see."""

    __pydantic_config__ = RECORD_CONFIG

    unseen: float
    """Share of the weights in scope of which no input was seen: there the method knew the weights alone."""
    unseen_tensors: Mapping[str, float]
    """The same of each tensor that has some."""
    padded: tuple[str, ...]
    """Tensors whose inputs may include padding."""


@dataclass(frozen=True)
class SparseKernels:
    """What `--kernels sparse` did: sparse products where they pay, dense ones elsewhere."""

    __pydantic_config__ = RECORD_CONFIG

    maps: Count
    """Masked matrices of the net."""
    trained: Count
    """Those of which a product ran sparse in a training."""
    predicted: Count
    """Those of which a product ran sparse when the reported split was predicted."""


@dataclass(frozen=True)
class Record:
    """All results of one cell."""

    __pydantic_config__ = RECORD_CONFIG

    task: str
    """The task with its options, where they are not the defaults: `winogrande:size=xs`."""
    group: str
    """The first group of the task, or its own name if it is in none."""
    model: str
    """The model, as `--model` names it: a hub id, a folder, `pkg:NAME`, `tiny` or `scratch`."""
    method: str
    """The method with its options, where they are not the defaults: `lth:share=0.1`."""
    protocol: Literal["sound", "paper"]
    """What holds for all methods of the run."""
    seed: Count
    """Decides the initial weights of new layers, the order of batches and all random draws."""
    fold: Count | None
    """Fold of the cross-validation, counted from 0; None if the task has one split."""
    target: TargetRecord
    recipe: Recipe
    data: DataSource
    digest: str
    """Names the cell and everything its numbers depend on."""
    status: Literal["ok", "failed", "skipped"]
    """`ok`: done. `skipped`: it did not run."""
    reason: str = ""
    """Why a cell failed or was skipped."""
    match: Budget | None = None
    """The training budget of `--match`."""
    score: ScoreRecord | None = None
    sparsity: ReachedSparsity | None = None
    certificate: Certificate | None = None
    cost: Cost | None = None
    inputs: Annotated[ObservedInputs | None, Field(exclude_if=lambda v: v is None)] = None
    """Only where a method did not see all inputs, or where they may include padding."""
    checkpoint: Annotated[CheckpointUse | None, Field(exclude_if=lambda v: v is None)] = None
    """What the net took of its checkpoint; missing if it was made without one."""
    epochs: Annotated[tuple[EpochScore, ...], Field(exclude_if=lambda v: not v)] = ()
    """All epochs of the last training, where one of them was selected."""
    kernels: Annotated[SparseKernels | None, Field(exclude_if=lambda v: v is None)] = None
    """Only with `--kernels sparse`."""
    refused_models: Annotated[tuple[str, ...], Field(exclude_if=lambda v: not v)] = ()
    """Why the task kept its published model: a sentence for each model that was named for it."""
    notes: Annotated[tuple[str, ...], Field(exclude_if=lambda v: not v)] = ()
    """What a reader must know of this result, in sentences."""
    versions: Mapping[str, str | bool | int] = field(default_factory=dict)
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


@cache
def _adapter() -> TypeAdapter[Record]:
    return TypeAdapter(Record)


def blank_record(cell: Cell, chain: Chain | None = None, sources: Iterable[Source] = ()) -> Record:
    """The record of a cell that has not run; its status is `skipped`.

    `sources` are those of its task, if it has no chain.
    """
    task, read = cell.task, chain.sources if chain else sources
    data = next((source for source in read if source.role == "data"), None)  # what is scored comes first
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
        recipe=task.recipe.recorded,
        data=DataSource(data.name if data else asked, data.digest if data else "", task.limit),
        digest=chain.digest if chain else digest(cell),
        status="skipped",
        match=cell.budget,
        kernels=SparseKernels(0, 0, 0) if cell.kernels == "sparse" else None,
        refused_models=cell.refused_models,
    )


def failed_record(record: Record, reason: str) -> Record:
    """The same record with status `failed` and the reason, in one to three lines.

    What UTF-8 cannot hold, such as half a character of a file name, is written with a backslash.
    """
    reason = reason.encode("utf-8", "backslashreplace").decode()
    return replace(record, status="failed", reason=reason)


def scored_record(record: Record, score: Score, *, one_by_one: bool | None = None, **parts: Any) -> Record:
    """The same record with a score; `parts` are other fields of the record.

    `one_by_one`: whether each example was predicted alone; None takes it from the record.
    """
    if one_by_one is None:
        one_by_one = record.score is not None and record.score.one_by_one
    plain = {name: value for name, value in vars(score).items() if name != "items"}
    if one_by_one:
        plain |= {"one_by_one": True, "signature": score.signature + ONE_BY_ONE}
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
