"""Text readers: a tokenizer for questions, and the net that gives a vector for each token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

from torch import Tensor, nn

from smc_eval.exported.manifest import built_form
from smc_eval.tasks import backbone
from smc_eval.tasks.arithmetic.problems import Problem
from smc_eval.tasks.arithmetic.symbols import UNK, Vocabulary, vocabulary
from smc_eval.tasks.text_encoder import TextEncoder


class Reader(Protocol):
    """A tokenizer with its net."""

    padding: int
    """Id of the padding token."""
    known: Vocabulary
    """The words that are read; others become `UNK`."""

    def tokenize(self, words: Sequence[str]) -> tuple[list[int], list[int]]:
        """Ids of all tokens, and for each word the position of its first token."""

    def net(self, width: int, dropout: float) -> nn.Module:
        """A net from ids [N, L] and a mask [N, L] of the real tokens to vectors [N, L, features].

        It has an attribute `features`. `width` and `dropout` apply to new word embeddings alone.
        """


def make_reader(model_name: str, train: Sequence[Problem], test: Sequence[Problem]) -> Reader:
    """The reader that `--model` names.

    Raises:
        ModelError: the checkpoint cannot be loaded or has no suitable tokenizer.
    """
    if built_form(model_name) == "scratch":
        return WholeWords(vocabulary(train, ()))
    known = vocabulary(train, test)
    if model_name == "tiny":
        texts = (" ".join(problem.words) for problem in train)
        return Tiny(TextEncoder().build_tokenizer("tiny", texts), known)
    return Pretrained(backbone.find_backbone(model_name, TextEncoder()), known)


class WholeWords:
    """Tokens are whole words, and their embeddings are trained from scratch."""

    padding = 0

    def __init__(self, known: Vocabulary) -> None:
        self.known = known

    def tokenize(self, words: Sequence[str]) -> tuple[list[int], list[int]]:
        return [self.known.index(word) for word in words], list(range(len(words)))

    def net(self, width: int, dropout: float) -> nn.Module:
        return WordTable(len(self.known), width, dropout)


class SubWords:
    """Tokens are those of a tokenizer; words are joined by blanks, and unknown words become `UNK`."""

    def __init__(self, tokenizer: Any, known: Vocabulary) -> None:
        """`tokenizer` is a fast tokenizer of transformers, which maps characters to tokens."""
        self.tokenizer, self.known = tokenizer, known
        self.padding: int = tokenizer.pad_token_id or 0

    def tokenize(self, words: Sequence[str]) -> tuple[list[int], list[int]]:
        unknown = self.known.index(UNK)
        known = [UNK if self.known.index(word) == unknown else word for word in words]
        encoding = self.tokenizer(" ".join(known))
        first, start = list[int](), 0
        for word in known:
            places = (encoding.char_to_token(at) for at in range(start, start + len(word)))
            # a word without any token gets the position of the word before it
            first.append(next((place for place in places if place is not None), first[-1] if first else 0))
            start += len(word) + 1
        return list(encoding["input_ids"]), first


class Tiny(SubWords):
    """An untrained RoBERTa of 2 layers and 128 features."""

    def net(self, width: int, dropout: float) -> nn.Module:
        return Contextual(TextEncoder().build("tiny", self.tokenizer))


class Pretrained(SubWords):
    """A pretrained encoder."""

    def __init__(self, checkpoint: backbone.Backbone, known: Vocabulary) -> None:
        super().__init__(checkpoint.load_tokenizer(), known)
        self.checkpoint = checkpoint

    def net(self, width: int, dropout: float) -> nn.Module:
        return Contextual(self.checkpoint.load())


class WordTable(nn.Module):
    """Word embeddings, with dropout."""

    def __init__(self, words: int, width: int, dropout: float) -> None:
        super().__init__()
        self.features = width
        self.table = nn.Embedding(words, width, padding_idx=0)
        self.drop = nn.Dropout(dropout)

    def forward(self, ids_NL: Tensor, real_NL: Tensor) -> Tensor:
        return cast("Tensor", self.drop(self.table(ids_NL)))


class Contextual(nn.Module):
    """A transformer encoder: the vector of a token depends on all tokens."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.features: int = cast("Any", net).config.get_text_config().hidden_size

    def forward(self, ids_NL: Tensor, real_NL: Tensor) -> Tensor:
        return cast("Tensor", self.net(input_ids=ids_NL, attention_mask=real_NL.long()).last_hidden_state)
