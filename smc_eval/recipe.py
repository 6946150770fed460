"""A Recipe: the training of a task, the same for every method."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, field_serializer, field_validator, model_validator

from smc_eval.errors import UnknownName
from smc_eval.optimizer import OPTIMIZERS, Optimizer
from smc_eval.spec import Outside, Spec

Precision = Literal["fp32", "bf16", "fp16"]

Kernels = Literal["dense", "sparse"]
"""How products of masked matrices are computed."""
SPARSE_KERNELS_VERSION = 3
"""Raise it when sparse kernels compute in another way: digests change, and crossovers are measured again."""

LOW_PRECISION_VERSION = 2
"""Raise it when `bf16` and `fp16` compute in another way: their digests change.
Since 2, attention on a CPU is in fp32."""


MOST = 10**9
"""The largest number of steps, and of anything else that a recipe counts."""


class Recipe(Spec):
    """Optimizer, learning rates, schedule, length, batches and the selection of a net."""

    epochs: float | None = Field(None, ge=0, le=1e6)
    """Length in passes over the training examples. Give either `epochs` or `steps`."""
    steps: int | None = Field(None, ge=0, le=MOST)
    """Length in optimizer steps; 0 trains nothing."""
    batch_size: int = Field(8, ge=1, le=MOST)
    """Examples in one forward pass."""
    accumulation: int = Field(1, ge=1, le=MOST)
    """Forward passes in one optimizer step."""
    tokens: int | None = Field(None, ge=1, le=MOST)
    """Largest number of tokens in one forward pass, padding included; twice as many when predicting. A larger
    batch is computed in parts, sorted by length; their gradients add up to that of the batch. None sets
    no limit."""
    bucket: int = Field(1, ge=1, le=MOST)
    """Number of batches that are drawn together and sorted by length, to reduce padding; 1 draws each batch
    on its own."""
    checkpointing: bool = False
    """Recompute activations in the backward pass instead of storing them: less memory, more time."""
    eval_batch_size: Annotated[int, Outside()] = Field(64, ge=1, le=MOST)
    """Examples in one forward pass when predicting. No score depends on it, and no digest."""
    optimizer: str | Optimizer = "adamw"
    """An optimizer, by its name and options: `sam:rho=0.1`. `adamw` decouples weight decay; `adam` adds it to
    the gradient, as SMC-Bench's arithmetic code does."""
    lr: float = Field(1e-3, gt=0)
    """Peak learning rate."""
    backbone_lr: float | None = Field(None, gt=0)
    """Peak learning rate of pretrained parameters; None takes `lr`."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Adam's decay rates."""
    eps: float = Field(1e-8, gt=0)
    """Adam's epsilon."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """SGD's momentum."""
    weight_decay: float = Field(0.0, ge=0)
    """Weight decay of matrices. Biases and norms have none, unless the optimizer is `adam`."""
    schedule: Literal["constant", "linear", "inverse-sqrt", "step"] = "constant"
    """Learning-rate schedule: `linear` falls to 0 at the end; `inverse-sqrt` falls with the square root of
    the step; `step` multiplies by `gamma` every `period` epochs."""
    warmup: int = Field(0, ge=0, le=MOST)
    """Steps in which the learning rate rises from 0 to its peak."""
    period: int = Field(20, ge=1, le=MOST)
    """Epochs between two reductions of schedule `step`."""
    gamma: float = Field(0.5, gt=0, le=1)
    """Factor of each reduction of schedule `step`."""
    clip: float | None = Field(None, gt=0)
    """Largest gradient norm; None does not clip."""
    precision: Precision = "fp32"
    """Precision of forward and backward passes. Weights are always fp32, and so is attention on a CPU."""
    keep: Literal["last", "best"] = "last"
    """The net that a stage returns: its last, or the best of its epochs. `validation` sets the examples that
    select it."""
    validation: float = Field(0.0, ge=0, lt=1)
    """Share of the training examples that are held out to select the best epoch. 0 selects on the reported
    split, as only `--protocol paper` does."""

    @field_validator("optimizer", mode="before")
    @classmethod
    def _name_of_own(cls, value: object) -> object:
        """A built-in optimizer is its name, so digests are what they were before others could come in."""
        return value.card.name if isinstance(value, OPTIMIZERS) else value

    @field_serializer("optimizer")
    def _as_typed(self, value: str | Optimizer) -> str:
        return value.label if isinstance(value, Optimizer) else value

    @property
    def recorded(self) -> Self:
        """The recipe as a record holds it: its optimizer is a text, whose plugin may be missing later."""
        return self.model_copy(update={"optimizer": self._as_typed(self.optimizer)})

    @property
    def chosen_optimizer(self) -> Optimizer:
        """The optimizer as a Spec.

        Raises:
            UnknownName: it is a name that is not built in, as in a record of a plugin that is not installed.
        """
        if isinstance(self.optimizer, Optimizer):
            return self.optimizer
        kinds = {kind.card.name: kind for kind in OPTIMIZERS}
        if self.optimizer not in kinds:
            raise UnknownName("built-in optimizer", self.optimizer, kinds)
        return kinds[self.optimizer]()

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give a recipe either epochs or steps")
        return self

    @property
    def arithmetic(self) -> str:
        """The precision, and for a low one the version of how it computes, as digests have it."""
        return self.precision if self.precision == "fp32" else f"{self.precision} {LOW_PRECISION_VERSION}"

    @property
    def sampled(self) -> tuple[object, ...]:
        """What batches outside of training depend on, such as those of a pruner."""
        return self.batch_size, self.tokens, self.validation, self.arithmetic

    def stretched(self, length: float) -> Self:
        """The same recipe, `length` times as long.

        Reductions of the learning rate come later by the same factor. The warmup does not grow, but it
        shrinks with the recipe. A length in steps is rounded; it stays at least 1 unless it was 0.
        """
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
        """The same recipe stretched to exactly this many steps; unchanged if it has them already."""
        total = self.total(examples)
        if steps == total:
            return self
        return self.stretched(steps / total).model_copy(update={"epochs": None, "steps": steps})

    def held_out(self, examples: int) -> int:
        """Number of training examples that are held out to select the best epoch."""
        return round(examples * self.validation)

    def steps_per_epoch(self, examples: int) -> int:
        """Optimizer steps in one epoch, without the held-out examples. A smaller last batch counts as one."""
        trained_on = examples - self.held_out(examples)
        return max(1, math.ceil(trained_on / (self.batch_size * self.accumulation)))

    def total(self, examples: int) -> int:
        """Optimizer steps of the whole recipe, with this many training examples."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return math.ceil(self.epochs * self.steps_per_epoch(examples))

    def rate(self, step: int, examples: int) -> float:
        """Learning rate at a step (counted from 0), as a share of its peak."""
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
