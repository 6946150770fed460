"""Word problems as a task: what all sets and both solvers have in common."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from pydantic import Field

from smc_eval.score import Score, accuracy
from smc_eval.task import Part, Source, Task
from smc_eval.tasks.arithmetic.equation import equation_right, value_right
from smc_eval.tasks.arithmetic.problems import Problem, read_problems
from smc_eval.tasks.arithmetic.symbols import Symbols, symbols, vocabulary
from smc_eval.tasks.backbone import load_encoder, load_tokenizer, text_encoder
from smc_eval.tasks.folder import content_digest, find
from smc_eval.tasks.twins import twin

if TYPE_CHECKING:
    from torch import Tensor, nn

    from smc_eval.tasks.arithmetic.encoding import Batch, Tokenize
    from smc_eval.tasks.arithmetic.solver import Solver

LONGEST = 45
"""Symbols after which an equation is given up."""

METRIC = "value accuracy (%)"


@dataclass(frozen=True)
class Parts:
    """A fold's problems, and the symbols of both its parts."""

    train: tuple[Problem, ...]
    test: tuple[Problem, ...]
    symbols: Symbols

    @property
    def texts(self) -> list[str]:
        """The training questions."""
        return [" ".join(problem.words) for problem in self.train]


class WordProblems(Task):
    """An equation for a question, in prefix form; right if its value is."""

    dataset: ClassVar[str]
    """Its folder in the official layout."""
    graphs: ClassVar[bool]
    """Whether the solver reads graphs: Graph2Tree does, GTS does not."""
    published_hidden: ClassVar[int]
    tiny: ClassVar[dict[str, Any]] = {"epochs": 3, "batch_size": 8, "lr": 2e-3, "period": 2}

    hidden: int | None = Field(None, ge=4, multiple_of=4)
    """Width of reader and decoder; None takes the published one, or 64 for a tiny model."""
    embedding: int = Field(768, ge=1)
    """Width of the word embeddings that `scratch` trains."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Dropout of reader and decoder."""
    beam: int = Field(5, ge=1)
    """Width of the search."""

    def paths(self) -> tuple[Path, Path]:
        """The files of the training and of the reported part."""
        folder = twin(self.dataset) if self.folder == "twin" else self.folder
        inner = self.dataset if self.fold is None else f"{self.dataset}/fold{self.fold}"
        return find(folder, f"{inner}/train.csv"), find(folder, f"{inner}/dev.csv")

    def sources(self) -> tuple[Source, ...]:
        data = Source("data", self.folder, content_digest(self.paths()))
        built = self.backbone in ("tiny", "scratch")
        return (data,) if built else (data, text_encoder(self.backbone).source())

    def data(self, part: Part) -> Sequence[Problem]:
        parts = problems(*self.paths())
        return (parts.train if part == "train" else parts.test)[: self.limit]

    def model(self) -> nn.Module:
        from smc_eval.tasks.arithmetic.graph import GraphBlock
        from smc_eval.tasks.arithmetic.solver import Solver
        from smc_eval.tasks.arithmetic.words import Encoder, TrainedWords, tiny_encoder

        parts = problems(*self.paths())
        words: Encoder | TrainedWords
        match self.backbone:
            case "scratch":
                known = vocabulary(parts.train, parts.test)
                words = TrainedWords(len(known), self.embedding, self.dropout)
            case "tiny":
                encoder = tiny_encoder(len(tiny_tokens(*self.paths())))
                words = Encoder(encoder, encoder.config.hidden_size)
            case name:
                encoder = load_encoder(text_encoder(name))
                words = Encoder(encoder, encoder.config.hidden_size)
        hidden = self.hidden or (64 if self.backbone == "tiny" else self.published_hidden)
        graph = GraphBlock(hidden, dropout=0.3) if self.graphs else None
        return Solver(words, graph, parts.symbols, hidden, self.dropout)

    def collate(self, examples: Sequence[Problem]) -> Batch:
        from smc_eval.tasks.arithmetic.encoding import batched

        tokenize, padding = self._tokenizer()
        parts = problems(*self.paths())
        return batched(examples, tokenize, parts.symbols, padding, graphs=self.graphs)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return cast("Tensor", model(batch))

    def predict(self, model: nn.Module, batch: Batch) -> list[list[str]]:
        solver, known = cast("Solver", model), problems(*self.paths()).symbols
        return [[known.symbol(s) for s in found] for found in solver.solve(batch, self.beam, LONGEST)]

    def score(self, predicted: Sequence[Sequence[str]], examples: Sequence[Problem]) -> Score:
        pairs = list(zip(predicted, examples, strict=True))
        right = [value_right(found, problem.equation, problem.numbers) for found, problem in pairs]
        alike = [equation_right(found, problem.equation, problem.numbers) for found, problem in pairs]
        new = [value for value, problem in zip(right, examples, strict=True) if not problem.leaked]
        further = {"equation_accuracy": alike}
        if len(new) < len(right):
            further["value_accuracy_without_leaked"] = new
        return accuracy(right, METRIC, f"value|tolerance:1e-4|beam:{self.beam}|longest:{LONGEST}", **further)

    def backbone_weights(self, model: nn.Module) -> Collection[str]:
        if self.backbone in ("tiny", "scratch"):
            return ()
        return [name for name, _ in model.named_parameters() if name.startswith("words.")]

    def spared(self, model: nn.Module) -> Collection[str]:
        """The output layers (operators, leaves) and the table of constants."""
        return ("tree.ops.weight", "tree.leaf_score.weight", "tree.constants")

    def _tokenizer(self) -> tuple[Tokenize, int]:
        """From words to tokens, and the token that pads."""
        from smc_eval.tasks.arithmetic.encoding import by_word
        from smc_eval.tasks.arithmetic.words import by_subword

        match self.backbone:
            case "scratch":
                parts = problems(*self.paths())
                return by_word(vocabulary(parts.train, parts.test)), 0
            case "tiny":
                tokenizer = tiny_tokens(*self.paths())
            case name:
                tokenizer = pretrained_tokens(name)
        return by_subword(tokenizer, min(tokenizer.model_max_length, 512)), tokenizer.pad_token_id


@cache
def problems(train: Path, test: Path) -> Parts:
    """Both files, read once; test problems whose question also stands in the training file say so."""
    taught = tuple(read_problems(train))
    seen = {problem.words for problem in taught}
    asked = tuple(replace(problem, leaked=problem.words in seen) for problem in read_problems(test))
    return Parts(taught, asked, symbols(taught, asked))


@cache
def tiny_tokens(train: Path, test: Path) -> Any:
    """The tokenizer of a tiny encoder, trained on the training questions."""
    from smc_eval.tasks.arithmetic.words import tiny_tokenizer

    return tiny_tokenizer(problems(train, test).texts)


@cache
def pretrained_tokens(name: str) -> Any:
    """A checkpoint's tokenizer, loaded once."""
    return load_tokenizer(text_encoder(name))
