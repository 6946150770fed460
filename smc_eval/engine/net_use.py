"""Which tensors of the dense net a task uses: found by passes over the training examples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from smc_eval.capabilities import HasExcerpts
from smc_eval.engine.batches import Batches, pass_ranges
from smc_eval.sparse.inputs import InputWatch, Region
from smc_eval.sparse.padding import Reading
from smc_eval.store.net_uses import NetUse

LOOKUPS = frozenset({"embedding", "embedding_bag", "index_select", "gather", "take_along_dim"})
"""Functions that look up rows of a table, by name; so do square brackets with a tensor of numbers."""


def find_use(model: nn.Module, batches: Batches) -> NetUse:
    """The use of each tensor by a task's loss. The model and the random generators are not changed.

    A tensor of two or more dimensions is unused if the loss of no batch of training examples depends on
    it, neither in evaluation nor in training mode. A gradient that is zero is a gradient. Most nets use
    all of their tensors on the first batch; else every training example is read twice.
    """
    waiting: dict[str, Tensor] = {
        name: weight for name, weight in model.named_parameters() if _counts(weight)
    }
    looked_up = LookUps({id(weight): name for name, weight in waiting.items()})
    turns = Turns()
    maps = InputWatch(waiting, turns, Reading())
    with undisturbed(model, batches):
        for training in (False, True):
            model.train(training)
            for batch in _passes(batches):
                if not waiting:
                    break
                model.requires_grad_(False)
                for weight in waiting.values():
                    weight.requires_grad_(True)
                with looked_up, maps, torch.enable_grad(), batches.device.autocast(batches.recipe.precision):
                    loss = batches.task.loss(model, batch)
                waiting = dict(_unreached(loss, waiting))
    return NetUse(tuple(waiting), tuple(sorted(looked_up.seen_tables)), tuple(sorted(turns.names)))


class Turns:
    """An observer that notes the weights whose rows are inputs."""

    def __init__(self) -> None:
        self.names = set[str]()

    def __call__(self, name: str, region: Region, x_NI: Tensor) -> None:
        """The weight is as most are."""

    def transposed(self, name: str, region: Region, x_NI: Tensor) -> None:
        """The rows of the weight are inputs."""
        self.names.add(name)

    def stacked(self, name: str, number: int, region: Region, x_NI: Tensor, *, turned: bool) -> None:
        """The weight is a stack of matrices."""
        self.names |= {name} if turned else set()


class LookUps(TorchFunctionMode):
    """Within, the parameters are noted whose rows are looked up."""

    def __init__(self, names: Mapping[int, str]) -> None:
        super().__init__()
        self.names = names
        """Names of parameters by their `id`."""
        self.seen_tables = set[str]()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in LOOKUPS or (name == "__getitem__" and _has_numbers(args[1])):
            values = (*args, *kwargs.values())
            self.seen_tables |= {self.names[id(value)] for value in values if id(value) in self.names}
        return func(*args, **kwargs)


def _has_numbers(index: Any) -> bool:
    """Whether an index, in square brackets, has a tensor of whole numbers. A single number is none: it
    chooses one matrix of a stack, such as an expert."""
    parts = index if isinstance(index, tuple) else (index,)
    kinds = (torch.long, torch.int32, torch.int16, torch.uint8)
    return any(isinstance(part, Tensor) and part.ndim and part.dtype in kinds for part in parts)


def _counts(weight: Tensor) -> bool:
    return weight.ndim > 1 and weight.is_floating_point()


def _passes(batches: Batches) -> Iterator[Any]:
    """The batch of each pass: of a few excerpts, then of whole examples, those of similar length together.

    Excerpts use most of what whole examples use, in little memory.
    """
    if isinstance(batches.task, HasExcerpts):
        yield from batches.sample_excerpts(1, "use")
    order = sorted(range(len(batches.examples)), key=batches.lengths.__getitem__)
    size = -(-batches.recipe.batch_size // batches.parts)
    ranges = pass_ranges([batches.lengths[i] for i in order], size, batches.recipe.tokens)
    yield from (batches.batch(order[part.start : part.stop]) for part in ranges)


def _unreached(loss: Tensor, weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The weights on which a loss does not depend."""
    if not loss.requires_grad:
        yield from weights.items()
        return
    slopes = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    for (name, weight), slope in zip(weights.items(), slopes, strict=True):
        if slope is None:
            yield name, weight


@contextmanager
def undisturbed(model: nn.Module, batches: Batches) -> Iterator[None]:
    """Afterwards mode, buffers, frozen parameters and random generators are as before."""
    training, state = model.training, batches.device.rng_state()
    learns = [(weight, weight.requires_grad) for weight in model.parameters()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        model.train(training)
        for weight, needed in learns:
            weight.requires_grad_(needed)
        for buffer, before in buffers:
            buffer.copy_(before)
        batches.device.set_rng_state(state)
