"""The solver: a text encoder, a bidirectional LSTM, a graph block (Graph2Tree only), GTS's tree decoder."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from smc_eval.tasks.arithmetic.beam import search
from smc_eval.tasks.arithmetic.encoding import ProblemBatch
from smc_eval.tasks.arithmetic.graph import GraphBlock
from smc_eval.tasks.arithmetic.levels import Trees
from smc_eval.tasks.arithmetic.sequence import BiLSTM, pack, unpack_padded
from smc_eval.tasks.arithmetic.symbols import Symbols
from smc_eval.tasks.arithmetic.tree import EncodedProblems, TreeDecoder


class Solver(nn.Module):
    """Reads word problems and writes their equations."""

    def __init__(
        self, words: nn.Module, sequence: BiLSTM, graph: GraphBlock | None, tree: TreeDecoder
    ) -> None:
        super().__init__()
        self.words, self.sequence, self.graph, self.tree = words, sequence, graph, tree

    def read(self, batch: ProblemBatch) -> EncodedProblems:
        """Encode the problems."""
        real_NL, rows_N = batch.real_NL, torch.arange(len(batch.ids_NL), device=batch.ids_NL.device)
        packed = pack(self.words(batch.ids_NL, real_NL), batch.lengths_N)
        both_NLX = unpack_padded(self.sequence(packed)[0], real_NL.shape[1])
        ahead_NLH, back_NLH = both_NLX.chunk(2, -1)
        root_NH = ahead_NLH[rows_N, batch.lengths_N - 1] + back_NLH[:, 0]
        states_NLH = ahead_NLH + back_NLH
        if self.graph and batch.graphs_NGLL is not None:
            states_NLH = self.graph(states_NLH, batch.graphs_NGLL)
        numbers_NQH = states_NLH[rows_N[:, None], batch.number_NQ] * batch.real_NQ[..., None]
        return self.tree.read(root_NH, states_NLH, real_NL, numbers_NQH, batch.real_NQ)

    def forward(self, batch: ProblemBatch) -> tuple[Tensor, Tensor]:
        """The mean loss over all symbols of the equations, and the log-probabilities of each symbol."""
        reading = self.read(batch)
        known = self._known(reading, batch.trees)
        log_MC = cast("Tensor", self.tree(reading, known))
        return nn.functional.nll_loss(log_MC, known.symbols), log_MC

    def solve(self, batch: ProblemBatch, width: int) -> list[list[int]]:
        """The symbols of each problem's best equation, found by beam search."""
        return [list(best.symbols) for best in search(self.tree, self.read(batch), width)]

    @torch.no_grad()
    def _known(self, reading: EncodedProblems, trees: Trees) -> Trees:
        """Replace each unknown symbol by the most probable of its choices (docs/protocols.md, N4)."""
        for unknown in trees.unknown:
            before = sum(len(level.symbol_M) for level in trees.levels[: unknown.level])
            log_C = self.tree(reading, trees)[before + unknown.place]
            best = max(unknown.choices, key=lambda symbol: float(log_C[symbol]))
            level = trees.levels[unknown.level]
            symbol_M = level.symbol_M.clone()
            symbol_M[unknown.place] = best
            levels = list(trees.levels)
            levels[unknown.level] = replace(level, symbol_M=symbol_M)
            trees = replace(trees, levels=tuple(levels))
        return trees


def make_solver(
    words: nn.Module, symbols: Symbols, hidden: int, embedding: int, dropout: float, *, graphs: bool
) -> Solver:
    """An untrained solver around a text encoder with an attribute `features`: Graph2Tree or GTS."""
    features = cast("int", words.features)
    return Solver(
        words,
        BiLSTM(features, hidden, 2, dropout),
        GraphBlock(hidden) if graphs else None,
        TreeDecoder(len(symbols.operators), len(symbols.constants), hidden, embedding, dropout),
    )
