"""Training step: an updater's view of one optimizer step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from smc_eval.engine.net_reader import NetReader
from smc_eval.engine.optimizer import clear_state, reset_momentum
from smc_eval.errors import SparsityError, UsageError
from smc_eval.optimizer import Optimizer, Sgd
from smc_eval.sparse.given_tensors import is_finite, wrong_tensors
from smc_eval.sparse.net import hidden
from smc_eval.sparse.seal import seal

SEALED_EVERY = 100
"""Steps between two at which the bits of a view are compared at the latest."""


@dataclass
class TrainingStep(NetReader):
    """`smc_eval.updater.StepView` of the net at one optimizer step."""

    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    step: int
    steps: int
    by: str = "an updater"
    """The updater, for messages."""
    chosen: Optimizer = field(default_factory=Sgd)
    """The optimizer as the recipe names it."""
    skipped: bool = False
    forward_masks: Mapping[str, Tensor] = field(default_factory=dict)
    """The masks of this step's forward pass; empty where none are set."""
    between: bool = False
    """Whether it stands between two steps: then there are no gradients."""
    sparse_pass: bool = False
    """Whether maps ran sparse: then the gradients of pruned weights were not computed."""
    read: bool = False
    """Whether the gradients were read; then those of masked weights count too."""
    read_shares: dict[str, float] = field(default_factory=dict)
    """By weight of which some gradients were read: the share of it whose gradients were computed."""
    given: dict[str, Tensor] = field(default_factory=dict)
    """Gradients that the optimizer will see instead."""
    held: dict[str, Tensor] = field(default_factory=dict)
    """Masks of the weights that may change at this step, True may."""
    _states: dict[tuple[str, str], tuple[int, ...]] = field(default_factory=dict)

    @cached_property
    def parameters(self) -> Mapping[str, nn.Parameter]:
        """The parameters in scope, looked up once: within a step no module replaces them."""
        return self.net.parameters

    @property
    def weights(self) -> Mapping[str, Tensor]:
        return {name: weight.detach() for name, weight in self.parameters.items()}

    def _gradients(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Gradients of these weights; zeros where a weight has none."""
        weights = {name: self.parameters[name] for name in names}
        return {
            name: torch.zeros_like(weight) if weight.grad is None else weight.grad
            for name, weight in weights.items()
        }

    @property
    def progress(self) -> float:
        return self.step / max(1, self.steps)

    @property
    def grads(self) -> Mapping[str, Tensor]:
        self._refuse_between("gradients")
        self._refuse_pruned("reads the gradients of pruned weights", "dense_gradient_steps")
        self.read = True
        return self._gradients(self.parameters)

    def gradients_within(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self._refuse_between("gradients")
        self._check_given(masks, "masks for gradients_within", torch.bool)
        if any(
            bool((mask & ~self.forward_masks[name]).any()) for name, mask in masks.items() if self.sparse_pass
        ):
            self._refuse_pruned("reads gradients of more weights than the unpruned ones", "gradient_density")
        gradients, shapes = self._gradients(masks), self.shards.shapes(self.weights)
        computed = [mask | self.forward_masks.get(name, True) for name, mask in masks.items()]
        for name, count in zip(masks, self.shards.count(computed), strict=True):
            share = count / max(1, math.prod(shapes[name]))
            self.read_shares[name] = max(share, self.read_shares.get(name, 0.0))
        return {name: hidden(gradients[name], mask) for name, mask in masks.items()}

    def set_gradients(self, gradients: Mapping[str, Tensor]) -> None:
        self._refuse_between("gradients")
        self._check_given(gradients, "gradients")
        wild = self.shards.sums(not is_finite(gradient) for gradient in gradients.values())
        for name, count in zip(gradients, wild, strict=True):
            if count:
                raise SparsityError(f"{self.by} gave {name!r} gradients that are not finite numbers")
        self.given |= gradients

    def hold(self, masks: Mapping[str, Tensor]) -> None:
        self._refuse_between("a step of the optimizer")
        self._check_given(masks, "masks for hold", torch.bool)
        self.held |= masks

    def skip(self) -> None:
        self._refuse_between("a step of the optimizer")
        self.skipped = True

    def set_masks(self, masks: Mapping[str, Tensor]) -> None:
        self._check_unwritten()
        parameters = self.parameters
        grown = self.net.set_masks(masks)
        if not self.net.soft:
            clear_state(self.optimizer, {parameters[name]: back for name, back in grown.items()})
        self._states = self._current_states()

    def reset_momentum(self) -> None:
        if self.chosen.momenta is None:
            raise UsageError(
                f"{self.by} resets the momentum, and optimizer {self.chosen.label!r} does not name its "
                "own (`momenta`); take adamw, adam or sgd"
            )
        reset_momentum(self.optimizer, self.chosen.momenta)

    @torch.no_grad()
    def write_gradients(self) -> None:
        """Give the optimizer the gradients that the updater set."""
        for name, gradient in self.given.items():
            weight = self.parameters[name]
            if not weight.requires_grad:
                continue
            if weight.grad is None:
                weight.grad = gradient.detach().clone()
            else:
                weight.grad.copy_(gradient)

    def _refuse_between(self, what: str) -> None:
        if self.between:
            raise SparsityError(f"{self.by} asks for {what} in remask, between two steps; use update")

    def _refuse_pruned(self, does: str, promise: str) -> None:
        if self.sparse_pass:
            raise SparsityError(
                f"{self.by} {does} at step {self.step}, and its `{promise}` does not say so: with "
                "--kernels sparse they were not computed; mend the promise, or run with --kernels dense"
            )

    def _check_given(
        self, tensors: Mapping[str, Tensor], what: str, dtype: torch.dtype | None = None
    ) -> None:
        """Refuse tensors that are not of weights in scope, with their shape and type."""
        weights = self.parameters
        if found := wrong_tensors(tensors):
            raise SparsityError(f"{self.by} gave {found} as {what}")
        for name, tensor in tensors.items():
            if name not in weights:
                raise SparsityError(f"{self.by} gave {what} of {name!r}, which is not in scope")
            weight = weights[name]
            wanted = (dtype or weight.dtype, tuple(weight.shape), weight.device)
            if (tensor.dtype, tuple(tensor.shape), tensor.device) != wanted:
                raise SparsityError(
                    f"{self.by} gave {what} of {name!r} as {tensor.dtype} {tuple(tensor.shape)} on "
                    f"{tensor.device}; wanted {wanted[0]} {wanted[1]} on {wanted[2]}"
                )

    @contextmanager
    def unwritten(self) -> Iterator[None]:
        """Within, the updater may read this view, and change the net through the view's functions alone.

        torch counts most writes. Others, as through `.data` or numpy, are found by sums over the bits, at the
        first and the last step and at some between.

        Raises:
            SparsityError: it wrote into a weight, a mask or a gradient.
        """
        self._states = self._current_states()
        yield
        self._check_unwritten()

    def _check_unwritten(self) -> None:
        for place, state in self._current_states().items():
            if self._states.get(place, state) != state:
                kind, name = place
                raise SparsityError(
                    f"{self.by} wrote into {name!r} of its view's {kind}, which belong to the net; "
                    "it may change them by view.set_masks and view.set_gradients alone"
                )

    @property
    def _sealed(self) -> bool:
        """Whether the bits of this step are compared: at the first and the last one, and at some between."""
        return (
            self.step + 1 == self.steps or self.step & (self.step - 1) == 0 or self.step % SEALED_EVERY == 0
        )

    def _current_states(self) -> dict[tuple[str, str], tuple[int, ...]]:
        """How often each tensor of the view was written to, as torch counts, and sums over its bits."""
        parameters, masks = self.parameters, self.net.masks
        grads = {name: weight.grad for name, weight in parameters.items() if weight.grad is not None}
        kinds: dict[str, Mapping[str, Tensor]] = {"weights": parameters, "masks": masks, "grads": grads}
        return {
            (kind, name): (tensor._version, *(seal(tensor.detach()) if self._sealed else ()))  # noqa: SLF001
            for kind, tensors in kinds.items()
            for name, tensor in tensors.items()
        }
