"""A Task: model, data, loss, predictions and score."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field

from smc_eval.card import TaskCard
from smc_eval.errors import PluginError
from smc_eval.recipe import Recipe
from smc_eval.score import Score
from smc_eval.spec import Outside, Spec, label, options_of

if TYPE_CHECKING:
    from torch import Tensor, nn

BUILT_MODELS = ("tiny", "scratch")
"""Models that a task builds itself, without a checkpoint. Its card names those that it accepts."""

Part = Literal["train", "test"]
"""`test` is the split whose score is reported, whatever the name of its file."""


CAPABILITIES = frozenset(
    {
        "backbone_weights",
        "ceiling",
        "chance",
        "class_of",
        "content",
        "data_files",
        "exclude",
        "exclude_in_paper",
        "excerpt",
        "head_facts",
        "left_out",
        "length",
        "loss_and_outputs",
        "loss_terms",
        "net_tokenizer",
        "real_tokens",
        "side_lengths",
        "sizes",
        "trained_as",
        "unknown_tokens",
    }
)
"""Names of the optional methods of a task, which `smc_eval.capabilities` describes."""


@dataclass(frozen=True)
class Source:
    """A data set or a pretrained model that a task reads, with a digest of its content."""

    role: Literal["data", "model"]
    name: str
    """`synthetic`, a folder or a hub id."""
    digest: str
    """SHA-256 of the content, or the commit on the hub."""
    trained: bool = True
    """Whether training reads it. False for data that is only scored: nets that are trained alike are shared
    by tasks that are scored on different data."""


@dataclass(frozen=True)
class CheckpointUse:
    """What a net took of the tensors of its checkpoint. It took all that are not named here."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    unused: tuple[str, ...] = ()
    """Tensors that the net does not take: of heads and poolers, and position ids."""
    tied: Mapping[str, str] = field(default_factory=dict)
    """Parameters that are one tensor with another, as loaded."""
    untied: Mapping[str, str] = field(default_factory=dict)
    """Pairs that the config ties, and that are two tensors, because their values in the file differ."""


@dataclass(frozen=True)
class Sizes:
    """Published size of a task's data. Plans use it if the data is missing."""

    train: int
    """Training examples."""
    test: int
    """Examples of the reported split."""
    tokens: int
    """Mean number of tokens that a net reads of an example, roughly: all choices of a question; one side of
    a translation."""
    source: str
    """Publication of the numbers. It says which numbers are assumptions."""


class Task(Spec):
    """A benchmark, and the model that is trained on it.

    A task has seven methods: `sources`, `data`, `model`, `collate`, `loss`, `predict` and `score`. It can
    have more: see `smc_eval.capabilities`. It contains no code for masks, methods, devices, ranks, the
    order of batches or seeds. The engine does all this, in the same way for every method.

    Examples and batches can be of any type. A batch is a tensor, or a dataclass, tuple, list or dict of
    tensors. Options are fields, each with a default; users set them with `--tasks NAME:OPTION=VALUE`.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse an option that has the name of an optional method: the engine would call it.

        Raises:
            PluginError: there is one.
        """
        super().__init_subclass__(**kwargs)
        if taken := sorted(CAPABILITIES & {*options_of(cls)}):
            raise PluginError(
                f"{cls.identity} has a field named {taken[0]!r}, which is a method of smc_eval.capabilities; "
                "rename the field"
            )

    card: ClassVar[TaskCard]
    """Name, source, metric and accepted models."""
    tiny: ClassVar[Mapping[str, Any]] = {}
    """Recipe fields that differ under `--model tiny`, so that a trial takes seconds."""

    paper: ClassVar[Mapping[str, Any]] = {}
    """Defaults under `--protocol paper`: the options that SMC-Bench chose differently."""

    paper_recipe: ClassVar[Mapping[str, Any]] = {}
    """Recipe fields under `--protocol paper` that SMC-Bench chose differently."""

    generates: ClassVar[bool] = False
    """Whether `predict` generates text token by token. Batches are then as large as the recipe allows."""

    only_calls_model: ClassVar[bool] = False
    """Whether `loss`, `loss_and_outputs` and `predict` only call the net, and read nothing of it but its
    buffers. Then the parameters can be sharded by rows over the ranks (`--shard`)."""

    backbone: str = "tiny"
    """The value of `--model`: a hub id, a folder, `pkg:NAME`, `scratch` or `tiny`."""
    folder: Annotated[str, Outside()] = "synthetic"
    """Data folder in the official layout, or `synthetic` for synthetic data in the same formats."""
    fold: int | None = None
    """Fold of the cross-validation; None if the card has no folds."""
    limit: int | None = Field(None, ge=1)
    """Use only this many examples of each part: for trials, never for results."""
    recipe: Annotated[Recipe, Outside()] = Recipe(epochs=1)
    """Training recipe. It is part of the digest of each training stage, not of the task."""

    @abstractmethod
    def sources(self) -> tuple[Source, ...]:
        """Data and pretrained models that the task reads, with digests. Fast, and without torch.

        Raises:
            DataError: a file is missing.
            ModelError: the backbone does not exist, or the task cannot use it.
        """

    @abstractmethod
    def data(self, part: Part) -> Sequence[Any]:
        """Examples of a part, in the order of the file, at most `limit`. Without torch if possible.

        Raises:
            DataError: a file is missing or malformed; names file and line.
        """

    @abstractmethod
    def model(self) -> nn.Module:
        """The untrained net. Random weights come from torch's global generator; the engine seeds it."""

    @abstractmethod
    def collate(self, examples: Sequence[Any]) -> Any:
        """Some examples as one batch of tensors, padded, on the CPU."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Mean loss of a batch: a scalar with a gradient."""

    @abstractmethod
    def predict(self, model: nn.Module, batch: Any) -> list[Any]:
        """One prediction for each example, as plain JSON values. The model is in eval mode."""

    @abstractmethod
    def score(self, predicted: Sequence[Any], examples: Sequence[Any]) -> Score:
        """The score of all predictions together, in the order of the examples."""

    @property
    def label(self) -> str:
        """Name and options that differ from the defaults, as users type them."""
        return label(self.card.name, self, omit=Task.model_fields)

    def replace(self, **fields: Any) -> Self:
        """The same task with other field values, validated."""
        return type(self).model_validate({**{n: getattr(self, n) for n in type(self).model_fields}, **fields})


def used_checkpoint(model: nn.Module) -> CheckpointUse | None:
    """What a net took of its checkpoint; None if it was made without one.

    The part that was loaded has it as its attribute `checkpoint_use`.
    """
    uses = (getattr(part, "checkpoint_use", None) for part in model.modules())
    return next((use for use in uses if isinstance(use, CheckpointUse)), None)
