"""The task class of multiple-choice questions: a text encoder scores each choice beside its question."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from pydantic import Field

from smc_eval.capabilities import trained_as
from smc_eval.card import TaskCard
from smc_eval.recipe import Recipe
from smc_eval.score import Score, accuracy
from smc_eval.task import Source, Task
from smc_eval.tasks import backbone, hub
from smc_eval.tasks.commonsense.question import PairLayout, Question
from smc_eval.tasks.folder import content_digest
from smc_eval.tasks.hub import HUB, HubSet
from smc_eval.tasks.synthetic import synthetic_folder
from smc_eval.tasks.text_encoder import TextEncoder

if TYPE_CHECKING:
    from torch import Tensor, nn

    from smc_eval.tasks.commonsense.pairs import PairBatch, PairReader

CHOICE_ACCURACY = "accuracy (%)"

ROBERTA: Mapping[str, Any] = {"lr": 1e-5, "betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.01}
"""Adam as in fairseq's recipes for RoBERTa on these data sets."""


def choice_card(
    name: str, summary: str, source: str, chance: float, licence: str, groups: tuple[str, ...] = ()
) -> TaskCard:
    """The card of a data set; `chance` is the accuracy of guessing, in per cent."""
    return TaskCard(
        name=name,
        summary=summary,
        source=f"{source}; SMC-Bench, ICLR 2023, arXiv:2303.02141",
        groups=(*groups, "commonsense"),
        metric=CHOICE_ACCURACY,
        chance=chance,
        accepts=(TextEncoder.card.name, "tiny"),
        published="roberta-large",
        licence=licence,
    )


class MultipleChoice(Task):
    """Multiple-choice questions as in SMC-Bench: a head with one output on a text encoder."""

    version: ClassVar[int] = 2  # before, `tiny` had dropout in its encoder
    paper_recipe: ClassVar[Mapping[str, Any]] = {"bucket": 1}  # its batches are not sorted by length

    data_set: ClassVar[str]
    """The folder of its files in the official layout."""
    splits: ClassVar[Sequence[str]] = ("train", "validation")
    """The splits on the hub that are read; the last one is reported."""
    layout: ClassVar[PairLayout] = PairLayout()
    only_calls_model: ClassVar[bool] = True

    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout of the head, before and after its dense layer. The encoder keeps its own dropout."""

    @abstractmethod
    def files(self) -> Iterable[Path]:
        """All files that training or the score depends on, in a fixed order.

        Raises:
            DataError: a file is missing.
        """

    @abstractmethod
    def hub_sets(self) -> Sequence[HubSet]:
        """The same data on the hub: one or more configurations of a data set."""

    def sources(self) -> tuple[Source, ...]:
        if self.folder == HUB:
            data = hub.joint_source(self.hub_sets(), self.splits)
        else:
            data = Source("data", self.folder, content_digest(self.files()))
        if self.backbone == "tiny":
            return (data,)
        return (data, backbone.find_backbone(self.backbone, TextEncoder()).source)

    def model(self) -> nn.Module:
        from smc_eval.tasks.commonsense.ranker import Ranker

        return Ranker(self._pairs.net.make(), self.dropout)

    def collate(self, examples: Sequence[Question]) -> PairBatch:
        return self._pairs.batch(examples)

    def length(self, example: Any) -> int:
        return self._pairs.length(example)

    def content(self, example: Any) -> Hashable:
        """The choices in any order: whoever wrote the file may have shuffled them."""
        return tuple(sorted(example.choices))

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return self.loss_and_outputs(model, batch)[0]

    def loss_and_outputs(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        """Mean cross entropy over the choices, and the log-probabilities [N, C] of the choices."""
        from torch.nn import functional as F

        logp_NC = F.log_softmax(model(batch), dim=-1)
        return F.nll_loss(logp_NC, batch.answers_N), logp_NC

    def predict(self, model: nn.Module, batch: Any) -> list[int]:
        """Index of the choice with the highest score; the first one of a tie."""
        best: list[int] = model(batch).argmax(-1).tolist()
        return best

    def score(self, predicted: Sequence[int], examples: Sequence[Any]) -> Score:
        right = [choice == question.answer for choice, question in zip(predicted, examples, strict=True)]
        return accuracy(right, CHOICE_ACCURACY, "accuracy|by:ranking")

    def backbone_weights(self, model: nn.Module) -> Collection[str]:
        return backbone.encoder_weights(self.backbone, model)

    def exclude(self, model: nn.Module) -> Collection[str]:
        return ("out.weight",)

    def net_tokenizer(self) -> Any:
        return self._pairs.net.tokenizer

    @property
    def root(self) -> Path:
        """The data folder: that of the synthetic data, or the one that `--data-dir` names."""
        return synthetic_folder(self.data_set) if self.folder == "synthetic" else Path(self.folder)

    @property
    def _pairs(self) -> PairReader:
        return _pairs(as_tokenized(self))


def as_tokenized(task: MultipleChoice) -> MultipleChoice:
    """The task with only the fields that its tokenization depends on."""
    return cast("MultipleChoice", trained_as(task)).replace(limit=None, recipe=Recipe(epochs=1), dropout=0.0)


@lru_cache(maxsize=16)
def _pairs(task: MultipleChoice) -> PairReader:
    """The reader of a task's questions, made once a process."""
    from smc_eval.tasks.commonsense.pairs import PairReader
    from smc_eval.tasks.commonsense.text_nets import text_net

    def training_texts() -> Iterable[str]:
        # each text once: all questions about an article repeat it
        return dict.fromkeys(
            text for question in task.data("train") for choice in question.choices for text in choice
        )

    return PairReader(text_net(task.backbone, training_texts), task.layout)
