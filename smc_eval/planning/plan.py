"""The plan of many chains: a tree of stages, which of them are done, and the cost of the others."""

from __future__ import annotations

import re
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
from smc_eval.target import Target, level_text
from smc_eval.task import Task
from smc_eval.updater import Updater

Rates = Mapping[tuple[str, str], float]
"""Seconds of an optimizer step, by task and model."""


@dataclass
class StageNode:
    """A stage that one or more cells share, below the stages before it."""

    digest: str
    stage: Stage | None
    """None for a start."""
    steps: int = 0
    todo: bool = False
    """Whether a run would execute it. A start costs nothing."""
    after: list[StageNode] = field(default_factory=list)
    ends: list[Chain] = field(default_factory=list)
    """Chains that end here."""

    def walk(self) -> Iterator[StageNode]:
        """This node and all after it."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += reversed(node.after)


@dataclass(frozen=True)
class Plan:
    """All chains of a grid as one tree, with its cost."""

    roots: tuple[StageNode, ...]
    chains: tuple[Chain, ...]
    scored: frozenset[str]
    """Digests of the cells with a record in the store."""
    rates: Rates = field(default_factory=dict)
    """Measured in the runs of the store."""
    given: tuple[DeviceRate, ...] = ()
    """Rates of another device. If there are any, measured rates are ignored."""
    forward_flops: ForwardFlops = unknown_flops

    @classmethod
    def of(
        cls,
        chains: Sequence[Chain],
        finished: Callable[[str], bool],
        records: Iterable[Record] = (),
        *,
        given: Sequence[DeviceRate] = (),
        forward_flops: ForwardFlops = unknown_flops,
    ) -> Plan:
        """The plan of chains, with the records of a store; `finished` is whether it has a net."""
        records = list(records)
        done = {record.digest for record in records if record.status == "ok"}
        digests = [chain.digest for chain in chains]
        scored, todo = frozenset(digest for digest in digests if digest in done), set[str]()
        for digest, chain in zip(digests, chains, strict=True):
            if digest not in scored:
                todo |= stages_to_run(chain, finished)
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
        return cls(tuple(roots), tuple(chains), scored, seen_rates(records), tuple(given), forward_flops)

    @property
    def nodes(self) -> list[StageNode]:
        """Every stage once."""
        return [node for root in self.roots for node in root.walk() if node.stage is not None]

    @property
    def steps_naive(self) -> int:
        """Optimizer steps if cells shared no stages."""
        return sum(steps_of(link.stage, chain.examples) for chain in self.chains for link in chain.links)

    @property
    def steps_shared(self) -> int:
        """Optimizer steps of all stages, each executed once."""
        return sum(node.steps for node in self.nodes)

    @property
    def steps_to_run(self) -> int:
        """Optimizer steps that are not done yet."""
        return sum(node.steps for node in self.nodes if node.todo)

    @property
    def seconds(self) -> float | None:
        """Estimated seconds of the training to run; None if the rate of some task and model is unknown."""
        return sum_known(cost.seconds for cost in self.costs())

    def costs(self) -> list[TrainingCost]:
        """The cost by task and model, in order."""
        groups = dict[tuple[tuple[str, ...], str], list[StageNode]]()
        for root in self.roots:
            tasks = [chain.cell.task for node in root.walk() for chain in node.ends]
            names = tuple(dict.fromkeys(task.label for task in tasks))
            groups.setdefault((names, tasks[0].backbone), []).append(root)
        return [self._cost(names, model, roots) for (names, model), roots in groups.items()]

    def lengths(self) -> dict[str, float]:
        """Seconds of every stage by its digest, done or not, as far as they are known."""
        lengths = dict[str, float]()
        for root in self.roots:
            rate, flops = self._speed(next(chain for node in root.walk() for chain in node.ends).cell.task)
            for node in root.walk():
                seconds = seconds_of(rate, node.stage, node.steps, flops) if node.stage else None
                if seconds is not None:
                    lengths[node.digest] = seconds
        return lengths

    def _speed(self, task: Task) -> tuple[DeviceRate | None, float | None]:
        """The rate of a task's training, and the operations of a forward pass over one example."""
        seen = self.rates.get((task.label, task.backbone))
        rate = narrowest_rate(self.given, task) if self.given else DeviceRate(seconds=seen) if seen else None
        return rate, self.forward_flops(task)

    def _cost(self, names: tuple[str, ...], model: str, roots: Sequence[StageNode]) -> TrainingCost:
        nodes = [node for root in roots for node in root.walk()]
        chains = [chain for node in nodes for chain in node.ends]
        rate, flops = self._speed(chains[0].cell.task)
        left = [(node.stage, node.steps) for node in nodes if node.stage and node.todo]
        alone = [
            (link.stage, steps_of(link.stage, chain.examples)) for chain in chains for link in chain.links
        ]
        return TrainingCost(
            tasks=names,
            model=model,
            cells=len(chains),
            steps=sum(count for _, count in left),
            steps_without_sharing=sum(count for _, count in alone),
            flops=sum_known(flops_of(stage, count, flops) for stage, count in left),
            seconds=sum_known(seconds_of(rate, stage, count, flops) for stage, count in left),
            seconds_without_sharing=sum_known(
                seconds_of(rate, stage, count, flops) for stage, count in alone
            ),
        )

    def totals(self) -> dict[str, Any]:
        """The sums, as plain JSON values."""
        costs = self.costs()
        return {
            "cells": len(self.chains),
            "cells_scored": len(self.scored),
            "stages": len(self.nodes),
            "stages_to_do": sum(node.todo for node in self.nodes),
            "steps_to_run": self.steps_to_run,
            "steps_shared": self.steps_shared,
            "steps_without_sharing": self.steps_naive,
            "seconds_to_run": sum_known(cost.seconds for cost in costs),
            "seconds_without_sharing": sum_known(cost.seconds_without_sharing for cost in costs),
            "flops_to_run": sum_known(cost.flops for cost in costs),
        }


def stages_to_run(chain: Chain, finished: Callable[[str], bool]) -> set[str]:
    """Digests of the links that a run has to execute to reach the end of a chain.

    These are the links after the last finished one. If a Rewind among them goes back to a net that the store
    lacks, the links up to that net are added. The start is built, not trained, and costs nothing.
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
    """Optimizer steps of a stage with this many training examples; Prune and Rewind take none."""
    return len(stage.steps(examples)) if isinstance(stage, Train) else 0


def seen_rates(records: Iterable[Record]) -> dict[tuple[str, str], float]:
    """Seconds of an optimizer step by task and model, from records of trained cells."""
    sums: dict[tuple[str, str], tuple[float, int]] = defaultdict(lambda: (0.0, 0))
    for record in records:
        trained, taken = (record.cost.seconds.train, record.cost.steps) if record.cost else (0.0, 0)
        if record.status == "ok" and trained and taken:
            seconds, count = sums[record.task, record.model]
            sums[record.task, record.model] = seconds + trained, count + taken
    return {key: seconds / count for key, (seconds, count) in sums.items()}


def describe_stage(stage: Stage, length: int | None = None) -> str:
    """A stage in words: `train 19250 steps`, `prune by magnitude to 0.5`."""
    match stage:
        case Train():
            how = "by the task's recipe" if length is None else f"{length} steps"
            if length is None and stage.recipe:
                how = "by a recipe of its own"
            if length and stage.recipe and (more := stage.recipe.chosen_optimizer.further_passes):
                how += f" of {1 + more} passes"
            part = "" if stage.length == 1 else f", {stage.length:g} times as long"
            part += "" if (stage.start, stage.stop) == (0, 1) else f", {stage.start:.0%} to {stage.stop:.0%}"
            updater = f" with {_actor_text(stage.updater)}" if stage.updater else ""
            distil = f", distilled from {stage.distil.teacher!r}" if stage.distil else ""
            name = f" (point {stage.name!r})" if stage.name else ""
            return f"train {how}{part}{updater}{distil}{name}"
        case Prune():
            rounds = f" in {stage.rounds} rounds" if stage.rounds > 1 else ""
            return f"prune by {_actor_text(stage.by)}" + (
                f" to {describe_target(stage.to)}{rounds}" if stage.to else ""
            )
        case Rewind():
            return f"rewind weights to {stage.to!r}"


def describe_target(target: Target) -> str:
    """A target in short: its pattern, or its rounded sparsity and any distribution other than `global`."""
    if target.is_n_m:
        return target.pattern
    return level_text(target.pattern, f"{target.sparsity:.4g}") + (
        "" if target.distribution == "global" else f" {target.distribution}"
    )


def _actor_text(actor: Pruner | Updater) -> str:
    """A pruner or updater by the words of its class, with the options that differ from the defaults."""
    fields = type(actor).model_fields
    options = [
        f"{name}={_option_text(value)}"
        for name in fields
        if fields[name].repr and (value := getattr(actor, name)) != fields[name].default
    ]
    given = f"({', '.join(options)})" if options else ""
    if isinstance(actor, Updater) and actor.title:
        return f"{actor.title} {given}".rstrip()
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(actor).__name__).lower() + given


def _option_text(value: object) -> str:
    """An option in words."""
    if isinstance(value, Target):
        return describe_target(value)
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return _actor_text(value) if isinstance(value, Pruner | Updater) else str(value)
