"""Rules: masks that change while the net trains."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol

from smc_eval.spec import Spec

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from smc_eval.sparse.shard_group import ShardGroup
    from smc_eval.sparse.tensors import Tensors

    UpdaterState = dict[str, Tensor]


class StepView(Protocol):
    """What a rule sees once an optimizer step: after backward, before the weights move."""

    @property
    def step(self) -> int:
        """Optimizer steps done in this stage, counted from 0; accumulation does not count."""

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole stage."""

    @property
    def progress(self) -> float:
        """Share of the stage that is done, in [0, 1)."""

    @property
    def weights(self) -> Tensors:
        """Weights in scope; under a soft rule the masked ones keep their values."""

    @property
    def grads(self) -> Tensors:
        """Gradients of the step about to be made, dense: masked weights have theirs too."""

    @property
    def masks(self) -> Tensors:
        """The masks worn now, True stays."""

    @property
    def shards(self) -> ShardGroup:
        """Who holds the other rows of each tensor, and counts along; mostly nobody."""

    @property
    def generator(self) -> torch.Generator:
        """Chance for whatever the rule draws; the checkpoint saves it."""

    def skip(self) -> None:
        """Let no weight move at this step: the optimizer does not step."""

    def set_masks(self, masks: Tensors) -> None:
        """Change masks from this step on. What grows back starts at zero, its optimizer state cleared."""


class Updater(Spec):
    """Changes masks during training. It has one moment and no memory of its own."""

    soft: ClassVar[bool] = False
    """Whether masked weights stay alive behind the mask and may come back with their values."""
    straight_through: ClassVar[bool] = True
    """Of a soft rule: whether masked weights learn too, by the gradient straight through the mask. If
    not, the net learns by the product of masks and weights, and what is masked waits as it is."""
    shardable: ClassVar[bool] = False
    """Whether it can decide where a net is cut by rows: from what it sees of each weight, and from what
    `moment.crowd` counts of all rows; its state is then cut as the weights of the same names are."""

    @abstractmethod
    def init(self, weights: Tensors, masks: Tensors) -> UpdaterState:
        """The state before the first step: tensors by name, which checkpoints save unread."""

    @abstractmethod
    def update(self, view: StepView, state: UpdaterState) -> UpdaterState:
        """The next state; new masks are put on by `moment.wear`."""

    def densities(self, steps: int, density: float) -> Iterable[tuple[int, float]] | None:
        """After which steps of so many the share of weights in scope that is alive changes, and to what.

        In order, steps counted from 0; `density` are alive before the first. None: it cannot tell, and
        then its training has no price in FLOPs.
        """
        return None

    def dense_gradient_steps(self, steps: int) -> Sequence[int]:
        """Steps of so many, rising, at which it reads the gradients of masked weights too, which cost as
        a dense net's; all, unless a rule says otherwise."""
        return range(steps)
