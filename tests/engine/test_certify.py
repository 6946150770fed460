"""The witness: what a walk leaves behind of a net that can be checked by others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from smc_eval.engine.batches import Batches
from smc_eval.engine.certify import certificate_of, effective_sparsity
from smc_eval.engine.device import Device
from smc_eval.engine.usage import Usage
from smc_eval.methods.dense import Dense
from smc_eval.methods.gmp import Gmp
from smc_eval.methods.gmp_tuned import TunedGmp
from smc_eval.methods.omp import MagnitudeBefore
from smc_eval.sparse.mask_sample import sample_masks
from smc_eval.sparse.net import Net
from smc_eval.sparse.scope import in_scope
from smc_eval.store.mask_samples import MaskSample, iou
from smc_eval.store.store import Store
from smc_eval.target import Target
from smc_eval.task import Task
from smc_eval.testing import Toy, chain_of, run_chain


class Silent(Toy):
    """A toy that tells its loss alone."""

    def loss_and_outputs(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        return Task.loss_and_outputs(self, model, batch)

    @property
    def has_outputs(self) -> bool:
        return False

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return Toy.loss_and_outputs(self, model, batch)[0]


def fed(task: Task) -> tuple[Net, Batches]:
    device = Device("cpu", threads=1)
    device.seed("a")
    model = task.model()
    return Net(model, in_scope(model, "body")), Batches(task, task.recipe, "start", device)


def test_where_one_layer_is_gone_nothing_is_left_of_a_net() -> None:
    net, batches = fed(Toy())
    assert effective_sparsity(net, batches) == {
        "effective": 0.0,
        "effective_tensors": dict.fromkeys(net.scope, 0.0),
    }
    net.set_masks(net.full_masks | {"down.weight": torch.zeros(8, 10).bool()})
    found = certificate_of(net, None, batches, Toy().model())
    assert 0 < found["reached"] < found["effective"] == 1.0
    assert found["dead_units"] == {"down.weight": [8, 10]}


def test_a_side_branch_that_is_gone_leaves_the_rest_as_it_is() -> None:
    net, batches = fed(Toy())
    net.set_masks(net.full_masks | {"odd.weight": torch.zeros(5, 7).bool()})
    found = certificate_of(net, None, batches, Toy().model())
    assert found["effective"] == found["reached"] > 0


def test_a_task_that_tells_no_outputs_has_no_effective_sparsity() -> None:
    net, batches = fed(Silent())
    assert certificate_of(net, None, batches, Toy().model())["effective"] is None


def test_a_net_that_never_trained_has_not_moved(tmp_path: Path) -> None:
    still = Toy(recipe=Toy().recipe.model_copy(update={"steps": 0}))
    found = run_chain(chain_of(MagnitudeBefore(), Target(sparsity=0.5), still), tmp_path)[0].certificate[
        "moved"
    ]
    assert found["scope_kept"] == 0.0 < found["scope"] < 1


def test_masks_are_sketched_beside_the_answers(tmp_path: Path) -> None:
    link = chain_of(MagnitudeBefore(), Target(sparsity=0.5))
    _, _, masks = run_chain(link, tmp_path)
    kept = Store(tmp_path).mask_samples.load(link.digest)
    assert kept == {name: MaskSample.read(*parts) for name, parts in sample_masks(masks).items()}
    assert iou(kept, kept) == (1.0, 0.0)


def trained(method: Any, tmp_path: Path, **recipe: Any) -> dict[str, int]:
    task = Toy(recipe=Toy().recipe.model_copy(update=recipe))
    target = Target() if isinstance(method, Dense) else Target(sparsity=0.5)
    flops: dict[str, int] = run_chain(chain_of(method, target, task), tmp_path)[0].cost.flops.train
    return flops


def test_selecting_an_epoch_and_asking_a_teacher_cost_what_they_take(tmp_path: Path) -> None:
    plain = trained(Dense(), tmp_path / "plain", validation=0.2)
    chosen = trained(Dense(), tmp_path / "chosen", validation=0.2, keep="best")
    assert chosen["dense"] > plain["dense"]
    alone, taught = trained(Gmp(), tmp_path / "a"), trained(TunedGmp(), tmp_path / "b")
    # the teacher's own training, and a forward pass of it beside each step
    assert taught["dense"] > alone["dense"] + plain["dense"]


def test_a_stage_of_a_release_that_counted_nothing_leaves_the_whole_unknown() -> None:
    old = {name: value for name, value in Usage(steps=7).as_meta().items() if name != "flops"}
    usage = Usage()
    usage.take(old)
    usage.spend("train", {"dense": 2, "sparse": 1})
    usage.spend("predict", {"dense": 2, "sparse": 1})
    assert usage.steps == 7
    assert usage.flops == {"train": None, "prune": None, "predict": {"dense": 2, "sparse": 1}}


PEAKS = """
import torch
from smc_eval.engine.world import World

world = World("cpu", threads=1)
huge = torch.ones(200 * 2**20 // 4)
before, _ = world.peak_memory()
del huge
world.reset_peak_memory()
after, whose = world.peak_memory()
held = torch.ones(100 * 2**20 // 4)
print(before, after, world.peak_memory()[0], whose)
"""


def test_a_cells_peak_forgets_what_came_before() -> None:
    # in a process of its own: what a long one gives back, the system may take its time to count
    ended = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True)
    *peaks, whose = ended.stdout.split()
    if whose == "process":
        pytest.skip("this system does not forget peaks")
    before, after, last = map(int, peaks)
    assert after < before - 100 * 2**20
    assert last >= after + 90 * 2**20
