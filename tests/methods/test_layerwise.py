"""Sequential Wanda and SparseGPT on small language models, against loops written from the papers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, OPTConfig, OPTForCausalLM

from smc_eval.engine.batches import Batches
from smc_eval.engine.device import Device
from smc_eval.engine.probe import NetProbe
from smc_eval.engine.usage import Usage
from smc_eval.errors import PluginError
from smc_eval.methods.layerwise import Layerwise
from smc_eval.methods.sparsegpt import Reconstruction
from smc_eval.methods.wanda import WandaScore
from smc_eval.pruner import Probe
from smc_eval.sparse.input_stats import InputStats, Squares
from smc_eval.sparse.net import Net
from smc_eval.sparse.quota import RowQuota, chosen
from smc_eval.sparse.scope import in_scope
from smc_eval.target import Target
from smc_eval.task import Part
from smc_eval.testing import Toy

SIZES: dict[str, Any] = {
    "vocab_size": 12,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
}
LLAMA = LlamaConfig(**SIZES, intermediate_size=24, num_key_value_heads=1)
OPT = OPTConfig(**SIZES, ffn_dim=24, max_position_embeddings=16, word_embed_proj_dim=16)
NETS: dict[str, Callable[[], nn.Module]] = {
    "Llama": lambda: LlamaForCausalLM(LLAMA),
    "OPT": lambda: OPTForCausalLM(OPT),
}


class Language(Toy):
    """A small language model predicts the next token."""

    net: str

    def model(self) -> nn.Module:
        return NETS[self.net]()

    def data(self, part: Part) -> Sequence[Any]:
        generator = torch.Generator().manual_seed(2)
        rows = torch.randint(0, 12, (24, 9), generator=generator).tolist()
        return [(tuple(row), row[0]) for row in rows]

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return cast("Tensor", model(input_ids=batch["tokens"], labels=batch["tokens"]).loss)


def probe_of(net: str) -> NetProbe:
    device = Device("cpu", threads=1)
    device.seed("net")
    task = Language(net=net)
    model = task.model()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.2)
    batches = Batches(task, task.recipe, "start", device)
    return NetProbe(Net(model, in_scope(model, "body")), batches, "stage", Usage(), device)


def layer_by_layer(probe: NetProbe, prune: Callable[[Tensor, Tensor], Tensor]) -> dict[str, Tensor]:
    """The published loop: inputs of all maps of a layer, new weights, outputs of the pruned layer.

    `prune(weight_OI, x_NI)` gives a weight's new values. Returns them by name.
    """
    model = probe.net.model
    names = {module: name for name, module in model.named_modules()}
    layers = next(module for module in model.modules() if isinstance(module, nn.ModuleList))
    calls: list[tuple[Tensor, dict[str, Any]]] = []
    first = layers[0].register_forward_pre_hook(
        lambda _, args, kwargs: calls.append((args[0], kwargs)), with_kwargs=True
    )
    model.eval()
    for places in probe._batches.sample_unpadded(2, "stage"):
        model(input_ids=probe._batches.batch(places)["tokens"], use_cache=False)
    first.remove()
    new: dict[str, Tensor] = {}
    for layer in layers:
        maps = [module for module in layer.modules() if isinstance(module, nn.Linear)]
        rows: dict[nn.Module, list[Tensor]] = {module: [] for module in maps}
        hooks = [
            each.register_forward_pre_hook(lambda _, args, own=rows[each]: own.append(args[0]))
            for each in maps
        ]
        for x, kwargs in calls:
            layer(x, **kwargs)
        for hook in hooks:
            hook.remove()
        for module in maps:
            x_NI = torch.cat([x.flatten(0, -2) for x in rows[module]])
            module.weight.copy_(prune(module.weight.clone(), x_NI))
            new[f"{names[module]}.weight"] = module.weight.clone()
        outputs = [layer(x, **kwargs) for x, kwargs in calls]
        calls = [
            (out[0] if isinstance(out, tuple) else out, kwargs)
            for out, (_, kwargs) in zip(outputs, calls, strict=True)
        ]
    return new


def wanda(weight_OI: Tensor, x_NI: Tensor) -> Tensor:
    """Half of each row, those of the largest |w_ij| ||x_j||: Sun et al. (2024), equation 1."""
    scores_OI = weight_OI.abs() * x_NI.double().norm(dim=0)
    order_OI = scores_OI.argsort(1, descending=True)[:, : weight_OI.shape[1] // 2]
    return weight_OI * torch.zeros_like(weight_OI).scatter(1, order_OI, 1)


def sparsegpt(weight_OI: Tensor, x_NI: Tensor) -> Tensor:
    """Column by column the update of the columns that follow: Frantar & Alistarh (2023).

    Instead of a Cholesky factor, the inverse of the Hessian of the columns that are left. Half of each
    block of 8 columns remains. Weights of an input that is always 0 become 0.
    """
    w_OI, x_NI = weight_OI.double(), x_NI.double()
    h_II = x_NI.T @ x_NI
    idle_I = h_II.diagonal() == 0
    mean = h_II.diagonal()[~idle_I].mean()
    w_OI[:, idle_I] = 0
    h_II += (0.01 * torch.eye(len(h_II)) + torch.diag(idle_I.double())) * mean
    inverses = [h_II[at:, at:].inverse() for at in range(len(h_II))]
    for start in range(0, w_OI.shape[1], 8):
        losses_OB = torch.stack([w_OI[:, at] ** 2 / inverses[at][0, 0] for at in range(start, start + 8)], 1)
        last = losses_OB.flatten().sort().values[losses_OB.numel() // 2 - 1]
        for at in range(start, start + 8):
            error_O = torch.where(losses_OB[:, at - start] <= last, w_OI[:, at] / inverses[at][0, 0], 0)
            w_OI[:, at:] -= error_O[:, None] * inverses[at][0]
            w_OI[error_O != 0, at] = 0
    return w_OI.float()


@pytest.mark.parametrize("net", NETS)
@torch.no_grad()
def test_sequential_wanda_is_the_published_loop(net: str) -> None:
    probe, plain = probe_of(net), probe_of(net)
    expected = layer_by_layer(plain, wanda)
    masks = WandaScore(batches=2).prune(probe, Target(sparsity=0.5, distribution="rows"))
    once = WandaScore(batches=2, calibrate="once").prune(
        probe_of(net), Target(sparsity=0.5, distribution="rows")
    )
    for name, weight in expected.items():
        assert torch.equal(masks[name], weight != 0), name
        assert torch.equal(probe.weights[name], weight)
    assert any(not torch.equal(once[name], masks[name]) for name in expected)


@pytest.mark.parametrize("net", NETS)
@torch.no_grad()
def test_sequential_sparsegpt_is_the_published_loop(net: str) -> None:
    probe, plain = probe_of(net), probe_of(net)
    expected = layer_by_layer(plain, sparsegpt)
    pruner = Reconstruction(batches=2, block=8)
    masks = pruner.prune(probe, Target(sparsity=0.5, distribution="uniform"))
    for name, weight in expected.items():
        assert torch.equal(masks[name], weight != 0), name
        torch.testing.assert_close(probe.weights[name], weight, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("distribution", ["global", "lamp"])
def test_where_all_tensors_are_compared_wanda_sees_the_dense_net_and_notes_it(distribution: Any) -> None:
    target = Target(sparsity=0.5, distribution=distribution)
    probe, other = probe_of("Llama"), probe_of("Llama")
    masks = WandaScore(batches=2).prune(probe, target)
    once = WandaScore(batches=2, calibrate="once").prune(other, target)
    assert all(torch.equal(masks[name], once[name]) for name in masks)
    assert "calibrate=once" in probe._usage.notes[0] and not other._usage.notes


def test_outlier_weighed_wanda_has_one_ratio_for_each_block_and_equal_rows() -> None:
    probe = probe_of("Llama")
    with torch.no_grad():  # block 1 has outliers
        for name, weight in probe.net.model.named_parameters():
            if ".layers.1.mlp" in name:
                weight.flatten()[::40] *= 50
    probe._seals = probe._current_seals()
    masks = WandaScore(batches=2).prune(probe, Target(sparsity=0.6, distribution="owl"))
    share: dict[str, set[float]] = {}
    for name, mask in masks.items():
        counts_R = mask.sum(1)
        assert int(counts_R.max() - counts_R.min()) <= 1, name
        block = ".".join(name.split(".")[:3])
        share.setdefault(block, set()).add(round(float(mask.float().mean()), 2))
    sizes = sum(mask.numel() for mask in masks.values())
    assert sum(int(mask.sum()) for mask in masks.values()) == round(0.4 * sizes)
    assert max(share["model.layers.1"]) == pytest.approx(0.48, abs=0.011)
    assert max(share["model.layers.0"]) < 0.4
    for block, shares in share.items():
        assert max(shares) - min(shares) <= 0.011, block


class Settles(Layerwise):
    """Keeps half of each row, and settles other masks than it returns."""

    @classmethod
    def statistic(cls) -> type[InputStats]:
        return Squares

    def solve(self, name: str, weight_OI: Tensor, within_OI: Tensor, stats: InputStats, quota: Any) -> Any:
        return chosen(weight_OI.abs(), within_OI, RowQuota(weight_OI.numel() // 2)), None

    def prune(self, probe: Probe, target: Target) -> Any:
        masks = super().prune(probe, target)
        return {name: ~mask for name, mask in masks.items()}


def test_returning_other_masks_than_were_settled_is_an_error() -> None:
    probe = probe_of("OPT")
    masks = Settles().prune(probe, Target(sparsity=0.5, distribution="rows"))
    with pytest.raises(PluginError, match=r"returned another mask of '.*' than it settled in a walk"):
        probe.set_masks(masks)


def test_all_sections_together_are_one_change_of_masks() -> None:
    probe = probe_of("OPT")
    masks = WandaScore(batches=2).prune(probe, Target(sparsity=0.5, distribution="rows"))
    probe.set_masks(masks)
    assert probe.net.changes == 1 and probe.net.regrown == 0
    assert all(not probe.weights[name][~mask].any() for name, mask in masks.items())


def test_the_masks_that_come_back_are_those_of_the_net_so_no_second_copy_is_kept() -> None:
    probe = probe_of("OPT")
    masks = WandaScore(batches=2).prune(probe, Target(sparsity=0.5, distribution="rows"))
    assert {*masks} == {*probe.net.scope}
    assert all(mask is probe.net.masks[name] for name, mask in masks.items())


def test_a_walk_costs_two_passes_less_a_block_and_the_plan() -> None:
    probe = probe_of("OPT")
    WandaScore(batches=3).prune(probe, Target(sparsity=0.5, distribution="rows"))
    # of 3 blocks the first is seen, and each other is seen after the one before it has passed on its outputs.
    # The plan takes three passes over 2 of 24 examples, and one in which each block is reached by itself
    assert probe._usage.scoring_passes == math.ceil(3 * ((1 + 2 + 2) / 3 + (3 + 3 / 3) * 2 / 24))
