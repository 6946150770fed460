"""Link scores: a graph by hand, and against an enumeration of all paths of length three."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from smc_eval.sparse import link_scores as module
from smc_eval.sparse.link_scores import link_scores

KINDS = [(internal, paths) for internal in (True, False) for paths in (True, False)]


def enumerated(mask: Tensor, *, internal: bool, paths: bool) -> Tensor:
    """The scores from the definition: each path of length three of each pruned (i, j), found one by one.

    Nodes are numbered through, rows first; degrees are counted from sets of neighbours.
    """
    rows, columns = mask.shape
    near: dict[int, set[int]] = {node: set() for node in range(rows + columns)}
    for i, j in mask.nonzero().tolist():
        near[i].add(rows + j)
        near[rows + j].add(i)
    scores = torch.zeros(rows, columns, dtype=torch.float64)
    for i, j in itertools.product(range(rows), range(columns)):
        if mask[i, j]:
            continue
        end = rows + j
        found = [(one, two) for one in near[i] for two in near[one] if two != i and end in near[two]]
        community = {node for path in found for node in path}

        def worth(node: int, ends: tuple[int, int], community: set[int]) -> float:
            inside = len(near[node] & community)
            outside = len(near[node] - community - set(ends))
            return ((1 + inside) if internal else 1) / (1 + outside)

        if paths:
            scores[i, j] = sum(
                math.sqrt(worth(one, (i, end), community) * worth(two, (i, end), community))
                for one, two in found
            )
        else:
            scores[i, j] = sum(worth(node, (i, end), community) for node in community)
    return scores


def test_a_graph_is_scored_as_by_hand() -> None:
    # rows a, b; columns x, y, z. Links: a-x, b-x, b-y, b-z. The only path from a to y is a-x-b-y.
    mask = torch.tensor([[1, 0, 0], [1, 1, 1]]).bool()
    # x has one link to the community (to b), and none outside: worth (1 + 1) / 1 by CH2, 1 / 1 by CH3.
    # b has one link to the community (to x), and one outside (to z): worth 2 / 2 by CH2, 1 / 2 by CH3.
    by_hand = {
        (True, False): 3.0,
        (False, False): 1.5,
        (True, True): math.sqrt(2),
        (False, True): math.sqrt(0.5),
    }
    for (internal, paths), score in by_hand.items():
        wanted = torch.tensor([[0.0, score, score], [0.0, 0.0, 0.0]])  # z is to b what y is
        torch.testing.assert_close(link_scores(mask, internal=internal, paths=paths), wanted)


@given(
    st.integers(1, 7),
    st.integers(1, 7),
    st.sampled_from([0.1, 0.3, 0.6, 0.9]),
    st.integers(0, 2**30),
    st.sampled_from(KINDS),
)
def test_scores_are_those_of_all_paths_of_length_three(
    rows: int, columns: int, density: float, seed: int, kind: tuple[bool, bool]
) -> None:
    mask = torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed)) < density
    internal, paths = kind
    scores = link_scores(mask, internal=internal, paths=paths)
    wanted = enumerated(mask, internal=internal, paths=paths)
    torch.testing.assert_close(scores.double(), wanted, atol=1e-5, rtol=1e-5)
    assert not scores[mask].any()


@pytest.mark.parametrize(("internal", "paths"), KINDS)
def test_parts_of_a_matrix_sides_and_kernels_make_no_difference(
    monkeypatch: pytest.MonkeyPatch, *, internal: bool, paths: bool
) -> None:
    mask = torch.rand(20, 3, 2, 2, generator=torch.Generator().manual_seed(0)) < 0.3
    whole = link_scores(mask, internal=internal, paths=paths)
    assert whole.shape == mask.shape and bool(whole.any())
    turned = link_scores(mask.flatten(1).T, internal=internal, paths=paths).T.reshape(mask.shape)
    torch.testing.assert_close(turned, whole)
    monkeypatch.setattr(module, "AT_ONCE", 45)  # two rows at a time, and a last part of less
    torch.testing.assert_close(link_scores(mask, internal=internal, paths=paths), whole)


@pytest.mark.parametrize("density", [0.0, 1.0])
def test_a_net_without_links_or_without_room_has_no_scores(density: float) -> None:
    mask = torch.full((4, 5), density).bool()
    for internal, paths in KINDS:
        assert not link_scores(mask, internal=internal, paths=paths).any()
