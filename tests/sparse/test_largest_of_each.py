"""The largest of each row, by the threshold of the row or by ranks, are those that a stable sort finds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from smc_eval.sparse.counts import count_true, equal_masks
from smc_eval.sparse.pattern import _largest_by_rank, largest_of_each
from smc_eval.sparse.select import FEW_VALUES, largest


def by_sorting(values_GM: Tensor, keep_G: list[int], within_GM: Tensor) -> Tensor:
    """Row by row, in plain Python: the larger first, of equal ones the first."""
    mask_GM = torch.zeros_like(within_GM)
    for row, (values, keep) in enumerate(zip(values_GM.tolist(), keep_G, strict=True)):
        open_places = [at for at in range(len(values)) if within_GM[row, at]]
        for at in sorted(open_places, key=lambda at: (-values[at], at))[:keep]:
            mask_GM[row, at] = True
    return mask_GM


@pytest.mark.parametrize("columns", [1, 4, 8, 9, 30])
@pytest.mark.parametrize("seed", range(8))
def test_the_largest_of_each_row_are_those_of_a_stable_sort(columns: int, seed: int) -> None:
    source = torch.Generator().manual_seed(seed)
    values = torch.randint(-2, 3, (7, columns), generator=source).float()  # many ties
    values[torch.rand(7, columns, generator=source) < 0.1] = -torch.inf
    values[torch.rand(7, columns, generator=source) < 0.1] = torch.inf
    values[torch.rand(7, columns, generator=source) < 0.2] = -0.0
    within = torch.rand(7, columns, generator=source) < 0.6
    keep = int(torch.randint(columns + 1, (1,), generator=source))
    some = torch.randint(columns + 1, (7, 1), generator=source)
    for allowed in (None, within):
        place = torch.ones_like(within) if allowed is None else within
        assert torch.equal(largest_of_each(values, keep, allowed), by_sorting(values, [keep] * 7, place))
        wanted = by_sorting(values, some[:, 0].tolist(), place)
        assert torch.equal(largest_of_each(values, some, allowed), wanted)


@pytest.mark.parametrize("by_numpy", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_ranks_are_those_of_a_stable_sort_on_a_cpu_and_elsewhere(
    *, by_numpy: bool, dtype: torch.dtype
) -> None:
    values = torch.randint(-3, 4, (40, 4), generator=torch.Generator().manual_seed(1)).to(dtype)
    wanted = by_sorting(values, [2] * 40, torch.ones(40, 4).bool())
    assert torch.equal(_largest_by_rank(values, 2, by_numpy=by_numpy), wanted)


@pytest.mark.parametrize("columns", [4, 9])
def test_values_may_have_a_graph_of_gradients(columns: int) -> None:
    values = torch.arange(columns).float().requires_grad_()[None] * 2
    assert largest_of_each(values, 1, None).tolist() == [[False] * (columns - 1) + [True]]


def test_masks_are_counted_and_compared_in_any_memory_layout() -> None:
    mask = torch.tensor([[True, False, True], [False, False, True]])
    assert count_true(mask) == count_true(mask.T) == 3 and count_true(mask[:, 0]) == 1
    assert equal_masks(mask, mask.clone()) and equal_masks(mask.T, mask.T.contiguous())
    assert not equal_masks(mask, ~mask) and not equal_masks(mask, mask.T)


@pytest.mark.parametrize("size", [50, FEW_VALUES, FEW_VALUES + 1])
def test_few_and_many_values_have_the_same_threshold(size: int) -> None:
    source = torch.Generator().manual_seed(size)
    values = torch.randint(-40, 40, (size,), generator=source).float()
    within = torch.rand(size, generator=source) < 0.5
    keep = int(within.count_nonzero()) // 3
    order = values.masked_fill(~within, -torch.inf).argsort(descending=True, stable=True)[:keep]
    wanted = torch.zeros_like(within)
    wanted[order] = True
    assert torch.equal(largest({"": values}, keep, {"": within})[""], wanted)
