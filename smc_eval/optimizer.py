"""An Optimizer: what changes the weights, given their gradients."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from smc_eval.errors import PluginError
from smc_eval.spec import Card, Spec, label

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    JointNorm = Callable[[Mapping[str, Tensor]], Tensor]


class OptimizerCard(Card):
    """The card of an optimizer."""


class Coefficients(Protocol):
    """The fields of a recipe that optimizers read. Learning rates and weight decay are in the groups."""

    @property
    def betas(self) -> tuple[float, float]:
        """Adam's decay rates."""

    @property
    def eps(self) -> float:
        """Adam's epsilon."""

    @property
    def momentum(self) -> float:
        """SGD's momentum."""


class Optimizer(Spec):
    """An optimizer: `--recipe optimizer=NAME`, with options as in `--recipe optimizer=sam:rho=0.05`.

    The engine clips gradients, sets learning rates, writes zeros into pruned weights after each step, saves
    the state and clears that of weights that grow back. An optimizer does nothing of this.
    """

    card: ClassVar[OptimizerCard]
    decays_vectors: ClassVar[bool] = False
    """Whether biases and norms have weight decay too."""
    shardable: ClassVar[bool] = False
    """Whether it works on rows of tensors (`--shard`): each weight on its own, norms by `norm` alone."""
    momenta: ClassVar[frozenset[str] | None] = None
    """Entries of its state that are running means of gradients, such as `exp_avg`. Some updaters reset them.
    None: it does not say, so it cannot train under such an updater."""
    further_passes: ClassVar[int] = 0
    """Forward and backward passes of a step at perturbed weights: 1 for sharpness-aware minimisation."""

    @abstractmethod
    def make(self, groups: Sequence[dict[str, Any]], recipe: Coefficients) -> torch.optim.Optimizer:
        """The optimizer of torch for groups of parameters; each has its `lr` and its `weight_decay`.

        Its `step` needs no closure. Its state has a tensor of the shape of its weight for each moment, and
        numbers or scalars besides; another one is refused where it cannot be saved, sharded or cleared.
        """

    def perturb(
        self, weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor], norm: JointNorm
    ) -> Mapping[str, Tensor]:
        """What is added to the weights for the next of the `further_passes`, by name.

        `weights` are those of the step, and `gradients` those of the last pass, of all parameters that have
        one. Both are zero where a weight is pruned, and the engine keeps pruned weights at zero, whatever is
        returned. `norm` is the norm of tensors together, over all rows where they are sharded. The
        optimizer's step has the gradients of the last pass, at the weights of the step.
        """
        raise PluginError(f"{self.identity} has {self.further_passes} further passes and no `perturb`")

    @property
    def label(self) -> str:
        """Name and options that differ from the defaults: `sam:rho=0.1`."""
        return label(self.card.name, self).replace(",", ":")


class AdamW(Optimizer):
    """Adam with decoupled weight decay."""

    card: ClassVar[OptimizerCard] = OptimizerCard(
        name="adamw",
        summary="Adam with decoupled weight decay",
        source="Loshchilov & Hutter (2019), arXiv:1711.05101",
    )
    momenta: ClassVar[frozenset[str]] = frozenset({"exp_avg"})
    shardable: ClassVar[bool] = True

    def make(self, groups: Sequence[dict[str, Any]], recipe: Coefficients) -> torch.optim.Optimizer:
        import torch

        return torch.optim.AdamW(groups, betas=recipe.betas, eps=recipe.eps, fused=True)


class Adam(Optimizer):
    """Adam; weight decay is added to the gradient, as SMC-Bench's arithmetic code does."""

    card: ClassVar[OptimizerCard] = OptimizerCard(
        name="adam",
        summary="Adam; weight decay is added to the gradient",
        source="Kingma & Ba (2015), arXiv:1412.6980",
    )
    momenta: ClassVar[frozenset[str]] = frozenset({"exp_avg"})
    shardable: ClassVar[bool] = True
    decays_vectors: ClassVar[bool] = True

    def make(self, groups: Sequence[dict[str, Any]], recipe: Coefficients) -> torch.optim.Optimizer:
        import torch

        return torch.optim.Adam(groups, betas=recipe.betas, eps=recipe.eps, fused=True)


class Sgd(Optimizer):
    """Stochastic gradient descent with momentum."""

    card: ClassVar[OptimizerCard] = OptimizerCard(
        name="sgd",
        summary="stochastic gradient descent with momentum",
        source="Polyak (1964); https://docs.pytorch.org/docs/stable/generated/torch.optim.SGD.html",
    )
    momenta: ClassVar[frozenset[str]] = frozenset({"momentum_buffer"})
    shardable: ClassVar[bool] = True

    def make(self, groups: Sequence[dict[str, Any]], recipe: Coefficients) -> torch.optim.Optimizer:
        import torch

        return torch.optim.SGD(groups, momentum=recipe.momentum, fused=True)


OPTIMIZERS: tuple[type[Optimizer], ...] = (AdamW, Adam, Sgd)
"""The built-in optimizers."""
