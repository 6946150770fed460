"""Under autocast on a CPU attention is computed in fp32, and elsewhere torch does what it always does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from smc_eval.engine.attention import attention_in_fp32
from smc_eval.engine.device import Device
from smc_eval.engine.net_use import Turns
from smc_eval.methods.dense import Dense
from smc_eval.methods.snip import Snip
from smc_eval.recipe import Recipe
from smc_eval.sparse.inputs import InputWatch
from smc_eval.sparse.padding import Reading
from smc_eval.target import Target
from smc_eval.tasks.protein.datasets import HpS2C2
from smc_eval.testing import Toy, chain_of, run_chain
from smc_eval.testing.toy import UnitNet

ORIGINAL = F.scaled_dot_product_attention


def heads(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Queries, keys and values: 2 sentences, 3 heads, 5 positions, 4 features."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 3, 5, 4, generator=generator).to(dtype).requires_grad_() for _ in range(3)]


def low(dtype: torch.dtype = torch.bfloat16) -> torch.autocast:
    return torch.autocast("cpu", dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("given", [torch.float32, torch.bfloat16])
def test_under_autocast_it_is_attention_in_fp32_with_its_gradients(
    dtype: torch.dtype, given: torch.dtype
) -> None:
    ours, plain = heads(given), [each.detach().float().requires_grad_() for each in heads(given)]
    mask = torch.zeros(2, 1, 5, 5).masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf)
    with attention_in_fp32(), low(dtype):
        found = F.scaled_dot_product_attention(*ours, attn_mask=mask.to(given))
    wanted = ORIGINAL(*plain, attn_mask=mask)
    assert found.dtype == torch.float32 and torch.equal(found, wanted)
    found.sum().backward(), wanted.sum().backward()
    for one, other in zip(ours, plain, strict=True):
        assert one.grad is not None and other.grad is not None
        assert torch.equal(one.grad, other.grad.to(given))


def test_arguments_may_be_given_by_name_and_a_mask_may_be_of_bools() -> None:
    query, key, value = heads()
    mask = torch.ones(5, 5).tril().bool()
    with attention_in_fp32(), low():
        found = F.scaled_dot_product_attention(value=value, query=query, key=key, attn_mask=mask, scale=0.3)
    assert torch.equal(found, ORIGINAL(query, key, value, mask, scale=0.3))


def test_without_autocast_and_in_double_precision_nothing_changes() -> None:
    with attention_in_fp32():
        for dtype in (torch.float64, torch.bfloat16, torch.float32):
            assert torch.equal(F.scaled_dot_product_attention(*heads(dtype)), ORIGINAL(*heads(dtype)))
        with low():
            assert F.scaled_dot_product_attention(*heads(torch.float64)).dtype == torch.float64


def test_afterwards_torch_has_its_own_function_again_also_after_an_error() -> None:
    with attention_in_fp32(), attention_in_fp32():
        assert F.scaled_dot_product_attention is not ORIGINAL
    assert F.scaled_dot_product_attention is ORIGINAL
    with pytest.raises(TypeError), attention_in_fp32():
        F.scaled_dot_product_attention(heads()[0])
    assert F.scaled_dot_product_attention is ORIGINAL


def test_a_low_precision_of_the_device_reaches_the_attention_of_a_net() -> None:
    net = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
    types = []

    def seen(*tensors: Tensor, **settings: object) -> Tensor:
        types.append(tensors[0].dtype)
        return ORIGINAL(*tensors, **settings)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "scaled_dot_product_attention", seen)
        for precision in ("fp32", "bf16", "fp16"):
            with Device("cpu").autocast(precision):
                net(torch.randn(2, 5, 8)).sum().backward()
    assert types == [torch.float32] * 3


def test_recomputed_activations_are_those_of_the_forward_pass_and_runs_are_equal(tmp_path: Path) -> None:
    nets = []
    for number, checkpointing in enumerate((False, False, True)):
        recipe = Recipe(steps=3, batch_size=4, precision="bf16", checkpointing=checkpointing)
        task = HpS2C2(fold=0, limit=16, recipe=recipe)
        _, tensors, _ = run_chain(chain_of(Dense(), Target(), task), tmp_path / str(number))
        nets.append(tensors)
    for name, tensor in nets[0].items():
        assert torch.equal(tensor, nets[1][name]) and torch.equal(tensor, nets[2][name])


def test_a_net_that_recomputes_its_own_activations_is_scored_with_dropout(tmp_path: Path) -> None:
    class Recomputing(UnitNet):
        def forward(self, tokens_NL: Tensor) -> Tensor:
            if self.training and torch.is_grad_enabled():
                found: Tensor = checkpoint(super().forward, tokens_NL, use_reentrant=False)
                return found
            return super().forward(tokens_NL)

    class RecomputingToy(Toy):
        def model(self) -> nn.Module:
            return Recomputing()

    task = RecomputingToy(recipe=Toy().recipe.model_copy(update={"precision": "bf16"}))
    record, *_ = run_chain(chain_of(Snip(dropout=True), Target(sparsity=0.5), task), tmp_path)
    assert record.sound


def test_threads_that_leave_in_any_order_leave_torch_as_it_was_and_do_not_disturb_each_other() -> None:
    first, second = attention_in_fp32(), attention_in_fp32()
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other, ThreadPoolExecutor(1) as third:
        one.submit(first.__enter__).result(), other.submit(second.__enter__).result()

        def found() -> torch.dtype:
            with low():
                return F.scaled_dot_product_attention(*heads()).dtype

        types = [thread.submit(found).result() for thread in (one, other, third)]
        assert types == [torch.float32, torch.float32, torch.bfloat16]
        one.submit(first.__exit__, None, None, None).result()
        assert other.submit(found).result() == torch.float32
        other.submit(second.__exit__, None, None, None).result()
    assert F.scaled_dot_product_attention is ORIGINAL


def test_passes_that_are_watched_have_the_attention_of_training() -> None:
    net, types = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0), []

    class Seen(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types_: Any, args: Any = (), kwargs: Any = None) -> Any:
            if "scaled_dot_product" in str(func):
                types.append(args[0].dtype)
            return func(*args, **(kwargs or {}))

    weights = {name: weight for name, weight in net.named_parameters() if weight.ndim > 1}
    with InputWatch(weights, Turns(), Reading()), Device("cpu").autocast("bf16"), Seen():
        net(torch.randn(2, 5, 8))
    assert types == [torch.float32]
