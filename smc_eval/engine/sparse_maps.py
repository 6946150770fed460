"""Sparse maps: the only place that turns sparse kernels on and off, for `--kernels sparse`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from smc_eval.engine.device import Device
from smc_eval.engine.flop_meter import FlopMeter
from smc_eval.engine.usage import Usage
from smc_eval.recipe import Precision
from smc_eval.sparse.kernels.choice import Choice, KernelQuestion
from smc_eval.sparse.kernels.crossover import measured_choice
from smc_eval.sparse.kernels.named import SPARSE_KERNELS
from smc_eval.sparse.kernels.packed import PACKED, measured_packing
from smc_eval.sparse.kernels.switch import Switch
from smc_eval.sparse.net import Net
from smc_eval.sparse.operations import Counting
from smc_eval.store.kernel_choices import KernelChoices
from smc_eval.store.record import SparseKernels
from smc_eval.store.store import Store
from smc_eval.updater import Updater

FEWEST_PASSES = 8
"""Fewer passes of a prediction, or steps of a training, stay dense: layouts take longer than they save."""
SETTLED = 16
"""Steps for which masks must have stayed before their layouts are made; these take less than 1 % then."""


class SparseMaps:
    """The linear maps of a net, and when they run sparse."""

    def __init__(self, net: Net, store: Store, device: Device) -> None:
        self.net, self.store, self.device = net, store, device
        self.predicted: set[str] = set()
        """Weights whose maps ran sparse in a prediction."""
        self._switch: Switch | None = None

    def why_dense(self, precision: Precision, *, training: bool = False) -> str:
        """Why no map of this run can be sparse in prediction, or in training; empty if some can."""
        kind = self.device.torch_device.type
        if kind == "cuda":
            if training:
                return "in training on a GPU: 2:4 products are for prediction"
            return "in fp32 on a GPU: 2:4 products are for bf16 and fp16" if precision == "fp32" else ""
        if kind != "cpu":
            return f"on device {kind}: sparse kernels are for a CPU or a CUDA GPU"
        return "" if precision == "fp32" else f"in {precision}: sparse kernels on a CPU are for fp32"

    @contextmanager
    def on(self, *, ran: set[str], counting: Counting | None = None) -> Iterator[None]:
        """Within, maps run sparse where it pays. `ran` gets the names of the weights of those that did.

        Their operations are counted as dense ones.
        """
        if self._switch is None:
            self._switch = Switch(self.net, self._choose)
        with self._switch.on(counting) as found:
            yield
        ran |= found

    @contextmanager
    def predicting(self, passes: int, precision: Precision, meter: FlopMeter | None) -> Iterator[None]:
        """Within, one of so many passes that predict; a meter may measure it."""
        if passes < FEWEST_PASSES or not self.net.masks or self.why_dense(precision):
            yield
        else:
            with self.on(ran=self.predicted, counting=meter.counting if meter else None):
                yield

    @contextmanager
    def one_prediction(self) -> Iterator[None]:
        """Within, maps may keep forms of their weights, which do not change."""
        try:
            yield
        finally:
            if self._switch:
                self._switch.forget()

    def record(self, trained: list[str]) -> SparseKernels:
        """How many maps ran sparse, for the record."""
        matrices = sum(mask.ndim == 2 for mask in self.net.masks.values())
        return SparseKernels(matrices, len(trained), len(self.predicted))

    def all_versions(self, before: Iterable[str]) -> list[str]:
        """Versions of numba, on which the last digits depend: of earlier trainings, and of this process."""
        on_cpu = self.device.torch_device.type == "cpu"
        own = {f"numba {version('numba')}"} if on_cpu and "numba" in SPARSE_KERNELS else set()
        return sorted({*before, *own})

    def notes(self, precision: Precision) -> list[str]:
        """What a reader must know of maps that stayed dense."""
        if not self.net.masks:
            return []
        if why := self.why_dense(precision):
            return [f"kernels sparse: all maps stay dense {why}"]
        training = self.why_dense(precision, training=True)
        notes = [f"kernels sparse: all maps stay dense {training}"] if training else []
        switch = self._switch or Switch(self.net, self._choose)
        groups: dict[str, list[str]] = {}
        for name, reason in switch.reasons.items():
            if name in self.net.masks:
                groups.setdefault(reason, []).append(name)
        return notes + [
            f"kernels sparse: {_first(names)} {'stay' if len(names) > 1 else 'stays'} dense: {reason}"
            for reason, names in groups.items()
        ]

    def _choose(self, question: KernelQuestion) -> Choice:
        """The kernels of this store for a question; measured where it has none."""
        choices, plain = self.store.kernel_choices, asdict(question)
        known = choices.load(plain)
        if known is None:
            with self.store.lock(KernelChoices.name(plain), lambda _: None):
                known = choices.load(plain)
                if known is None:
                    known = asdict(self._measured(question))
                    choices.save(plain, known)
        return Choice(**known)

    def _measured(self, question: KernelQuestion) -> Choice:
        if question.kernels == (PACKED,):
            return measured_packing(question, self.device.torch_device)
        return measured_choice(question)


class TrainingMaps:
    """The sparse maps of one Train stage: dense at the steps at which pruned weights need gradients."""

    def __init__(self, maps: SparseMaps, updater: Updater | None, steps: int, precision: Precision) -> None:
        self.maps, self.updater, self.steps = maps, updater, steps
        self.ran: set[str] = set()
        """Weights whose maps ran sparse."""
        self.sparse_pass = False
        """Whether the last passes ran with sparse maps: then pruned weights have no gradients."""
        net = maps.net
        self._changes, self._changed_at = net.changes, -SETTLED
        self._possible = steps >= FEWEST_PASSES and not maps.why_dense(precision, training=True)
        self._may = self._possible and not (updater and updater.soft)
        self._dense_steps = frozenset(updater.dense_gradient_steps(steps) if updater and self._may else ())
        self._wider = self._reads_wider()

    @contextmanager
    def step(self, number: int, meter: FlopMeter) -> Iterator[None]:
        """Within, the passes of this step of the stage, forward and backward."""
        self.sparse_pass = self._may and self._is_sparse(number) and not meter.measures
        if self.sparse_pass:
            with self.maps.on(ran=self.ran):
                yield
        else:
            yield

    def _is_sparse(self, number: int) -> bool:
        net, updater = self.maps.net, self.updater
        if not net.masks or net.soft:
            return False
        if updater is None:
            return True
        if net.changes != self._changes:
            self._changes, self._changed_at, self._wider = net.changes, number, self._reads_wider()
        if number - self._changed_at < SETTLED or number in self._dense_steps:
            return False
        return not self._wider

    def tell(self, usage: Usage) -> None:
        """Add what ran sparse, or why this stage could not, once it has ended."""
        usage.sparse_maps = sorted({*usage.sparse_maps, *self.ran})
        if (
            self.updater
            and self._possible
            and (not self._may or self._wider or len(self._dense_steps) >= self.steps)
        ):
            note = (
                f"kernels sparse: training with {self.updater.identity} stays dense: "
                "it needs gradients of pruned weights"
            )
            usage.notes += [note] if note not in usage.notes else []

    def _reads_wider(self) -> bool:
        """Whether the updater reads gradients of more weights than the unpruned ones."""
        if not self.updater or not self._may:
            return False
        density = self.maps.net.density
        return self.updater.gradient_density(density) > density

    def state(self) -> dict[str, Any]:
        """What decides about later steps, for a checkpoint."""
        return {"changes": self._changes, "changed_at": self._changed_at, "ran": sorted(self.ran)}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a `state`."""
        self._changes, self._changed_at = state["changes"], state["changed_at"]
        self.ran, self._wider = set(state["ran"]), self._reads_wider()


def _first(names: list[str]) -> str:
    """The first name and the number of others."""
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")
