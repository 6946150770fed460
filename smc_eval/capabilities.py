"""Capabilities: what a task may do beyond its seven required methods.

A task has a capability if it has the method; nothing else is needed. The functions below give what
the engine takes where a task lacks it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from smc_eval.data_file import DataFile
from smc_eval.task import Sizes, Task

if TYPE_CHECKING:
    from torch import Tensor, nn


@runtime_checkable
class HasLength(Protocol):
    """Examples differ in length, so examples of similar length can share a batch."""

    def length(self, example: Any) -> int:
        """Tokens of an example."""


@runtime_checkable
class HasSideLengths(Protocol):
    """Examples have two sides that are padded separately, as source and target of a translation are."""

    def side_lengths(self, example: Any) -> tuple[int, ...]:
        """Tokens of each side of an example. The first side is the one that `predict` reads."""


@runtime_checkable
class HasLossTerms(Protocol):
    """Examples do not count equally in the mean loss of a batch."""

    def loss_terms(self, example: Any) -> int:
        """Terms of an example in the mean loss of a batch, and its outputs in `loss_and_outputs`.

        For a mean over tokens it is the number of target tokens. The engine weighs parts of a batch by it.
        """


@runtime_checkable
class HasOutputs(Protocol):
    """The outputs behind the loss are available: for distillation, for GraSP and SynFlow, for paths."""

    def loss_and_outputs(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        """The mean loss, and the outputs it was made of: log-probabilities [M, C], or values [M].

        The loss equals `loss` of the same batch.
        """


@runtime_checkable
class HasBackbone(Protocol):
    """Part of the model is pretrained."""

    def backbone_weights(self, model: nn.Module) -> Collection[str]:
        """Names of the pretrained parameters. They take `recipe.backbone_lr`."""


@runtime_checkable
class HasExclusions(Protocol):
    """Some parameters are never pruned under scope `body`."""

    def exclude(self, model: nn.Module) -> Collection[str]:
        """Names of the parameters that scope `body` leaves out, besides embeddings.

        These are the output layer of a new head, and lookup tables that are no `nn.Embedding`.
        """


@runtime_checkable
class HasPaperExclusions(Protocol):
    """Some parameters are never pruned under scope `all-2d`."""

    def exclude_in_paper(self, model: nn.Module) -> Collection[str]:
        """Names of the two-dimensional parameters that SMC-Bench's code never prunes."""


@runtime_checkable
class HasDataFiles(Protocol):
    """The task knows where its data can be fetched."""

    def data_files(self) -> tuple[DataFile, ...]:
        """Files and folders in the data folder, and where they come from. Reads nothing."""


@runtime_checkable
class Sized(Protocol):
    """The size of the data is published, so a run can be planned without the data."""

    def sizes(self) -> Sizes | None:
        """Published sizes with these options; None where none are published."""


@runtime_checkable
class TrainedAs(Protocol):
    """Tasks that differ only in what they report share their trained nets."""

    def trained_as(self) -> Task:
        """The task that training, pruning and their digests see. Equal for all that share their nets."""


def side_lengths(task: Task, examples: Iterable[Any]) -> list[tuple[int, ...]]:
    """Tokens of each side of each example; one token where the task does not say."""
    if isinstance(task, HasSideLengths):
        return [task.side_lengths(example) for example in examples]
    if isinstance(task, HasLength):
        return [(task.length(example),) for example in examples]
    return [(1,) for _ in examples]


def loss_terms(task: Task, examples: Sequence[Any]) -> int:
    """Terms of some examples in a mean loss; one for each example where the task does not say."""
    if isinstance(task, HasLossTerms):
        return sum(task.loss_terms(example) for example in examples)
    return len(examples)


def backbone_weights(task: Task, model: nn.Module) -> Collection[str]:
    """Names of the pretrained parameters."""
    return task.backbone_weights(model) if isinstance(task, HasBackbone) else ()


def excluded(task: Task, model: nn.Module) -> Collection[str]:
    """Names of the parameters that scope `body` leaves out besides embeddings."""
    return task.exclude(model) if isinstance(task, HasExclusions) else ()


def excluded_in_paper(task: Task, model: nn.Module) -> Collection[str]:
    """Names of the parameters that scope `all-2d` leaves out."""
    return task.exclude_in_paper(model) if isinstance(task, HasPaperExclusions) else ()


def data_files(task: Task) -> tuple[DataFile, ...]:
    """Files and folders that a task reads, and where they come from."""
    return task.data_files() if isinstance(task, HasDataFiles) else ()


def published_sizes(task: Task) -> Sizes | None:
    """The published sizes of a task's data; None where there are none."""
    return task.sizes() if isinstance(task, Sized) else None


def trained_as(task: Task) -> Task:
    """The task that training, pruning and their digests see."""
    return task.trained_as() if isinstance(task, TrainedAs) else task
