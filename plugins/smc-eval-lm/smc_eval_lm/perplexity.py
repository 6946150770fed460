"""Perplexity: how well a causal language model predicts a text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from smc_eval.card import TaskCard
from smc_eval.data_file import DataFile
from smc_eval.errors import UsageError
from smc_eval.recipe import Recipe
from smc_eval.score import Items, Score
from smc_eval.task import Part, Source
from smc_eval_lm.model_kind import CausalLanguageModel
from smc_eval_lm.texts import SETS, WIKITEXT, read_text, text_source
from smc_eval_lm.training import LanguageModelling, TokenBatch
from smc_eval_lm.windows import Window, check_length, scored_windows

if TYPE_CHECKING:
    from torch import nn


class Perplexity(LanguageModelling):
    """The perplexity of a text: the exponential of the mean of -log p over its tokens, or over its bytes."""

    card: ClassVar[TaskCard] = TaskCard(
        name="perplexity",
        summary="perplexity of a text",
        source="SparseGPT, arXiv:2301.00774; Wanda, arXiv:2306.11695; WikiText-2, arXiv:1609.07843",
        groups=("language",),
        metric="perplexity",
        accepts=(CausalLanguageModel.card.name, "tiny", "scratch"),
        published="facebook/opt-125m",
        licence="that of the text; WikiText-2 CC BY-SA, C4 ODC-BY",
    )

    text: str = WIKITEXT
    """Text that is scored: `wikitext-2`, `c4`, or a file in the data folder."""
    window: int | None = Field(None, ge=2)
    """Tokens that the net reads at once. None: 2,048, or the positions of the model if it has fewer."""
    stride: int | None = Field(None, ge=1)
    """Tokens from the start of a window to that of the next. None: windows do not overlap."""
    windows: int | None = Field(None, ge=1)
    """Number of windows, from the first one on. None: all."""
    per: Literal["token", "byte"] = "token"
    """Unit of the perplexity. Tokenizers can be compared by bytes alone."""

    def data_files(self) -> tuple[DataFile, ...]:
        note = "any text file: text=FILE, train_text=FILE; also on the hub, by --data-dir hub: "
        hub = {"wikitext-2": "Salesforce/wikitext, wikitext-2-raw-v1", "c4": "allenai/c4"}
        wanted: tuple[tuple[str, Part], ...] = ((self.train_text, "train"), (self.text, "test"))
        return tuple(
            DataFile(
                SETS[name].files[part] if name in SETS else name,
                self.card.licence,
                note=note + hub.get(name, "not this one"),
            )
            for name, part in dict.fromkeys(wanted)
        )

    def sources(self) -> tuple[Source, ...]:
        return (text_source(self.folder, self.text, "test", trained=False), *super().sources())

    def data(self, part: Part) -> Sequence[Window]:
        if part == "train":
            return super().data(part)
        return _windows(self.replace(limit=None, per="token", recipe=Recipe(steps=0)))[: self.limit]

    def predict(self, model: nn.Module, batch: TokenBatch) -> list[float]:
        """The sum of -log p over the scored tokens of each window."""
        from torch.nn import functional as F

        logits_NLV = self.logits(model, batch)
        sums = []
        for ids_L, logits_LV, first in zip(batch.ids_NL, logits_NLV, batch.first, strict=True):
            loss_S = F.cross_entropy(logits_LV[first - 1 : -1].float(), ids_L[first:], reduction="none")
            sums.append(float(loss_S.double().sum()))
        return sums

    def score(self, predicted: Sequence[float], examples: Sequence[Window]) -> Score:
        total, tokens = math.fsum(predicted), sum(window.scored for window in examples)
        size = sum(window.bytes for window in examples)
        by_token = self.per == "token"
        units = [window.scored if by_token else window.bytes for window in examples]
        further = {"per byte": _exp(total / size)} if by_token else {"per token": _exp(total / tokens)}
        return Score(
            metric=self.card.metric,
            value=_exp(total / sum(units)),
            n=len(examples),
            higher_is_better=False,
            signature=self._signature(),
            also={**further, "bits per byte": total / size / math.log(2)},
            items=Items(
                "perplexity",
                tuple((float(loss), float(unit)) for loss, unit in zip(predicted, units, strict=True)),
            ),
        )

    def unknown_tokens(self, examples: Sequence[Window]) -> Mapping[str, float]:
        unknown = self.tokenizer.unk_token_id
        if unknown is None or unknown in {self.tokenizer.bos_token_id, self.tokenizer.eos_token_id}:
            return {}
        count = sum(window.ids.count(unknown) for window in examples)
        return {self.text: count / sum(len(window.ids) for window in examples)}

    def _signature(self) -> str:
        width = self.width(self.window, "window")
        stride = self.stride or width - (self.bos == "windows")
        parts = (f"per:{self.per}", f"text:{self.text}", f"documents:{self.documents}")
        return "|".join(
            ("perplexity", *parts, f"window:{width}", f"stride:{stride}", f"bos:{self.bos}", "end:dropped")
        )


def _exp(value: float) -> float:
    """The exponential; the largest number if it is larger."""
    return math.exp(min(value, 700.0))


@lru_cache(maxsize=4)
def _windows(task: Perplexity) -> list[Window]:
    """The windows of a task's text."""
    width, begin = task.width(task.window, "window"), task.begin()
    own = width - (begin is not None)
    if task.stride is not None and task.stride > own:
        raise UsageError(
            f"stride={task.stride} is longer than the {own} tokens that a window takes of the text, "
            f"so tokens would be left out; give stride={own} or less"
        )
    text = read_text(task.folder, task.text, "test", task.documents)
    tokens = task.tokens(text)
    check_length(text.name, tokens, width, begin, "window")
    return list(islice(scored_windows(tokens[0], width, task.stride, begin), task.windows))
