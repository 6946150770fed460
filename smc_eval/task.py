"""A Task: model, data, loss, predictions and score, and nothing about sparsity."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from smc_eval.card import TaskCard
from smc_eval.data_file import DataFile
from smc_eval.errors import UsageError
from smc_eval.recipe import Recipe
from smc_eval.score import Score
from smc_eval.spec import Outside, Spec, label

if TYPE_CHECKING:
    from torch import Tensor, nn

Part = Literal["train", "test"]
"""`test` is the split whose score is reported, whatever its file is called."""


@dataclass(frozen=True)
class Source:
    """Something a task reads: which, and what exactly it held."""

    role: Literal["data", "model"]
    name: str
    """`twin`, a folder, a hub id."""
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
    """One benchmark with the model that is trained on it.

    A task knows no mask, method, device, rank, order of batches or seed: all of that is the
    engine's, and so the same for every method. Examples and batches are the task's own types;
    a batch may be a tensor, or a dataclass, tuple, list or dict that holds tensors.
    """

    card: ClassVar[TaskCard]
    tiny: ClassVar[Mapping[str, Any]] = {}
    """Fields of the recipe that change with `--model tiny`, so that a trial takes seconds."""

    paper: ClassVar[Mapping[str, Any]] = {}
    """Options that SMC-Bench chose otherwise: the defaults under `--protocol paper`."""

    paper_recipe: ClassVar[Mapping[str, Any]] = {}
    """Fields of the recipe that SMC-Bench chose otherwise."""

    generates: ClassVar[bool] = False
    """Whether predicting takes step after step, as a text's words are found, and costs so much for each
    that the more examples share a forward pass the better."""

    only_calls_model: ClassVar[bool] = False
    """Whether `loss`, `loss_and_outputs` and `predict` only call the net, and read nothing inside it but buffers.
    Then each rank may hold only some rows of the parameters, and gather the others for a call."""

    backbone: str = "tiny"
    """What `--model` says: a hub id, a folder, `pkg:NAME`, `scratch` or `tiny`."""
    folder: Annotated[str, Outside()] = "twin"
    """Data directory in the official layout, or `twin` for synthetic data in the same formats."""
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

    def length(self, example: Any) -> int:
        """Tokens of an example, so that alike ones can share a batch; 1 where all are alike."""
        return 1

    def side_lengths(self, example: Any) -> tuple[int, ...]:
        """Tokens of each side of an example that is padded by itself, first the one that predicting
        reads: for tasks that have two."""
        return (self.length(example),)

    def loss_terms(self, example: Any) -> int:
        """Terms that an example has in the mean loss of a batch: 1 where examples count equally, its target
        tokens where tokens do. It is also its number of outputs in `loss_and_outputs`. The engine weighs the
        parts of a batch with it.
        """
        return 1

    @abstractmethod
    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Mean loss of a batch, a scalar with a gradient."""

    def loss_and_outputs(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        """The mean loss, and the outputs it was made of: log-probabilities [M, C], or values [M].

        Whoever learns from another net's outputs, or measures what flows through a net, needs it.
        A task that has none refuses methods that ask. Where it is there, `loss` is its first half.
        """
        raise UsageError(f"task {self.card.name!r} does not tell its outputs, only its loss")

    @property
    def has_outputs(self) -> bool:
        """Whether there is a `loss_and_outputs` to ask."""
        return type(self).loss_and_outputs is not Task.loss_and_outputs

    @abstractmethod
    def predict(self, model: nn.Module, batch: Any) -> list[Any]:
        """One prediction an example, as plain JSON values; the model is in eval mode."""

    @abstractmethod
    def score(self, predicted: Sequence[Any], examples: Sequence[Any]) -> Score:
        """The score of all predictions together, in the examples' order."""

    def backbone_weights(self, model: nn.Module) -> Collection[str]:
        """Names of the parameters that come from pretraining: they take `recipe.backbone_lr`."""
        return ()

    def exclude(self, model: nn.Module) -> Collection[str]:
        """Names of parameters that scope `body` leaves out beside embeddings: the output layer of
        a head that this task makes afresh, and lookup tables that are no `nn.Embedding`."""
        return ()

    def exclude_in_paper(self, model: nn.Module) -> Collection[str]:
        """Names of parameters that scope `all-2d` leaves out: what SMC-Bench's code never prunes of
        this task's net, though it has two dimensions."""
        return ()

    def data_files(self) -> tuple[DataFile, ...]:
        """Files and folders that it reads from a data folder, and where they come from; without reading
        anything. A task that says nothing can be verified all the same, but not fetched."""
        return ()

    def sizes(self) -> Sizes | None:
        """How large its data is as published, with these options; None where nobody has said.
        Plans count with it where the data cannot be read, and nothing else does."""
        return None

    def trained_as(self) -> Task:
        """The task that training, pruning and their digests see: tasks that differ only in what they
        report name the same one here, and share all their stages."""
        return self

    @property
    def label(self) -> str:
        """Its name and the options that differ from the defaults, as users type them."""
        return label(self.card.name, self, apart=Task.model_fields)

    def replace(self, **fields: Any) -> Self:
        """The same task with other fields, checked anew."""
        return type(self).model_validate({**{n: getattr(self, n) for n in type(self).model_fields}, **fields})
