"""The cost of training: operations, and seconds on a device of a known rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from smc_eval.errors import UnknownName, UsageError
from smc_eval.experiment.spec_text import parse_spec
from smc_eval.experiment.toml_file import read_toml
from smc_eval.spec import Spec
from smc_eval.stages import Stage, Train
from smc_eval.task import Task

ANY_TASK = "all"

ForwardFlops = Callable[[Task], float | None]
"""Operations of a forward pass over one example of a task; None if unknown."""


class DeviceRate(Spec):
    """The training speed of one device, for some or all tasks, with one or any model."""

    task: str = ANY_TASK
    """A task, a group of tasks, or all."""
    model: str | None = None
    """A model as in `--model`; none means any."""
    seconds: float | None = Field(None, gt=0)
    """Seconds of an optimizer step; give these or `flops`."""
    flops: float | None = Field(None, gt=0)
    """Floating-point operations per second that it reaches, which are fewer than its peak."""
    about: str = ""
    """Origin of the number: the device, and how it was measured. Not used."""

    @model_validator(mode="after")
    def _one_measure(self) -> Self:
        if (self.seconds is None) == (self.flops is None):
            raise ValueError("give a rate either seconds or flops")
        return self

    def rank(self, task: Task) -> int | None:
        """How specific it is to a task and its model: lower is more specific; None if it does not apply."""
        card, model = task.card, self.model in (None, task.backbone)
        names = (task.label, card.name, *card.groups, ANY_TASK)
        if not model or self.task not in names:
            return None
        return 2 * names.index(self.task) + (self.model is None)


@dataclass(frozen=True)
class TrainingCost:
    """The cost of one task with one model, or of several tasks that share their nets."""

    tasks: tuple[str, ...]
    model: str
    cells: int
    steps: int
    """Optimizer steps to run."""
    steps_without_sharing: int
    """Steps if cells shared no stages and nothing were done yet."""
    flops: float | None
    """Operations of the steps to run; None if those of an example are unknown."""
    seconds: float | None
    """Seconds of the steps to run; None if no rate is known."""
    seconds_without_sharing: float | None


def unknown_flops(_task: Task) -> None:
    """The operations of a task whose model has unknown dimensions: None."""


def narrowest_rate(rates: Iterable[DeviceRate], task: Task) -> DeviceRate | None:
    """The rate that is most specific to a task and its model; the first of equals."""
    ranked = [(rank, rate) for rate in rates if (rank := rate.rank(task)) is not None]
    return min(ranked, key=lambda pair: pair[0])[1] if ranked else None


def read_rates(path: Path, names: Sequence[str]) -> tuple[DeviceRate, ...]:
    """The rates of a file, each a table `[[rate]]`; `names` are the known tasks and groups.

    Raises:
        UnknownName: the file has another key, or a task or group that is unknown.
        UsageError: it cannot be read, is no TOML, or a value is wrong.
    """
    content = read_toml(path, "rates")
    for key in content:
        if key != "rate":
            raise UnknownName(f"key of rates {path}", key, ["rate"])
    tables = content.get("rate", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UsageError(f"'rate' of rates {path} is not a list of tables; begin each with [[rate]]")
    rates = tuple(
        parse_spec(DeviceRate, table, "key", f"rate {number} of {path}")
        for number, table in enumerate(tables, 1)
    )
    for rate in rates:
        if rate.task.partition(":")[0] not in names:
            raise UnknownName(f"task or group of rates {path}", rate.task, names)
    return rates


def flops_of(stage: Stage, count: int, forward: float | None) -> float | None:
    """Floating-point operations of `count` steps; `forward` are those of a forward pass over one example.

    A backward pass takes twice as many. Recomputed activations take one more forward pass, and so does a
    teacher. An optimizer with further passes repeats all of these. Every batch counts as full. Not counted:
    embeddings, products of attention, heads and solvers, norms, the optimizer, pruning and predicting.
    """
    if not count:
        return 0.0
    if forward is None or not isinstance(stage, Train) or stage.recipe is None:
        return None
    passes = 3 + stage.recipe.checkpointing + (stage.distil is not None)
    passes *= 1 + stage.recipe.chosen_optimizer.further_passes
    return float(count * stage.recipe.batch_size * stage.recipe.accumulation * passes * forward)


def sum_known(values: Iterable[float | None]) -> float | None:
    """The sum; None if a part of it is unknown."""
    total = 0.0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def seconds_of(rate: DeviceRate | None, stage: Stage, count: int, forward: float | None) -> float | None:
    """Seconds of `count` steps of a stage; None if the rate or the operations are unknown."""
    if not count:
        return 0.0
    if rate is None:
        return None
    if rate.seconds:
        return count * rate.seconds
    flops = flops_of(stage, count, forward)
    return flops / rate.flops if flops is not None and rate.flops else None
