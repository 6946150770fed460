"""Under autocast on a CPU attention is computed in fp32, and elsewhere torch does what it always does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smc_eval.engine.attention import attention_in_fp32
from smc_eval.engine.device import Device
from smc_eval.methods.dense import Dense
from smc_eval.recipe import Recipe
from smc_eval.target import Target
from smc_eval.tasks.protein.datasets import HpS2C2
from smc_eval.testing import chain_of, run_chain

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
