"""Training step: an updater's view of one optimizer step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from smc_eval.engine.optimizer import clear_state
from smc_eval.errors import SparsityError
from smc_eval.sparse.net import Net
from smc_eval.sparse.shard_group import ShardGroup


@dataclass
class TrainingStep:
    """`smc_eval.updater.StepView` of the net at one optimizer step."""

    net: Net
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    step: int
    steps: int
    by: str = "an updater"
    """The updater, for messages."""
    skipped: bool = False
    read: bool = False
    """Whether the gradients were read; then those of masked weights count too."""
    _versions: dict[tuple[str, str], int] = field(default_factory=dict)

    @property
    def progress(self) -> float:
        return self.step / self.steps

    @property
    def weights(self) -> Mapping[str, Tensor]:
        return self.net.weights

    @property
    def grads(self) -> Mapping[str, Tensor]:
        self.read = True
        return self.net.gradients

    @property
    def masks(self) -> Mapping[str, Tensor]:
        return self.net.full_masks

    @property
    def shards(self) -> ShardGroup:
        return self.net.shards

    def skip(self) -> None:
        self.skipped = True

    def set_masks(self, masks: Mapping[str, Tensor]) -> None:
        self._check_unwritten()
        parameters = self.net.parameters
        grown = self.net.set_masks(masks)
        if not self.net.soft:
            clear_state(self.optimizer, {parameters[name]: back for name, back in grown.items()})
        self._versions = self._current_versions()

    @contextmanager
    def unwritten(self) -> Iterator[None]:
        """Within, the updater may read this view, and change masks through `set_masks` alone.

        Raises:
            SparsityError: it wrote into a weight, a mask or a gradient.
        """
        self._versions = self._current_versions()
        yield
        self._check_unwritten()

    def _check_unwritten(self) -> None:
        for place, version in self._current_versions().items():
            if self._versions.get(place, version) != version:
                kind, name = place
                raise SparsityError(
                    f"{self.by} wrote into {name!r} of its view's {kind}, which belong to the net; "
                    "it may change masks by view.set_masks alone"
                )

    def _current_versions(self) -> dict[tuple[str, str], int]:
        """How often each tensor of the view was written to, as torch counts."""
        parameters, masks = self.net.parameters, self.net.masks
        grads = {name: weight.grad for name, weight in parameters.items() if weight.grad is not None}
        kinds: dict[str, Mapping[str, Tensor]] = {"weights": parameters, "masks": masks, "grads": grads}
        return {(kind, name): t._version for kind, tensors in kinds.items() for name, t in tensors.items()}  # noqa: SLF001
