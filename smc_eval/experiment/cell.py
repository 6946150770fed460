"""A Cell: one net of the table, and the chain of stages that makes it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, pairwise
from typing import Annotated

from smc_eval.capabilities import HasOutputs, trained_as
from smc_eval.errors import DataError, PlanError, UsageError
from smc_eval.experiment.budget import Budget
from smc_eval.method import Method
from smc_eval.protocol import Protocol
from smc_eval.pruner import Pruner
from smc_eval.recipe import SPARSE_KERNELS_VERSION, Kernels, Recipe
from smc_eval.spec import OmitDefault, Outside, Spec, digest
from smc_eval.stages import START, Distillation, Prune, Rewind, Stage, Train
from smc_eval.target import Target, level_text
from smc_eval.task import Source, Task

ENGINE = 2
"""Raise it when the engine computes other numbers from the same stages."""


NO_RECIPE = Recipe(steps=0)
"""Stands for the recipe of an earlier training where there is none."""

WHOLE_BODY = (Target().scope, Target().include, Target().exclude)
"""The scope of a target that names none."""

MOST_STAGES = 10_000
"""A longer plan is refused; it may have no end."""


class Cell(Spec):
    """One task, method, target and seed. The fold is a field of the task."""

    task: Task
    method: Method
    target: Target
    protocol: Protocol
    seed: int = 0
    budget: Annotated[Budget | None, OmitDefault()] = None
    """Training budget; None leaves the training to the method."""
    kernels: Annotated[Kernels, OmitDefault()] = "dense"
    """How products with masked matrices are computed."""
    refused_models: Annotated[tuple[str, ...], Outside()] = ()
    """Why the task keeps its published model: a sentence for each model that was named for it."""

    @property
    def label(self) -> str:
        """The cell as the screen names it."""
        fold = "" if self.task.fold is None else f" fold {self.task.fold}"
        level = level_text(self.target.pattern, f"{self.target.sparsity:.4g}")
        match = f" match {self.budget.label}" if self.budget else ""
        kernels = " kernels sparse" if self.kernels == "sparse" else ""
        return f"{self.task.label}{fold} {self.method.label} {level} seed {self.seed}{match}{kernels}"


@dataclass(frozen=True)
class Link:
    """A stage, and the digest of it and all stages before it."""

    stage: Stage
    digest: str
    back: str | None = None
    """Digest of an earlier net: of the one that a Rewind goes back to, or of a Train's teacher."""


@dataclass(frozen=True)
class Chain:
    """The stages of a cell, each with its recipe, named by its history."""

    cell: Cell
    start: str
    """Digest of the untrained net. It seeds weights and the order of batches, whatever the method."""
    links: tuple[Link, ...]
    """In the order in which they run."""
    sources: tuple[Source, ...]
    examples: int
    """Training examples; they determine the steps of an epoch."""

    @cached_property  # a scheduler reads it thousands of times
    def digest(self) -> str:
        """Digest of the result: of the last link, of the cell, and of data that only its score reads."""
        last = self.links[-1].digest if self.links else self.start
        scored = _digests(self.sources, trained=False)
        masked = any(isinstance(link.stage, Prune) or _updates(link.stage) for link in self.links)
        recipes = [link.stage.recipe for link in self.links if isinstance(link.stage, Train)]
        trained, own = (recipes[-1] if recipes else None) or NO_RECIPE, self.cell.task.recipe
        further = [own.arithmetic] if own.arithmetic != trained.arithmetic else []
        kernels = _kernels(self.cell, masked=masked)
        return digest(self.cell, last, *([scored] if scored else []), *kernels, *further)

    @property
    def data_digest(self) -> str:
        """Digest of the data that is scored; empty if there is none."""
        return next((source.digest for source in self.sources if source.role == "data"), "")

    def digests(self) -> Iterator[str]:
        """Digests of the start and of the links, in order."""
        yield self.start
        for link in self.links:
            yield link.digest


def chain(cell: Cell, sources: tuple[Source, ...], examples: int) -> Chain:
    """The chain of a cell: each Train gets its recipe, each stage the digest of its history.

    Trains without steps are left out, so that a recipe of 0 steps scores a net as it is.

    Raises:
        UsageError: the method refuses the target, the recipe would select on the reported split, or
            the budget cannot be met.
        PlanError: the plan goes back to a net that it never named.
    """
    _accept(cell, examples)
    trained_on = _digests(sources, trained=True)
    start = digest("start", ENGINE, trained_as(cell.task), cell.protocol, cell.seed, trained_on)
    points, links, last, masked = {START: start}, list[Link](), start, False
    sampled, own_sampled = NO_RECIPE.sampled, cell.task.recipe.sampled
    for number, stage in enumerate(_planned(cell, examples), 1):
        back, name = _back(stage), f"stage {number} of {cell.method.card.name!r}"
        if back is not None and back not in points:
            raise PlanError(f"{name} goes back to {back!r}; names so far: {', '.join(points)}")
        match stage:
            case Train():
                own = stage.recipe or cell.task.recipe
                recipe = own.stretched(stage.length)
                stage = stage.model_copy(update={"recipe": recipe, "length": 1.0})
                scope = [] if masked else _unnamed_scope(cell, stage)
                masked |= _updates(stage)
                if _trains(cell, stage, examples):
                    bare = stage.model_copy(update={"name": None, "distil": _mixture(stage)})
                    kernels = _kernels(cell, masked=masked)
                    lowered = [recipe.arithmetic] if recipe.precision != "fp32" else []
                    last = digest(last, bare, *([points[back]] if back else []), *kernels, *lowered, *scope)
                    sampled = recipe.sampled
                    links.append(Link(stage, last, points[back] if back else None))
                points |= {stage.name: last} if stage.name else {}
            case Prune(by=by):
                _refuse_without_outputs(cell, by)
                # the pruner may read batches of a recipe that no training before it has named
                read = own_sampled if by.reads_batches else sampled
                last = digest(last, stage, *([read] if read != sampled else []), *_unnamed_scope(cell, stage))
                sampled, masked = read, True
                links.append(Link(stage, last))
            case Rewind(to=to):
                last = digest(last, "rewind", points[to])
                links.append(Link(stage, last, back=points[to]))
            case _:
                raise PlanError(f"{name} is {stage!r}; a stage is a Train, a Prune or a Rewind")
    return Chain(cell, start, tuple(links), sources, examples)


def _unnamed_scope(cell: Cell, stage: Prune | Train) -> list[object]:
    """The scope, where a stage sets masks and has no target that names it; nothing for the whole body."""
    target, maker = cell.target, stage if isinstance(stage, Prune) else stage.updater
    chosen = (target.scope, target.include, target.exclude)
    if maker is None or chosen == WHOLE_BODY:
        return []
    named = any(isinstance(getattr(maker, name), Target) for name in type(maker).model_fields)
    return [] if named else [chosen]


def _refuse_without_outputs(cell: Cell, by: Pruner) -> None:
    if by.needs_outputs and not isinstance(cell.task, HasOutputs):
        raise UsageError(
            f"method {cell.method.card.name!r} needs the outputs of the task, "
            f"and task {cell.task.card.name!r} has no `loss_and_outputs`; "
            f"choose other options, see `smc-eval show {cell.method.card.name}`"
        )


def _digests(sources: Sequence[Source], *, trained: bool) -> list[tuple[str, str]]:
    """Roles and digests of the sources that training reads, or of those that it does not read."""
    return [(source.role, source.digest) for source in sources if source.trained == trained]


def _updates(stage: Stage) -> bool:
    """Whether a stage is a training that sets masks."""
    return isinstance(stage, Train) and stage.updater is not None


def _kernels(cell: Cell, *, masked: bool) -> tuple[str | int, ...]:
    """What the kernels add to a digest. Without masks both kinds compute the same."""
    words = ("kernels sparse", SPARSE_KERNELS_VERSION)
    return words if masked and cell.kernels == "sparse" else ()


def _accept(cell: Cell, examples: int) -> None:
    """Refuse a cell that can be seen to fail before it runs.

    Raises:
        UsageError: the method refuses the target, the recipe would select on the reported split, its
            validation share leaves one side empty, or its optimizer is unknown.
        DataError: there are no training examples.
    """
    cell.method.accept(cell.target)
    recipe = cell.task.recipe
    _refuse_optimizer(recipe)
    if not examples:
        raise DataError(f"task {cell.task.label!r} has no training examples; check its data")
    _refuse_split(recipe, examples)
    if recipe.keep == "best" and not recipe.validation and cell.protocol.keep != "best":
        raise UsageError(
            f"protocol {cell.protocol.name!r} does not select a net on the reported split; "
            "keep=best needs held-out training examples, as in --recipe keep=best,validation=0.1"
        )


def _planned(cell: Cell, examples: int) -> list[Stage]:
    """The stages of a cell's plan, fitted to its budget.

    Raises:
        PlanError: the plan has too many stages, or no end.
        UsageError: the budget cannot be met.
    """
    stages = list(islice(cell.method.plan(cell.target), MOST_STAGES + 1))
    if len(stages) > MOST_STAGES:
        raise PlanError(
            f"the plan of {cell.method.label!r} for sparsity {cell.target.sparsity:g} has more than "
            f"{MOST_STAGES:,} stages; choose larger steps"
        )
    if cell.budget:
        stages = cell.budget.fitted(stages, cell.task.recipe, examples, cell.method.card.name)
    return stages


def _back(stage: Stage) -> str | None:
    """Name of the earlier net that a stage rewinds to or learns from."""
    match stage:
        case Rewind(to=to):
            return to
        case Train(distil=Distillation(teacher=teacher)):
            return teacher
    return None


def _mixture(stage: Train) -> Distillation | None:
    """The distillation of a stage, without the name of the teacher."""
    return stage.distil.model_copy(update={"teacher": ""}) if stage.distil else None


def _trains(cell: Cell, stage: Train, examples: int) -> bool:
    """Whether a bound Train has steps.

    Raises:
        UsageError: it has none, but has to make the masks; or it distils outputs that the task lacks.
    """
    assert stage.recipe is not None
    method, task = cell.method.card.name, cell.task
    _refuse_optimizer(stage.recipe)
    _refuse_split(stage.recipe, examples)
    if stage.distil and not isinstance(task, HasOutputs):
        raise UsageError(
            f"method {method!r} learns from a teacher's outputs, "
            f"and task {task.card.name!r} has no `loss_and_outputs`"
        )
    if stage.recipe.total(examples):
        return True
    if stage.updater:
        raise UsageError(
            f"method {method!r} makes its masks during training, and the recipe has 0 steps; "
            "give it some, as in --recipe epochs=1"
        )
    return False


def _refuse_optimizer(recipe: Recipe) -> None:
    """Refuse an optimizer that is not installed, or that a loss scale would mislead.

    Raises:
        UsageError: it is one.
    """
    chosen = recipe.chosen_optimizer
    if chosen.further_passes and recipe.precision == "fp16":
        raise UsageError(
            f"optimizer {chosen.label!r} perturbs weights by their gradients, which precision=fp16 scales; "
            "take precision=bf16 or fp32"
        )


def _refuse_split(recipe: Recipe, examples: int) -> None:
    """Refuse a validation share that leaves one side of the split empty.

    Raises:
        UsageError: no example is held out, so that the reported split would select the net; or none is left.
    """
    if not recipe.validation:
        return
    held_out = recipe.held_out(examples)
    if 0 < held_out < examples:
        return
    raise UsageError(
        f"validation={recipe.validation:g} holds out {held_out} of {examples} training examples; "
        "at least one must be held out, and one must be left"
    )


def shared_nets(chains: Sequence[Chain]) -> frozenset[str]:
    """Digests of the nets that several cells use: where chains fork, and where a Rewind goes back."""
    backs = {link.back for chain in chains for link in chain.links if link.back}
    after: dict[str, set[str]] = {}
    for chain in chains:
        # the cell follows its last net: two cells that score one net fork there
        for here, there in pairwise([*(link.digest for link in chain.links), chain.digest]):
            after.setdefault(here, set()).add(there)
    return frozenset(digest for digest, nexts in after.items() if len(nexts) > 1) | backs


def last_nets(chains: Sequence[Chain]) -> frozenset[str]:
    """Digests of the last net of each chain that has one."""
    return frozenset(chain.links[-1].digest for chain in chains if chain.links)


def unneeded_nets(chains: Sequence[Chain], kept: Collection[str], done: AbstractSet[str]) -> set[str]:
    """The kept nets that no cell needs any more, because all cells that use them are done."""
    needed = {
        digest for chain in chains if chain.digest not in done for digest in chain.digests() if digest in kept
    }
    passed = {digest for chain in chains for digest in chain.digests() if digest in kept}
    return passed - needed
