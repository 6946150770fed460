"""A Recipe: how a task is trained, whatever the method."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from smc_eval.spec import Spec

Precision = Literal["fp32", "bf16", "fp16"]


class Recipe(Spec):
    """Optimizer, learning rates, schedule, length, batches, and which step is kept."""

    epochs: float | None = Field(None, ge=0)
    """Length in passes over the training examples; or give `steps`."""
    steps: int | None = Field(None, ge=0)
    """Length in optimizer steps; 0 trains nothing."""
    batch_size: int = Field(8, ge=1)
    """Examples of one forward pass."""
    accumulation: int = Field(1, ge=1)
    """Forward passes of one optimizer step."""
    tokens: int | None = Field(None, ge=1)
    """Most tokens of one forward pass, padding counted, and twice as many when predicting; a batch
    that has more is computed in parts, the shortest examples together, whose gradients add up to the
    batch's. None sets no limit."""
    bucket: int = Field(1, ge=1)
    """Batches whose examples are drawn together and sorted by length before they are cut, so that
    little is padded; 1 draws each batch by itself."""
    checkpointing: bool = False
    """Compute activations anew in the backward pass instead of keeping them: less memory, more time."""
    eval_batch_size: int = Field(64, ge=1)
    """Examples of one forward pass when predicting; no score depends on it."""
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    """`adamw` decouples weight decay; `adam` adds it to the gradient, as the paper's arithmetic code."""
    lr: float = Field(1e-3, gt=0)
    """Peak learning rate."""
    backbone_lr: float | None = Field(None, gt=0)
    """Peak learning rate of the pretrained part; None takes `lr`."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Adam's decay rates."""
    eps: float = Field(1e-8, gt=0)
    """Adam's epsilon."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """SGD's momentum."""
    weight_decay: float = Field(0.0, ge=0)
    """Weight decay of matrices; biases and norms have none unless the optimizer is `adam`."""
    schedule: Literal["constant", "linear", "inverse-sqrt", "step"] = "constant"
    """`linear` falls to 0 at the end; `inverse-sqrt` with the root of the steps since the start;
    `step` multiplies by `gamma` every `period` epochs."""
    warmup: int = Field(0, ge=0)
    """Steps in which the learning rate rises from 0 to its peak."""
    period: int = Field(20, ge=1)
    """Epochs between two falls of schedule `step`."""
    gamma: float = Field(0.5, gt=0, le=1)
    """Factor of each fall of schedule `step`."""
    clip: float | None = Field(None, gt=0)
    """Largest gradient norm; None clips nothing."""
    precision: Precision = "fp32"
    """Arithmetic of forward and backward; weights are always kept in fp32."""
    keep: Literal["last", "best"] = "last"
    """Which net a stage hands on: its last, or the best of its epochs on the split `select` names."""
    validation: float = Field(0.0, ge=0, lt=1)
    """Share of the training examples held out to select the best epoch; 0 selects on the reported
    split, which only the paper's protocol does."""

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give a recipe either epochs or steps")
        return self

    def stretched(self, length: float) -> Self:
        """The same recipe so many times as long: the falls of the learning rate come as much later,
        the warmup stays, and shrinks along if the recipe does; whole steps, and one at least where
        there was one."""
        if length == 1:
            return self
        return self.model_copy(
            update={
                "epochs": self.epochs and round(self.epochs * length, 6),
                "steps": self.steps and max(1, round(self.steps * length)),
                "period": max(1, round(self.period * length)),
                "warmup": round(self.warmup * min(1, length)),
            }
        )

    def lasting(self, steps: int, examples: int) -> Self:
        """The same recipe stretched to so many steps exactly; one that has them already stays as it is."""
        total = self.total(examples)
        if steps == total:
            return self
        return self.stretched(steps / total).model_copy(update={"epochs": None, "steps": steps})

    def held_out(self, examples: int) -> int:
        """How many of so many training examples are held out to select the best epoch."""
        return round(examples * self.validation)

    def steps_per_epoch(self, examples: int) -> int:
        """Optimizer steps of one pass over so many examples but the held out; the last, smaller
        batch counts."""
        trained_on = examples - self.held_out(examples)
        return max(1, math.ceil(trained_on / (self.batch_size * self.accumulation)))

    def total(self, examples: int) -> int:
        """Optimizer steps of the whole recipe."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return math.ceil(self.epochs * self.steps_per_epoch(examples))

    def rate(self, step: int, examples: int) -> float:
        """Learning rate of a step (counted from 0), as a share of its peak."""
        total = self.total(examples)
        if step < self.warmup:
            return (step + 1) / self.warmup
        match self.schedule:
            case "constant":
                return 1.0
            case "linear":
                return max(0.0, (total - step) / max(1, total - self.warmup))
            case "inverse-sqrt":
                return math.sqrt(max(1, self.warmup) / (step + 1))
            case "step":
                return self.gamma ** (step // (self.period * self.steps_per_epoch(examples)))
