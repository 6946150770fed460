"""From questions to batches of token pairs.

Shapes: N questions, C choices, L tokens of the longest input.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from smc_eval.errors import DataError, ModelError
from smc_eval.tasks.commonsense.question import LONGEST_INPUT, PairLayout
from smc_eval.tasks.commonsense.text_nets import TextNet


class Choices(Protocol):
    """The part of a question that is read."""

    @property
    def choices(self) -> Sequence[tuple[str, str]]:
        """For each choice the two texts that the net reads."""

    @property
    def answer(self) -> int:
        """Index of the right choice."""


@dataclass(frozen=True)
class PairBatch:
    """Questions with all their choices, padded."""

    ids_NCL: Tensor
    types_NCL: Tensor
    """Token types: 0 and 1 for the two texts if the tokenizer has types, else 0."""
    real_NCL: Tensor
    """Which tokens are not padding."""
    answers_N: Tensor


class Frame(NamedTuple):
    """The special tokens around and between two texts, and the token types of all parts."""

    head: tuple[int, ...]
    between: tuple[int, ...]
    tail: tuple[int, ...]
    types: tuple[int, int, int]
    """Types of head and first text, of the tokens between, and of second text and tail."""

    @classmethod
    def of(cls, net: TextNet) -> Frame:
        """The frame of a net's tokenizer, measured with a pair of short texts.

        Raises:
            ModelError: the tokenizer puts no separator between two texts.
        """
        encoding = net.tokenizer("a", "a", verbose=False)
        types = encoding.get("token_type_ids") or [0] * len(encoding["input_ids"])
        tokens = zip(encoding["input_ids"], types, encoding.sequence_ids(0), strict=True)
        runs = [(text, list(run)) for text, run in groupby(tokens, key=lambda token: token[2])]
        texts = [at for at, (text, _) in enumerate(runs) if text is not None]
        if len(texts) != 2 or texts[1] - texts[0] != 2:
            raise ModelError(
                f"the tokenizer of {net.name!r} puts no separator between two texts, so question and choice "
                "would run together; give a model that was trained on pairs, such as roberta-base"
            )
        first, second = texts
        special = [tuple(token[0] for token in run) for _, run in runs]
        kinds = [run[0][1] for _, run in runs]
        return cls(
            head=sum(special[:first], ()),
            between=special[first + 1],
            tail=sum(special[second + 1 :], ()),
            types=(kinds[first], kinds[first + 1], kinds[second]),
        )


class PairReader:
    """Tokenizes questions and choices for one net; each text is tokenized once."""

    def __init__(self, net: TextNet, layout: PairLayout) -> None:
        self.net, self.layout, self.frame, self.padding = net, layout, Frame.of(net), net.padding
        self.longest = min(LONGEST_INPUT, net.longest or LONGEST_INPUT)
        self._token_cache: dict[str, array[int]] = {}

    def batch(self, questions: Sequence[Choices]) -> PairBatch:
        """The questions as tensors."""
        count = len(questions[0].choices)
        pairs = [self.pair(*choice) for question in questions for choice in question.choices]
        longest = max(len(ids) for ids, _ in pairs)
        ids = [[*ids, *[self.padding] * (longest - len(ids))] for ids, _ in pairs]
        types = [[*types, *[0] * (longest - len(types))] for _, types in pairs]
        lengths_M = torch.tensor([len(ids) for ids, _ in pairs])
        return PairBatch(
            ids_NCL=torch.tensor(ids).view(-1, count, longest),
            types_NCL=torch.tensor(types).view(-1, count, longest),
            real_NCL=(torch.arange(longest) < lengths_M[:, None]).view(-1, count, longest),
            answers_N=torch.tensor([question.answer for question in questions]),
        )

    def length(self, question: Choices) -> int:
        """Tokens of a question with all its choices, each padded to the longest."""
        return len(question.choices) * max(self._length(*choice) for choice in question.choices)

    def _length(self, first: str, second: str) -> int:
        frame, between = self.frame, self._between
        before = len(frame.head) + len(self._tokens(first)) + len(between) - 1
        before = min(before, self.layout.first_limit or before)
        return min(self.longest, before + 1 + len(self._tokens(second)) + len(frame.tail))

    @property
    def _between(self) -> tuple[int, ...]:
        return self.frame.between[-1:] if self.layout.single_separator else self.frame.between

    def pair(self, first: str, second: str) -> tuple[list[int], list[int]]:
        """Ids and types of one input.

        Raises:
            DataError: the input is longer than the net reads, and the layout does not truncate it.
        """
        frame, between = self.frame, self._between
        ids = [*frame.head, *self._tokens(first), *between[:-1]][: self.layout.first_limit]
        types = [frame.types[0]] * len(ids) + [frame.types[1]]
        ids += [between[-1], *self._tokens(second), *frame.tail]
        types += [frame.types[2]] * (len(ids) - len(types))
        if len(ids) > self.longest and not self.layout.truncate:
            raise DataError(
                f"{first[:60]!r} with {second[:60]!r} is {len(ids)} tokens long; "
                f"the model {self.net.name!r} reads {self.longest}"
            )
        return ids[: self.longest], types[: self.longest]

    def _tokens(self, text: str) -> array[int]:
        if text not in self._token_cache:
            encoding: Any = self.net.tokenizer(text, add_special_tokens=False, verbose=False)
            self._token_cache[text] = array("i", encoding["input_ids"])
        return self._token_cache[text]
