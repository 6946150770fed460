"""A Cell: one square of the table, and the chain of stages that leads to it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Annotated

from smc_eval.capabilities import HasOutputs, trained_as
from smc_eval.errors import PlanError, UsageError
from smc_eval.experiment.budget import Budget
from smc_eval.method import Method
from smc_eval.protocol import Protocol
from smc_eval.spec import OmitDefault, Spec, digest
from smc_eval.stages import START, Distillation, Prune, Rewind, Stage, Train
from smc_eval.target import Target
from smc_eval.task import Source, Task

ENGINE = 2
"""Raise it when the engine comes to compute other numbers from the same stages."""


class Cell(Spec):
    """Task x method x target x seed (x fold, which is the task's)."""

    task: Task
    method: Method
    target: Target
    protocol: Protocol
    seed: int = 0
    budget: Annotated[Budget | None, OmitDefault()] = None
    """What it may spend on training; None leaves that to the method."""

    @property
    def label(self) -> str:
        """How the cell is named on the screen."""
        fold = "" if self.task.fold is None else f" fold {self.task.fold}"
        level = self.target.pattern if self.target.pattern != "free" else f"{self.target.sparsity:.4g}"
        match = f" match {self.budget.label}" if self.budget else ""
        return f"{self.task.label}{fold} {self.method.label} {level} seed {self.seed}{match}"


@dataclass(frozen=True)
class Link:
    """A stage and the digest of all that led to it, itself included."""

    stage: Stage
    digest: str
    back: str | None = None
    """For a Rewind: the digest of the point it goes back to; for a distilled Train: its teacher's."""


@dataclass(frozen=True)
class Chain:
    """A cell's stages, each bound to the recipe it will run with and named by its history."""

    cell: Cell
    start: str
    """Digest of the untrained net: it seeds weights and the order of batches, whatever the method."""
    links: tuple[Link, ...]
    sources: tuple[Source, ...]
    examples: int
    """Training examples, which fix how many steps an epoch has."""

    @cached_property  # an agenda asks for it a thousand times
    def digest(self) -> str:
        """Names the result: the last link, and what is scored."""
        return digest(self.cell, self.links[-1].digest if self.links else self.start)

    def digests(self) -> Iterator[str]:
        """Start and links, in order."""
        yield self.start
        for link in self.links:
            yield link.digest


def chain(cell: Cell, sources: tuple[Source, ...], examples: int) -> Chain:
    """Bind a cell's plan: recipes into bare Trains, names to digests, history to each stage.

    Trains that train nothing are dropped, so that a recipe of 0 steps scores a net as it is.

    Raises:
        UsageError: the method refuses the target, the recipe would select on the reported split, or
            the budget cannot be met.
        PlanError: the plan rewinds to a point it never named.
    """
    cell.method.accept(cell.target)
    recipe = cell.task.recipe
    if recipe.keep == "best" and not recipe.validation and cell.protocol.keep != "best":
        raise UsageError(
            f"protocol {cell.protocol.name!r} selects nothing on the reported split; "
            "with keep=best hold examples out of training, as in --recipe keep=best,validation=0.1"
        )
    read = [(source.role, source.digest) for source in sources]
    start = digest("start", ENGINE, trained_as(cell.task), cell.protocol, cell.seed, read)
    points, links, last = {START: start}, list[Link](), start
    stages = list(cell.method.plan(cell.target))
    if cell.budget:
        stages = cell.budget.met(stages, recipe, examples, cell.method.card.name)
    for number, stage in enumerate(stages, 1):
        back, named = _back(stage), f"stage {number} of {cell.method.card.name!r}"
        if back is not None and back not in points:
            raise PlanError(f"{named} goes back to {back!r}; points so far: {', '.join(points)}")
        match stage:
            case Train():
                own = stage.recipe or cell.task.recipe
                stage = stage.model_copy(update={"recipe": own.stretched(stage.length), "length": 1.0})
                if _trains(cell, stage, examples):
                    bare = stage.model_copy(update={"name": None, "distil": _mixture(stage)})
                    last = digest(last, bare, points[back]) if back else digest(last, bare)
                    links.append(Link(stage, last, points[back] if back else None))
                points |= {stage.name: last} if stage.name else {}
            case Prune(by=by):
                if by.needs_outputs and not isinstance(cell.task, HasOutputs):
                    raise UsageError(
                        f"method {cell.method.card.name!r} measures what flows to a task's outputs, "
                        f"which task {cell.task.card.name!r} does not tell"
                    )
                last = digest(last, stage)
                links.append(Link(stage, last))
            case Rewind(to=to):
                last = digest(last, "rewind", points[to])
                links.append(Link(stage, last, back=points[to]))
            case _:
                raise PlanError(f"{named} is {stage!r}, no stage")
    return Chain(cell, start, tuple(links), sources, examples)


def _back(stage: Stage) -> str | None:
    """The point that a stage goes back to, to rewind or to learn from."""
    match stage:
        case Rewind(to=to):
            return to
        case Train(distil=Distillation(teacher=teacher)):
            return teacher
    return None


def _mixture(stage: Train) -> Distillation | None:
    """How a stage distils, whatever its teacher's point is called."""
    return stage.distil.model_copy(update={"teacher": ""}) if stage.distil else None


def _trains(cell: Cell, stage: Train, examples: int) -> bool:
    """Whether a bound Train has steps.

    Raises:
        UsageError: it has none, but is to make the masks; or it distils what the task does not tell.
    """
    assert stage.recipe is not None
    method, task = cell.method.card.name, cell.task
    if stage.distil and not isinstance(task, HasOutputs):
        raise UsageError(
            f"method {method!r} learns from a teacher's outputs, which task {task.card.name!r} does not tell"
        )
    if stage.recipe.total(examples):
        return True
    if stage.updater:
        raise UsageError(
            f"method {method!r} makes its masks while it trains, and the recipe has 0 steps; "
            "give some, as in --recipe epochs=1"
        )
    return False


def shared_nets(chains: Sequence[Chain]) -> frozenset[str]:
    """Digests whose nets are worth keeping: where chains fork, and where a Rewind points."""
    backs = {link.back for chain in chains for link in chain.links if link.back}
    after: dict[str, set[str]] = {}
    for chain in chains:
        # the cell comes after its last net: two cells that score one net fork there
        for here, there in pairwise([*(link.digest for link in chain.links), chain.digest]):
            after.setdefault(here, set()).add(there)
    return frozenset(digest for digest, nexts in after.items() if len(nexts) > 1) | backs


def unneeded_nets(chains: Sequence[Chain], kept: Collection[str], done: AbstractSet[str]) -> set[str]:
    """Those of the kept nets that no cell needs any longer: all that pass there are done."""
    needed = {
        digest for chain in chains if chain.digest not in done for digest in chain.digests() if digest in kept
    }
    passed = {digest for chain in chains for digest in chain.digests() if digest in kept}
    return passed - needed
