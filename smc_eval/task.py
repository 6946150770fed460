"""A Task: model, data, loss, predictions and score, and nothing about sparsity."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from smc_eval.card import TaskCard
from smc_eval.recipe import Recipe
from smc_eval.score import Score
from smc_eval.spec import Outside, Spec, label

if TYPE_CHECKING:
    from torch import Tensor, nn

BUILT_MODELS = ("tiny", "scratch")
"""Models that a task builds itself; there is no checkpoint to read. Its card says which it accepts."""

Part = Literal["train", "test"]
"""`test` is the split whose score is reported, whatever its file is called."""


@dataclass(frozen=True)
class Source:
    """Something a task reads: which, and what exactly it held."""

    role: Literal["data", "model"]
    name: str
    """`synthetic`, a folder, a hub id."""
    digest: str
    """SHA-256 over the bytes, or the commit of a hub."""


@dataclass(frozen=True)
class Sizes:
    """A task's data by its size alone: what a plan counts with where the data is not at hand."""

    train: int
    """Training examples."""
    test: int
    """Examples of the reported split."""
    tokens: int
    """That a net reads of an example, on average and roughly: all its choices; of a translation one side."""
    source: str
    """Where the numbers are published; what is only supposed is called so."""


class Task(Spec):
    """One benchmark, and the model that is trained on it.

    A task has seven methods: `sources`, `data`, `model`, `collate`, `loss`, `predict`, `score`. It may
    have more: see `smc_eval.capabilities`. It knows nothing of masks, methods, devices, ranks, the
    order of batches or seeds: the engine does these the same way for every method. Examples and batches
    are the task's own types. A batch may be a tensor, or a dataclass, tuple, list or dict of tensors.
    """

    card: ClassVar[TaskCard]
    tiny: ClassVar[Mapping[str, Any]] = {}
    """Fields of the recipe that change with `--model tiny`, so that a trial takes seconds."""

    paper: ClassVar[Mapping[str, Any]] = {}
    """Options that SMC-Bench chose otherwise: the defaults under `--protocol paper`."""

    paper_recipe: ClassVar[Mapping[str, Any]] = {}
    """Fields of the recipe that SMC-Bench chose otherwise."""

    generates: ClassVar[bool] = False
    """Whether `predict` takes many steps, one for each token of a text. Batches are then as large as the
    recipe allows."""

    only_calls_model: ClassVar[bool] = False
    """Whether `loss`, `loss_and_outputs` and `predict` only call the net, and read nothing else of it but
    its buffers. Then each rank may hold only some rows of the parameters (`--shard`)."""

    backbone: str = "tiny"
    """What `--model` says: a hub id, a folder, `pkg:NAME`, `scratch` or `tiny`."""
    folder: Annotated[str, Outside()] = "synthetic"
    """Data directory in the official layout, or `synthetic` for synthetic data in the same formats."""
    fold: int | None = None
    """Fold of the cross-validation; None where the card has no folds."""
    limit: int | None = Field(None, ge=1)
    """Keep only so many examples of each part: for trials, never for results."""
    recipe: Annotated[Recipe, Outside()] = Recipe(epochs=1)
    """How it is trained; each stage's digest holds the recipe it was run with."""

    @abstractmethod
    def sources(self) -> tuple[Source, ...]:
        """What the task reads, with digests: cheap, and without torch.

        Raises:
            DataError: a file is missing.
            ModelError: the backbone does not exist or cannot serve this task.
        """

    @abstractmethod
    def data(self, part: Part) -> Sequence[Any]:
        """Examples of a part, in file order, `limit` applied; without torch where it can be.

        Raises:
            DataError: a file is missing or malformed; names file and line.
        """

    @abstractmethod
    def model(self) -> nn.Module:
        """The net before any training. Random parts draw from torch's global generator."""

    @abstractmethod
    def collate(self, examples: Sequence[Any]) -> Any:
        """Examples as one batch of tensors, padded, on the CPU."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Mean loss of a batch, a scalar with a gradient."""

    @abstractmethod
    def predict(self, model: nn.Module, batch: Any) -> list[Any]:
        """One prediction an example, as plain JSON values; the model is in eval mode."""

    @abstractmethod
    def score(self, predicted: Sequence[Any], examples: Sequence[Any]) -> Score:
        """The score of all predictions together, in the examples' order."""

    @property
    def label(self) -> str:
        """Its name and the options that differ from the defaults, as users type them."""
        return label(self.card.name, self, apart=Task.model_fields)

    def replace(self, **fields: Any) -> Self:
        """The same task with other fields, checked anew."""
        return type(self).model_validate({**{n: getattr(self, n) for n in type(self).model_fields}, **fields})
