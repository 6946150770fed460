"""A solver: words, reader, perhaps graphs, and the tree decoder, as one module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from smc_eval.tasks.arithmetic.beam import search
from smc_eval.tasks.arithmetic.encoding import Batch
from smc_eval.tasks.arithmetic.outline import outline
from smc_eval.tasks.arithmetic.sequence import BiLSTM
from smc_eval.tasks.arithmetic.teach import Reading, log_likelihood, node_scores
from smc_eval.tasks.arithmetic.tree import TreeDecoder

if TYPE_CHECKING:
    from smc_eval.tasks.arithmetic.graph import GraphBlock
    from smc_eval.tasks.arithmetic.symbols import Symbols
    from smc_eval.tasks.arithmetic.words import Encoder, TrainedWords


class Solver(nn.Module):
    """From a batch of problems to the loss of their equations, or to equations."""

    def __init__(
        self, words: Encoder | TrainedWords, graph: GraphBlock | None, symbols: Symbols, hidden: int, dropout: float
    ) -> None:
        super().__init__()
        self.words = words
        self.reader = BiLSTM(words.width, hidden, 2, dropout)
        self.graph = graph
        operators, constants = len(symbols.operators), len(symbols.constants)
        self.tree = TreeDecoder(hidden, operators, constants, words.width, dropout)
        self.unknown = len(symbols) - 1

    def read(self, batch: Batch) -> Reading:
        """The encoder's pass.  A problem's vector is the forward half at its last real position plus
        the backward half at its first; graphs do not change it."""
        lengths_N = batch.real.sum(1)
        ahead_NSH, back_NSH = self.reader(self.words(batch.tokens, batch.real), lengths_N).chunk(2, -1)
        rows_N = torch.arange(len(lengths_N), device=lengths_N.device)
        problem_NH = ahead_NSH[rows_N, lengths_N - 1] + back_NSH[:, 0]
        memory_NSH = ahead_NSH + back_NSH
        if self.graph is not None:
            memory_NSH = self.graph(memory_NSH, batch.graphs)
        at_NQH = batch.number_at[..., None].expand(-1, -1, memory_NSH.shape[-1])
        numbers_NQH = memory_NSH.gather(1, at_NQH) * batch.number_there[..., None]
        leaves_NKH = self.tree.candidates(numbers_NQH)
        constants_NG = batch.number_there.new_ones(len(lengths_N), self.tree.constants.shape[1])
        there_NK = torch.cat([constants_NG, batch.number_there], 1)
        return Reading(memory_NSH, batch.real, problem_NH, leaves_NKH, there_NK)

    def forward(self, batch: Batch) -> Tensor:
        """Mean cross-entropy over all symbols of the target equations; a scalar."""
        reading = self.read(batch)
        return -log_likelihood(self.tree, reading, self.taught(reading, batch))

    @torch.no_grad()
    def taught(self, reading: Reading, batch: Batch) -> list[list[int]]:
        """The targets, each unknown constant replaced by the likeliest of what it may stand for.

        From the left, since what stands there changes what comes after.
        """
        targets = [list(target) for target in batch.targets]
        open_ = [[at for at, symbol in enumerate(target) if symbol == self.unknown] for target in targets]
        for row, places in enumerate(open_):
            for at, choices in zip(places, batch.stands_for[row], strict=True):
                targets[row][at] = choices[0]
        for turn in range(max(map(len, open_))):
            shape = outline(targets, self.tree.operators.num_embeddings)
            places, scores = node_scores(self.tree, reading, shape)
            row_of = {int(place): row for row, place in enumerate(places)}
            for number, mine in enumerate(open_):
                if turn < len(mine):
                    here = scores[row_of[int(shape.roots[number]) + mine[turn]]]
                    targets[number][mine[turn]] = max(batch.stands_for[number][turn], key=lambda s: float(here[s]))
        return targets

    def solve(self, batch: Batch, width: int, longest: int) -> list[tuple[int, ...]]:
        """The equation of each problem, found by beam search."""
        return search(self.tree, self.read(batch), width, longest)
