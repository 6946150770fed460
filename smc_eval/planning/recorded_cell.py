"""Recorded cells: the cell and the chain of a record, found again from its words."""

from __future__ import annotations

from typing import get_args

from smc_eval.errors import StoreError, UnknownName
from smc_eval.experiment.ablation import Ablated, How
from smc_eval.experiment.cell import Cell, Chain
from smc_eval.experiment.grid import task_named
from smc_eval.experiment.parsing import parse_named
from smc_eval.experiment.spec_text import parse_optimizer, parse_spec
from smc_eval.method import Method
from smc_eval.planning.resolve import Resolver
from smc_eval.protocol import PROTOCOLS
from smc_eval.registry import Registry
from smc_eval.store.record import Record
from smc_eval.target import Target
from smc_eval.task import Task


def chain_of_record(record: Record, registry: Registry, folder: str | None = None) -> Chain:
    """The chain of a record. Its digest is that of the record, so it makes the same net.

    Args:
        record: the record.
        registry: where tasks, methods and optimizers come from.
        folder: the folder of the data now; None takes the record's.

    Raises:
        UsageError: a plugin, the data or the model is gone.
        StoreError: data, model, versions or options are others than those of the record.
    """
    chain = Resolver().resolve(cell_of_record(record, registry, folder))
    if chain.digest == record.digest:
        return chain
    data = next((source.digest for source in chain.sources if source.role == "data"), "")
    if data != record.data.digest:
        raise StoreError(
            f"the data in {chain.cell.task.folder!r} is not that of the record: its digest is {data[:12]}, "
            f"the record has {record.data.digest[:12]}; give the folder of the run by --data-dir"
        )
    made = record.versions.get("smc-eval", "another release")
    raise StoreError(
        f"the cell has digest {chain.digest[:12]} here, and {record.digest[:12]} in its record (smc-eval "
        f"{made}): the files of model {record.model!r}, smc-eval or a plugin have changed since; use "
        "those of the run, or run the cell again"
    )


def cell_of_record(record: Record, registry: Registry, folder: str | None = None) -> Cell:
    """The cell of a record.

    Raises:
        UsageError: a plugin that it names is not installed.
    """
    method = _method(record.method, registry)
    custom = method.card.when == "custom"  # the record has the sparsity that was found
    target = Target(**{**vars(record.target), **({"sparsity": 0.0} if custom else {})})
    return Cell(
        task=_task(record, registry, folder),
        method=method,
        target=target,
        protocol=PROTOCOLS[record.protocol],
        seed=record.seed,
        budget=record.match,
        kernels="sparse" if record.kernels else "dense",
        refused_models=record.refused_models,
    )


def _method(label: str, registry: Registry) -> Method:
    words, _, how = label.partition("+")
    ((name, options),) = parse_named([words], "method")
    method: Method = parse_spec(registry.method(name), options, "option", f"method {name!r}")
    if not how:
        return method
    if how not in get_args(How):
        raise UnknownName("ablation", how, get_args(How))
    return Ablated(method=method, how=how)


def _task(record: Record, registry: Registry, folder: str | None) -> Task:
    recipe, optimizer = record.recipe, record.recipe.optimizer
    if isinstance(optimizer, str) and optimizer.partition(":")[0] in registry.optimizers:
        parsed = parse_optimizer(optimizer, registry.optimizers)
        recipe = recipe.model_validate({**dict(recipe), "optimizer": parsed})
    source = record.data.source.partition(":")[0] or "synthetic"
    settings = {
        "folder": source if source in {"synthetic", "hub"} else folder or record.data.source,
        "fold": record.fold,
        "limit": record.data.limited,
    }
    return task_named(record.task, registry, backbone=record.model, recipe=recipe, **settings)
