"""Block Fisher matrices: removal costs and compensation, against explicit algebra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from smc_eval.errors import SparsityError, TrainingError
from smc_eval.sparse import fisher
from smc_eval.sparse.fisher import (
    Tile,
    chunks,
    compensated,
    fisher_blocks,
    removal_costs,
    summed_updates,
    tiles,
)

seeds = st.integers(0, 10**6)
blocks = st.sampled_from([1, 2, 3, 5, 8, 50])
shapes = st.sampled_from([(1,), (4,), (7, 5), (3, 2, 4), (6, 10), (1, 51)])
dampings = st.sampled_from([1e-7, 1e-3, 1.0, 1e4])


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def single_tile(
    gradients: Sequence[Tensor], block: int, damping: float, mask: Tensor | None = None
) -> Tensor:
    """F of every block of one tensor in a single tile."""
    shape = gradients[0].shape
    (tile,) = tiles({"w": shape}, block)
    masks = {"w": torch.ones(shape, dtype=torch.bool) if mask is None else mask}
    (f_GBB,) = fisher_blocks([{"w": g} for g in gradients], [tile], masks, damping)
    return f_GBB


def explicit(gradients: Sequence[Tensor], damping: float) -> Tensor:
    """The whole damped empirical Fisher matrix of one tensor, summed pair by pair."""
    g_KN = torch.stack([g.double().reshape(-1) for g in gradients])
    f_NN = torch.einsum("ki,kj->ij", g_KN, g_KN) / len(g_KN)
    return f_NN + damping * torch.eye(f_NN.shape[0], dtype=torch.float64)


def by_rank_one_updates(g_KB: Tensor, damping: float) -> Tensor:
    """The inverse as published, Singh & Alistarh (2020)."""
    inverse_BB = torch.eye(g_KB.shape[1], dtype=g_KB.dtype) / damping
    for g_B in g_KB:
        v_B = inverse_BB @ g_B
        inverse_BB -= torch.outer(v_B, v_B) / (len(g_KB) + g_B @ v_B)
    return inverse_BB


def constrained(f_BB: Tensor, w_B: Tensor, pruned_B: Tensor) -> Tensor:
    """Argmin of d^T F d / 2 with w + d = 0 where pruned, by its multipliers, in one dense system."""
    e_BQ = torch.eye(len(w_B), dtype=torch.float64)[:, pruned_B]
    count = e_BQ.shape[1]
    system = torch.cat(
        (
            torch.cat((f_BB, e_BQ), 1),
            torch.cat((e_BQ.mT, torch.zeros(count, count, dtype=torch.float64)), 1),
        )
    )
    right = torch.cat((torch.zeros(len(w_B), dtype=torch.float64), -w_B[pruned_B]))
    return torch.linalg.solve(system, right)[: len(w_B)]


def test_two_weights_by_hand() -> None:
    # g = (1, 1), damping 1: F = [[2, 1], [1, 2]], its inverse [[2, -1], [-1, 2]] / 3
    f_GBB = single_tile([torch.ones(2)], 2, 1.0)
    assert f_GBB.tolist() == [[[2.0, 1.0], [1.0, 2.0]]]
    w_GB = torch.tensor([[3.0, 1.0]])
    assert removal_costs("w", f_GBB, w_GB).tolist() == [pytest.approx([27 / 4, 3 / 4])]
    new = compensated("w", f_GBB, w_GB, torch.tensor([[True, False]]))
    assert new.tolist() == [[pytest.approx(3.5), 0.0]]  # 3 - (1 / (2/3)) * (-1/3) * 1


@given(seeds, shapes, blocks, dampings, st.integers(1, 70))
def test_costs_equal_those_of_the_explicit_inverse(seed, shape, block, damping, count) -> None:
    gradients = [normal(*shape, seed=seed + k) for k in range(count)]
    weight = normal(*shape, seed=seed - 1)
    whole, flat = explicit(gradients, damping), weight.double().reshape(-1)
    (tile,) = tiles({"w": weight.shape}, block)
    costs = torch.empty(shape, dtype=torch.float64)
    tile.write(costs, removal_costs("w", single_tile(gradients, block, damping), tile.read(weight)))
    for first in range(0, len(flat), block):
        part = slice(first, first + block)
        inverse = torch.linalg.inv(whole[part, part])
        expected = flat[part].square() / (2 * inverse.diagonal())
        torch.testing.assert_close(costs.reshape(-1)[part], expected, rtol=1e-5, atol=0)


@given(seeds, st.integers(2, 12), st.integers(1, 40))
def test_the_inverse_equals_that_of_the_published_rank_one_updates(seed, block, count) -> None:
    g_KB = normal(count, block, seed=seed).double()
    w_B = normal(block, seed=seed + 1).double()
    expected = w_B.square() / (2 * by_rank_one_updates(g_KB, 1e-3).diagonal())
    costs = removal_costs("w", single_tile(list(g_KB.float()), block, 1e-3), w_B[None])[0]
    torch.testing.assert_close(costs, expected, rtol=1e-8, atol=0)


def test_the_inverse_has_more_digits_than_that_of_rank_one_updates() -> None:
    g_KB = torch.randint(-3, 4, (64, 4), generator=torch.Generator().manual_seed(0)).double()
    damping = 2.0**-40
    exact = inverted(
        [[Fraction(x).limit_denominator() for x in row] for row in (g_KB.mT @ g_KB).tolist()], damping
    )

    def error(diagonal: Sequence[float]) -> float:
        return max(abs(Fraction(d) / e - 1) for d, e in zip(diagonal, exact, strict=True)).__float__()

    costs = removal_costs("w", single_tile(list(g_KB.float()), 4, damping), torch.ones(1, 4))
    assert error((1 / (2 * costs)).tolist()[0]) < 1e-14
    assert error(by_rank_one_updates(g_KB, damping).diagonal().tolist()) > 1e-7


def inverted(sums: list[list[Fraction]], damping: float) -> list[Fraction]:
    """The diagonal of (sums / 64 + damping I)^-1, in exact arithmetic."""
    size = len(sums)
    rows = [
        [x / 64 + (Fraction(damping) if i == j else 0) for j, x in enumerate(row)]
        + [Fraction(int(i == j)) for j in range(size)]
        for i, row in enumerate(sums)
    ]
    for i in range(size):
        rows[i] = [x / rows[i][i] for x in rows[i]]
        for j in set(range(size)) - {i}:
            rows[j] = [x - rows[j][i] * y for x, y in zip(rows[j], rows[i], strict=True)]
    return [rows[i][size + i] for i in range(size)]


@given(seeds, st.integers(1, 12), st.integers(1, 40), dampings, st.floats(0, 1))
def test_remaining_weights_compensate_for_pruned_ones_optimally(seed, block, count, damping, share) -> None:
    gradients = list(normal(count, 3 * block, seed=seed))
    w_GB = normal(3, block, seed=seed + 1)
    stays_GB = torch.rand(3, block, generator=torch.Generator().manual_seed(seed)) >= share
    f_GBB = single_tile(gradients, block, damping)
    new = compensated("w", f_GBB, w_GB, stays_GB)
    for f_BB, w_B, stays_B, new_B in zip(f_GBB, w_GB.double(), stays_GB, new, strict=True):
        assert not new_B[~stays_B].any()
        expected = w_B + constrained(f_BB, w_B, ~stays_B)
        scale = float(torch.cat((w_B, expected)).abs().max())
        torch.testing.assert_close(new_B.double(), expected, rtol=1e-5, atol=1e-5 * scale)
        if not stays_B.all():  # and as published
            inverse = torch.linalg.inv(f_BB)
            moves = -inverse[:, ~stays_B] @ torch.linalg.solve(inverse[~stays_B][:, ~stays_B], w_B[~stays_B])
            torch.testing.assert_close(new_B.double(), w_B + moves, rtol=1e-4, atol=1e-4 * scale)


@given(seeds, st.integers(1, 12), st.integers(1, 40), dampings, st.floats(0, 1))
def test_the_published_update_is_the_sum_of_those_of_each_weight_alone(
    seed, block, count, damping, share
) -> None:
    gradients = list(normal(count, 3 * block, seed=seed))
    w_GB = normal(3, block, seed=seed + 1)
    stays_GB = torch.rand(3, block, generator=torch.Generator().manual_seed(seed)) >= share
    f_GBB = single_tile(gradients, block, damping)
    new = summed_updates("w", f_GBB, w_GB, stays_GB)
    for f_BB, w_B, stays_B, new_B in zip(f_GBB, w_GB.double(), stays_GB, new, strict=True):
        expected = w_B.clone()
        for place in (~stays_B).nonzero()[:, 0].tolist():
            alone = torch.zeros(block, dtype=torch.bool)
            alone[place] = True
            expected += constrained(f_BB, w_B, alone)
        expected[~stays_B] = 0
        scale = float(torch.cat((w_B, expected)).abs().max())
        torch.testing.assert_close(new_B.double(), expected, rtol=1e-4, atol=1e-4 * scale)


def test_the_published_update_of_a_block_that_loses_all_or_nothing() -> None:
    f_GBB = single_tile(list(normal(9, 8, seed=0)), 4, 1e-7)
    w_GB = normal(2, 4, seed=1)
    stays_GB = torch.tensor([[True] * 4, [False] * 4])
    new = summed_updates("w", f_GBB, w_GB, stays_GB)
    assert torch.equal(new[0], w_GB[0]) and not new[1].any()


def test_a_block_that_loses_no_weight_keeps_its_values_to_the_bit() -> None:
    f_GBB = single_tile(list(normal(9, 10, seed=0)), 5, 1e-7)
    w_GB = normal(2, 5, seed=1)
    stays_GB = torch.ones(2, 5, dtype=torch.bool)
    assert torch.equal(compensated("w", f_GBB, w_GB, stays_GB), w_GB)
    stays_GB[1, 2] = False
    new = compensated("w", f_GBB, w_GB, stays_GB)
    assert torch.equal(new[0], w_GB[0])
    assert bool((new[1] != w_GB[1]).all())


def test_a_block_that_loses_everything_is_zero() -> None:
    f_GBB = single_tile(list(normal(9, 4, seed=0)), 4, 1e-7)
    assert not compensated("w", f_GBB, normal(1, 4, seed=1), torch.zeros(1, 4, dtype=torch.bool)).any()


@given(seeds, st.integers(2, 9))
def test_gradients_of_pruned_weights_do_not_matter(seed, block) -> None:
    gradients = list(normal(30, block, seed=seed))
    mask = torch.rand(block, generator=torch.Generator().manual_seed(seed)) < 0.6
    mask[0] = True
    w_B = normal(block, seed=seed + 1) * mask
    large = [torch.where(mask, g, 1e6 * g) for g in gradients]
    f_BB, alone_BB = single_tile(large, block, 1e-3, mask)[0], explicit([g[mask] for g in gradients], 1e-3)
    torch.testing.assert_close(f_BB[mask][:, mask], alone_BB)
    assert torch.equal(f_BB[~mask][:, ~mask], 1e-3 * torch.eye(int((~mask).sum()), dtype=torch.float64))
    assert not f_BB[mask][:, ~mask].any()
    stays = mask.clone()
    stays[0] = False
    new = compensated("w", f_BB[None], w_B[None], stays[None])[0]
    assert not new[~mask].any()
    expected = compensated("w", alone_BB[None], w_B[mask][None], stays[mask][None])[0]
    torch.testing.assert_close(new[mask], expected)


def test_gradients_of_too_few_directions_for_the_damping_are_refused_by_name() -> None:
    f_GBB = single_tile(list(normal(3, 8, seed=0)), 8, 1e-30)
    with pytest.raises(SparsityError, match="'encoder.weight' cannot be inverted in double precision"):
        removal_costs("encoder.weight", f_GBB, torch.ones(1, 8))
    # with enough directions, so small a damping does no harm
    gradients = list(normal(100, 8, seed=0))
    costs = removal_costs("w", single_tile(gradients, 8, 1e-30), torch.ones(1, 8))[0]
    torch.testing.assert_close(costs, 1 / (2 * torch.linalg.inv(explicit(gradients, 0.0)).diagonal()))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_gradient_that_is_not_finite_is_refused_by_name(bad: float) -> None:
    gradients = [{"fine": torch.ones(3), "w": torch.ones(3)} for _ in range(5)]
    gradients[2]["w"] = torch.tensor([1.0, bad, 1.0])
    masks = {name: torch.ones(3, dtype=torch.bool) for name in ("fine", "w")}
    part = list(tiles({"fine": torch.Size([3]), "w": torch.Size([3])}, 2))
    with pytest.raises(TrainingError, match="one of 5 gradients of 'w' is not finite"):
        fisher_blocks(gradients, part, masks, 1e-7)


def test_no_gradient_at_all_is_refused() -> None:
    with pytest.raises(SparsityError, match="needs a gradient, and there was none"):
        fisher_blocks([], [Tile("w", 0, 2, 2)], {"w": torch.ones(2, dtype=torch.bool)}, 1e-7)


@given(st.dictionaries(st.sampled_from("abcd"), shapes, min_size=1), blocks, st.integers(0, 20_000))
@settings(max_examples=50)
def test_chunks_have_every_weight_once_and_fit_the_memory(sizes, block, memory) -> None:
    named = {name: torch.Size(shape) for name, shape in sizes.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fisher, "TILE_ENTRIES", 3 * block**2)
        parts = chunks(named, block, memory)
    counts = {name: torch.zeros(shape) for name, shape in named.items()}
    for part in parts:
        assert len(part) == 1 or sum(tile.bytes for tile in part) <= memory
        for tile in part:
            tile.write(counts[tile.name], tile.read(counts[tile.name]) + 1)
    assert all(bool((count == 1).all()) for count in counts.values())
    for part, next_ in pairwise(parts):  # and no chunk is smaller than it must be
        assert sum(tile.bytes for tile in part) + next_[0].bytes > memory


def test_the_bytes_of_a_tile_are_those_it_needs() -> None:
    (tile,) = tiles({"w": torch.Size([7, 15])}, 50)
    (f_GBB,) = fisher_blocks(
        [{"w": torch.ones(7, 15)}], [tile], {"w": torch.ones(7, 15, dtype=torch.bool)}, 1.0
    )
    buffer = 3 * 50 * 12 * 4  # 3 blocks of 50 for 105 weights; 12 gradients, in single precision
    assert tile.bytes == f_GBB.nbytes + buffer


def test_matrices_do_not_depend_on_their_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fisher, "TILE_ENTRIES", 2 * 50**2)
    named = {"a": torch.Size([30, 11]), "b": torch.Size([9, 9])}
    gradients = [{name: normal(*shape, seed=k) for name, shape in named.items()} for k in range(20)]
    masks = {name: torch.ones(shape, dtype=torch.bool) for name, shape in named.items()}

    def matrices(parts: Sequence[Sequence[Tile]]) -> Mapping[Tile, Tensor]:
        return {
            tile: f_GBB
            for part in parts
            for tile, f_GBB in zip(part, fisher_blocks(gradients, part, masks, 1e-7), strict=True)
        }

    whole, split = matrices(chunks(named, 50, 10**9)), matrices(chunks(named, 50, 0))
    assert len(chunks(named, 50, 10**9)) == 1 and len(split) == len(chunks(named, 50, 0)) == 5
    assert whole.keys() == split.keys()
    assert all(torch.equal(whole[tile], split[tile]) for tile in whole)


def test_weights_that_are_not_contiguous_are_read_row_by_row() -> None:
    scattered = torch.arange(6.0).view(2, 3).mT
    (tile,) = tiles({"w": scattered.shape}, 4)
    assert tile.read(scattered).tolist() == [[0, 3, 1, 4], [2, 5, 0, 0]]
