"""Prices: what training comes to in operations, and in seconds of a device whose rate is told."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from smc_eval.errors import UnknownName, UsageError
from smc_eval.experiment.parsing import parse_spec
from smc_eval.spec import Spec
from smc_eval.stages import Stage, Train
from smc_eval.task import Task

ANY_TASK = "all"

ForwardFlops = Callable[[Task], float | None]
"""Operations of a forward pass over one example of a task, where they are known."""


class DeviceRate(Spec):
    """How fast one device trains some tasks, or all, with a model, or any."""

    task: str = ANY_TASK
    """A task, a group of tasks, or all."""
    model: str | None = None
    """As `--model` says it; none is any."""
    seconds: float | None = Field(None, gt=0)
    """Of an optimizer step, or else `flops`."""
    flops: float | None = Field(None, gt=0)
    """Floating-point operations a second that it reaches, which is less than it is sold with."""
    about: str = ""
    """Where the number comes from: which device, measured how. Nothing depends on it."""

    @model_validator(mode="after")
    def _one_measure(self) -> Self:
        if (self.seconds is None) == (self.flops is None):
            raise ValueError("give a rate either seconds or flops")
        return self

    def rank(self, task: Task) -> int | None:
        """How narrowly it is meant for a task with its model: the less, the narrower; None if not at all."""
        card, model = task.card, self.model in (None, task.backbone)
        names = (task.label, card.name, *card.groups, ANY_TASK)
        if not model or self.task not in names:
            return None
        return 2 * names.index(self.task) + (self.model is None)


@dataclass(frozen=True)
class TrainingCost:
    """What some starts cost: those of one task with one model, or of tasks that are trained as one."""

    tasks: tuple[str, ...]
    model: str
    cells: int
    steps: int
    """Optimizer steps that are still to pay."""
    naive: int
    """Steps if every cell went all its way alone, and nothing were done yet."""
    flops: float | None
    """Operations of the steps to pay; None where the work of an example is not known."""
    seconds: float | None
    """Of the steps to pay; None where no rate is known."""
    seconds_naive: float | None


def unknown_flops(_task: Task) -> None:
    """The work of a task whose model's dimensions nobody has told."""


def narrowest_rate(rates: Iterable[DeviceRate], task: Task) -> DeviceRate | None:
    """The rate that is meant most narrowly for a task with its model; the first of equals."""
    ranked = [(rank, rate) for rate in rates if (rank := rate.rank(task)) is not None]
    return min(ranked, key=lambda one: one[0])[1] if ranked else None


def read_rates(path: Path, names: Sequence[str]) -> tuple[DeviceRate, ...]:
    """The rates of a file, each a table `[[rate]]`; `names` are the tasks and groups there are.

    Raises:
        UnknownName: it tells of something else, or of a task that nobody has.
        UsageError: it cannot be read, is no TOML, or a value cannot be meant.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read rates {path}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"rates {path} is no TOML: {error}") from None
    for key in content:
        if key != "rate":
            raise UnknownName(f"key of rates {path}", key, ["rate"])
    tables = content.get("rate", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UsageError(f"'rate' of rates {path} is no list of tables; begin each with [[rate]]")
    found = tuple(
        parse_spec(DeviceRate, table, "key", f"rate {number} of {path}")
        for number, table in enumerate(tables, 1)
    )
    for rate in found:
        if rate.task.partition(":")[0] not in names:
            raise UnknownName(f"task or group of rates {path}", rate.task, names)
    return found


def flops_of(stage: Stage, count: int, each: float | None) -> float | None:
    """Floating-point operations of so many steps, `each` those of a forward pass over one example.

    A backward pass takes twice as many; activations that are computed anew take another forward
    pass, and so does a teacher. Every batch counts as full. Embeddings, attention's products, heads and
    solvers, norms, the optimizer, pruning and predicting are not counted.
    """
    if not count:
        return 0.0
    if each is None or not isinstance(stage, Train) or stage.recipe is None:
        return None
    passes = 3 + stage.recipe.checkpointing + (stage.distil is not None)
    return float(count * stage.recipe.batch_size * stage.recipe.accumulation * passes * each)


def sum_known(values: Iterable[float | None]) -> float | None:
    """The sum; None where a part of it is not known."""
    total = 0.0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def seconds_of(rate: DeviceRate | None, stage: Stage, count: int, each: float | None) -> float | None:
    """Seconds of so many steps of a stage; None where no rate is known, or the operations are not."""
    if not count:
        return 0.0
    if rate is None:
        return None
    if rate.seconds:
        return count * rate.seconds
    flops = flops_of(stage, count, each)
    return flops / rate.flops if flops is not None and rate.flops else None
