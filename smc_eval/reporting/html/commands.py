"""The command lines that reproduce records, derived from the records alone."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from smc_eval.experiment.grid import recipe_of
from smc_eval.method import DENSE
from smc_eval.protocol import PROTOCOLS, Protocol
from smc_eval.recipe import Recipe
from smc_eval.registry import Registry
from smc_eval.store.record import Record
from smc_eval.target import SMC_GRID, level_text
from smc_eval.task import Task

Flags = tuple[tuple[str, str], ...]
"""The flags of a record's command line, without those that take lists."""


def commands_of(records: Sequence[Record], registry: Registry) -> list[str]:
    """As few commands as possible; each makes one set of records."""
    groups: dict[Flags, list[Record]] = {}
    for record in sorted(records, key=lambda record: record.method == DENSE):
        flags = _flags(record, registry)
        # a dense net joins a command that has all of its flags
        fitting = next((other for other in groups if set(flags) <= set(other)), flags)
        groups.setdefault(fitting if record.method == DENSE else flags, []).append(record)
    return [_command(flags, group) for flags, group in groups.items()]


def _flags(record: Record, registry: Registry) -> Flags:
    """Model, data, and all that differs from the defaults of protocol, method and task."""
    dense, target = record.method == DENSE, record.target
    kind = registry.methods.get(_base_name(record.method))
    flags = {"model": record.model, "protocol": record.protocol}
    if not dense and target.scope != PROTOCOLS[record.protocol].scope:
        flags["scope"] = target.scope
    if not dense and ":" not in target.pattern and kind and target.distribution != kind.card.distribution:
        flags["distribution"] = target.distribution
    if changes := _recipe_changes(record, registry):
        flags["recipe"] = changes
    if record.match and not dense:
        flags["match"] = record.match.label
    if record.kernels:
        flags["kernels"] = "sparse"
    if record.data.source:
        flags["data-dir"] = record.data.source
    if record.data.limited:
        flags["limit"] = str(record.data.limited)
    patterns = [("include", word) for word in target.include] + [("exclude", word) for word in target.exclude]
    return (*flags.items(), *(() if dense else patterns))


def _recipe_changes(record: Record, registry: Registry) -> str:
    """The recipe's differences from the task's own recipe; empty if no plugin has the task."""
    kind = registry.tasks.get(_base_name(record.task))
    if kind is None:
        return ""
    own = _own_recipe(kind, record.model, PROTOCOLS[record.protocol])
    changes = {
        name: value for name, value in record.recipe if value is not None and value != getattr(own, name)
    }
    return ",".join(f"{name}={_text(value)}" for name, value in changes.items())


@cache  # as many records as cells have the same
def _own_recipe(kind: type[Task], model: str, protocol: Protocol) -> Recipe:
    return recipe_of(kind, model, protocol).recorded


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_text, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _base_name(label: str) -> str:
    """The name of a task or method, without its options."""
    return label.partition(":")[0]


def _command(flags: Flags, records: Sequence[Record]) -> str:
    methods = [record.method.partition("+")[0] for record in records if record.method != DENSE]
    lists: Mapping[str, Iterable[str]] = {
        "tasks": [record.task for record in records],
        "method": methods or [DENSE],
        "ablate": [record.method.partition("+")[2] for record in records if "+" in record.method],
        "sparsity": _sparsities(records),
        "seeds": [str(seed) for seed in sorted({record.seed for record in records})],
        "folds": [str(fold) for fold in sorted({r.fold for r in records if r.fold is not None})],
    }
    words = ["smc-eval"]
    for name, value in (*flags, *((name, _listed(name, values)) for name, values in lists.items())):
        if value:
            words += [f"--{name}", shlex.quote(value)]
    if not any(record.method == DENSE for record in records):
        words.append("--no-dense")
    return " ".join(words)


def _listed(name: str, values: Iterable[str]) -> str:
    """A comma-separated list. A single seed gets a comma, as `--seeds 3` is a count."""
    text = ",".join(dict.fromkeys(values))
    return f"{text}," if name == "seeds" and "," not in text else text


def _sparsities(records: Iterable[Record]) -> list[str]:
    pruned = [record.target for record in records if record.method != DENSE]
    free = {target.sparsity for target in pruned if target.pattern == "free"}
    patterns = {level_text(t.pattern, repr(t.sparsity)) for t in pruned if t.pattern != "free"}
    smc = [sparsity for sparsity in free if any(abs(sparsity - exact) < 1e-9 for exact in SMC_GRID)]
    rest = free - set(smc) if len(smc) == len(SMC_GRID) else free
    return [
        *(["smc"] if len(rest) < len(free) else []),
        *(f"{s:.10g}" if float(f"{s:.10g}") < 1 else repr(s) for s in sorted(rest)),
        *sorted(patterns),
    ]
