"""Certificates: what the engine measures of a finished net, and what a run stores of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest
import torch
from torch import Tensor, nn

from smc_eval.engine.batches import Batches
from smc_eval.engine.certify import certify, effective_sparsity
from smc_eval.engine.device import Device
from smc_eval.method import Method
from smc_eval.methods.dense import Dense
from smc_eval.methods.gmp import Gmp
from smc_eval.methods.gmp_tuned import TunedGmp
from smc_eval.methods.omp import MagnitudeBefore
from smc_eval.sparse.mask_sample import sample_masks
from smc_eval.sparse.net import Net
from smc_eval.sparse.scope import in_scope
from smc_eval.store.certificate import WeightChange
from smc_eval.store.cost import FlopCount
from smc_eval.store.mask_samples import MaskSample, iou
from smc_eval.store.store import Store
from smc_eval.target import Target
from smc_eval.task import Task
from smc_eval.testing import Toy, chain_of, run_chain

UNMOVED = WeightChange(0.0, 0.0, {}, {})


class LossOnly(Toy):
    """A toy without outputs."""

    loss_and_outputs: ClassVar[None] = None

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return cast("Tensor", nn.functional.cross_entropy(model(batch["tokens"]), batch["answers"]))


def net_and_batches(task: Task) -> tuple[Net, Batches]:
    device = Device("cpu", threads=1)
    device.seed("a")
    model = task.model()
    return Net(model, in_scope(model, "body")), Batches(task, task.recipe, "start", device)


def test_a_net_with_a_dead_layer_has_effective_sparsity_one() -> None:
    net, batches = net_and_batches(Toy())
    assert effective_sparsity(net, batches) == (0.0, dict.fromkeys(net.scope, 0.0))
    net.set_masks(net.full_masks | {"down.weight": torch.zeros(8, 10).bool()})
    certificate = certify(net, None, batches, UNMOVED)
    assert certificate.effective == 1.0
    assert 0 < certificate.reached < certificate.effective
    assert certificate.effective_tensors == dict.fromkeys(net.scope, 1.0)
    assert certificate.dead_tensors == ("down.weight",)
    assert certificate.dead_units == {"down.weight": (8, 10)}


def test_a_dead_side_branch_disconnects_nothing_else() -> None:
    net, batches = net_and_batches(Toy())
    net.set_masks(net.full_masks | {"odd.weight": torch.zeros(5, 7).bool()})
    certificate = certify(net, None, batches, UNMOVED)
    assert certificate.effective == certificate.reached > 0


def test_a_task_without_outputs_has_no_effective_sparsity() -> None:
    net, batches = net_and_batches(LossOnly())
    certificate = certify(net, None, batches, UNMOVED)
    assert certificate.effective is None and certificate.effective_unknown == "the task has no outputs"


def test_a_net_without_any_weight_is_disconnected() -> None:
    net, batches = net_and_batches(Toy())
    net.set_masks({name: torch.zeros_like(mask) for name, mask in net.full_masks.items()})
    assert effective_sparsity(net, batches) == (1.0, dict.fromkeys(net.scope, 1.0))


class Opaque(Toy):
    """A toy whose net turns its input to numbers that torch does not follow."""

    def loss_and_outputs(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        logits = cast("Tensor", model(batch["tokens"]))
        logits = torch.tensor(logits.tolist(), requires_grad=True)
        return logits.sum(), logits


def test_a_net_that_cannot_be_traced_is_not_called_disconnected() -> None:
    net, batches = net_and_batches(Opaque())
    certificate = certify(net, None, batches, UNMOVED)
    assert certificate.effective is None and certificate.effective_tensors is None
    assert certificate.effective_unknown == "the trace finds no path, not even where no weight is pruned"


def test_without_training_the_unpruned_weights_have_not_moved(tmp_path: Path) -> None:
    untrained = Toy(recipe=Toy().recipe.model_copy(update={"steps": 0}))
    record = run_chain(chain_of(MagnitudeBefore(), Target(sparsity=0.5), untrained), tmp_path)[0]
    assert record.certificate is not None
    moved = record.certificate.moved
    assert moved.scope is not None
    assert moved.scope_remaining == 0.0 < moved.scope < 1


def test_a_certificate_lists_each_failed_check() -> None:
    net, batches = net_and_batches(Toy())
    net.set_masks(net.full_masks | {"down.weight": torch.zeros(8, 10).bool()})
    with torch.no_grad():
        net.model.get_parameter("down.weight")[0, :2] = torch.tensor([3.0, torch.nan])
    certificate = certify(net, Target(sparsity=0.5), batches, UNMOVED)
    assert not certificate.ok
    assert certificate.failed == (
        f"{certificate.remaining} weights remain, {certificate.expected} expected",
        "2 weights under masks are not zero; the largest is nan",
        "some weights are not finite numbers",
    )
    assert certificate.effective is None


def test_mask_samples_are_stored_with_the_predictions(tmp_path: Path) -> None:
    chain = chain_of(MagnitudeBefore(), Target(sparsity=0.5))
    _, _, masks = run_chain(chain, tmp_path)
    samples = Store(tmp_path).mask_samples.load(chain.digest)
    assert samples == {name: MaskSample.read(*parts) for name, parts in sample_masks(masks).items()}
    assert iou(samples, samples) == (1.0, 0.0)


def training_flops(method: Method, folder: Path, **recipe: Any) -> FlopCount:
    task = Toy(recipe=Toy().recipe.model_copy(update=recipe))
    target = Target() if isinstance(method, Dense) else Target(sparsity=0.5)
    cost = run_chain(chain_of(method, target, task), folder)[0].cost
    assert cost is not None
    return cost.flops.train


def test_training_operations_include_epoch_selection_and_the_teacher(tmp_path: Path) -> None:
    plain = training_flops(Dense(), tmp_path / "plain", validation=0.2)
    selected = training_flops(Dense(), tmp_path / "selected", validation=0.2, keep="best")
    assert selected.dense > plain.dense
    alone, taught = training_flops(Gmp(), tmp_path / "a"), training_flops(TunedGmp(), tmp_path / "b")
    # the teacher's own training, and one of its forward passes for each step
    assert taught.dense > alone.dense + plain.dense


PEAKS = """
import torch
from smc_eval.engine.device import Device

device = Device("cpu", threads=1)
huge = torch.ones(200 * 2**20 // 4)
before, _ = device.peak_memory()
del huge
device.reset_peak_memory()
after, peak_of = device.peak_memory()
held = torch.ones(100 * 2**20 // 4)
print(before, after, device.peak_memory()[0], peak_of)
"""


def test_the_peak_memory_of_a_cell_does_not_include_earlier_memory() -> None:
    # in its own process: the system may count freed memory of a long one for a while
    ended = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True)
    *peaks, peak_of = ended.stdout.split()
    if peak_of == "process":
        pytest.skip("this system cannot reset the peak")
    before, after, last = map(int, peaks)
    assert after < before - 100 * 2**20
    assert last >= after + 90 * 2**20


def test_paths_are_the_same_example_by_example_and_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    net, batches = net_and_batches(Toy())
    net.set_masks({name: torch.rand(mask.shape) < 0.4 for name, mask in net.full_masks.items()})
    in_groups = effective_sparsity(net, batches)
    assert 0 < in_groups[0] < 1
    monkeypatch.setattr("smc_eval.engine.certify.is_large", lambda _: True)
    assert effective_sparsity(net, batches) == in_groups
