"""Capabilities: optional methods of a task, beyond the seven required ones.

A task has a capability if its class has the method; it need not inherit from the protocol. The functions
below call the method, or give the default for a task without it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from smc_eval.data_file import DataFile
from smc_eval.errors import PluginError
from smc_eval.spec import digest
from smc_eval.task import Part, Sizes, Task

if TYPE_CHECKING:
    from torch import Tensor, nn


@runtime_checkable
class HasLength(Protocol):
    """Examples differ in length. Those of similar length can share a batch, with less padding."""

    def length(self, example: Any) -> int:
        """Number of tokens of an example."""


@runtime_checkable
class HasSideLengths(Protocol):
    """Examples have sides that are padded separately, such as source and target of a translation."""

    def side_lengths(self, example: Any) -> tuple[int, ...]:
        """Number of tokens of each side of an example. `predict` reads the first side."""


@runtime_checkable
class HasLossTerms(Protocol):
    """Examples have different weights in the mean loss of a batch, as in a mean over tokens."""

    def loss_terms(self, example: Any) -> int:
        """Number of terms of an example in the mean loss, and of its rows in `loss_and_outputs`.

        For a mean over tokens it is the number of target tokens. The engine weights the parts of a batch
        by it.
        """


@runtime_checkable
class HasOutputs(Protocol):
    """The outputs of the net are available. Distillation, SynFlow and effective sparsity need them."""

    def loss_and_outputs(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        """The loss, equal to `loss(model, batch)`, and the outputs that it is computed from.

        Outputs are log-probabilities [M, C] of M terms and C classes, or values [M].
        """


@runtime_checkable
class HasClasses(Protocol):
    """Each example belongs to a class that the net learns to name. GraSP draws as many examples of each.

    A choice has no class: its place among the choices of one question says nothing about the others.
    """

    def class_of(self, example: Any) -> Hashable:
        """The class of an example: equal for examples with the same label, and for no others."""


@runtime_checkable
class HasPadding(Protocol):
    """An example alone has padding, such as choices of different lengths, in a net that is not a net of
    transformers. Those need no declaration: their attention mask shows it."""

    def real_tokens(self, batch: Any) -> Tensor:
        """Which tokens of a batch are not padding: a bool tensor [..., L].

        Inputs of weights with the shape [..., L, I], or with the leading dimensions joined to one, then
        count without padding. Other inputs count whole.
        """


@runtime_checkable
class HasBackbone(Protocol):
    """Part of the model is pretrained."""

    def backbone_weights(self, model: nn.Module) -> Collection[str]:
        """Names of the pretrained parameters. Their learning rate is `recipe.backbone_lr`."""


@runtime_checkable
class HasExclusions(Protocol):
    """Some parameters are never pruned under scope `body`."""

    def exclude(self, model: nn.Module) -> Collection[str]:
        """Names of the parameters that scope `body` excludes, besides embeddings.

        Examples: the output layer of a new head, a lookup table that is not an `nn.Embedding`.
        """


@runtime_checkable
class HasPaperExclusions(Protocol):
    """Some parameters are never pruned under scope `all-2d`."""

    def exclude_in_paper(self, model: nn.Module) -> Collection[str]:
        """Names of the two-dimensional parameters that the code of SMC-Bench never prunes."""


@runtime_checkable
class HasDataFiles(Protocol):
    """The files of the data are known, so `smc-eval data` can list, verify and download them."""

    def data_files(self) -> tuple[DataFile, ...]:
        """Files and folders in the data folder, with their addresses. Reads no file."""


@runtime_checkable
class Sized(Protocol):
    """The size of the data is published, so a run can be planned without the data."""

    def sizes(self) -> Sizes | None:
        """Published sizes of the data with these options; None if there are none."""


@runtime_checkable
class TrainedAs(Protocol):
    """Several tasks share their trained nets, because only their test data or score differ."""

    def trained_as(self) -> Task:
        """The task that is used to train and prune. It is equal for all tasks that share their nets."""


@runtime_checkable
class HasContent(Protocol):
    """The net reads only a part of an example. Two examples are the same if this part is equal."""

    def content(self, example: Any) -> Hashable:
        """What the net reads of an example, without the answer: equal for equal inputs only."""


@runtime_checkable
class HasExcerpts(Protocol):
    """Examples are long and can be cut. What depends on the form of an example alone, such as the paths of a
    net and its synaptic flow, is then found from a part of it."""

    def excerpt(self, example: Any, tokens: int) -> Any:
        """An example of at most so many tokens: the beginning of a longer one."""


@runtime_checkable
class LeavesOut(Protocol):
    """Some examples of the files are left out, because they are incomplete."""

    def left_out(self, part: Part) -> int:
        """Number of examples of a part that `data` leaves out."""


@runtime_checkable
class HasUnknownTokens(Protocol):
    """A tokenizer reads the text. Tokens that it does not know are lost."""

    def unknown_tokens(self, examples: Sequence[Any]) -> Mapping[str, float]:
        """Share of unknown tokens in some examples, in [0, 1], by language or by other kinds of text."""


@runtime_checkable
class HasCeiling(Protocol):
    """A net without a mistake would not have the best score, because of how predictions are written."""

    def ceiling(self, examples: Sequence[Any]) -> Mapping[str, float]:
        """Highest possible score of some examples, in the metric's unit, for each part of the score."""


@runtime_checkable
class HasChance(Protocol):
    """Its options change what a random guess scores, such as the number of choices."""

    def chance(self) -> float:
        """Score of a random guess, in the metric's unit."""


@runtime_checkable
class HasNetTokenizer(Protocol):
    """The net reads the output of a tokenizer that no checkpoint holds: one that was made from the data."""

    def net_tokenizer(self) -> Any:
        """The tokenizer, with a method `save_pretrained`; None if the task has none now."""


@runtime_checkable
class HasHeadFacts(Protocol):
    """What the outputs of the net mean depends on more than the task's name, such as its training data."""

    def head_facts(self) -> Mapping[str, Any]:
        """Plain JSON by name. A stored head is used only where all of it is equal."""


def side_lengths(task: Task, examples: Iterable[Any]) -> list[tuple[int, ...]]:
    """Number of tokens of each side of each example. Default: one side of one token."""
    if isinstance(task, HasSideLengths):
        return [task.side_lengths(example) for example in examples]
    if isinstance(task, HasLength):
        return [(task.length(example),) for example in examples]
    return [(1,) for _ in examples]


def loss_terms(task: Task, examples: Sequence[Any]) -> int:
    """Number of terms of some examples in a mean loss. Default: one for each example."""
    if isinstance(task, HasLossTerms):
        return sum(task.loss_terms(example) for example in examples)
    return len(examples)


def classes_of(task: Task, examples: Iterable[Any]) -> list[Hashable] | None:
    """The class of each example. Default: None, there are no classes."""
    return [task.class_of(example) for example in examples] if isinstance(task, HasClasses) else None


def real_tokens(task: Task, batch: Any) -> Tensor | None:
    """Which tokens of a batch are not padding. Default: None, unknown."""
    return task.real_tokens(batch) if isinstance(task, HasPadding) else None


def backbone_weights(task: Task, model: nn.Module) -> Collection[str]:
    """Names of the pretrained parameters. Default: none."""
    return task.backbone_weights(model) if isinstance(task, HasBackbone) else ()


def excluded(task: Task, model: nn.Module) -> Collection[str]:
    """Names of the parameters that scope `body` excludes, besides embeddings. Default: none."""
    return task.exclude(model) if isinstance(task, HasExclusions) else ()


def excluded_in_paper(task: Task, model: nn.Module) -> Collection[str]:
    """Names of the parameters that scope `all-2d` excludes. Default: none."""
    return task.exclude_in_paper(model) if isinstance(task, HasPaperExclusions) else ()


def data_files(task: Task) -> tuple[DataFile, ...]:
    """Files and folders that a task reads, with their addresses. Default: none."""
    return task.data_files() if isinstance(task, HasDataFiles) else ()


def published_sizes(task: Task) -> Sizes | None:
    """Published sizes of a task's data. Default: None."""
    return task.sizes() if isinstance(task, Sized) else None


def trained_as(task: Task) -> Task:
    """The task that is used to train and prune. Default: the task itself."""
    return task.trained_as() if isinstance(task, TrainedAs) else task


def content(task: Task, example: Any) -> Hashable:
    """What the net reads of an example. Default: all of it as JSON; None if it has no such form."""
    if isinstance(task, HasContent):
        return task.content(example)
    try:
        return digest(_plain(example))
    except PluginError:
        return None


def excerpt(task: Task, example: Any, tokens: int) -> Any:
    """A short example for what depends on its form alone. Default: all of it."""
    return task.excerpt(example, tokens) if isinstance(task, HasExcerpts) else example


def left_out_examples(task: Task) -> dict[str, int]:
    """Number of examples of each part that are left out of the data. Default: none."""
    if not isinstance(task, LeavesOut):
        return {}
    return {"train": task.left_out("train"), "test": task.left_out("test")}


def unknown_tokens(task: Task, examples: Sequence[Any]) -> Mapping[str, float]:
    """Share of unknown tokens in some examples, by language. Default: not known."""
    return task.unknown_tokens(examples) if isinstance(task, HasUnknownTokens) else {}


def ceiling(task: Task, examples: Sequence[Any]) -> Mapping[str, float]:
    """Highest possible score of some examples, for each part of the score. Default: not known."""
    return task.ceiling(examples) if isinstance(task, HasCeiling) else {}


def chance(task: Task) -> float:
    """Score of a random guess. Default: that of the task's card."""
    return task.chance() if isinstance(task, HasChance) else task.card.chance


def net_tokenizer(task: Task) -> Any:
    """The tokenizer of a net without a checkpoint. Default: None."""
    return task.net_tokenizer() if isinstance(task, HasNetTokenizer) else None


def head_facts(task: Task) -> dict[str, Any]:
    """What the outputs of the net mean beyond the task's name, as JSON gives it back. Default: nothing.

    Raises:
        PluginError: it is no plain JSON.
    """
    if not isinstance(task, HasHeadFacts):
        return {}
    try:
        plain: dict[str, Any] = json.loads(json.dumps(task.head_facts()))
    except (TypeError, ValueError) as error:
        raise PluginError(f"{task.identity} gave head_facts that are no plain JSON: {error}") from None
    return plain


def _plain(value: Any) -> Any:
    """A value with its dataclasses as mappings."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
