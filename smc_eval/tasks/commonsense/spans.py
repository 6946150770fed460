"""Scoring candidates with a masked language model: the mean log-probability of their masked tokens.

Shapes: N sentences, 2 candidates of each, L tokens of the longest, K masked tokens in all, V vocabulary.
"""

from __future__ import annotations

import inspect
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smc_eval.errors import DataError
from smc_eval.tasks.commonsense.question import LONGEST_INPUT
from smc_eval.tasks.commonsense.text_nets import TextNet, check_states

if TYPE_CHECKING:
    from smc_eval.tasks.commonsense.question import Blank

ALPHA, BETA = 5.0, 0.4
"""Published weight alpha and width beta of the margin."""


@dataclass(frozen=True)
class Spans:
    """Sentences with each candidate in the blank, the candidate's tokens masked; padded."""

    ids_N2L: Tensor
    real_N2L: Tensor
    """Which tokens are not padding."""
    masked_N2L: Tensor
    own_K: Tensor
    """Ids of the tokens that are masked, row by row."""
    answers_N: Tensor


@dataclass(frozen=True)
class FilledSentence:
    """A sentence with one candidate in the blank."""

    ids: array[int]
    places: range
    """Positions of the candidate's tokens."""


class SpanReader:
    """Tokenizes sentences for one net; each sentence is tokenized once."""

    def __init__(self, net: TextNet) -> None:
        self.net, self.padding, self.mask = net, net.padding, net.mask
        self.longest = min(LONGEST_INPUT, net.longest or LONGEST_INPUT)
        self._filled = dict[tuple[str, str, str], FilledSentence]()

    def batch(self, sentences: Sequence[Blank]) -> Spans:
        """The sentences as tensors."""
        rows = [
            self.fill(sentence.before, name, sentence.after)
            for sentence in sentences
            for name in sentence.candidates
        ]
        longest = max(len(row.ids) for row in rows)
        ids_ML = torch.full((len(rows), longest), self.padding)
        real_ML, masked_ML = (torch.zeros(len(rows), longest, dtype=torch.bool) for _ in range(2))
        for m, row in enumerate(rows):
            ids_ML[m, : len(row.ids)] = torch.tensor(row.ids)
            real_ML[m, : len(row.ids)] = True
            masked_ML[m, row.places.start : row.places.stop] = True
        shape = (-1, 2, longest)
        return Spans(
            ids_N2L=ids_ML.masked_fill(masked_ML, self.mask).view(shape),
            real_N2L=real_ML.view(shape),
            masked_N2L=masked_ML.view(shape),
            own_K=ids_ML[masked_ML],
            answers_N=torch.tensor([sentence.answer for sentence in sentences]),
        )

    def length(self, sentence: Blank) -> int:
        """Tokens of a sentence with both candidates, each padded to the longer."""
        both = (self.fill(sentence.before, name, sentence.after) for name in sentence.candidates)
        return 2 * max(len(row.ids) for row in both)

    def fill(self, before: str, name: str, after: str) -> FilledSentence:
        """Tokenize a sentence with a candidate; the candidate's tokens are all that overlap its text.

        Raises:
            DataError: the tokenizer drops the whole candidate, or the sentence is too long for the net.
        """
        key = before, name, after
        if key not in self._filled:
            encoding: Any = self.net.tokenizer(
                before + name + after, return_offsets_mapping=True, verbose=False
            )
            start, stop = len(before), len(before) + len(name)
            places = [at for at, (a, b) in enumerate(encoding["offset_mapping"]) if a < stop and b > start]
            if not places:
                raise DataError(f"the tokenizer of {self.net.name!r} gives no token for the option {name!r}")
            if len(encoding["input_ids"]) > self.longest:
                raise DataError(
                    f"{before[:60] + name!r}… is {len(encoding['input_ids'])} tokens long; "
                    f"the model {self.net.name!r} reads {self.longest}"
                )
            self._filled[key] = FilledSentence(
                array("i", encoding["input_ids"]), range(places[0], places[-1] + 1)
            )
        return self._filled[key]


class SpanScorer(nn.Module):
    """A masked language model whose head is computed at masked positions alone."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.attends_globally = "global_attention_mask" in inspect.signature(net.forward).parameters
        """Whether chosen tokens attend to all others: here the masked ones, which are read."""

    def forward(self, batch: Spans) -> Tensor:
        """Log-probabilities [K, V] of the vocabulary at each masked position, row by row."""
        masked_ML = batch.masked_N2L.flatten(0, 1)
        further = {"global_attention_mask": masked_ML.long()} if self.attends_globally else {}

        def pick(_module: nn.Module, _args: Any, states: Any) -> Any:
            check_states(states.last_hidden_state, masked_ML)
            # the head works on each position alone; at all positions it costs as much as the encoder
            states.last_hidden_state = states.last_hidden_state[masked_ML][None]
            return states

        hook = cast("Any", self.net).base_model.register_forward_hook(pick)
        try:
            logits_1KV = self.net(
                input_ids=batch.ids_N2L.flatten(0, 1),
                attention_mask=batch.real_N2L.flatten(0, 1).long(),
                **further,
            ).logits
        finally:
            hook.remove()
        return F.log_softmax(logits_1KV[0], dim=-1)


def mean_scores(logp_KV: Tensor, batch: Spans) -> Tensor:
    """Scores [N, 2]: the mean log-probability of each candidate's tokens."""
    own_K = logp_KV.gather(1, batch.own_K[:, None])[:, 0]
    own_N2L = own_K.new_zeros(batch.masked_N2L.shape).masked_scatter(batch.masked_N2L, own_K)
    return own_N2L.sum(-1) / batch.masked_N2L.sum(-1)


def margin_loss(scores_N2: Tensor, answers_N: Tensor) -> Tensor:
    """Mean of -s(right) + alpha * max(0, s(wrong) - s(right) + beta)."""
    right_N = scores_N2.gather(1, answers_N[:, None])[:, 0]
    wrong_N = scores_N2.gather(1, 1 - answers_N[:, None])[:, 0]
    return (ALPHA * (wrong_N - right_N + BETA).clamp_min(0) - right_N).mean()
