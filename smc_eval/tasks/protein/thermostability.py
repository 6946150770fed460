"""The task classes of proteins, with classes and with temperatures."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from pydantic import Field

from smc_eval.errors import UsageError
from smc_eval.score import Items, Score, accuracy
from smc_eval.task import Part, Source, Task
from smc_eval.tasks import backbone
from smc_eval.tasks.folder import content_digest, official_folder
from smc_eval.tasks.protein.example import Protein, Split
from smc_eval.tasks.protein.protein_encoder import ProteinEncoder
from smc_eval.tasks.protein.spearman import spearman
from smc_eval.tasks.synthetic import synthetic_folder

if TYPE_CHECKING:
    from torch import Tensor, nn

    from smc_eval.tasks.protein.alphabet import Alphabet
    from smc_eval.tasks.protein.batch import ProteinBatch
    from smc_eval.tasks.protein.protein_net import ProteinNet

ACCURACY = "accuracy (%)"
RHO = "Spearman's rho"

CELSIUS_DIGITS = 2
"""Decimals of a predicted temperature. No assay is more precise than a hundredth of a degree, and the
batch size changes only later decimals; so predictions that round to the same value are ties in any batch."""

TINY_PROTEINS = {"epochs": 3, "batch_size": 16, "lr": 2e-3, "warmup": 0}
"""Training on synthetic data takes less than half a second."""


class Proteins(Task):
    """Proteins, and a net that predicts from their sequences."""

    version: ClassVar[int] = 2
    tiny: ClassVar[Mapping[str, Any]] = TINY_PROTEINS
    paper_recipe: ClassVar[Mapping[str, Any]] = {"bucket": 1}  # its batches are not sorted by length
    only_calls_model: ClassVar[bool] = True

    data_set: ClassVar[str]
    """Folder of the files under the data folder, also of synthetic data."""

    truncate: int | None = Field(1022, ge=1)
    """Number of residues that are read, from the first one on. ESM-1b has positions for 1022 residues and two
    special tokens. None: as many as the model has positions for. The official code truncates to 1022 tokens
    including `<cls>`, so it drops `<eos>` of long sequences."""

    @abstractmethod
    def find_split(self, folder: Path) -> Split:
        """Find the split in a data folder.

        Raises:
            DataError: the split is not there.
        """

    def sources(self) -> tuple[Source, ...]:
        data = Source("data", self.folder, content_digest(self._split().files))
        if self.backbone == "tiny":
            return (data,)
        return (data, backbone.find_backbone(self.backbone, ProteinEncoder()).source)

    def data(self, part: Part) -> Sequence[Protein]:
        train, test = self._split().parts()
        return (train if part == "train" else test)[: self.limit]

    def collate(self, examples: Sequence[Protein]) -> ProteinBatch:
        from smc_eval.tasks.protein.batch import batch_of

        return batch_of(examples, _alphabet(self.backbone), self.truncate)

    def length(self, example: Protein) -> int:
        return _alphabet(self.backbone).length(example.sequence, self.truncate)

    def content(self, example: Protein) -> str:
        return example.sequence

    def net_tokenizer(self) -> Any:
        return ProteinEncoder().build_tokenizer("tiny", ()) if self.backbone == "tiny" else None

    def backbone_weights(self, model: nn.Module) -> Collection[str]:
        return backbone.encoder_weights(self.backbone, model)

    def exclude(self, model: nn.Module) -> Collection[str]:
        return ("head.out.weight",)

    def exclude_in_paper(self, model: nn.Module) -> Collection[str]:
        """All but the linear layers of the encoder, which are those of attention and feed-forward."""
        from torch import nn

        layers = [
            module for module in cast("ProteinNet", model).encoder.modules() if isinstance(module, nn.Linear)
        ]
        prunable = {id(layer.weight) for layer in layers}
        return [name for name, weight in model.named_parameters() if id(weight) not in prunable]

    def _split(self) -> Split:
        if self.card.folds and self.fold is None:
            raise UsageError(f"task {self.card.name!r} has {self.card.folds} folds; name one, from 0")
        return self.find_split(
            synthetic_folder(self.data_set)
            if self.folder == "synthetic"
            else official_folder(self.folder, self.data_set)
        )

    def _net(self, outputs: int, centre: float = 0.0, scale: float = 1.0) -> ProteinNet:
        from smc_eval.tasks.protein.protein_net import ProteinNet, protein_encoder

        return ProteinNet(protein_encoder(self.backbone), outputs, centre, scale)


class Classes(Proteins):
    """The class of a protein, scored by accuracy."""

    classes: ClassVar[int]

    def class_of(self, example: Protein) -> int:
        return int(example.answer)

    def model(self) -> nn.Module:
        return self._net(self.classes)

    def loss_and_outputs(self, model: nn.Module, batch: ProteinBatch) -> tuple[Tensor, Tensor]:
        """Mean cross entropy, and the log-probabilities [N, C] of the classes."""
        from torch.nn.functional import log_softmax, nll_loss

        log_NC = log_softmax(model(batch), dim=-1)
        return nll_loss(log_NC, batch.answers_N.long()), log_NC

    def loss(self, model: nn.Module, batch: ProteinBatch) -> Tensor:
        return self.loss_and_outputs(model, batch)[0]

    def predict(self, model: nn.Module, batch: ProteinBatch) -> list[int]:
        return cast("list[int]", model(batch).argmax(-1).tolist())

    def score(self, predicted: Sequence[int], examples: Sequence[Protein]) -> Score:
        answers = [protein.answer for protein in examples]
        right = [label == answer for label, answer in zip(predicted, answers, strict=True)]
        largest = Counter(answers).most_common(1)[0][0] if answers else None
        return accuracy(
            right,
            ACCURACY,
            f"accuracy|classes:{self.classes}|residues:{self.truncate or 'all'}",
            largest_class=[answer == largest for answer in answers],
        )


class Temperatures(Proteins):
    """The temperature of a protein, scored by Spearman's rank correlation."""

    def model(self) -> nn.Module:
        from statistics import fmean, pstdev

        celsius = [protein.answer for protein in self.data("train")]
        return self._net(1, fmean(celsius), pstdev(celsius) or 1.0)

    def loss_and_outputs(self, model: nn.Module, batch: ProteinBatch) -> tuple[Tensor, Tensor]:
        """Mean squared error, and the predictions [N].

        Both are in standard deviations of the training temperatures.
        """
        from torch.nn.functional import mse_loss

        net = cast("ProteinNet", model)
        predicted_N = net(batch).squeeze(-1) / net.scale
        return mse_loss(predicted_N, batch.answers_N / net.scale), predicted_N

    def loss(self, model: nn.Module, batch: ProteinBatch) -> Tensor:
        return self.loss_and_outputs(model, batch)[0]

    def predict(self, model: nn.Module, batch: ProteinBatch) -> list[float]:
        return [round(degrees, CELSIUS_DIGITS) for degrees in model(batch).squeeze(-1).tolist()]

    def score(self, predicted: Sequence[float], examples: Sequence[Protein]) -> Score:
        answers = [protein.answer for protein in examples]
        rho = spearman(predicted, answers)
        items = Items("rank", tuple(zip(predicted, answers, strict=True)))
        signature = (
            f"spearman|ties:average|constant:0|digits:{CELSIUS_DIGITS}|residues:{self.truncate or 'all'}"
        )
        return Score(RHO, rho, len(examples), signature=signature, items=items)


@lru_cache(maxsize=32)
def _alphabet(model_name: str) -> Alphabet:
    """The alphabet of a model, made once a process."""
    from smc_eval.tasks.protein import alphabet

    return (
        alphabet.esm_alphabet()
        if model_name == "tiny"
        else alphabet.alphabet_of(backbone.find_backbone(model_name, ProteinEncoder()))
    )
