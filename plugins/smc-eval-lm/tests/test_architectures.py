"""Each architecture: its scope, its count, and the methods that look at inputs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from checkpoints import NETS, save_net
from smc_eval_lm.perplexity import Perplexity

from smc_eval.engine.batches import Batches
from smc_eval.engine.device import Device
from smc_eval.engine.net_use import find_use
from smc_eval.errors import SparsityError
from smc_eval.methods.omp import MagnitudeAfter
from smc_eval.methods.sparsegpt import SparseGPT
from smc_eval.methods.wanda import Wanda
from smc_eval.sparse.blocks import blocks
from smc_eval.sparse.scope import in_scope
from smc_eval.target import Target
from smc_eval.testing.cell_runs import chain_of, run_chain

ATTENTION = [f"self_attn.{letter}_proj" for letter in "qkvo"]
GATED = [f"mlp.{part}_proj" for part in ("gate", "up", "down")]

BODIES = {
    "opt": (
        "model.decoder.layers",
        [f"self_attn.{part}" for part in ("k_proj", "v_proj", "q_proj", "out_proj")] + ["fc1", "fc2"],
    ),
    "gpt2": ("transformer.h", ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]),
    "mixtral": ("model.layers", [*ATTENTION, "mlp.experts.gate_up_proj", "mlp.experts.down_proj"]),
    "qwen3-moe": ("model.layers", [*ATTENTION, "mlp.experts.gate_up_proj", "mlp.experts.down_proj"]),
    "gpt-oss": ("model.layers", [*ATTENTION, "mlp.experts.gate_up_proj", "mlp.experts.down_proj"]),
}
"""The list of blocks, and what is pruned in each."""

STACKED = ("mixtral", "qwen3-moe", "gpt-oss")


def task_of(folder: Path) -> Perplexity:
    task = Perplexity(backbone=str(folder), window=32, train_window=32, windows=3, limit=8)
    return task.replace(recipe=task.recipe.model_copy(update={"batch_size": 4}))


@pytest.fixture(scope="session", params=list(NETS))
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    return request.param, save_net(request.param, tmp_path_factory.mktemp(request.param))


def test_the_body_is_the_matrices_of_the_blocks(saved: tuple[str, Path]) -> None:
    name, folder = saved
    task = task_of(folder)
    net = task.model()
    use = find_use(net, Batches(task.trained_as(), task.recipe, "use", Device("cpu", threads=1)))
    assert use.unused == ()
    names = in_scope(net, "body", task.exclude(net), unused=use.unused, tables=use.tables)
    stack, parts = BODIES.get(name, ("model.layers", [*ATTENTION, *GATED]))
    ends = {part: "" if "experts" in part else ".weight" for part in parts}
    assert sorted(names) == sorted(f"{stack}.{n}.{part}{ends[part]}" for n in (0, 1) for part in parts)
    found = blocks(dict(net.named_parameters()))
    assert list(found) == [f"{stack}.0", f"{stack}.1"]


@pytest.mark.parametrize(
    "method", [MagnitudeAfter(), Wanda(batches=2), SparseGPT(batches=2)], ids=lambda m: m.label
)
def test_each_is_pruned_and_its_certificate_is_sound(saved: tuple[str, Path], method, tmp_path: Path) -> None:
    _, folder = saved
    target = Target(sparsity=0.5, distribution=method.card.distribution)
    record, tensors, masks = run_chain(chain_of(method, target, task_of(folder)), tmp_path)
    assert record.certificate is not None and record.certificate.ok
    assert record.certificate.reached == pytest.approx(0.5, abs=1e-4)
    assert record.inputs is None or record.inputs.unseen < 0.2
    assert all(bool((tensors[name][~mask] == 0).all()) for name, mask in masks.items())


TURNED = ("gpt2", "gpt-oss")
"""Nets whose weights have inputs as their rows."""


@pytest.mark.parametrize(
    "method", [MagnitudeAfter(), Wanda(batches=2), SparseGPT(batches=2)], ids=lambda m: m.label
)
def test_n_of_m_are_groups_of_inputs_or_refused_or_noted(
    saved: tuple[str, Path], method, tmp_path: Path
) -> None:
    name, folder = saved
    chain = chain_of(method, Target(pattern="2:4", sparsity=0.5, distribution="uniform"), task_of(folder))
    if name in TURNED and not isinstance(method, MagnitudeAfter):
        with pytest.raises(SparsityError, match="groups weights along rows"):
            run_chain(chain, tmp_path)
        return
    record, _, masks = run_chain(chain, tmp_path)
    assert record.certificate is not None and record.certificate.ok
    assert any("groups of 2:4 hold outputs" in note for note in record.notes) == (name in TURNED)
    for mask in masks.values():  # the last dimension is that of inputs
        assert bool((mask.unflatten(-1, (-1, 4)).sum(-1) == 2).all())


def test_the_inputs_of_an_expert_are_its_own(tmp_path: Path) -> None:
    task = task_of(save_net("mixtral", tmp_path / "net"))
    target = Target(sparsity=0.5, distribution="rows")
    _, _, masks = run_chain(chain_of(Wanda(batches=2), target, task), tmp_path / "store")
    net, windows = task.model().eval(), task.data("train")
    layer, seen = net.model.layers[0].mlp, []
    layer.register_forward_pre_hook(lambda _, args: seen.append(args[0].flatten(0, -2)))
    with torch.no_grad():
        for window in windows:
            net(torch.tensor([window.ids]))
        x_NI = torch.cat(seen)
        _, _, chosen_NK = layer.gate(x_NI)
    for expert in range(4):
        own_MI = x_NI[(chosen_NK == expert).any(1)]
        assert 0 < len(own_MI) < len(x_NI)
        scores_OI = layer.experts.gate_up_proj[expert].abs() * own_MI.square().sum(0).sqrt()
        wanted_OI = torch.zeros_like(scores_OI, dtype=torch.bool)
        wanted_OI.scatter_(1, scores_OI.topk(16, dim=1).indices, value=True)
        assert torch.equal(masks["model.layers.0.mlp.experts.gate_up_proj"][expert], wanted_OI)


def test_rows_of_a_gpt_2_are_its_outputs(tmp_path: Path) -> None:
    task = task_of(save_net("gpt2", tmp_path / "net"))
    target = Target(sparsity=0.5, distribution="rows")
    _, _, masks = run_chain(chain_of(Wanda(batches=2), target, task), tmp_path / "store")
    mask_IO = masks["transformer.h.0.attn.c_attn.weight"]
    assert mask_IO.shape == (32, 96)
    assert bool((mask_IO.sum(0) == 16).all())
