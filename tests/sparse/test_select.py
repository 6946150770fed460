"""Selection: the exact number, the right values, and no more memory for more weights."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from smc_eval.errors import SparsityError
from smc_eval.sparse import select
from smc_eval.sparse.select import largest

INF = float("inf")
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]

few_values = st.sampled_from([0.0, -0.0, 1.0, -1.0, 1.0000001, -1.0000001, 1e-40, -1e-40, 3e38, INF, -INF])
any_value = st.floats(width=32, allow_nan=False)
shapes = st.sampled_from([(), (0,), (1,), (5,), (2, 3), (3, 0), (4, 1, 2), (7, 2)])


@st.composite
def tensors(draw: st.DrawFn) -> dict[str, Tensor]:
    names = draw(st.lists(st.sampled_from("abcde"), unique=True, min_size=1, max_size=4))
    return {name: draw(tensor()) for name in names}


@st.composite
def tensor(draw: st.DrawFn) -> Tensor:
    shape, dtype = draw(shapes), draw(st.sampled_from(DTYPES))
    size = torch.Size(shape).numel()
    values = draw(st.lists(draw(st.sampled_from([few_values, any_value])), min_size=size, max_size=size))
    made = torch.tensor(values, dtype=torch.float64).to(dtype).reshape(shape)
    return made.mT if made.dim() == 2 and draw(st.booleans()) else made


def by_sorting(saliency: Mapping[str, Tensor], keep: int, within: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The result of `largest` by a sort: by falling value, then by name, then by flat index."""
    entries = [
        (-value, name, index)
        for name, values in saliency.items()
        for index, value in enumerate(values.reshape(-1).tolist())
        if within[name].reshape(-1)[index]
    ]
    masks = {name: torch.zeros(values.numel(), dtype=torch.bool) for name, values in saliency.items()}
    for _, name, index in sorted(entries)[:keep]:
        masks[name][index] = True
    return {name: mask.reshape(saliency[name].shape) for name, mask in masks.items()}


def assert_same(masks: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert list(masks) == list(expected)
    for name, mask in expected.items():
        assert masks[name].dtype == torch.bool
        assert masks[name].shape == mask.shape
        assert masks[name].tolist() == mask.tolist(), name


def test_the_largest_of_all_tensors_stay() -> None:
    saliency = {"a": torch.tensor([[0.1, 0.9], [0.2, 0.5]]), "b": torch.tensor([0.6, 0.3])}
    masks = largest(saliency, 3)
    assert masks["a"].tolist() == [[False, True], [False, True]]
    assert masks["b"].tolist() == [True, False]


def test_large_negative_values_are_pruned_first() -> None:
    masks = largest({"a": torch.tensor([-3.0, -1.0, -2.0, 0.5])}, 2)
    assert masks["a"].tolist() == [False, True, False, True]


def test_ties_go_to_the_first_name_and_then_to_the_lowest_index_in_any_order_of_the_mapping() -> None:
    saliency = {"b": torch.zeros(2, 2), "a": torch.tensor([0.0, -0.0, 0.0])}
    masks = largest(saliency, 4)
    assert list(masks) == ["b", "a"]
    assert masks["a"].tolist() == [True, True, True]
    assert masks["b"].tolist() == [[True, False], [False, False]]


def test_ties_are_settled_row_by_row_in_any_memory_layout() -> None:
    transposed = torch.ones(2, 3).T
    assert largest({"a": transposed}, 3)["a"].tolist() == [[True, True], [True, False], [False, False]]


def test_floats_of_different_types_are_compared_exactly() -> None:
    third = torch.tensor([1 / 3], dtype=torch.float64)
    narrow = third.to(torch.bfloat16)  # 0.333984375: rounding the threshold to it would make a tie
    masks = largest({"narrow": narrow, "wide": third}, 1)
    assert [bool(masks["narrow"]), bool(masks["wide"])] == [True, False]
    masks = largest({"narrow": -narrow, "wide": -third}, 1)
    assert [bool(masks["narrow"]), bool(masks["wide"])] == [False, True]


def test_only_weights_within_may_stay() -> None:
    saliency = {"a": torch.tensor([5.0, 4.0, 3.0, 2.0])}
    within = {"a": torch.tensor([False, True, False, True])}
    assert largest(saliency, 1, within)["a"].tolist() == [False, True, False, False]
    assert largest(saliency, 2, within)["a"].tolist() == within["a"].tolist()


@settings(max_examples=400, deadline=None)
@given(tensors(), st.data())
def test_largest_equals_a_sort(saliency: dict[str, Tensor], data: st.DataObject) -> None:
    within = {
        name: torch.tensor(data.draw(st.lists(st.booleans(), min_size=n, max_size=n))).bool().reshape(v.shape)
        for name, v in saliency.items()
        for n in [v.numel()]
    }
    everything = {name: torch.ones(values.shape, dtype=torch.bool) for name, values in saliency.items()}
    for unpruned, given_masks in ((everything, None), (within, within)):
        keep = data.draw(st.integers(0, sum(int(mask.sum()) for mask in unpruned.values())))
        masks = largest(saliency, keep, given_masks)
        assert sum(int(mask.sum()) for mask in masks.values()) == keep
        assert_same(masks, by_sorting(saliency, keep, unpruned))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("levels", [3, 100_000])
def test_largest_equals_a_sort_over_many_pieces(
    dtype: torch.dtype, levels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(select, "VALUES_AT_ONCE", 50)
    generator = torch.Generator().manual_seed(levels)

    def noise(*shape: int) -> Tensor:
        return torch.randint(-levels, levels, shape, generator=generator).to(dtype) / 7

    saliency = {
        "flat": noise(333),
        "scattered": noise(70, 9).T,  # a row is longer than a piece
        "blocks": noise(3, 101).T,
        "deep": noise(2, 3, 4, 30).permute(3, 1, 0, 2),
        "expanded": noise(1, 40).expand(5, 40),
    }
    within = {name: torch.rand(values.shape, generator=generator) < 0.7 for name, values in saliency.items()}
    within["flat"] = torch.rand(666, generator=generator)[::2] < 0.7
    for keep in (1, 500, 900):
        assert_same(largest(saliency, keep, within), by_sorting(saliency, keep, within))


@pytest.mark.parametrize("keep", [-1, 4])
def test_keeping_a_negative_number_or_more_than_all_is_refused(keep: int) -> None:
    with pytest.raises(SparsityError, match=f"cannot keep {keep} of 3 weights"):
        largest({"a": torch.ones(3)}, keep)


def test_keeping_more_than_are_unpruned_is_refused() -> None:
    with pytest.raises(SparsityError, match="cannot keep 2 of 1 weights"):
        largest({"a": torch.ones(3)}, 2, {"a": torch.tensor([True, False, False])})


def test_no_values_give_empty_masks() -> None:
    assert largest({}, 0) == {}
    assert largest({"a": torch.ones(0, 4)}, 0)["a"].shape == (0, 4)


@pytest.mark.parametrize(
    ("values", "within", "message"),
    [
        (torch.tensor([1.0, float("nan")]), None, "a saliency of 'a' is NaN"),
        (torch.tensor([1, 2]), None, "saliencies of 'a' are torch.int64"),
        (torch.ones(2), {"b": torch.ones(2).bool()}, "name 'a', which has no mask; masks: b"),
        (torch.ones(2), {"a": torch.ones(2)}, "the mask of 'a' is torch.float32"),
        (torch.ones(2), {"a": torch.ones(3).bool()}, r"of shape \(3,\); wanted torch.bool of shape \(2,\)"),
    ],
)
def test_saliencies_that_cannot_be_compared_are_refused_by_name(
    values: Tensor, within: dict[str, Tensor] | None, message: str
) -> None:
    with pytest.raises(SparsityError, match=message):
        largest({"a": values}, 1, within)


class MemoryLedger(TorchDispatchMode):
    """Counts the allocated bytes of storages made since it began."""

    def __init__(self, *known: Tensor) -> None:
        super().__init__()
        self._known = {values.untyped_storage().data_ptr() for values in known}
        self._holders: Counter[int] = Counter()
        self._bytes: dict[int, int] = {}
        self.peak = 0
        self.operators: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.operators.add(func.overloadpacket.__name__)
        for made in result if isinstance(result, tuple | list) else (result,):
            if isinstance(made, Tensor):
                self._hold(made)
        self.peak = max(self.peak, sum(self._bytes.values()))
        return result

    def _hold(self, made: Tensor) -> None:
        storage = made.untyped_storage()
        if storage.data_ptr() not in self._known:
            self._holders[storage.data_ptr()] += 1
            self._bytes[storage.data_ptr()] = storage.nbytes()
            weakref.finalize(made, self._drop, storage.data_ptr())

    def _drop(self, pointer: int) -> None:
        self._holders[pointer] -= 1
        if not self._holders[pointer]:
            del self._bytes[pointer]


def by_joining(saliency: Mapping[str, Tensor], keep: int, within: Mapping[str, Tensor]) -> dict[str, Tensor]:
    joined = torch.cat([values.reshape(-1)[within[name].reshape(-1)] for name, values in saliency.items()])
    threshold = joined.kthvalue(len(joined) - keep + 1).values
    return {name: (values >= threshold) & within[name] for name, values in saliency.items()}


def extra(
    size: int, run: Callable[[Mapping[str, Tensor], int, Mapping[str, Tensor]], dict[str, Tensor]]
) -> tuple[int, set[str]]:
    """Bytes that a run needs beyond its masks, for two tensors of `size` values, and its operators."""
    generator = torch.Generator().manual_seed(0)
    saliency = {
        "a": torch.rand(size // 100, 100, generator=generator),
        "b": torch.rand(100, size // 100, generator=generator).T,
    }
    within = {name: torch.rand(values.shape, generator=generator) < 0.5 for name, values in saliency.items()}
    with MemoryLedger(*saliency.values(), *within.values()) as ledger:
        masks = run(saliency, size // 3, within)
    assert sum(int(mask.sum()) for mask in masks.values()) == pytest.approx(size // 3, abs=2)
    return ledger.peak - 2 * size, ledger.operators


def test_ten_times_the_weights_need_no_more_extra_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, "VALUES_AT_ONCE", 10_000)
    small, _ = extra(100_000, largest)
    large, operators = extra(1_000_000, largest)
    assert abs(large - small) < 10_000
    assert large < 4_000_000
    assert not operators & {"sort", "argsort", "topk", "kthvalue", "unique"}


def test_the_ledger_finds_the_extra_memory_of_joining() -> None:
    small, _ = extra(100_000, by_joining)
    large, operators = extra(1_000_000, by_joining)
    assert large > small + 4_000_000
    assert "kthvalue" in operators
