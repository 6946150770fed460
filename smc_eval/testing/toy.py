"""The toy: a task that is learned in seconds, and a net with layers that are hard to prune correctly."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from smc_eval.card import TaskCard
from smc_eval.recipe import Recipe
from smc_eval.score import Score, accuracy
from smc_eval.spec import digest
from smc_eval.task import Part, Source, Task

Example = tuple[tuple[int, ...], int]


class ToyNet(nn.Module):
    """A small net with a tied embedding, a GRU, dropout, a norm and a layer of odd shape."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(12, 8)
        self.encoder = nn.GRU(8, 10, batch_first=True)
        self.drop = nn.Dropout(0.2)
        self.norm = nn.LayerNorm(10)
        self.down = nn.Linear(10, 8)
        self.odd = nn.Linear(7, 5)
        self.out = nn.Linear(8, 12, bias=False)
        self.out.weight = self.words.weight

    def forward(self, tokens_NL: Tensor) -> Tensor:
        """Logits of shape [N, 12] from tokens of shape [N, L]."""
        hidden_NLH = self.encoder(self.words(tokens_NL))[0]
        down_N8 = torch.tanh(self.down(self.drop(self.norm(hidden_NLH[:, -1]))))
        side_N8 = nn.functional.pad(self.odd(down_N8[:, :7]), (0, 3))
        return cast("Tensor", self.out(down_N8 + side_N8))


class Toy(Task):
    """Find the token that occurs twice. Learned in seconds."""

    card: ClassVar[TaskCard] = TaskCard(
        name="toy",
        accepts=("tiny",),
        published="tiny",
        summary="find the token that occurs twice",
        source="smc-eval",
        metric="accuracy (%)",
    )
    only_calls_model: ClassVar[bool] = True
    recipe: Recipe = Recipe(steps=12, batch_size=8, lr=0.01, weight_decay=0.1)

    def sources(self) -> tuple[Source, ...]:
        return (Source("data", "synthetic", digest("toy", 1)),)

    def data(self, part: Part) -> Sequence[Example]:
        generator = random.Random(part)
        return [self._example(generator) for _ in range(52 if part == "train" else 20)][: self.limit]

    def _example(self, generator: random.Random) -> Example:
        tokens = generator.sample(range(12), 5)
        tokens[generator.randrange(1, 5)] = tokens[0]
        return tuple(tokens), tokens[0]

    def model(self) -> nn.Module:
        return ToyNet()

    def collate(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        return {
            "tokens": torch.tensor([tokens for tokens, _ in examples]),
            "answers": torch.tensor([answer for _, answer in examples]),
        }

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return self.loss_and_outputs(model, batch)[0]

    def loss_and_outputs(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        log_NC = model(batch["tokens"]).log_softmax(-1)
        return nn.functional.nll_loss(log_NC, batch["answers"]), log_NC

    def predict(self, model: nn.Module, batch: Any) -> list[int]:
        return cast("list[int]", model(batch["tokens"]).argmax(-1).tolist())

    def score(self, predicted: Sequence[int], examples: Sequence[Example]) -> Score:
        right = [token == answer for token, (_, answer) in zip(predicted, examples, strict=True)]
        return accuracy(right, "accuracy (%)", "accuracy")


class UnitNet(nn.Module):
    """A small net with four attention heads and twelve neurons, and a tied embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(12, 8)
        self.query, self.key, self.value, self.mix = (nn.Linear(8, 8) for _ in range(4))
        self.norm = nn.LayerNorm(8)
        self.up, self.down = nn.Linear(8, 12), nn.Linear(12, 8)
        self.out = nn.Linear(8, 12, bias=False)
        self.out.weight = self.words.weight

    def forward(self, tokens_NL: Tensor) -> Tensor:
        """Logits of shape [N, 12] from tokens of shape [N, L]."""
        words_NL8 = self.words(tokens_NL)
        heads = [
            layer(words_NL8).unflatten(-1, (4, 2)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        ]
        seen_NL8 = nn.functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        first_N8 = self.norm(words_NL8 + self.mix(seen_NL8))[:, 0]
        return cast("Tensor", self.out(first_N8 + self.down(torch.tanh(self.up(first_N8)))))


class UnitToy(Toy):
    """The toy with a net of heads and neurons."""

    def model(self) -> nn.Module:
        return UnitNet()


class StillToy(Toy):
    """The toy without dropout, so that a batch in parts has the gradients of the whole batch."""

    def model(self) -> nn.Module:
        net = ToyNet()
        net.drop.p = 0.0
        return net


class PrunedToy(Toy):
    """The toy with a pruned net: every other weight is zero."""

    def model(self) -> nn.Module:
        model = super().model()
        with torch.no_grad():
            for weight in model.parameters():
                if weight.ndim >= 2:
                    weight.view(-1)[::2] = 0
        return model
