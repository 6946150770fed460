"""A task for smc-eval: which digit a small image shows. Its net is a small convolutional one."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from smc_eval import (
    Checkpoint,
    Form,
    KindCard,
    ModelKind,
    Part,
    Recipe,
    Score,
    Source,
    Task,
    TaskCard,
    accuracy,
    find_backbone,
    hookimpl,
    read_tensors,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

GLYPHS = (
    "0110 1001 1001 1001 0110", "0010 0110 0010 0010 0111", "0110 1001 0010 0100 1111",
    "1110 0001 0110 0001 1110", "0011 0101 1001 1111 0001", "1111 1000 1110 0001 1110",
    "0110 1000 1110 1001 0110", "1111 0001 0010 0100 0100", "0110 1001 0110 1001 0110",
    "0110 1001 0111 0001 0110",
)  # fmt: skip
"""The digits from 0 to 9, five rows of four dots."""

SIZES: Mapping[Form, tuple[int, int]] = {"tiny": (8, 16), "scratch": (16, 32)}
"""Channels of the two layers."""


class ImageNet(ModelKind):
    """A convolutional net of two layers for images of 8 by 8 dots, saved as its state dict."""

    card: ClassVar[KindCard] = KindCard(
        name="dot-image-net",
        summary="a small convolutional net for images of 8 by 8 dots",
        source="LeCun et al. (1998), gradient-based learning applied to document recognition",
        example="a folder with a model.safetensors and a config.json of model_type dot-image-net",
        builds=("tiny", "scratch"),
    )

    def why_not(self, config: Mapping[str, Any], tokens: Collection[str] | None) -> str:
        return "" if config["model_type"] == self.card.name else f"a {config['model_type']} model"

    def load(self, checkpoint: Checkpoint) -> nn.Module:
        net = conv_net(*checkpoint.config["channels"])
        net.load_state_dict(read_tensors(checkpoint))
        return net

    def build(self, form: Form, tokenizer: Any = None) -> nn.Module:
        return conv_net(*SIZES[form])


def conv_net(first: int, second: int) -> nn.Module:
    """Two layers of 3 by 3, and a linear one over the mean of each channel."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(1, first, 3, padding=1),
        nn.BatchNorm2d(first),
        nn.ReLU(),
        nn.Conv2d(first, second, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * second, 10),
    )


class Digits(Task):
    """Digits of 4 by 5 dots, at any place of an image of 8 by 8, with noise."""

    card: ClassVar[TaskCard] = TaskCard(
        name="digits",
        summary="which digit an image of 8 by 8 dots shows",
        source="https://example.org/digits",
        metric="accuracy (%)",
        chance=10.0,
        accepts=("dot-image-net", "tiny", "scratch"),
        published="scratch",
    )
    recipe: Recipe = Recipe(epochs=4, batch_size=16, lr=0.01)
    tiny: ClassVar[Mapping[str, Any]] = {"epochs": 1}
    only_calls_model: ClassVar[bool] = True

    def sources(self) -> tuple[Source, ...]:
        data = Source("data", "synthetic", hashlib.sha256(b"digits of dots, version 1").hexdigest())
        return (data,) if self.backbone in SIZES else (data, find_backbone(self.backbone, ImageNet()).source)

    def data(self, part: Part) -> Sequence[Any]:
        draw = random.Random(part)
        return [self._image(draw) for _ in range(320 if part == "train" else 80)][: self.limit]

    def _image(self, draw: random.Random) -> tuple[list[list[float]], int]:
        digit, down, right = draw.randrange(10), draw.randrange(4), draw.randrange(5)
        image = [[draw.gauss(0, 0.1) for _ in range(8)] for _ in range(8)]
        for row, dots in enumerate(GLYPHS[digit].split()):
            for column, dot in enumerate(dots):
                image[down + row][right + column] += float(dot)
        return image, digit

    def model(self) -> nn.Module:
        kind = ImageNet()
        for form in SIZES:
            if self.backbone == form:
                return kind.build(form)
        return find_backbone(self.backbone, kind).load()

    def collate(self, examples: Sequence[Any]) -> tuple[Tensor, Tensor]:
        import torch

        return torch.tensor([image for image, _ in examples])[:, None], torch.tensor([d for _, d in examples])

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return self.loss_and_outputs(model, batch)[0]

    def loss_and_outputs(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        from torch import nn

        log_NC = model(batch[0]).log_softmax(-1)
        return nn.functional.nll_loss(log_NC, batch[1]), log_NC

    def predict(self, model: nn.Module, batch: Any) -> list[int]:
        return model(batch[0]).argmax(dim=1).tolist()

    def score(self, predicted: Sequence[int], examples: Sequence[Any]) -> Score:
        right = [guess == digit for guess, (_, digit) in zip(predicted, examples, strict=True)]
        return accuracy(right, self.card.metric, "exact digit")


@hookimpl
def smc_eval_kinds() -> list[type[ModelKind]]:
    return [ImageNet]


@hookimpl
def smc_eval_tasks() -> list[type[Task]]:
    return [Digits]
