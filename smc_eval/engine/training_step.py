"""Training step: an updater's view of one optimizer step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from smc_eval.engine.net_reader import NetReader
from smc_eval.engine.optimizer import clear_state
from smc_eval.errors import SparsityError
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
    skipped: bool = False
    read: bool = False
    """Whether the gradients were read; then those of masked weights count too."""
    _states: dict[tuple[str, str], tuple[int, ...]] = field(default_factory=dict)

    @property
    def progress(self) -> float:
        return self.step / self.steps

    @property
    def grads(self) -> Mapping[str, Tensor]:
        self.read = True
        return self.net.gradients

    def skip(self) -> None:
        self.skipped = True

    def set_masks(self, masks: Mapping[str, Tensor]) -> None:
        self._check_unwritten()
        parameters = self.net.parameters
        grown = self.net.set_masks(masks)
        if not self.net.soft:
            clear_state(self.optimizer, {parameters[name]: back for name, back in grown.items()})
        self._states = self._current_states()

    @contextmanager
    def unwritten(self) -> Iterator[None]:
        """Within, the updater may read this view, and change masks through `set_masks` alone.

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
                    "it may change masks by view.set_masks alone"
                )

    @property
    def _sealed(self) -> bool:
        """Whether the bits of this step are compared: at the first and the last one, and at some between."""
        return (
            self.step + 1 == self.steps or self.step & (self.step - 1) == 0 or self.step % SEALED_EVERY == 0
        )

    def _current_states(self) -> dict[tuple[str, str], tuple[int, ...]]:
        """How often each tensor of the view was written to, as torch counts, and sums over its bits."""
        parameters, masks = self.net.parameters, self.net.masks
        grads = {name: weight.grad for name, weight in parameters.items() if weight.grad is not None}
        kinds: dict[str, Mapping[str, Tensor]] = {"weights": parameters, "masks": masks, "grads": grads}
        return {
            (kind, name): (tensor._version, *(seal(tensor.detach()) if self._sealed else ()))  # noqa: SLF001
            for kind, tensors in kinds.items()
            for name, tensor in tensors.items()
        }
