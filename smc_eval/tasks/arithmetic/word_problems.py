"""The task class of word problems, for all data sets and both solvers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from pydantic import Field

from smc_eval.data_file import DataFile
from smc_eval.errors import UsageError
from smc_eval.exported.manifest import built_form, exported_digest
from smc_eval.score import Score, accuracy
from smc_eval.task import BUILT_MODELS, Part, Sizes, Source, Task
from smc_eval.tasks import backbone
from smc_eval.tasks.arithmetic.addresses import PROBLEM_FILES
from smc_eval.tasks.arithmetic.problems import Problem, read_problems
from smc_eval.tasks.arithmetic.symbols import output_symbols
from smc_eval.tasks.equation import equation_right, value_right
from smc_eval.tasks.folder import content_digest, find_file
from smc_eval.tasks.synthetic import synthetic_folder
from smc_eval.tasks.text_encoder import TextEncoder

if TYPE_CHECKING:
    from torch import Tensor, nn

    from smc_eval.tasks.arithmetic.encoding import Encoder, ProblemBatch
    from smc_eval.tasks.arithmetic.solver import Solver

VALUE_ACCURACY = "value accuracy (%)"

TINY_WORD_PROBLEMS = {
    "epochs": 6,
    "batch_size": 16,
    "lr": 3e-3,
    "schedule": "linear",
    "warmup": 3,
    "clip": 1.0,
}
"""Training on synthetic data takes two seconds. Without clipping, some folds are not learned."""


class WordProblems(Task):
    """Word problems as in SMC-Bench: a net reads the question and writes the equation."""

    version: ClassVar[int] = 2  # before, `tiny` had dropout in its encoder
    tiny: ClassVar[Mapping[str, Any]] = TINY_WORD_PROBLEMS
    generates: ClassVar[bool] = True
    data_set: ClassVar[str]
    """The folder of its files in the official layout."""
    counts: ClassVar[Sequence[tuple[int, int]]]
    """Published numbers of training and test problems: of each fold, or of the one split."""
    question_tokens: ClassVar[int]
    """Mean length of a question in tokens, roughly."""
    graphs: ClassVar[bool] = False
    """Whether the net reads graphs between numbers and words: Graph2Tree if so, else GTS."""

    hidden: int | None = Field(None, ge=4, multiple_of=4)
    """Width of the decoder and of each LSTM direction. None: as published, 512 for GTS and 384 for
    Graph2Tree; 64 with `tiny`."""
    embedding: int | None = Field(None, ge=1)
    """Width of the operator embeddings and, with `scratch`, of the word embeddings. None: 768, as published;
    64 with `tiny`."""
    dropout: float | None = Field(None, ge=0, lt=1)
    """Dropout in the LSTM, in the decoder and, with `scratch`, after the word embeddings. None: 0.5, as
    published; 0.1 with `tiny`, whose training is too short for more."""
    beam: int = Field(5, ge=1)
    """Beam width: equations that are kept in parallel when predicting."""

    @property
    def width(self) -> int:
        """Features of a hidden state."""
        default = 64 if self._tiny else 384 if self.graphs else 512
        return self.hidden or default

    @property
    def embedded(self) -> int:
        """Features of an operator embedding."""
        return self.embedding or (64 if self._tiny else 768)

    @property
    def _tiny(self) -> bool:
        return built_form(self.backbone) == "tiny"

    def data_files(self) -> tuple[DataFile, ...]:
        return PROBLEM_FILES.get(self.data_set, ())

    def sizes(self) -> Sizes:
        train, test = self.counts[self.fold or 0]
        return Sizes(
            train, test, self.question_tokens, "files of SMC-Bench, counted; tokens of MAWPS and of samples"
        )

    def sources(self) -> tuple[Source, ...]:
        data = Source("data", self.folder, content_digest(self._files()))
        if self.backbone in BUILT_MODELS:
            return (data,)
        if built_form(self.backbone) == "scratch":  # exported: no model of transformers, so no checkpoint
            return (data, Source("model", self.backbone, exported_digest(self.backbone)))
        return (data, backbone.find_backbone(self.backbone, TextEncoder()).source)

    def data(self, part: Part) -> Sequence[Problem]:
        train, test = self._files()
        return read_problems(train if part == "train" else test)[: self.limit]

    def model(self) -> nn.Module:
        from smc_eval.tasks.arithmetic.solver import make_solver

        encoder = self._encoder
        dropout = self.dropout if self.dropout is not None else 0.1 if self._tiny else 0.5
        words = encoder.reader.net(self.embedded, dropout)
        return make_solver(words, encoder.symbols, self.width, self.embedded, dropout, graphs=self.graphs)

    def collate(self, examples: Sequence[Problem]) -> ProblemBatch:
        return self._encoder.batch(examples)

    def content(self, example: Problem) -> tuple[str, ...]:
        return example.words

    def length(self, example: Problem) -> int:
        return len(example.words)

    def loss_terms(self, example: Problem) -> int:
        return len(example.equation)

    def loss(self, model: nn.Module, batch: ProblemBatch) -> Tensor:
        return self.loss_and_outputs(model, batch)[0]

    def loss_and_outputs(self, model: nn.Module, batch: ProblemBatch) -> tuple[Tensor, Tensor]:
        return cast("tuple[Tensor, Tensor]", model(batch))

    def predict(self, model: nn.Module, batch: ProblemBatch) -> list[list[str]]:
        solved = cast("Solver", model).solve(batch, self.beam)
        return [[self._encoder.symbols.symbol(index) for index in equation] for equation in solved]

    def score(self, predicted: Sequence[Sequence[str]], examples: Sequence[Problem]) -> Score:
        pairs = list(zip(predicted, examples, strict=True))
        right = [value_right(equation, problem.equation, problem.numbers) for equation, problem in pairs]
        exact = [equation_right(equation, problem.equation, problem.numbers) for equation, problem in pairs]
        return accuracy(right, VALUE_ACCURACY, f"value|tol:1e-4|beam:{self.beam}", equation_accuracy=exact)

    def backbone_weights(self, model: nn.Module) -> Collection[str]:
        if self.backbone in BUILT_MODELS:
            return ()
        return [name for name, _ in model.named_parameters() if name.startswith("words.net.")]

    def net_tokenizer(self) -> Any:
        return getattr(self._encoder.reader, "tokenizer", None)

    def head_facts(self) -> Mapping[str, Any]:
        """What a solver is made of, besides its text encoder: words, symbols and sizes."""
        encoder = self._encoder
        return {
            "words": encoder.reader.known.words,
            "operators": encoder.symbols.operators,
            "constants": encoder.symbols.constants,
            "graphs": self.graphs,
            "hidden": self.width,
            "embedding": self.embedded,
        }

    def exclude(self, model: nn.Module) -> Collection[str]:
        """The two output layers, one for operators and one for leaves, and the table of constants."""
        return ("tree.operator.weight", "tree.leaf.score.weight", "tree.constants")

    def _files(self) -> tuple[Path, Path]:
        """The training file and the reported file.

        Raises:
            UsageError: the task has folds, and none is chosen.
            DataError: a file does not exist.
        """
        if self.card.folds and self.fold is None:
            raise UsageError(f"task {self.card.name!r} has {self.card.folds} folds; name one, from 0")
        folder = synthetic_folder(self.data_set) if self.folder == "synthetic" else self.folder
        fold = "" if self.fold is None else f"fold{self.fold}/"
        train, test = (find_file(folder, f"{self.data_set}/{fold}{part}.csv") for part in ("train", "dev"))
        return train, test

    @property
    def _encoder(self) -> Encoder:
        return _encoder(type(self), self.folder, self.fold, self.backbone)


@lru_cache(maxsize=32)
def _encoder(task: type[WordProblems], folder: str, fold: int | None, backbone: str) -> Encoder:
    """The encoder of a task's problems, made once a process from all examples."""
    from smc_eval.tasks.arithmetic.encoding import Encoder
    from smc_eval.tasks.arithmetic.text_readers import make_reader

    unlimited = task(folder=folder, fold=fold, backbone=backbone)
    train, test = unlimited.data("train"), unlimited.data("test")
    return Encoder(make_reader(backbone, train, test), output_symbols(train, test), graphs=task.graphs)
