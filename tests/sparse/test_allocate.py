"""Allocation: masks meet the target exactly, for every distribution and pattern, and revive no weight."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from smc_eval.errors import SparsityError
from smc_eval.sparse import pattern
from smc_eval.sparse.allocate import allocate, budgets, count_remaining, expected
from smc_eval.sparse.distribution import lamp, owl_shares, share_out
from smc_eval.target import SMC_GRID, Distribution, Target

DISTRIBUTIONS: tuple[Distribution, ...] = ("global", "uniform", "rows", "erk", "lamp", "owl")

distributions = st.sampled_from(DISTRIBUTIONS)
sparsities = st.floats(0, 0.99) | st.sampled_from(SMC_GRID)
shapes = st.dictionaries(
    st.sampled_from("abcde"),
    st.sampled_from([(3, 4), (1, 1), (7, 2), (2, 9), (2, 3, 2), (0, 3), (30, 20), (4, 1, 3, 3)]),
    min_size=1,
)
patterns = st.sampled_from(["1:2", "2:4", "1:4", "4:8", "2:3", "1:5"])


def noise(shapes: Mapping[str, tuple[int, ...]], seed: int, levels: int = 4) -> dict[str, Tensor]:
    """Saliencies with many ties: multiples of 1/4 from 0 to `levels` / 4."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randint(0, levels, shape, generator=generator) / 4
        for name, shape in sorted(shapes.items())
    }


def count(masks: Mapping[str, Tensor]) -> int:
    return sum(int(mask.sum()) for mask in masks.values())


def two_by_four(sparsity: float = 0.5, name: str = "2:4") -> Target:
    return Target(sparsity=sparsity, pattern=name, distribution="uniform")


# counts


@pytest.mark.parametrize(
    ("size", "sparsity", "remaining"),
    [(10, 0.0, 10), (10, 0.8, 2), (10, 0.75, 2), (10, 0.74, 3), (1000, 1 - 0.8**10, 107), (3, 0.5, 2)],
)
def test_the_remaining_count_is_the_nearest_whole_number(size: int, sparsity: float, remaining: int) -> None:
    assert count_remaining(size, sparsity) == remaining


@settings(deadline=None)
@given(shapes, sparsities, distributions, st.integers(0, 9))
def test_every_distribution_keeps_exactly_the_expected_number(
    shapes: dict[str, tuple[int, ...]], sparsity: float, distribution: Distribution, seed: int
) -> None:
    target, size = Target(sparsity=sparsity, distribution=distribution), sum(map(math.prod, shapes.values()))
    assume(count_remaining(size, sparsity) > 0)
    masks = allocate(noise(shapes, seed), target)
    assert {name: tuple(mask.shape) for name, mask in masks.items()} == shapes
    assert all(mask.dtype == torch.bool for mask in masks.values())
    assert count(masks) == expected(shapes, target) == count_remaining(size, sparsity)


@settings(deadline=None)
@given(shapes, st.lists(sparsities, min_size=2, max_size=4), distributions, st.integers(0, 9))
def test_successive_masks_shrink_and_still_meet_the_target(
    shapes: dict[str, tuple[int, ...]], path: list[float], distribution: Distribution, seed: int
) -> None:
    size = sum(map(math.prod, shapes.values()))
    within: dict[str, Tensor] | None = None
    for step, sparsity in enumerate(sorted(path)):
        assume(count_remaining(size, sparsity) > 0)
        masks = allocate(
            noise(shapes, seed + step), Target(sparsity=sparsity, distribution=distribution), within
        )
        assert count(masks) == count_remaining(size, sparsity)
        assert all(not bool((masks[name] & ~within[name]).any()) for name in masks if within is not None)
        within = masks


@settings(deadline=None)
@given(shapes, sparsities, distributions, st.integers(0, 9))
def test_no_kept_weight_of_a_tensor_or_row_is_less_salient_than_a_pruned_one(
    shapes: dict[str, tuple[int, ...]], sparsity: float, distribution: Distribution, seed: int
) -> None:
    assume(count_remaining(sum(map(math.prod, shapes.values())), sparsity) > 0)
    saliency = noise(shapes, seed)
    for name, mask in allocate(saliency, Target(sparsity=sparsity, distribution=distribution)).items():
        parts = zip(mask, saliency[name], strict=True) if distribution == "rows" else [(mask, saliency[name])]
        for part, values in parts:
            stays, pruned = values[part], values[~part]
            assert not len(stays) or not len(pruned) or stays.min() >= pruned.max()


def test_negative_saliencies_are_smaller_than_positive_ones() -> None:
    masks = allocate({"a": torch.tensor([[-9.0, 1.0], [-1.0, 0.0]])}, Target(sparsity=0.5))
    assert masks["a"].tolist() == [[False, True], [False, True]]


# shares


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 40)), min_size=1, max_size=6), st.data())
def test_shares_add_up_and_stay_below_their_ceilings(
    pairs: list[tuple[int, int]], data: st.DataObject
) -> None:
    weights = {f"t{number}": weight for number, (weight, _) in enumerate(pairs)}
    ceilings = {
        f"t{number}": ceiling if weights[f"t{number}"] else 0 for number, (_, ceiling) in enumerate(pairs)
    }
    total = data.draw(st.integers(0, sum(ceilings.values())))
    shares = share_out(total, weights, ceilings)
    assert sum(shares.values()) == total
    assert all(0 <= shares[name] <= ceilings[name] for name in weights)
    # shares below their ceilings have the same proportion, to within one weight
    free = [name for name in weights if weights[name] and shares[name] < ceilings[name]]
    for a in free:
        for b in free:
            gap = Fraction(shares[a], weights[a]) - Fraction(shares[b], weights[b])
            assert gap < Fraction(1, weights[a]) + Fraction(1, weights[b])


def test_of_equal_remainders_the_first_by_name_is_rounded_up() -> None:
    equal = {"c": 7, "a": 7, "b": 7}
    assert share_out(10, equal, equal) == {"c": 3, "a": 4, "b": 3}


def test_a_uniform_distribution_keeps_the_same_share_of_every_tensor() -> None:
    # 35 of 70 stay; halves are 10.5, 2.5 and 22: the halves of a and b leave one, a comes first
    wide = {"b": (5, 1), "a": (3, 7), "c": (4, 11)}
    assert budgets(wide, Target(sparsity=0.5, distribution="uniform")) == {"b": 2, "a": 11, "c": 22}


def test_erdos_renyi_kernel_budgets_by_hand() -> None:
    # Sizes 6, 100 and 100, of which 206 / 2 = 103 stay; sums of shapes 5, 20 and 29, together 54.
    # a: 103 * 5/54 = 9.54 is more than its 6, so it is dense, and 97 are left for b and c.
    # b: 97 * 20/49 = 39.59, c: 97 * 29/49 = 57.41; the one left of 39 + 57 goes to b.
    wide = {"a": (2, 3), "b": (10, 10), "c": (4, 25)}
    assert budgets(wide, Target(sparsity=0.5, distribution="erk")) == {"a": 6, "b": 40, "c": 57}


def test_a_kernel_budget_sums_all_dimensions() -> None:
    # convolution (8, 4, 3, 3): size 288, sum 18; matrix (20, 16): size 320, sum 36; 152 of 608 stay
    # 152 * 18/54 = 50.67 and 152 * 36/54 = 101.33
    wide = {"conv": (8, 4, 3, 3), "matrix": (20, 16)}
    assert budgets(wide, Target(sparsity=0.75, distribution="erk")) == {"conv": 51, "matrix": 101}


def test_other_tensors_get_the_rest_of_a_tensor_with_too_few_unpruned_weights() -> None:
    # uniform would keep 4, 4 and 8 of 8, 8 and 16; a has 1 unpruned, so 15 are left: 5 and 10
    saliency = {"a": torch.ones(2, 4), "b": torch.ones(2, 4), "c": torch.ones(4, 4)}
    within = {name: torch.ones_like(values, dtype=torch.bool) for name, values in saliency.items()}
    within["a"][:] = False
    within["a"][1, 2] = True
    masks = allocate(saliency, Target(sparsity=0.5, distribution="uniform"), within)
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {"a": 1, "b": 5, "c": 10}
    assert bool(masks["a"][1, 2])


def test_rows_keep_their_own_largest_and_the_first_rows_get_the_remainder() -> None:
    # 7 of 12 stay: 2 of each row and 1 more of the first; under `global` the last row would keep none
    saliency = {"a": torch.tensor([[9.0, 8, 7, 6], [5, 6, 5, 5], [0.1, 0.2, 0.3, 0.4]])}
    masks = allocate(saliency, Target(sparsity=5 / 12, distribution="rows"))
    assert masks["a"].int().tolist() == [[1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 1, 1]]


def test_other_rows_get_the_rest_of_a_row_with_too_few_unpruned_weights() -> None:
    # 6 of 12 are 2 a row; the second has 1 unpruned, so 5 are left for two rows: 3 and 2
    saliency = {"a": torch.tensor([[1.0, 2, 3, 4], [4, 3, 2, 1], [1, 2, 3, 4]])}
    within = {"a": torch.tensor([[1, 1, 1, 1], [0, 0, 0, 1], [1, 1, 0, 1]]).bool()}
    masks = allocate(saliency, Target(sparsity=0.5, distribution="rows"), within)
    assert masks["a"].int().tolist() == [[0, 1, 1, 1], [0, 0, 0, 1], [0, 1, 0, 1]]


@given(
    shapes,
    sparsities,
    st.integers(0, 9),
    st.sampled_from(["fresh", "iterated"]),
    st.sampled_from([1, 7, 1 << 20]),
)
def test_rows_of_a_tensor_keep_equally_many_to_within_one_unless_full(
    shapes: dict[str, tuple[int, ...]], sparsity: float, seed: int, history: str, block: int
) -> None:
    within = (
        {name: v > 0 for name, v in noise(shapes, seed + 1, 2).items()} if history == "iterated" else None
    )
    unpruned = count(within) if within else sum(map(math.prod, shapes.values()))
    target = Target(sparsity=sparsity, distribution="rows")
    assume(0 < count_remaining(sum(map(math.prod, shapes.values())), sparsity) <= unpruned)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pattern, "BLOCK", block)
        masks = allocate(noise(shapes, seed), target, within)
    assert {name: int(mask.sum()) for name, mask in masks.items()} == budgets(shapes, target, within)
    for name, mask in masks.items():
        remaining_R = mask.flatten(1).sum(1)
        full_R = remaining_R == (within[name] if within else torch.ones_like(mask)).flatten(1).sum(1)
        if not bool(full_R.all()):
            assert int(remaining_R.max() - remaining_R[~full_R].min()) <= 1


@pytest.mark.parametrize("distribution", ["global", "lamp", "owl"])
def test_a_distribution_of_saliencies_sets_no_budget(distribution: Distribution) -> None:
    with pytest.raises(SparsityError, match=f"distribution '{distribution}' sets no budget"):
        budgets({"a": (2, 2)}, Target(sparsity=0.5, distribution=distribution))


# LAMP


def test_layer_adaptive_saliencies_by_hand() -> None:
    # a: squares 9, 16: 9/25, 16/16.  b, in descending order: 4/4, 4/8 (the tie of higher index), 1/9
    scores = lamp({"a": torch.tensor([3.0, 4.0]), "b": torch.tensor([1.0, 2.0, 2.0])})
    assert scores["a"].tolist() == [9 / 25, 1.0]
    assert scores["b"].tolist() == [1 / 9, 1.0, 1 / 2]


def test_lamp_keeps_weights_of_a_tensor_with_small_ones() -> None:
    saliency = {"a": torch.tensor([3.0, 4.0]), "b": torch.tensor([0.1, 0.2, 0.2])}
    by_magnitude = allocate(saliency, Target(sparsity=0.6, distribution="global"))
    adapted = allocate(saliency, Target(sparsity=0.6, distribution="lamp"))
    assert [mask.tolist() for mask in by_magnitude.values()] == [[True, True], [False, False, False]]
    assert [mask.tolist() for mask in adapted.values()] == [[False, True], [False, True, False]]


def test_pruned_weights_are_in_no_layer_adaptive_sum() -> None:
    saliency = {"a": torch.tensor([[7.0, 3.0], [0.0, 4.0]]), "b": torch.tensor([1.0, 2.0])}
    within = {"a": torch.tensor([[False, True], [False, True]]), "b": torch.tensor([True, True])}
    scores = lamp(saliency, within)
    assert scores["a"].tolist() == [[0.0, 9 / 25], [0.0, 1.0]]
    assert scores["b"].tolist() == [1 / 5, 1.0]
    # with the pruned 7 in the sum, 3 would have 9/74 and the 1 of b would stay in its place
    masks = allocate(saliency, Target(sparsity=0.5, distribution="lamp"), within)
    assert masks["a"].tolist() == [[False, True], [False, True]]
    assert masks["b"].tolist() == [False, True]


@settings(deadline=None)
@given(st.integers(0, 9), st.sampled_from([0.0, 1.0, 1e-30, 1e30]), st.integers(3, 20))
def test_under_lamp_every_tensor_keeps_a_weight_if_enough_stay(seed: int, scale: float, keep: int) -> None:
    saliency = noise({"a": (2, 3), "b": (3, 4), "c": (1, 2)}, seed)
    saliency["b"] *= scale
    masks = allocate(saliency, Target(sparsity=1 - keep / 20, distribution="lamp"))
    assert count(masks) == keep
    assert all(bool(mask.any()) for mask in masks.values())


@pytest.mark.parametrize("distribution", ["lamp", "owl"])
@pytest.mark.parametrize("worst", [-1.0, float("inf")])
def test_negative_or_infinite_saliencies_are_refused_with_the_name_of_their_tensor(
    worst: float, distribution: Distribution
) -> None:
    saliency = {"a": torch.ones(3), "b": torch.tensor([1.0, worst])}
    with pytest.raises(
        SparsityError,
        match=rf"distribution '{distribution}' needs finite saliencies of 0 or more; those of 'b'",
    ):
        allocate(saliency, Target(sparsity=0.5, distribution=distribution))


# OWL


def outliers(of: int, number: int) -> Tensor:
    """Saliencies of 1, `number` of them 100."""
    return torch.cat([torch.full((number,), 100.0), torch.ones(of - number)])


def test_outlier_weighed_budgets_by_hand() -> None:
    # a: 1 of 100 is above 5 times the mean 1.99; b: 5 of 100 above 5 * 5.95; c: none of 200.
    # Ratios 0.01, 0.05 and 0; their mean over weights (1 + 5 + 0) / 400 = 0.015; b is farthest, by 0.035:
    # densities 0.3 + 0.08 * (-0.005, 0.035, -0.015) / 0.035 = 0.288571, 0.38, 0.265714
    saliency = {"a": outliers(100, 1), "b": outliers(100, 5), "c": outliers(200, 0)}
    target = Target(sparsity=0.7, distribution="owl")
    shapes = {name: tuple(values.shape) for name, values in saliency.items()}
    assert budgets(shapes, target, None, saliency) == {"a": 29, "b": 38, "c": 53}
    masks = allocate(saliency, target)
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {"a": 29, "b": 38, "c": 53}


def test_a_pruned_weight_is_no_outlier_and_not_in_the_mean() -> None:
    # unpruned in a: 1 of 100 among 50, as in b; with the pruned 1000 in the sum no 100 would be an outlier
    saliency = {"a": torch.cat([outliers(50, 1), torch.full((50,), 1000.0)]), "b": outliers(50, 1)}
    within = {"a": torch.arange(100) < 50, "b": torch.ones(50).bool()}
    shares = owl_shares(saliency, 0.8, within)
    assert shares["a"] == 2 * shares["b"] == 20 * 10**6


@given(st.lists(st.integers(0, 15), min_size=1, max_size=4), st.sampled_from(SMC_GRID), st.integers(1, 3))
def test_no_outlier_weighed_density_is_far_from_the_target_or_zero(
    numbers: list[int], sparsity: float, scale: int
) -> None:
    saliency = {f"t{at}": outliers(200 + 100 * scale * at, number) for at, number in enumerate(numbers)}
    masks = allocate(saliency, Target(sparsity=sparsity, distribution="owl"))
    assert count(masks) == count_remaining(sum(len(values) for values in saliency.values()), sparsity)
    for name, mask in masks.items():
        gap = abs(int(mask.sum()) - (1 - sparsity) * len(saliency[name]))
        assert gap <= min(0.08, 0.8 * (1 - sparsity)) * len(saliency[name]) + 1 and bool(mask.any())


def test_owl_without_outliers_is_uniform() -> None:
    saliency = {"a": torch.rand(30, 4) + 1, "b": torch.rand(7, 9) + 1}
    owl, uniform = (
        allocate(saliency, Target(sparsity=0.6, distribution=distribution))
        for distribution in ("owl", "uniform")
    )
    assert all(torch.equal(owl[name], uniform[name]) for name in owl)


# patterns


def test_two_of_four_stay_in_every_group_and_ties_go_to_the_lower_index() -> None:
    saliency = {"a": torch.tensor([[1.0, 4, 3, 2, 5, 5, 5, 5], [-4, -3, -2, -1, 0, 9, 0, 0]])}
    assert allocate(saliency, two_by_four())["a"].int().tolist() == [
        [0, 1, 1, 0, 1, 1, 0, 0],
        [0, 0, 1, 1, 1, 1, 0, 0],
    ]


def test_a_short_last_group_keeps_its_share_rounded_up_and_no_group_crosses_a_row() -> None:
    saliency = {"a": torch.tensor([[1.0, 2, 3, 4, 1, 2, 3], [4, 3, 2, 1, 0, 0, 0]])}
    assert allocate(saliency, two_by_four())["a"].int().tolist() == [
        [0, 0, 1, 1, 0, 1, 1],  # 2 of 3, as 3 * 2/4 = 1.5
        [1, 1, 0, 0, 1, 1, 0],
    ]


def test_a_row_has_all_weights_of_one_output() -> None:
    kernel = torch.arange(12.0).reshape(2, 3, 2)
    mask = allocate({"a": kernel}, two_by_four(1 - 2 / 3, "2:3"))["a"]
    assert mask.reshape(2, 6).int().tolist() == [[0, 1, 1, 0, 1, 1], [0, 1, 1, 0, 1, 1]]


@settings(deadline=None)
@given(
    shapes,
    patterns,
    st.integers(0, 9),
    st.sampled_from(["fresh", "iterated"]),
    st.sampled_from([1, 7, 1 << 20]),
)
def test_every_group_keeps_its_number_and_no_pruned_weight(
    shapes: dict[str, tuple[int, ...]], text: str, seed: int, history: str, block: int
) -> None:
    target, (n, m) = Target.parse(text), Target.parse(text).group
    assume(any(map(math.prod, shapes.values())))
    saliency = noise(shapes, seed)
    within = (
        {name: v > 0 for name, v in noise(shapes, seed + 1, 2).items()} if history == "iterated" else None
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pattern, "BLOCK", block)
        masks = allocate(saliency, target, within)
    for name, mask in masks.items():
        for row in range(len(mask)):
            stays, values = mask[row].flatten(), saliency[name][row].flatten()
            unpruned = torch.ones_like(stays) if within is None else within[name][row].flatten()
            for start in range(0, len(stays), m):
                group = slice(start, start + m)
                positions = [at for at in range(len(stays))[group] if unpruned[at]]
                best = sorted(positions, key=lambda at: (-float(values[at]), at))
                size = math.ceil(len(stays[group]) * n / m)
                assert [at for at in range(len(stays))[group] if stays[at]] == sorted(best[:size])
    if within is None:
        assert count(masks) == expected(shapes, target) == sum(budgets(shapes, target).values())


def test_each_weight_of_a_vector_is_a_row_and_stays() -> None:
    assert allocate({"a": torch.arange(4.0)}, two_by_four())["a"].tolist() == [True] * 4
    assert expected({"a": (4,)}, two_by_four()) == 4


# targets that cannot be met


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_the_error_for_a_target_that_leaves_nothing_gives_the_largest_sparsity(
    distribution: Distribution,
) -> None:
    with pytest.raises(SparsityError, match=r"sparsity 0.99 leaves none of 20 weights; .* reached is 0.95"):
        allocate({"a": torch.ones(4, 5)}, Target(sparsity=0.99, distribution=distribution))
    assert count(allocate({"a": torch.ones(4, 5)}, Target(sparsity=0.95, distribution=distribution))) == 1


@pytest.mark.parametrize("target", [Target(sparsity=0.5), two_by_four()], ids=["free", "2:4"])
@pytest.mark.parametrize("saliency", [{}, {"a": torch.ones(0, 3)}], ids=["no tensor", "no weight"])
def test_an_empty_scope_is_refused(target: Target, saliency: dict[str, Tensor]) -> None:
    with pytest.raises(SparsityError, match="no weight is in scope 'body'"):
        allocate(saliency, target)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_the_error_for_a_target_that_would_revive_weights_gives_the_least_sparsity(
    distribution: Distribution,
) -> None:
    within = {"a": torch.tensor([[True, False], [False, False]])}
    with pytest.raises(
        SparsityError, match=r"0.5 keeps 2 of 4 weights, but only 1 are unpruned; ask for 0.75"
    ):
        allocate({"a": torch.ones(2, 2)}, Target(sparsity=0.5, distribution=distribution), within)


@pytest.mark.parametrize("target", [Target(sparsity=0.5), two_by_four()], ids=["free", "2:4"])
def test_a_nan_saliency_is_refused_with_the_name_of_its_tensor(target: Target) -> None:
    with pytest.raises(SparsityError, match="a saliency of 'a' is NaN"):
        allocate({"a": torch.tensor([[1.0, float("nan"), 2.0, 3.0]])}, target)


@given(st.integers(1, 8), st.data())
def test_small_groups_that_are_compared_keep_what_sorting_keeps(m: int, data: st.DataObject) -> None:
    n = data.draw(st.integers(1, m))
    rows = data.draw(st.lists(st.lists(st.sampled_from([-0.0, 0.0, 0.5, 1.0, float("inf")]), min_size=m,
                                       max_size=m), min_size=1, max_size=6))  # fmt: skip
    values = torch.tensor(rows)
    order = values.argsort(dim=1, descending=True, stable=True)
    wanted = torch.zeros_like(values, dtype=torch.bool).scatter_(1, order[:, :n], True)
    assert torch.equal(pattern._largest_by_rank(values, n), wanted)
