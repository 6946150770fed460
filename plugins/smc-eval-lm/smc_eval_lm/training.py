"""Language modelling: the part of a task that trains and calibrates on a text."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from smc_eval.card import TaskCard
from smc_eval.errors import DataError, ModelError
from smc_eval.kind import form_of
from smc_eval.recipe import Recipe
from smc_eval.score import Score
from smc_eval.spec import Outside
from smc_eval.task import Part, Source, Task
from smc_eval_lm.model_kind import SIZES, CausalLanguageModel, positions_of
from smc_eval_lm.texts import WIKITEXT, Documents, Text, read_text, text_source
from smc_eval_lm.tokens import (
    Tokens,
    check_ids,
    checkpoint_of,
    encoded,
    loaded_tokenizer,
    packed,
)
from smc_eval_lm.windows import Window, check_length, training_windows

if TYPE_CHECKING:
    from torch import Tensor, nn

ONE_SHOT = Recipe(steps=0, batch_size=4, tokens=2048, lr=1e-5, eval_batch_size=1)
"""No training: the net is pruned as it is. A batch of calibration has four windows, in passes of 2,048
tokens, so that 32 batches are the published 128 windows."""

TINY: Mapping[str, Any] = {"steps": 60, "lr": 3e-3, "batch_size": 8}
"""An untrained net has to learn something first. It takes a second."""

ROUTERS = ("gate", "router", "shared_expert_gate")
"""Names of the parts, beside `experts`, that choose among experts."""

USUAL_WINDOW = 2048
"""Tokens of a window in the published results of one-shot pruning."""


@dataclass(frozen=True)
class TokenBatch:
    """Windows of equal length. N windows, L tokens."""

    ids_NL: Tensor
    first: tuple[int, ...]
    """Place of the first scored token of each window."""


class LanguageModelling(Task):
    """A causal language model that is trained, or calibrated, on windows of a text.

    Tasks that score such a net inherit from it, and share its nets by `trained_as`. Their `sources` begin
    with the data that only they read, `trained=False`; those of training follow by `super().sources()`.
    """

    card: ClassVar[TaskCard] = TaskCard(
        name="language-modelling",
        summary="training and calibration on windows of a text",
        source="Frantar & Alistarh (2023), arXiv:2301.00774; Sun et al. (2024), arXiv:2306.11695",
        metric="perplexity",
        accepts=(CausalLanguageModel.card.name, "tiny", "scratch"),
        published="facebook/opt-125m",
        licence="that of the text",
    )
    tiny: ClassVar[Mapping[str, Any]] = TINY
    recipe: Annotated[Recipe, Outside()] = ONE_SHOT

    train_text: str = WIKITEXT
    """Text of training and calibration: `wikitext-2`, `c4`, or a file in the data folder."""
    train_window: int | None = Field(None, ge=2)
    """Tokens of a training window. None: 2,048, or the positions of the model if it has fewer."""
    documents: Documents = "whole"
    """What a text file holds: `whole`, one document; `lines`, one document in each line."""
    bos: Literal["text", "windows"] = "text"
    """Where the token that begins a text stands: `text`, where the tokenizer puts it; `windows`, before each
    window, as some models need."""

    def trained_as(self) -> LanguageModelling:
        own = {name: getattr(self, name) for name in LanguageModelling.model_fields}
        return LanguageModelling.model_validate(own)

    def sources(self) -> tuple[Source, ...]:
        text = text_source(self.folder, self.train_text, "train", trained=True)
        return (text,) if form_of(self.backbone) else (text, checkpoint_of(self.backbone).source)

    def data(self, part: Part) -> Sequence[Any]:
        """Windows of the training text; a test part is that of a task which inherits."""
        if part == "test":
            return ()
        return _training_windows(self._unlimited)[: self.limit]

    def model(self) -> nn.Module:
        kind = CausalLanguageModel()
        if form := form_of(self.backbone):
            return kind.build(form, self.tokenizer)
        return checkpoint_of(self.backbone).load()

    def collate(self, examples: Sequence[Window]) -> TokenBatch:
        import torch

        ids_NL = torch.tensor([window.ids for window in examples])
        return TokenBatch(ids_NL, tuple(window.first for window in examples))

    def loss(self, model: nn.Module, batch: TokenBatch) -> Tensor:
        from torch.nn import functional as F

        logits_NLV = self.logits(model, batch)
        return F.cross_entropy(logits_NLV[:, :-1].flatten(0, 1).float(), batch.ids_NL[:, 1:].flatten())

    def loss_and_outputs(self, model: nn.Module, batch: TokenBatch) -> tuple[Tensor, Tensor]:
        from torch.nn import functional as F

        log_MV = self.logits(model, batch)[:, :-1].flatten(0, 1).float().log_softmax(-1)
        return F.nll_loss(log_MV, batch.ids_NL[:, 1:].flatten()), log_MV

    def predict(self, model: nn.Module, batch: Any) -> list[Any]:
        raise NotImplementedError

    def score(self, predicted: Sequence[Any], examples: Sequence[Any]) -> Score:
        raise NotImplementedError

    def length(self, example: Window) -> int:
        return len(example.ids)

    def loss_terms(self, example: Window) -> int:
        return len(example.ids) - 1

    def excerpt(self, example: Window, tokens: int) -> Window:
        return Window(example.ids[:tokens])

    def content(self, example: Window) -> Hashable:
        return example.ids

    def exclude(self, model: nn.Module) -> Collection[str]:
        """The output layer and the routers of mixtures of experts: published pruning leaves them dense.

        An output layer that is tied to the embeddings is in no scope in any case.
        """
        head = getattr(model, "get_output_embeddings", lambda: None)()
        dense = [getattr(head, "weight", None)]
        for module in model.modules():
            if hasattr(module, "experts"):
                routers = (getattr(module, name, None) for name in ROUTERS)
                dense += [
                    weight for router in routers if router is not None for weight in router.parameters()
                ]
        out = {id(weight) for weight in dense if weight is not None}
        return [name for name, weight in model.named_parameters() if id(weight) in out]

    def backbone_weights(self, model: nn.Module) -> Collection[str]:
        return () if form_of(self.backbone) else [name for name, _ in model.named_parameters()]

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of the model; for `tiny` and `scratch`, one that is trained on the training text.

        Raises:
            ModelError: it is missing, broken, or has more tokens than the model.
        """
        if form_of(self.backbone):
            return _built_tokenizer(self._unlimited)
        return loaded_tokenizer(self.backbone)

    def net_tokenizer(self) -> Any:
        """The tokenizer, as an exported `tiny` or `scratch` has no other."""
        return self.tokenizer

    @property
    def positions(self) -> int | None:
        """The longest window that the model reads, in tokens; None if its config does not say it."""
        if form := form_of(self.backbone):
            return SIZES[form].positions
        return positions_of(checkpoint_of(self.backbone).config)

    def logits(self, model: nn.Module, batch: TokenBatch) -> Tensor:
        """The logits [N, L, V] of the token after each token."""
        import torch

        real_NL = torch.ones_like(batch.ids_NL)
        found: Tensor = model(input_ids=batch.ids_NL, attention_mask=real_NL, use_cache=False).logits
        return found

    def width(self, asked: int | None, option: str) -> int:
        """The tokens of a window.

        Raises:
            ModelError: the model has fewer positions.
        """
        positions = self.positions
        if asked is not None and positions is not None and asked > positions:
            raise ModelError(
                f"{option}={asked} is longer than the {positions} positions of the model {self.backbone!r}; "
                f"give {option}={positions} or less"
            )
        return asked or min(USUAL_WINDOW, positions or USUAL_WINDOW)

    def begin(self) -> int | None:
        """The token before each window, if there is one.

        Raises:
            ModelError: the tokenizer has no token that begins a text.
        """
        if self.bos == "text":
            return None
        token: int | None = self.tokenizer.bos_token_id
        if token is None:
            raise ModelError(
                f"the tokenizer of {self.backbone!r} has no token that begins a text; take bos=text"
            )
        return token

    def tokens(self, text: Text) -> list[Tokens]:
        """The tokens of a text: one sequence, or one for each piece that stays apart.

        Raises:
            ModelError: the tokenizer does not fit the model.
        """
        tokenizer, special = self.tokenizer, self.bos == "text"
        if text.apart:
            found = [encoded(tokenizer, piece, special=special) for piece in text.pieces]
        elif len(text.pieces) > 1:
            found = [packed(tokenizer, text.pieces, self.backbone)]
        else:
            found = [encoded(tokenizer, text.pieces[0], special=special)]
        rows = None if form_of(self.backbone) else checkpoint_of(self.backbone).config.get("vocab_size")
        for tokens in found:
            check_ids(tokens, rows, self.backbone)
        return found

    @property
    def _unlimited(self) -> LanguageModelling:
        """The task as the key of what is made once a process."""
        return self.trained_as().replace(limit=None, recipe=Recipe(steps=0))


@lru_cache(maxsize=4)
def _built_tokenizer(task: LanguageModelling) -> Any:
    form = form_of(task.backbone)
    assert form
    text = read_text(task.folder, task.train_text, "train", task.documents)
    return CausalLanguageModel().build_tokenizer(form, text.pieces)


@lru_cache(maxsize=4)
def _training_windows(task: LanguageModelling) -> list[Window]:
    width, begin = task.width(task.train_window, "train_window"), task.begin()
    text = read_text(task.folder, task.train_text, "train", task.documents)
    tokens = task.tokens(text)
    check_length(text.name, tokens, width, begin, "train_window")
    windows = training_windows(tokens, width, begin)
    if not windows:
        raise DataError(f"the text {text.name!r} has no window of {width} tokens")
    return windows
