"""Layouts and products of masked matrices: answers written out, and dense products as an oracle."""

from __future__ import annotations

import math
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from smc_eval.errors import UsageError
from smc_eval.sparse.kernels import compiled, numba_products, products
from smc_eval.sparse.kernels.choice import KernelQuestion
from smc_eval.sparse.kernels.crossover import measured_choice, spread_mask
from smc_eval.sparse.kernels.layout import MaskLayout
from smc_eval.sparse.kernels.named import MAP_KERNELS
from smc_eval.sparse.kernels.numba_products import NumbaProducts
from smc_eval.sparse.kernels.products import tiling

MASK = torch.tensor([[True, False, True], [False, False, False], [False, True, False]])
NAMES = sorted(MAP_KERNELS.keys() - {"dense"})


def lists(*tensors: Tensor) -> list[list[float]]:
    return [tensor.tolist() for tensor in tensors]


def test_a_layout_has_the_places_of_the_unpruned_weights_by_outputs_and_by_inputs() -> None:
    rows, columns = MaskLayout(MASK).by_output, MaskLayout(MASK).by_input
    assert lists(rows.starts, rows.columns_K, rows.places_K) == [[0, 2, 2, 3], [0, 2, 1], [0, 2, 7]]
    assert lists(columns.starts, columns.columns_K, columns.places_K) == [[0, 1, 2, 3], [0, 2, 0], [0, 7, 2]]


def test_a_turned_weight_has_the_same_matrix_and_its_own_places() -> None:
    straight, turned = MaskLayout(MASK), MaskLayout(MASK.T.contiguous(), turned=True)
    assert torch.equal(straight.by_output.starts, turned.by_output.starts)
    assert torch.equal(straight.by_output.columns_K, turned.by_output.columns_K)
    assert turned.by_output.places_K.tolist() == [0, 6, 5]  # of [inputs, outputs]


def test_values_are_read_when_they_are_asked_for_and_scattered_to_their_places() -> None:
    weight, layout = torch.arange(9.0).view(3, 3), MaskLayout(MASK)
    weight[2, 1] = 70.0
    assert layout.by_output.values(weight).tolist() == [0.0, 2.0, 70.0]
    assert layout.scattered(torch.tensor([1.0, 2.0, 3.0])).tolist() == [[1, 0, 2], [0, 0, 0], [0, 3, 0]]


def test_a_stack_of_matrices_has_no_layout() -> None:
    with pytest.raises(ValueError, match="a layout is of a matrix"):
        MaskLayout(torch.ones(2, 2, 2, dtype=torch.bool))


@pytest.mark.parametrize("name", sorted(MAP_KERNELS))
def test_products_of_two_by_two_are_those_computed_by_hand(name: str) -> None:
    layout = MaskLayout(torch.eye(2, dtype=torch.bool))
    weight, bias = torch.tensor([[2.0, 0.0], [0.0, 3.0]]), torch.tensor([100.0, 200.0])
    x, g = torch.tensor([[1.0, 10.0], [2.0, 20.0]]), torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    kernel = MAP_KERNELS[name]
    kept = kernel.prepared(x)
    wanted = [[102.0, 230.0], [104.0, 260.0]]
    assert kernel.outputs(layout, weight, bias, x).tolist() == wanted
    assert kernel.outputs_of(layout, weight, bias, kept, 2).tolist() == wanted
    of_x, of_weight = kernel.gradients(layout, weight, g, kept, of_x=True, of_weight=True)
    assert of_x is not None and of_weight is not None
    assert of_x.tolist() == [[2.0, 3.0], [2.0, 0.0]]
    assert (of_weight * layout.mask).tolist() == [[3.0, 0.0], [0.0, 10.0]]
    assert kernel.gradients(layout, weight, g, kept, of_x=False, of_weight=False) == (None, None)


def close(found: Tensor, wanted: Tensor) -> bool:
    return bool((found - wanted).norm() <= 1e-5 * wanted.norm())


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 300), st.integers(1, 40), st.integers(1, 40)),
    density=st.floats(0, 1),
    kind=st.sampled_from(["", "turned", "bias", "turned bias"]),
    seed=st.integers(0, 9),
)
@pytest.mark.parametrize("name", NAMES)
def test_outputs_and_gradients_are_those_of_dense_products(
    name: str, sizes: tuple[int, int, int], density: float, kind: str, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    (rows, outputs, inputs), turned = sizes, "turned" in kind
    shape = (inputs, outputs) if turned else (outputs, inputs)
    mask = torch.rand(shape, generator=generator) < density
    weight = torch.randn(shape, generator=generator) * mask
    x, g = (torch.randn(rows, width, generator=generator) for width in (inputs, outputs))
    bias_O = torch.randn(outputs, generator=generator) if "bias" in kind else None
    layout, kernel, dense = MaskLayout(mask, turned=turned), MAP_KERNELS[name], MAP_KERNELS["dense"]
    kept = kernel.prepared(x)
    wanted = dense.outputs(layout, weight, bias_O, x)
    assert close(kernel.outputs(layout, weight, bias_O, x), wanted)
    assert close(kernel.outputs_of(layout, weight, bias_O, kept, rows), wanted)
    of_x, of_weight = kernel.gradients(layout, weight, g, kept, of_x=True, of_weight=True)
    dense_x, dense_weight = dense.gradients(layout, weight, g, x, of_x=True, of_weight=True)
    assert of_x is not None and of_weight is not None and dense_x is not None and dense_weight is not None
    assert close(of_x, dense_x) and close(of_weight, dense_weight * mask)
    assert of_weight.shape == weight.shape and of_weight.is_contiguous()
    assert not of_weight[~mask].view(torch.int32).any()  # +0.0, no bit is set


@pytest.mark.parametrize("count", [0, 1, 40])
def test_what_was_in_the_memory_of_a_product_does_not_matter(count: int) -> None:
    mask = torch.zeros(12, 9, dtype=torch.bool)
    mask.view(-1)[:count] = True
    weight, tile = torch.randn(12, 9) * mask, torch.randn(9, 16)
    order = MaskLayout(mask).by_output
    out = torch.full((12, 16), torch.nan)
    products._multiply(order.filled(order.values(weight)), tile, out, None)
    assert torch.allclose(out, weight @ tile, atol=1e-6)


@given(st.integers(1, 5000))
def test_tiles_hold_all_rows_and_less_than_a_tile_too_many(rows: int) -> None:
    count, width = tiling(rows)
    assert width <= 128 and width % 8 == 0
    assert (count - 1) * width < rows <= count * width


def question(density: float, **parts: object) -> KernelQuestion:
    rest = {"kernels": ("tiles",), "dtype": "float32", "threads": 1, "torch_version": "2", "processor": "p"}
    return KernelQuestion(
        **{"outputs": 60, "inputs": 90, "turned": False, "rows": 64, "density": density, **rest, **parts}
    )


@pytest.mark.parametrize("density", [0.05, 0.4])
@pytest.mark.parametrize("shape", [(600, 900), (900, 600)])
def test_the_mask_of_a_measurement_has_its_density_in_every_part(
    density: float, shape: tuple[int, int]
) -> None:
    mask = spread_mask(question(density, outputs=600, inputs=900, turned=shape[0] == 900))
    assert mask.shape == shape
    for part in (mask, mask[:300], mask[:, :300], mask[::2], mask[:, ::2]):
        error = 5 * math.sqrt(density / part.numel())
        assert abs(part.float().mean().item() - density) < error


def test_a_measurement_names_kernels_and_draws_no_random_number() -> None:
    before = torch.get_rng_state()
    choice = measured_choice(question(0.1))
    assert {choice.predicting, choice.training} <= {"dense", "tiles"}
    assert torch.equal(before, torch.get_rng_state())


def test_a_question_has_the_fewest_rows_and_the_highest_density_of_its_class() -> None:
    mask = torch.zeros(100, 100, dtype=torch.bool)
    mask[:, :9] = True
    asked = KernelQuestion.of(MaskLayout(mask), 1700, ("tiles",), torch.float32)
    assert (asked.rows, asked.density) == (1024, round(2**-3.25, 6))
    assert asked.density >= 0.09 > asked.density / 2**0.25
    assert asked == KernelQuestion.of(MaskLayout(mask), 1024, ("tiles",), torch.float32)
    assert asked != KernelQuestion.of(MaskLayout(mask), 1023, ("tiles",), torch.float32)


@pytest.mark.parametrize("rows", [1, 11, 16, 75, 150])
def test_the_loops_give_the_dense_answers_without_a_compiler(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numba_products, "_compiled", lambda name: getattr(compiled, name))
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(35, 19, generator=generator) < 0.5
    mask[3], mask[:, 5] = False, False
    weight, bias = torch.randn(35, 19, generator=generator) * mask, torch.randn(35, generator=generator)
    x, g = torch.randn(rows, 19, generator=generator), torch.randn(rows, 35, generator=generator)
    layout, kernel, dense = MaskLayout(mask), NumbaProducts(), MAP_KERNELS["dense"]
    kept = kernel.prepared(x)
    wanted = dense.outputs(layout, weight, bias, x)
    assert close(kernel.outputs(layout, weight, bias, x), wanted)
    assert close(kernel.outputs_of(layout, weight, bias, kept, rows), wanted)
    of_x, of_weight = kernel.gradients(layout, weight, g, kept, of_x=True, of_weight=True)
    assert of_x is not None and of_weight is not None
    assert close(of_x, g @ weight) and close(of_weight, (g.T @ x) * mask)


def test_tiles_of_the_loops_are_transposed_with_zeros_up_to_a_square() -> None:
    rows = np.arange(1, 7, dtype=np.float32).reshape(3, 2)
    tile = np.full((2, 16), np.nan, np.float32)
    compiled.transposed(rows, tile, 0)
    assert tile.tolist() == [[1.0, 3.0, 5.0] + 13 * [0.0], [2.0, 4.0, 6.0] + 13 * [0.0]]


def test_a_last_tile_is_no_wider_than_whole_squares_need() -> None:
    assert [compiled.used(rows, 128) for rows in (1, 16, 17, 128, 500)] == [16, 16, 32, 128, 128]


@pytest.mark.skipif(not numba_products.has_numba(), reason="numba is not installed")
def test_arrays_in_another_order_than_addresses_are_computed_for_are_refused() -> None:
    by_columns = np.asfortranarray(np.ones((32, 32), np.float32))
    with pytest.raises(Exception, match="swap_square"):  # numba's own error of types
        numba_products._compiled("fill_tiles")(by_columns, np.zeros((2, 32, 16), np.float32))


def test_a_numba_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    numba_products._compiled.cache_clear()
    with pytest.raises(UsageError, match="numba is installed and cannot be imported"):
        NumbaProducts().prepared(torch.ones(3, 3))


def test_loops_are_compiled_for_each_process_where_no_cache_can_be_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[bool] = []

    def njit(loop: Any, *, cache: bool = False, **_: Any) -> Any:
        asked.append(cache)
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return loop

    monkeypatch.setitem(sys.modules, "numba", SimpleNamespace(njit=njit))
    monkeypatch.setitem(sys.modules, "smc_eval.sparse.kernels.vectors", SimpleNamespace())
    numba_products._compiled.cache_clear()
    assert NumbaProducts().prepared(torch.ones(1, 2))[0].tolist() == [[1.0] + 15 * [0.0]] * 2
    numba_products._compiled.cache_clear()
    assert asked == [True, False]
