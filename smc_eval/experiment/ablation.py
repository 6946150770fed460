"""Ablated: a method with its masks, values or order replaced, as a sanity check."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from smc_eval.card import MethodCard
from smc_eval.errors import UsageError
from smc_eval.method import Method
from smc_eval.pruner import Criterion, Probe, Pruner
from smc_eval.stages import START, Prune, Rewind, Stage, Train
from smc_eval.target import STRUCTURED_PATTERNS, Target

if TYPE_CHECKING:
    from torch import Tensor

How = Literal["shuffle", "random", "reinit", "invert"]

UNPRUNED = "unpruned"
"""Name of the last net before any pruning, where the method gives it none."""


class Shuffle(Pruner):
    """The current masks with their entries in random order; under N:M whole groups change places."""

    revives: ClassVar[bool] = True
    reads_batches: ClassVar[bool] = False

    def prune(self, probe: Probe, target: Target) -> dict[str, Tensor]:
        from smc_eval.sparse.altered import shuffled

        return {n: shuffled(mask, probe.generator, _group(target)) for n, mask in probe.masks.items()}


class Redraw(Pruner):
    """Random masks with as many unpruned weights in each tensor as now; under N:M, in each group."""

    revives: ClassVar[bool] = True
    reads_batches: ClassVar[bool] = False

    def prune(self, probe: Probe, target: Target) -> dict[str, Tensor]:
        from smc_eval.sparse.altered import random_mask

        return {n: random_mask(mask, probe.generator, _group(target)) for n, mask in probe.masks.items()}


class Renew(Pruner):
    """The current masks; unpruned weights get new values, from a normal of their mean and deviation."""

    reads_batches: ClassVar[bool] = False

    def prune(self, probe: Probe, target: Target) -> dict[str, Tensor]:
        from smc_eval.sparse.altered import redrawn_weights

        masks = dict(probe.masks)
        probe.mend({n: redrawn_weights(w, masks[n], probe.generator) for n, w in probe.weights.items()})
        return masks


class Inverse(Criterion):
    """Another criterion with the opposite sign: the weights that it would prune first stay."""

    of: Criterion

    @property
    def reads_batches(self) -> bool:  # type: ignore[override]
        """Whether the other criterion does."""
        return self.of.reads_batches

    def saliency(self, probe: Probe) -> dict[str, Tensor]:
        return {name: -values for name, values in self.of.saliency(probe).items()}


class Ablated(Method):
    """A method with its masks, values or order replaced. Su et al. (2020); Frankle et al. (2021).

    `shuffle`, `random`: other masks with the same number of unpruned weights in each tensor replace the last
    ones, and the net rewinds to its weights from before any pruning. `reinit`: the masks stay, the unpruned
    weights get new values. The stages of the method after its last masks follow. If none of them is a
    training, one is added: that of the updater that made the masks, without the updater, or one by
    the recipe. `invert`: wherever a criterion decides, the least salient weights stay.
    """

    method: Method
    how: How

    @property
    def card(self) -> MethodCard:  # type: ignore[override]
        """The card of the method, with the name `METHOD+HOW`."""
        own = self.method.card
        moves_weights = self.how in ("shuffle", "random")
        return own.model_copy(
            update={
                "patterns": tuple(
                    pattern
                    for pattern in own.patterns
                    if not (moves_weights and pattern in STRUCTURED_PATTERNS)
                ),
                "name": f"{own.name}+{self.how}",
                "summary": f"{own.summary}; ablated: {self.how}",
                "source": f"{own.source}; ablated as in Frankle et al. (2021), arXiv:2009.08576",
            }
        )

    @property
    def label(self) -> str:
        """The label of the method, and the ablation: `lth:share=0.1+shuffle`."""
        return f"{self.method.label}+{self.how}"

    def accept(self, target: Target) -> None:
        self.method.accept(target)
        if target.is_structured and self.how in ("shuffle", "random"):
            raise UsageError(
                f"method {self.card.name!r} does not support pattern {target.pattern!r}: it moves single "
                "weights; use reinit, or compare with random-after"
            )
        if self.how != "invert":
            return
        masking = [stage for stage in self.method.plan(target) if _masks(stage)]
        if unfit := [stage for stage in masking if not _chooses(stage)]:
            others = "reinit" if target.is_structured else "shuffle, random and reinit"
            raise UsageError(
                f"method {self.method.card.name!r} cannot be inverted: {_class_name(unfit[0])} gives no "
                f"saliencies; it can be ablated by {others}"
            )
        if target.distribution == "lamp":
            raise UsageError(
                f"method {self.card.name!r} does not support distribution 'lamp', which needs saliencies of "
                "0 or more; choose another --distribution"
            )

    def plan(self, target: Target) -> Iterator[Stage]:
        """The plan of the method with its masks, values or order replaced."""
        stages = list(self.method.plan(target))
        if self.how == "invert":
            yield from (_inverted(stage) for stage in stages)
            return
        last = max((n for n, stage in enumerate(stages) if _masks(stage)), default=None)
        if last is None:
            yield from stages
            return
        before, point = unpruned(stages)
        yield from before[: last + 1]
        to, rest = _mask_target(stages[last], target), before[last + 1 :]
        if self.how == "reinit":
            yield Rewind(to=point)
            turn = max((n for n, stage in enumerate(rest) if isinstance(stage, Rewind)), default=-1)
            yield from rest[: turn + 1]
            yield Prune(by=Renew(), to=to)
            rest = rest[turn + 1 :]
        else:
            yield Prune(by=Shuffle() if self.how == "shuffle" else Redraw(), to=to)
            yield Rewind(to=point)
        yield from rest
        if not any(isinstance(stage, Train) for stage in rest):
            yield _training_after(stages[last])


def unpruned(stages: Sequence[Stage]) -> tuple[list[Stage], str]:
    """The stages with a name for the last net before the first masks, and that name."""
    named, point, trained = list(stages), START, None
    for number, stage in enumerate(stages):
        if _masks(stage):
            break
        match stage:
            case Train():
                trained, point = number, stage.name or UNPRUNED
            case Rewind(to=to):
                trained, point = None, to
    if trained is not None:
        named[trained] = stages[trained].model_copy(update={"name": point})
    return named, point


def _training_after(stage: Stage) -> Train:
    """A training under fixed masks: like the one that made the last masks, or by the recipe."""
    return stage.model_copy(update={"updater": None, "name": None}) if isinstance(stage, Train) else Train()


def _masks(stage: Stage) -> bool:
    return isinstance(stage, Prune) or (isinstance(stage, Train) and stage.updater is not None)


def _chooses(stage: Stage) -> bool:
    """Whether the masks depend on saliencies alone."""
    by = stage.by if isinstance(stage, Prune) else None
    return isinstance(by, Criterion) and type(by).prune is Criterion.prune


def _inverted(stage: Stage) -> Stage:
    if isinstance(stage, Prune) and isinstance(stage.by, Criterion):
        return stage.model_copy(update={"by": Inverse(of=stage.by)})
    return stage


def _mask_target(stage: Stage, target: Target) -> Target | None:
    """The target of the last masks; an updater's is that of the cell."""
    return stage.to if isinstance(stage, Prune) else target


def _class_name(stage: Stage) -> str:
    actor = stage.by if isinstance(stage, Prune) else stage.updater if isinstance(stage, Train) else stage
    return type(actor).__name__


def _group(target: Target) -> int | None:
    """M of an N:M pattern."""
    return target.group[1] if target.is_n_m else None
