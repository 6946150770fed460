"""Graph2Tree's graphs of a small problem, and the block that reads them."""

from __future__ import annotations

import pytest
import torch

from smc_eval.tasks.arithmetic.encoding import Encoder
from smc_eval.tasks.arithmetic.graph import (
    GraphBlock,
    Norm,
    TwoHops,
    attribute_edges,
    cell_edges,
    comparison_edges,
)
from smc_eval.tasks.arithmetic.problems import Problem
from smc_eval.tasks.arithmetic.symbols import Symbols, vocabulary
from smc_eval.tasks.arithmetic.text_readers import WholeWords

#                0     1       2     3      4       5
WORDS = ("NUM", "apples", "NUM", "pears", "count", "apples")
PROBLEM = Problem(
    WORDS, number_at=(0, 2), numbers=(3.0, 5.0), equation=("+", "N0", "N1"), groups=(0, 1, 2, 3, 5)
)

COMPARISONS = [
    [1, 0, 0, 0, 0, 0],
    [0, 1, 0, 0, 0, 0],
    [1, 0, 1, 0, 0, 0],  # 5 is greater than 3
    [0, 0, 0, 1, 0, 0],
    [0, 0, 0, 0, 1, 0],
    [0, 0, 0, 0, 0, 1],
]
ATTRIBUTES = [
    [1, 1, 1, 1, 0, 0],  # the last apples are 5 words away
    [1, 1, 1, 0, 0, 1],  # the same word twice
    [1, 1, 1, 1, 0, 1],  # NUM is twice in a group, and is the same word
    [1, 0, 1, 1, 0, 0],
    [0, 0, 0, 0, 1, 0],  # not in a group
    [0, 1, 1, 0, 0, 1],
]


class Doubled(WholeWords):
    """Makes two tokens of each word, after a first token that is no word."""

    def tokenize(self, words: tuple[str, ...]) -> tuple[list[int], list[int]]:
        return [0, *(token for word in words for token in (self.known.index(word), 1))], [
            1 + 2 * place for place in range(len(words))
        ]


def encoder(kind: type[WholeWords] = WholeWords) -> Encoder:
    return Encoder(kind(vocabulary([PROBLEM], ())), Symbols(("+",), (), 2), graphs=True)


def test_both_graphs_of_a_small_problem() -> None:
    graphs = encoder().batch([PROBLEM]).graphs_NGLL
    assert graphs is not None
    assert graphs[0].int().tolist() == [COMPARISONS, ATTRIBUTES]


def test_edges_connect_the_first_tokens_of_words() -> None:
    graphs = encoder(Doubled).batch([PROBLEM]).graphs_NGLL
    assert graphs is not None and graphs.shape == (1, 2, 13, 13)
    assert graphs[0, :, 1::2, 1::2].int().tolist() == [COMPARISONS, ATTRIBUTES]
    between = graphs[0].clone()
    between[:, 1::2, 1::2] = False
    assert between.nonzero().tolist() == [[g, at, at] for g in range(2) for at in range(0, 13, 2)]


def test_padding_has_no_edges() -> None:
    short = Problem(("NUM", "?"), (0,), (1.0,), ("N0",), (0,))
    graphs = encoder().batch([short, PROBLEM]).graphs_NGLL
    assert graphs is not None
    assert graphs[0].nonzero().tolist() == [[0, 0, 0], [0, 1, 1], [1, 0, 0], [1, 1, 1]]


def test_equal_numbers_point_at_each_other() -> None:
    equal = Problem(("NUM", "NUM"), (0, 1), (4.0, 4.0), ("N0",), ())
    assert comparison_edges(equal) == {(0, 1), (1, 0)}


def test_a_word_belongs_to_numbers_at_a_distance_below_four() -> None:
    words = ("NUM", "a", "b", "c", "d")
    far = Problem(words, (0,), (1.0,), ("N0",), (3, 4))
    assert cell_edges(far) == {(0, 3), (3, 0)}
    assert attribute_edges(far) == cell_edges(far)


def test_a_convolution_sums_over_neighbours() -> None:
    hop = TwoHops(4, dropout=0.0)
    with torch.no_grad():
        hop.first.weight.copy_(torch.eye(4))
        hop.first.bias.copy_(torch.tensor([0.0, 0.0, -5.0, 0.0]))
        hop.second.weight.fill_(1.0)
        hop.second.bias.fill_(0.5)
    states = torch.tensor([[[1.0, 0, 2, 0], [0, 3, 0, 0], [0, 0, 4, 1]]])
    graph = torch.tensor([[[1.0, 1, 0], [0, 1, 0], [0, 1, 1]]])
    # first: rows 0+1, 1, 1+2, bias, relu: [1 3 0 0], [0 3 0 0], [0 3 0 1]
    # second: sums over features, then over neighbours, then bias
    assert hop(states, graph).tolist() == [[[7.5], [3.5], [7.5]]]


def test_the_norm_divides_by_the_unbiased_deviation() -> None:
    normed = Norm(3)(torch.tensor([[[1.0, 2.0, 6.0]]]))
    deviation = (((-2) ** 2 + (-1) ** 2 + 3**2) / 2) ** 0.5
    assert normed.flatten().tolist() == pytest.approx(
        [-2 / deviation, -1 / deviation, 3 / deviation], abs=1e-5
    )


def test_the_block_equals_its_parts() -> None:
    torch.manual_seed(0)
    block = GraphBlock(8).eval()
    states, graphs = torch.randn(2, 5, 8), torch.rand(2, 2, 5, 5) < 0.5
    first, second = graphs[:, 0].float(), graphs[:, 1].float()
    hops = [hop(states, graph) for hop, graph in zip(block.hops, (first, first, second, second), strict=True)]
    inner = states + block.norm(torch.cat(hops, -1))
    wanted = inner + block.narrow(torch.relu(block.widen(inner)))
    torch.testing.assert_close(block(states, graphs), wanted)


def test_a_batch_with_as_many_problems_as_tokens_keeps_problems_separate() -> None:
    torch.manual_seed(0)
    block = GraphBlock(8).eval()
    states, graphs = torch.randn(5, 5, 8), torch.rand(5, 2, 5, 5) < 0.5
    alone = torch.cat([block(states[n : n + 1], graphs[n : n + 1]) for n in range(5)])
    torch.testing.assert_close(block(states, graphs), alone)
