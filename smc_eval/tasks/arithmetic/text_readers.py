"""Text readers: how a question is cut into tokens, and the net that makes a vector of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

from torch import Tensor, nn

from smc_eval.tasks import backbone, pretrained, tiny
from smc_eval.tasks.arithmetic.problems import Problem
from smc_eval.tasks.arithmetic.symbols import UNK, Vocabulary, vocabulary


class Reader(Protocol):
    """One way to read text."""

    padding: int
    """Id of what fills up a batch."""

    def cut(self, words: Sequence[str]) -> tuple[list[int], list[int]]:
        """Ids of all tokens, and for each word the place of its first token."""

    def net(self, width: int, dropout: float) -> nn.Module:
        """A net from ids [N, L], and which of them are no padding, to vectors [N, L, features].

        It has an attribute `features`. Width and dropout are those of embeddings made afresh.
        """


def reader(word: str, train: Sequence[Problem], test: Sequence[Problem]) -> Reader:
    """The reader that `--model` names.

    Raises:
        ModelError: it names a checkpoint that cannot be had or has no fit tokenizer.
    """
    if word == "scratch":
        return WholeWords(vocabulary(train, ()))
    known = vocabulary(train, test)
    if word == "tiny":
        return Tiny(tiny.tiny_tokenizer(" ".join(problem.words) for problem in train), known)
    return Checkpoint(backbone.find_backbone(word), known)


class WholeWords:
    """Tokens are the words of a vocabulary, and their embeddings are trained from scratch."""

    padding = 0

    def __init__(self, known: Vocabulary) -> None:
        self.known = known

    def cut(self, words: Sequence[str]) -> tuple[list[int], list[int]]:
        return [self.known.index(word) for word in words], list(range(len(words)))

    def net(self, width: int, dropout: float) -> nn.Module:
        return WordTable(len(self.known), width, dropout)


class SubWords:
    """Tokens are those of a tokenizer, over the words joined by blanks; unknown words read `UNK`."""

    def __init__(self, tokenizer: Any, known: Vocabulary) -> None:
        """`tokenizer` is of transformers, and fast: it knows which characters its tokens come from."""
        self.tokenizer, self.known = tokenizer, known
        self.padding: int = tokenizer.pad_token_id or 0

    def cut(self, words: Sequence[str]) -> tuple[list[int], list[int]]:
        unknown = self.known.index(UNK)
        read = [UNK if self.known.index(word) == unknown else word for word in words]
        found = self.tokenizer(" ".join(read))
        first, start = list[int](), 0
        for word in read:
            places = (found.char_to_token(at) for at in range(start, start + len(word)))
            # a word of which the tokenizer keeps nothing stands where the one before it does
            first.append(next((place for place in places if place is not None), first[-1] if first else 0))
            start += len(word) + 1
        return list(found["input_ids"]), first


class Tiny(SubWords):
    """A RoBERTa of 2 layers and 128 features that nobody has trained."""

    def net(self, width: int, dropout: float) -> nn.Module:
        from transformers import RobertaModel

        return Contextual(RobertaModel(tiny.tiny_config(len(self.tokenizer)), add_pooling_layer=False))


class Checkpoint(SubWords):
    """A pretrained encoder."""

    def __init__(self, found: backbone.Backbone, known: Vocabulary) -> None:
        super().__init__(pretrained.load_tokenizer(found), known)
        self.found = found

    def net(self, width: int, dropout: float) -> nn.Module:
        return Contextual(pretrained.load_encoder(self.found))


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
    """A transformer encoder: every token is read with all others around it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.features: int = cast("Any", net).config.hidden_size

    def forward(self, ids_NL: Tensor, real_NL: Tensor) -> Tensor:
        return cast("Tensor", self.net(input_ids=ids_NL, attention_mask=real_NL.long()).last_hidden_state)
