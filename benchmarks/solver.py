"""How fast both word-problem solvers train and decode, beside a straightforward implementation.

    python benchmarks/solver.py --data-dir DIR

The setting is the published one with words embedded from scratch: embeddings of 768, 2 layers, GTS
with 512 features and batches of 4, Graph2Tree with 384 and 8, Adam, dropout 0.5, beam 5, MAWPS
fold 0. The reference is the same net with the same weights, run as one would first write it and as
the published code does: torch's packed LSTM; training one symbol after the other, the batch's
problems side by side, their finished trees merged one by one; decoding one problem and one branch
at a time; Adam as torch makes it by default. Both must come to the same loss, and say how many
equations are alike. They alternate, and medians are reported.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import cast

import torch
from torch import Tensor, nn

from smc_eval.engine.device import Device
from smc_eval.engine.optimizer import optimizer
from smc_eval.tasks.arithmetic.beam import LONGEST_EQUATION
from smc_eval.tasks.arithmetic.datasets import MawpsGraph2Tree, MawpsGts
from smc_eval.tasks.arithmetic.encoding import ProblemBatch
from smc_eval.tasks.arithmetic.levels import Trees
from smc_eval.tasks.arithmetic.problems import Problem
from smc_eval.tasks.arithmetic.solver import Solver
from smc_eval.tasks.arithmetic.word_problems import WordProblems


@dataclass(frozen=True)
class Walk:
    """One equation under way: its open goals, and its operators and finished trees."""

    goals: tuple[Tensor, ...]
    trees: tuple[int | Tensor, ...] = ()
    symbols: tuple[int, ...] = ()
    score: float = 0.0


@dataclass(frozen=True)
class Look:
    """What is seen of some walks at their next symbols; each has its row."""

    node_MH: Tensor
    context_MH: Tensor
    log_MC: Tensor


class Stepwise:
    """The decoder over a reading of problems, one symbol after the other."""

    def __init__(self, net: Solver, batch: ProblemBatch) -> None:
        self.tree, self.reading = net.tree, net.read(batch)

    def start(self, row: int) -> Walk:
        """A problem's equation before its first symbol."""
        return Walk((self.reading.root_NH[row],))

    def look(self, walks: Sequence[Walk], rows: Sequence[int]) -> Look:
        """Nodes, contexts and log-probabilities; walks with a finished left operand must come last."""
        siblings = [walk.trees[-1] for walk in walks if beside(walk)]
        goal_MH, row_M = torch.stack([walk.goals[-1] for walk in walks]), torch.tensor(rows)
        sibling_KH = torch.stack(cast("list[Tensor]", siblings)) if siblings else goal_MH[:0]
        node_MH = self.tree.node(goal_MH, sibling_KH)
        context_MH = self.tree.context(node_MH, self.reading, row_M)
        return Look(
            node_MH, context_MH, self.tree.log_probabilities(node_MH, context_MH, self.reading, row_M)
        )

    def goals(self, symbols: Sequence[int], seen: Look) -> tuple[Tensor, Tensor]:
        """Goals left and right of all that was looked at; those of leaves are not meant to be used."""
        operators = self.tree.operators.num_embeddings
        symbol_M = torch.tensor([symbol if symbol < operators else 0 for symbol in symbols])
        return self.tree.goals(symbol_M, seen.node_MH, seen.context_MH)

    def branch(self, walk: Walk, symbol: int, left_H: Tensor, right_H: Tensor) -> Walk:
        """The equation with one operator more."""
        goals = (*walk.goals[:-1], right_H, left_H)
        return Walk(goals, (*walk.trees, symbol), (*walk.symbols, symbol), walk.score)

    def close(self, walk: Walk, symbol: int, row: int) -> Walk:
        """The equation with one leaf more, and all trees merged that it finishes."""
        leaf = symbol - self.tree.operators.num_embeddings
        trees, tree_1H = list(walk.trees), self.reading.leaves_NCH[row, leaf][None]
        while trees and isinstance(trees[-1], Tensor):
            left_1H = cast("Tensor", trees.pop())[None]
            tree_1H = self.tree.merged(torch.tensor([trees.pop()]), left_1H, tree_1H)
        return Walk(walk.goals[:-1], (*trees, tree_1H[0]), (*walk.symbols, symbol), walk.score)

    def loss(self, equations: Sequence[Sequence[int]]) -> Tensor:
        """Mean over all symbols of the targets."""
        walks, logs = [self.start(row) for row in range(len(equations))], list[Tensor]()
        for place in range(max(map(len, equations))):
            going = [row for row, equation in enumerate(equations) if len(equation) > place]
            going.sort(key=lambda row: beside(walks[row]))
            symbols = [equations[row][place] for row in going]
            seen = self.look([walks[row] for row in going], going)
            logs.append(seen.log_MC[range(len(going)), symbols])
            for row, symbol, left_H, right_H in zip(going, symbols, *self.goals(symbols, seen), strict=True):
                if symbol < self.tree.operators.num_embeddings:
                    walks[row] = self.branch(walks[row], symbol, left_H, right_H)
                else:
                    walks[row] = self.close(walks[row], symbol, row)
        return -torch.cat(logs).mean()

    def best(self, width: int) -> tuple[int, ...]:
        """The first problem's best equation, each branch followed by itself until all are finished."""
        beam = [self.start(0)]
        for _ in range(LONGEST_EQUATION):
            if not any(walk.goals for walk in beam):
                break
            grown = [walk for walk in beam if not walk.goals]
            for walk in (walk for walk in beam if walk.goals):
                seen = self.look([walk], [0])
                top = seen.log_MC[0].topk(min(width, seen.log_MC.shape[1]))
                for more, symbol in zip(top.values.tolist(), top.indices.tolist(), strict=True):
                    grown.append(self._longer(walk, symbol, more, seen))
            beam = sorted(grown, key=lambda walk: -walk.score)[:width]
        return beam[0].symbols

    def _longer(self, walk: Walk, symbol: int, more: float, seen: Look) -> Walk:
        scored = Walk(walk.goals, walk.trees, walk.symbols, walk.score + more)
        if symbol >= self.tree.operators.num_embeddings:
            return self.close(scored, symbol, 0)
        left_1H, right_1H = self.goals([symbol], seen)
        return self.branch(scored, symbol, left_1H[0], right_1H[0])


def beside(walk: Walk) -> bool:
    """Whether the next node stands right of a finished tree."""
    return bool(walk.trees) and isinstance(walk.trees[-1], Tensor)


def prefixes(trees: Trees) -> list[list[int]]:
    """A batch's target equations, from the levels that the solver is taught by."""

    def read(depth: int, place: int) -> list[int]:
        level = trees.levels[depth]
        found, operators = [int(level.symbol_M[place])], level.operator_K.tolist()
        if place in operators:
            k = operators.index(place)
            found += read(depth + 1, k) + read(depth + 1, len(operators) + k)
        return found

    return [read(0, row) for row in range(len(trees.levels[0].symbol_M))]


def clock() -> float:
    """Seconds of this process where they are those of its one thread, else of the wall."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def seconds(act: Callable[[], object]) -> float:
    """How long an act takes."""
    began = clock()
    act()
    return clock() - began


class Ours:
    """The solver as the engine runs it."""

    def __init__(self, task: WordProblems) -> None:
        self.task, self.net = task, cast("Solver", task.model())
        self.optimizer = optimizer(task, self.net, task.recipe)

    def loss(self, problems: Sequence[Problem]) -> Tensor:
        """Mean over all symbols of a batch."""
        return self.task.loss(self.net, self.task.collate(problems))

    def solved(self, problems: Sequence[Problem]) -> list[tuple[int, ...]]:
        """Each problem's best equation."""
        size = self.task.recipe.eval_batch_size
        parts = [problems[first : first + size] for first in range(0, len(problems), size)]
        return [
            tuple(one) for part in parts for one in self.net.solve(self.task.collate(part), self.task.beam)
        ]


class Reference(Ours):
    """The same solver, run step by step."""

    def __init__(self, task: WordProblems) -> None:
        super().__init__(task)
        self.net.sequence.__class__ = nn.LSTM  # type: ignore[assignment]  # torch's own, of the same parameters
        rate, decay = task.recipe.lr, task.recipe.weight_decay
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=rate, weight_decay=decay)

    def loss(self, problems: Sequence[Problem]) -> Tensor:
        batch = self.task.collate(problems)
        return Stepwise(self.net, batch).loss(prefixes(batch.trees))

    def solved(self, problems: Sequence[Problem]) -> list[tuple[int, ...]]:
        return [Stepwise(self.net, self.task.collate([one])).best(self.task.beam) for one in problems]


def stepped(side: Ours, problems: Sequence[Problem]) -> None:
    """One optimizer step."""
    side.net.train()
    side.optimizer.zero_grad()
    side.loss(problems).backward()  # type: ignore[no-untyped-call]
    side.optimizer.step()


def measured(task: WordProblems, steps: int, problems: int, repeats: int) -> None:
    """Print one solver's two rates beside the reference's."""
    Device("cpu").seed("solver")
    ours, plain = Ours(task), Reference(task)
    train, test, size = task.data("train"), task.data("test")[:problems], task.recipe.batch_size
    alike(ours, plain, test[:size])
    times = []
    for step in range(steps + 1):
        batch = [train[place % len(train)] for place in range(step * size, step * size + size)]
        times.append([seconds(partial(stepped, side, batch)) for side in (ours, plain)])
    print(f"{task.card.name}, batch {size}, {torch.get_num_threads()} threads, data {task.folder}")
    told("training", "steps/s", *zip(*times[1:], strict=True))  # the first pays for buffers
    some = test[::8]
    alike(ours, plain, test[:size])
    with torch.no_grad():
        times = [
            [seconds(partial(side.solved, part)) / len(part) for side, part in ((ours, test), (plain, some))]
            for _ in range(repeats)
        ]
        pairs = list(zip(ours.solved(some), plain.solved(some), strict=True))
    told("decoding", "problems/s", *zip(*times, strict=True))
    same, longest = sum(one == other for one, other in pairs), sum(len(one) for one, _ in pairs) / len(pairs)
    print(f"  {same} of {len(pairs)} equations alike, of {longest:.1f} symbols on average")


@torch.no_grad()
def alike(ours: Ours, plain: Reference, problems: Sequence[Problem]) -> None:
    """Give the reference our weights; end the program where its loss is not ours."""
    plain.net.load_state_dict(ours.net.state_dict())
    for side in (ours, plain):
        side.net.eval()
    one, other = float(ours.loss(problems)), float(plain.loss(problems))
    if not math.isclose(one, other, rel_tol=1e-4):
        raise SystemExit(f"the loss is {one:.6f}, the reference's {other:.6f}")


def told(act: str, unit: str, ours: Sequence[float], plain: Sequence[float]) -> None:
    """Print both rates, and the median ratio of neighbours."""
    ratio = median(other / one for one, other in zip(ours, plain, strict=True))
    print(f"  {act} {1 / median(ours):.2f} {unit}, reference {1 / median(plain):.2f}: {ratio:.2f} x")


def main() -> None:
    """Measure both solvers as the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data-dir", default="synthetic", help="data in the official layout")
    parser.add_argument("--steps", type=int, default=30, help="optimizer steps that count")
    parser.add_argument(
        "--problems", type=int, default=384, help="problems decoded, an eighth by the reference"
    )
    parser.add_argument("--repeats", type=int, default=3, help="of decoding")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    for kind in (MawpsGts, MawpsGraph2Tree):
        task = kind(backbone="scratch", folder=asked.data_dir, fold=0)
        measured(task, asked.steps, asked.problems, asked.repeats)


if __name__ == "__main__":
    main()
