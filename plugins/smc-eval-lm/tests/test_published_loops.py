"""Wanda and SparseGPT, block by block, equal a plain loop that is written from the papers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkpoints import save_net
from smc_eval_lm.perplexity import Perplexity
from torch import Tensor, nn

from smc_eval.methods.sparsegpt import SparseGPT
from smc_eval.methods.wanda import Wanda
from smc_eval.target import Target
from smc_eval.testing.cell_runs import chain_of, run_chain

BLOCK = 16

Solve = Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]


def wanda(weight_OI: Tensor, x_NI: Tensor, sparsity: float) -> tuple[Tensor, Tensor]:
    """Sun et al. (2024), algorithm 1: in each row the lowest |w| ||x|| are pruned."""
    metric_OI = weight_OI.abs() * x_NI.norm(dim=0)
    order_OI = metric_OI.argsort(dim=1)[:, : int(weight_OI.shape[1] * sparsity)]
    mask_OI = torch.ones_like(weight_OI, dtype=torch.bool).scatter_(1, order_OI, value=False)
    return mask_OI, weight_OI * mask_OI


def sparsegpt(weight_OI: Tensor, x_NI: Tensor, sparsity: float) -> tuple[Tensor, Tensor]:
    """Frantar & Alistarh (2023), algorithm 1, in double precision, with blocks of 16 columns."""
    w, x = weight_OI.double().clone(), x_NI.double()
    h = x.T @ x
    h += 0.01 * h.diagonal().mean() * torch.eye(len(h), dtype=h.dtype)
    upper = torch.linalg.cholesky(torch.linalg.inv(h), upper=True)
    mask = torch.ones_like(w, dtype=torch.bool)
    for first in range(0, w.shape[1], BLOCK):
        last = min(first + BLOCK, w.shape[1])
        errors = w[:, first:last] ** 2 / upper.diagonal()[first:last] ** 2
        lowest = errors.flatten().argsort()[: round(errors.numel() * sparsity)]
        mask[:, first:last] = (
            torch.ones(errors.numel(), dtype=torch.bool).scatter(0, lowest, False).view_as(errors)
        )
        for j in range(first, last):
            error = torch.where(mask[:, j], 0, w[:, j]) / upper[j, j]
            w[:, j:] -= error[:, None] * upper[j, j:]
    return mask, (w * mask).float()


@torch.no_grad()
def pruned_by_loop(
    net: nn.Module, layers: nn.ModuleList, ids: list[Tensor], solve: Solve, sparsity: float
) -> dict[str, Tensor]:
    """Prune block by block: the inputs of each come from the pruned blocks before it."""
    names = {module: name for name, module in net.named_modules()}
    calls: list[tuple[tuple, dict]] = []

    class First(Exception):
        pass

    def catch(_, args, kwargs):
        calls.append((args, kwargs))
        raise First

    handle = layers[0].register_forward_pre_hook(catch, with_kwargs=True)
    for row in ids:
        with pytest.raises(First):
            net(row, use_cache=False)
    handle.remove()
    masks = {}
    for layer in layers:
        linears = [module for module in layer.modules() if isinstance(module, nn.Linear)]
        inputs: dict[nn.Module, list[Tensor]] = {linear: [] for linear in linears}
        hooks = [
            linear.register_forward_pre_hook(
                lambda module, args, inputs=inputs: inputs[module].append(args[0].flatten(0, -2))
            )
            for linear in linears
        ]
        for args, kwargs in calls:
            layer(*args, **kwargs)
        for hook in hooks:
            hook.remove()
        for linear in linears:
            mask, weight = solve(linear.weight, torch.cat(inputs[linear]), sparsity)
            masks[f"{names[linear]}.weight"] = mask
            linear.weight.copy_(weight)
        outputs = [layer(*args, **kwargs) for args, kwargs in calls]
        states = [output[0] if isinstance(output, tuple) else output for output in outputs]
        calls = [((state, *args[1:]), kwargs) for state, (args, kwargs) in zip(states, calls, strict=True)]
    return masks


@pytest.mark.parametrize("architecture", ["llama", "opt"])
@pytest.mark.parametrize("sparsity", [0.5, 0.75])
@pytest.mark.parametrize(
    ("method", "solve"),
    [(Wanda(batches=2), wanda), (SparseGPT(batches=2, block=BLOCK), sparsegpt)],
    ids=["wanda", "sparsegpt"],
)
def test_masks_equal_those_of_the_published_loop(
    architecture, sparsity, method, solve, tmp_path: Path
) -> None:
    folder = save_net(architecture, tmp_path / "net")
    task = Perplexity(backbone=str(folder), window=32, train_window=32, windows=2, limit=8)
    target = Target(sparsity=sparsity, distribution=method.card.distribution)
    record, tensors, masks = run_chain(chain_of(method, target, task), tmp_path / "store")
    net = task.model().eval()
    layers = net.model.layers if architecture == "llama" else net.model.decoder.layers
    ids = [torch.tensor([window.ids]) for window in task.data("train")]
    wanted = pruned_by_loop(net, layers, ids, solve, sparsity)
    assert masks.keys() == wanted.keys()
    assert {name: int((masks[name] != mask).sum()) for name, mask in wanted.items()} == dict.fromkeys(
        wanted, 0
    )
    for name, weight in net.named_parameters():
        assert torch.allclose(tensors[name], weight, atol=2e-4, rtol=1e-3), name
    assert record.certificate is not None and record.certificate.ok
