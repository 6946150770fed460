"""GTS's tree decoder: an equation grows from its root, and each node depends on nodes above and left of it.

Xie & Sun, IJCAI 2019. Shapes: N problems, S positions of the text, C leaves (constants, then the
problem's numbers), M nodes of any problems, K operators among them, E embedding, H hidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smc_eval.tasks.arithmetic.levels import Trees


class Gated(nn.Module):
    """tanh(W x) * sigmoid(W' x)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.value = nn.Linear(inputs, outputs)
        self.gate = nn.Linear(inputs, outputs)

    def forward(self, x_MI: Tensor) -> Tensor:
        return torch.tanh(self.value(x_MI)) * torch.sigmoid(self.gate(x_MI))


class Affinity(nn.Module):
    """Additive attention scores v tanh(W [query; key] + b).

    `keys` computes the keys' part of the product once for all queries.
    """

    def __init__(self, query: int, key: int, hidden: int, *, bias: bool) -> None:
        super().__init__()
        self.query = query
        self.join = nn.Linear(query + key, hidden)
        self.score = nn.Linear(hidden, 1, bias=bias)

    def keys(self, key_XK: Tensor) -> Tensor:
        """The keys' part of W [query; key] + b."""
        return F.linear(key_XK, self.join.weight[:, self.query :], self.join.bias)

    def forward(self, query_MQ: Tensor, keys_MCH: Tensor) -> Tensor:
        """Scores [M, C] of queries with the output of `keys`."""
        query_MH = F.linear(query_MQ, self.join.weight[:, : self.query])
        return cast("Tensor", self.score(torch.tanh(query_MH[:, None] + keys_MCH))).squeeze(-1)


@dataclass(frozen=True)
class EncodedProblems:
    """A batch of problems as the decoder reads them."""

    root_NH: Tensor
    """A vector for each whole problem: the first goal."""
    states_NSH: Tensor
    real_NS: Tensor
    """Which positions of the text are not padding."""
    leaves_NCH: Tensor
    """Embeddings of the possible leaves."""
    real_NC: Tensor
    """Which leaves are not padding: problems differ in their count of numbers."""
    states_keys_NSH: Tensor
    leaves_keys_NCH: Tensor | None
    """None in training, where dropout of the leaves differs for each node."""


class TreeDecoder(nn.Module):
    """Predicts symbols from goal vectors; computes the goals of operands and embeds finished trees."""

    def __init__(self, operators: int, constants: int, hidden: int, embedding: int, dropout: float) -> None:
        super().__init__()
        self.operators = nn.Embedding(operators, embedding)
        self.constants = nn.Parameter(torch.randn(1, constants, hidden))
        self.left = Gated(hidden, hidden)
        self.right = Gated(2 * hidden, hidden)
        self.attention = Affinity(hidden, hidden, hidden, bias=True)
        self.operator = nn.Linear(2 * hidden, operators)
        self.leaf = Affinity(2 * hidden, hidden, hidden, bias=False)
        self.to_left = Gated(2 * hidden + embedding, hidden)
        self.to_right = Gated(2 * hidden + embedding, hidden)
        self.merge = Gated(2 * hidden + embedding, hidden)
        self.drop = nn.Dropout(dropout)

    def read(
        self, root_NH: Tensor, states_NSH: Tensor, real_NS: Tensor, numbers_NQH: Tensor, real_NQ: Tensor
    ) -> EncodedProblems:
        """Prepare encoded problems for decoding: the leaves are the constants, then the numbers' states."""
        n = len(root_NH)
        leaves_NCH = torch.cat([self.constants.expand(n, -1, -1), numbers_NQH], 1)
        real_NC = torch.cat([real_NQ.new_ones(n, self.constants.shape[1]), real_NQ], 1)
        keys_NCH = None if self.training else self.leaf.keys(leaves_NCH)
        keys_NSH = self.attention.keys(states_NSH)
        return EncodedProblems(root_NH, states_NSH, real_NS, leaves_NCH, real_NC, keys_NSH, keys_NCH)

    def node(self, goal_MH: Tensor, sibling_KH: Tensor) -> Tensor:
        """Node vectors [M, H]. The last K nodes are right operands; `sibling_KH` embeds their left trees."""
        first, last = self.drop(goal_MH).split([len(goal_MH) - len(sibling_KH), len(sibling_KH)])
        if not len(last):
            return cast("Tensor", self.left(first))
        right_KH = self.right(torch.cat([self.drop(sibling_KH), last], 1))
        return torch.cat([self.left(first), right_KH]) if len(first) else cast("Tensor", right_KH)

    def context(self, node_MH: Tensor, reading: EncodedProblems, problem_M: Tensor) -> Tensor:
        """The text as seen from each node: the attention-weighted mean of its states."""
        affinity_MS = self.attention(self.drop(node_MH), reading.states_keys_NSH[problem_M])
        share_MS = affinity_MS.masked_fill(~reading.real_NS[problem_M], -torch.inf).softmax(-1)
        return torch.einsum("ms,msh->mh", share_MS, reading.states_NSH[problem_M])

    def log_probabilities(
        self, node_MH: Tensor, context_MH: Tensor, reading: EncodedProblems, problem_M: Tensor
    ) -> Tensor:
        """Log-probabilities [M, operators + C] of all symbols; -inf for leaves that are padding."""
        query_MQ = self.drop(torch.cat([node_MH, context_MH], 1))
        if reading.leaves_keys_NCH is None:
            keys_MCH = self.leaf.keys(self.drop(reading.leaves_NCH[problem_M]))
        else:
            keys_MCH = reading.leaves_keys_NCH[problem_M]
        leaf_MC = self.leaf(query_MQ, keys_MCH).masked_fill(~reading.real_NC[problem_M], -torch.inf)
        return torch.cat([self.operator(query_MQ), leaf_MC], 1).log_softmax(-1)

    def goals(self, symbol_K: Tensor, node_KH: Tensor, context_KH: Tensor) -> tuple[Tensor, Tensor]:
        """Goals of the left and of the right operands of operators."""
        inputs = self.drop(node_KH), self.drop(context_KH), self.drop(self.operators(symbol_K))
        joined = torch.cat(inputs, 1)
        return self.to_left(joined), self.to_right(joined)

    def merged(self, symbol_K: Tensor, left_KH: Tensor, right_KH: Tensor) -> Tensor:
        """Embeddings of trees that consist of an operator and two finished operands."""
        inputs = self.drop(self.operators(symbol_K)), self.drop(left_KH), self.drop(right_KH)
        return cast("Tensor", self.merge(torch.cat(inputs, 1)))

    def forward(self, reading: EncodedProblems, trees: Trees) -> Tensor:
        """Log-probabilities at all nodes of the target trees, level by level, with teacher forcing.

        The targets are known, so all subtrees are embedded first, from the leaves up. Then the goals
        are computed from the root down, one level at a time.
        """
        embedded = self._embedded(reading, trees)
        goal_MH, sibling_KH = reading.root_NH, reading.root_NH[:0]
        nodes, contexts = [], []
        for depth, level in enumerate(trees.levels):
            nodes.append(self.node(goal_MH, sibling_KH))
            contexts.append(self.context(nodes[-1], reading, level.problem_M))
            if k := len(level.operator_K):
                above = (
                    level.symbol_M[level.operator_K],
                    nodes[-1][level.operator_K],
                    contexts[-1][level.operator_K],
                )
                goal_MH, sibling_KH = torch.cat(self.goals(*above)), embedded[depth + 1][:k]
        problem_M = torch.cat([level.problem_M for level in trees.levels])
        return self.log_probabilities(torch.cat(nodes), torch.cat(contexts), reading, problem_M)

    def _embedded(self, reading: EncodedProblems, trees: Trees) -> list[Tensor]:
        """Embeddings of the subtree at each node, by level; meaningless for operators that are not inner."""
        embeddings: list[Tensor] = []
        for level in reversed(trees.levels):
            leaf_M = (level.symbol_M - self.operators.num_embeddings).clamp(min=0)
            embedded_MH = reading.leaves_NCH[level.problem_M, leaf_M]
            if len(level.inner_J):
                k, inner = len(level.operator_K), level.operator_K[level.inner_J]
                operands = embeddings[-1][level.inner_J], embeddings[-1][k + level.inner_J]
                merged_JH = self.merged(level.symbol_M[inner], *operands)
                embedded_MH = embedded_MH.index_copy(0, inner, merged_JH)
            embeddings.append(embedded_MH)
        return embeddings[::-1]
