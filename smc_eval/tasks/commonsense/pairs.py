"""From questions to batches of token pairs.

Shapes: N questions, C choices, L tokens of the longest input.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

import torch
from torch import Tensor

from smc_eval.errors import DataError, ModelError
from smc_eval.tasks.commonsense.question import LONGEST_INPUT, PairLayout
from smc_eval.tasks.commonsense.text_nets import TextNet


class Choices(Protocol):
    """What is read of a question."""

    @property
    def choices(self) -> Sequence[tuple[str, str]]:
        """For each choice the two texts that the net reads."""

    @property
    def answer(self) -> int:
        """Index of the right one."""


@dataclass(frozen=True)
class PairBatch:
    """Questions with all their choices, padded."""

    ids_NCL: Tensor
    types_NCL: Tensor
    """0 and 1 for the two texts, where the tokenizer tells them from each other; else 0."""
    real_NCL: Tensor
    """Which tokens are no padding."""
    answers_N: Tensor


@dataclass(frozen=True)
class Frame:
    """The special tokens that a tokenizer puts around and between two texts, and the types of all parts."""

    head: tuple[int, ...]
    between: tuple[int, ...]
    tail: tuple[int, ...]
    types: tuple[int, int, int]
    """Of the first text with head, of what is between, and of the second with tail."""

    @classmethod
    def of(cls, net: TextNet) -> Frame:
        """The frame of a net's tokenizer, seen at a pair of short texts.

        Raises:
            ModelError: it puts nothing between two texts.
        """
        found = net.tokenizer("a", "a", verbose=False)
        types = found.get("token_type_ids") or [0] * len(found["input_ids"])
        tokens = zip(found["input_ids"], types, found.sequence_ids(0), strict=True)
        runs = [(of, list(run)) for of, run in groupby(tokens, key=lambda token: token[2])]
        texts = [at for at, (of, _) in enumerate(runs) if of is not None]
        if len(texts) != 2 or texts[1] - texts[0] != 2:
            raise ModelError(
                f"the tokenizer of {net.name!r} puts no separator between two texts, so a choice could not "
                "be told from its question; give a model that was trained on pairs, such as roberta-base"
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
    """Cuts questions and choices into tokens for one net; each text is cut once."""

    def __init__(self, net: TextNet, layout: PairLayout) -> None:
        self.net, self.layout, self.frame, self.padding = net, layout, Frame.of(net), net.padding
        self.longest = min(LONGEST_INPUT, net.longest or LONGEST_INPUT)
        self._cut: dict[str, array[int]] = {}

    def batch(self, questions: Sequence[Choices]) -> PairBatch:
        """The questions as tensors."""
        count = len(questions[0].choices)
        found = [self.pair(*choice) for one in questions for choice in one.choices]
        longest = max(len(ids) for ids, _ in found)
        ids = [[*ids, *[self.padding] * (longest - len(ids))] for ids, _ in found]
        types = [[*types, *[0] * (longest - len(types))] for _, types in found]
        lengths_M = torch.tensor([len(ids) for ids, _ in found])
        return PairBatch(
            ids_NCL=torch.tensor(ids).view(-1, count, longest),
            types_NCL=torch.tensor(types).view(-1, count, longest),
            real_NCL=(torch.arange(longest) < lengths_M[:, None]).view(-1, count, longest),
            answers_N=torch.tensor([one.answer for one in questions]),
        )

    def length(self, question: Choices) -> int:
        """Tokens of a question with all its choices, each padded to the longest."""
        return len(question.choices) * max(self._length(*choice) for choice in question.choices)

    def _length(self, first: str, second: str) -> int:
        frame, between = self.frame, self._between
        before = len(frame.head) + len(self._tokens(first)) + len(between) - 1
        before = min(before, self.layout.first or before)
        return min(self.longest, before + 1 + len(self._tokens(second)) + len(frame.tail))

    @property
    def _between(self) -> tuple[int, ...]:
        return self.frame.between[-1:] if self.layout.once else self.frame.between

    def pair(self, first: str, second: str) -> tuple[list[int], list[int]]:
        """Ids and types of one input.

        Raises:
            DataError: it has more tokens than the net reads, and the set's recipe does not cut it.
        """
        frame, between = self.frame, self._between
        ids = [*frame.head, *self._tokens(first), *between[:-1]][: self.layout.first]
        types = [frame.types[0]] * len(ids) + [frame.types[1]]
        ids += [between[-1], *self._tokens(second), *frame.tail]
        types += [frame.types[2]] * (len(ids) - len(types))
        if len(ids) > self.longest and not self.layout.cut:
            raise DataError(
                f"{first[:60]!r} with {second[:60]!r} is {len(ids)} tokens long; "
                f"the model {self.net.name!r} reads {self.longest}"
            )
        return ids[: self.longest], types[: self.longest]

    def _tokens(self, text: str) -> array[int]:
        if text not in self._cut:
            found: Any = self.net.tokenizer(text, add_special_tokens=False, verbose=False)
            self._cut[text] = array("i", found["input_ids"])
        return self._cut[text]
