"""Layer-wise pruning: tensor by tensor, from the inputs of each; block by block, or all at once."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt

from smc_eval.methods.one_shot import OneShotAfter
from smc_eval.pruner import Probe, Pruner
from smc_eval.spec import Outside
from smc_eval.target import Distribution, Target

if TYPE_CHECKING:
    from torch import Tensor

    from smc_eval.sparse.input_stats import Grams, InputStats
    from smc_eval.sparse.inputs import InputObserver
    from smc_eval.sparse.quota import Quota
    from smc_eval.sparse.tensors import Masks, Tensors

Calibrate = Literal["sequential", "once"]


class Layerwise(Pruner):
    """Prunes each tensor by statistics of its inputs; a subclass writes `statistic` and `solve`.

    `sequential` goes through the net section by section (`Probe.walk`), as published for nets of
    transformers: the inputs of a block are those that the pruned blocks before it make. `once` takes the
    inputs of all tensors from the net as it is. Both are the same where a net has no blocks. Sequential
    pruning needs the budget of each tensor beforehand; under a distribution that compares all tensors
    (`global`, `lamp`) a subclass that supports it prunes all at once, and notes it.
    """

    batches: PositiveInt = 32
    """Training batches that are run forward."""
    calibrate: Calibrate = "sequential"
    """`sequential`: each block sees the inputs that the pruned blocks before it make. `once`: all tensors
    see the inputs of the net as it is."""
    memory: Annotated[PositiveInt, Outside()] = 1024
    """Mebibytes of input statistics at a time. Tensors that need more take several passes over the batches.
    A single tensor can exceed the limit."""

    by_rows: ClassVar[tuple[Distribution, ...]] = ("rows",)
    """Distributions under which each row of a tensor keeps the same share."""

    @classmethod
    @abstractmethod
    def statistic(cls) -> type[InputStats]:
        """What is summed over the inputs: `Squares`, `Grams`, or one of your own."""

    @abstractmethod
    def solve(
        self, name: str, weight_OI: Tensor, within_OI: Tensor, stats: InputStats, quota: Quota
    ) -> tuple[Tensor, Tensor | None]:
        """Mask and new values of a tensor, seen as [O, I]; None as values leaves them as they are.

        Args:
            name: of the tensor; `stats.bands(name)` gives its statistics.
            weight_OI: its weights; do not write to them. A weight whose rows are inputs is transposed;
                matrices of a stack, such as experts, stand one below the other.
            within_OI: only weights that are True here can stay.
            stats: the statistics of this tensor, and of others.
            quota: how many stay: a number, a `RowQuota`, or (N, M). See `smc_eval.sparse.quota.chosen`.
        """

    def prune(self, probe: Probe, target: Target) -> Masks:
        """One mask for each tensor, each with its own budget."""
        quotas = self.quotas(probe, target)
        if self.calibrate == "once":
            masks, values = self._solved(
                probe, tuple(probe.weights), probe_inputs(probe, self.batches), target, quotas
            )
            if values:
                probe.mend(values)
            return masks
        masks = {}
        for section in probe.walk(self.batches):
            # no new mask or value is kept here: in a large net they would be a second copy of it
            masks |= section.settle(*self._solved(probe, section.names, section.inputs, target, quotas))
        return masks

    def quotas(self, probe: Probe, target: Target) -> dict[str, Quota]:
        """How many weights of each tensor stay. `owl` looks at the inputs of the net as it is first.

        Raises:
            SparsityError: the distribution sets no budgets (`global`, `lamp`), or they cannot be met.
        """
        from smc_eval.sparse.allocate import budgets
        from smc_eval.sparse.input_stats import Squares
        from smc_eval.sparse.quota import RowQuota

        weights = probe.weights
        if target.is_n_m:
            return dict.fromkeys(weights, target.group)
        saliency = None
        if target.distribution == "owl":
            squares = Squares(weights, weights.keys())
            probe.inputs(self.batches, squares)
            saliency = {name: squares.scaled(name) for name in weights}
        shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
        counts = budgets(shapes, target, probe.masks, saliency, weights=weights)
        by_rows = target.distribution in self.by_rows
        return {name: RowQuota(count) if by_rows else count for name, count in counts.items()}

    def _solved(
        self,
        probe: Probe,
        names: Sequence[str],
        inputs: Callable[[InputObserver], None],
        target: Target,
        quotas: dict[str, Quota],
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Masks of some tensors, and new values of those that get some, from one look at their inputs."""
        weights, current = probe.weights, probe.masks
        within = {name: current[name] for name in names}
        del current  # before any pruning it is a mask of each tensor, made for this
        masks: dict[str, Tensor] = {}
        values: dict[str, Tensor] = {}
        for some in self._sweeps({name: weights[name] for name in names}):
            stats = self.statistic()(weights, some)
            inputs(stats)
            stats.refuse_pattern(target.pattern)
            for name in some:
                weight_OI, within_OI = (stats.matrix(name, each[name]) for each in (weights, within))
                mask_OI, new_OI = self.solve(name, weight_OI, within_OI, stats, quotas[name])
                masks[name] = stats.shaped(name, mask_OI)
                if new_OI is not None:
                    values[name] = stats.shaped(name, new_OI)
        return masks, values

    def _sweeps(self, weights: Tensors) -> Iterator[list[str]]:
        """Names of the tensors of each sweep: their statistics fit into memory together."""
        names, room, statistic = list[str](), self.memory * 2**20, self.statistic()
        for name, weight in weights.items():
            need = statistic.size(weight)
            if names and need > room:
                yield names
                names, room = [], self.memory * 2**20
            names.append(name)
            room -= need
        if names:
            yield names


class FromGrams(Layerwise):
    """Solves for the outputs of each tensor, from the Gram matrix of its inputs."""

    damping: float = Field(0.01, gt=0)
    """Added to the diagonal of the inputs' Gram matrix, as a share of its mean."""

    @classmethod
    def statistic(cls) -> type[Grams]:
        """Gram matrices: I x I x 4 bytes for a tensor of I inputs."""
        from smc_eval.sparse.input_stats import Grams

        return Grams


class LayerwiseAfter(OneShotAfter):
    """Train, prune tensor by tensor from the inputs of each, then train on with the whole recipe."""

    batches: PositiveInt = 32
    """Training batches that are run forward: with 4 examples a batch, 128 examples as published."""
    calibrate: Calibrate = "sequential"
    """`sequential`: each block sees the inputs that the pruned blocks before it make, as published. `once`:
    all tensors see the inputs of the dense net."""
    memory: Annotated[PositiveInt, Outside()] = 1024
    """Mebibytes of input statistics at a time. A net that needs more takes several passes over the
    batches."""


def probe_inputs(probe: Probe, batches: int) -> Callable[[InputObserver], None]:
    """The inputs of the net as it is, as a function of the observer alone."""
    return lambda see: probe.inputs(batches, see)
