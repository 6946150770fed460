"""The plan of many chains: a trie of stages, what of it is done, and what is still to pay."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from smc_eval.experiment.cell import Chain
from smc_eval.planning.cost_model import (
    DeviceRate,
    ForwardFlops,
    TrainingCost,
    flops_of,
    narrowest_rate,
    seconds_of,
    sum_known,
    unknown_flops,
)
from smc_eval.pruner import Pruner
from smc_eval.stages import Prune, Rewind, Stage, Train
from smc_eval.store.record import Record
from smc_eval.target import Target
from smc_eval.task import Task
from smc_eval.updater import Updater

Rates = Mapping[tuple[str, str], float]
"""Seconds of an optimizer step by task and model."""


@dataclass
class StageNode:
    """A stage that one or more cells go through, under all that led to it."""

    digest: str
    stage: Stage | None
    """None at a start."""
    steps: int = 0
    todo: bool = False
    """Whether a run would carry it out; a start costs nothing."""
    after: list[StageNode] = field(default_factory=list)
    ends: list[Chain] = field(default_factory=list)
    """Cells that are scored here."""

    def walk(self) -> Iterator[StageNode]:
        """This node and all after it."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += reversed(node.after)


@dataclass(frozen=True)
class Plan:
    """All chains of a grid as one trie, with its cost."""

    roots: tuple[StageNode, ...]
    chains: tuple[Chain, ...]
    scored: frozenset[str]
    """Digests of the cells whose records stand in the store."""
    rates: Rates = field(default_factory=dict)
    """As the store has seen them."""
    given: tuple[DeviceRate, ...] = ()
    """Rates of another device, which go before all that the store has seen."""
    work: ForwardFlops = unknown_flops

    @classmethod
    def of(
        cls,
        chains: Sequence[Chain],
        finished: Callable[[str], bool],
        records: Iterable[Record] = (),
        *,
        given: Sequence[DeviceRate] = (),
        work: ForwardFlops = unknown_flops,
    ) -> Plan:
        """The plan of chains over a store: `finished` says which nets it holds, `records` its book."""
        kept = list(records)
        done = {record.digest for record in kept if record.status == "ok"}
        names = [chain.digest for chain in chains]
        scored, todo = frozenset(name for name in names if name in done), set[str]()
        for name, chain in zip(names, chains, strict=True):
            if name not in scored:
                todo |= stages_owed(chain, finished)
        roots, nodes = list[StageNode](), dict[str, StageNode]()
        for chain in chains:
            if chain.start not in nodes:
                nodes[chain.start] = StageNode(chain.start, None)
                roots.append(nodes[chain.start])
            node = nodes[chain.start]
            for link in chain.links:
                if link.digest not in nodes:
                    length = steps_of(link.stage, chain.examples)
                    nodes[link.digest] = StageNode(link.digest, link.stage, length, link.digest in todo)
                    node.after.append(nodes[link.digest])
                node = nodes[link.digest]
            node.ends.append(chain)
        return cls(tuple(roots), tuple(chains), scored, seen_rates(kept), tuple(given), work)

    @property
    def nodes(self) -> list[StageNode]:
        """Every stage once."""
        return [node for root in self.roots for node in root.walk() if node.stage is not None]

    @property
    def naive(self) -> int:
        """Optimizer steps if every cell went all its way alone."""
        return sum(steps_of(link.stage, chain.examples) for chain in self.chains for link in chain.links)

    @property
    def shared(self) -> int:
        """Optimizer steps of all stages, each carried out once."""
        return sum(node.steps for node in self.nodes)

    @property
    def owed(self) -> int:
        """Optimizer steps that are still to pay."""
        return sum(node.steps for node in self.nodes if node.todo)

    @property
    def seconds(self) -> float | None:
        """Estimate of the training still to pay; None where no rate is known of some task and model."""
        return sum_known(price.seconds for price in self.prices())

    def prices(self) -> list[TrainingCost]:
        """The cost by task and model, in order."""
        alike = dict[tuple[tuple[str, ...], str], list[StageNode]]()
        for root in self.roots:
            tasks = [chain.cell.task for node in root.walk() for chain in node.ends]
            names = tuple(dict.fromkeys(task.label for task in tasks))
            alike.setdefault((names, tasks[0].backbone), []).append(root)
        return [self._price(names, model, roots) for (names, model), roots in alike.items()]

    def lengths(self) -> dict[str, float]:
        """Seconds of every stage by its digest, done or not, as far as they are known."""
        found = dict[str, float]()
        for root in self.roots:
            rate, each = self._pace(next(chain for node in root.walk() for chain in node.ends).cell.task)
            for node in root.walk():
                seconds = seconds_of(rate, node.stage, node.steps, each) if node.stage else None
                if seconds is not None:
                    found[node.digest] = seconds
        return found

    def _pace(self, task: Task) -> tuple[DeviceRate | None, float | None]:
        """The rate at which a task is trained, and the operations of one of its examples."""
        seen = self.rates.get((task.label, task.backbone))
        rate = narrowest_rate(self.given, task) if self.given else DeviceRate(seconds=seen) if seen else None
        return rate, self.work(task)

    def _price(self, names: tuple[str, ...], model: str, roots: Sequence[StageNode]) -> TrainingCost:
        nodes = [node for root in roots for node in root.walk()]
        chains = [chain for node in nodes for chain in node.ends]
        rate, each = self._pace(chains[0].cell.task)
        left = [(node.stage, node.steps) for node in nodes if node.stage and node.todo]
        alone = [
            (link.stage, steps_of(link.stage, chain.examples)) for chain in chains for link in chain.links
        ]
        return TrainingCost(
            tasks=names,
            model=model,
            cells=len(chains),
            steps=sum(count for _, count in left),
            naive=sum(count for _, count in alone),
            flops=sum_known(flops_of(stage, count, each) for stage, count in left),
            seconds=sum_known(seconds_of(rate, stage, count, each) for stage, count in left),
            seconds_naive=sum_known(seconds_of(rate, stage, count, each) for stage, count in alone),
        )

    def totals(self) -> dict[str, Any]:
        """The sums, as plain JSON values."""
        prices = self.prices()
        return {
            "cells": len(self.chains),
            "cells_scored": len(self.scored),
            "stages": len(self.nodes),
            "stages_to_do": sum(node.todo for node in self.nodes),
            "steps_to_pay": self.owed,
            "steps_shared": self.shared,
            "steps_naive": self.naive,
            "seconds_to_pay": sum_known(price.seconds for price in prices),
            "seconds_naive": sum_known(price.seconds_naive for price in prices),
            "flops_to_pay": sum_known(price.flops for price in prices),
        }


def stages_owed(chain: Chain, finished: Callable[[str], bool]) -> set[str]:
    """Digests of the links a run has to carry out to reach the end of a chain.

    From the deepest finished link on; and where a Rewind among those goes back to a net that the
    store does not hold, what leads there. The start is built, not trained, and costs nothing.
    """
    digests = list(chain.digests())
    place = {digest: number for number, digest in enumerate(digests)}
    todo, waiting = set[str](), [len(digests) - 1]
    while waiting:
        number = waiting.pop()
        digest = digests[number]
        if number == 0 or digest in todo or finished(digest):
            continue
        todo.add(digest)
        waiting.append(number - 1)
        if back := chain.links[number - 1].back:
            waiting.append(place[back])
    return todo


def steps_of(stage: Stage, examples: int) -> int:
    """Optimizer steps of a bound stage over so many training examples; pruning and rewinding take none."""
    return len(stage.steps(examples)) if isinstance(stage, Train) else 0


def seen_rates(records: Iterable[Record]) -> dict[tuple[str, str], float]:
    """Seconds of an optimizer step by task and model, from records that trained."""
    sums: dict[tuple[str, str], tuple[float, int]] = defaultdict(lambda: (0.0, 0))
    for record in records:
        trained, taken = (record.cost.seconds.train, record.cost.steps) if record.cost else (0.0, 0)
        if record.status == "ok" and trained and taken:
            seconds, count = sums[record.task, record.model]
            sums[record.task, record.model] = seconds + trained, count + taken
    return {key: seconds / count for key, (seconds, count) in sums.items()}


def describe_stage(stage: Stage, length: int | None = None) -> str:
    """A stage as one reads it aloud: `train 19250 steps`, `prune by magnitude to 0.5`."""
    match stage:
        case Train():
            took = "by the task's recipe" if length is None else f"{length} steps"
            if length is None and stage.recipe:
                took = "by a recipe of its own"
            part = "" if stage.length == 1 else f", {stage.length:g} times as long"
            part += "" if (stage.start, stage.stop) == (0, 1) else f", {stage.start:.0%} to {stage.stop:.0%}"
            updater = f" under {_named(stage.updater)}" if stage.updater else ""
            distil = f", taught by {stage.distil.teacher!r}" if stage.distil else ""
            name = f" (point {stage.name!r})" if stage.name else ""
            return f"train {took}{part}{updater}{distil}{name}"
        case Prune():
            rounds = f" in {stage.rounds} rounds" if stage.rounds > 1 else ""
            return f"prune by {_named(stage.by)}" + (
                f" to {describe_target(stage.to)}{rounds}" if stage.to else ""
            )
        case Rewind():
            return f"rewind weights to {stage.to!r}"


def describe_target(target: Target) -> str:
    """A target in few words: its pattern or rounded sparsity, its distribution if that is not `global`."""
    if target.pattern != "free":
        return target.pattern
    return f"{target.sparsity:.4g}" + ("" if target.distribution == "global" else f" {target.distribution}")


def _named(actor: Pruner | Updater) -> str:
    """A pruner or rule by its class, with the options that differ from the defaults."""
    fields = type(actor).model_fields
    said = [
        f"{name}={_said(value)}"
        for name in fields
        if fields[name].repr and (value := getattr(actor, name)) != fields[name].default
    ]
    return type(actor).__name__.lower() + (f"({', '.join(said)})" if said else "")


def _said(value: object) -> str:
    """An option as one says it."""
    if isinstance(value, Target):
        return describe_target(value)
    return _named(value) if isinstance(value, Pruner | Updater) else str(value)
