"""The rate at which both word-problem solvers train and decode, beside a straightforward implementation.

    python benchmarks/solver.py --data-dir DIR

The setting is the published one with words embedded from scratch: embeddings of 768, 2 layers, GTS
with 512 features and batches of 4, Graph2Tree with 384 and 8, Adam, dropout 0.5, beam 5, MAWPS
fold 0. The reference is the same net with the same weights, run as in the published code: torch's packed
LSTM; training symbol by symbol, the problems of a batch side by side, their finished trees merged one by one;
decoding one problem and one branch at a time; torch's default Adam. Both must have the same loss. The number
of equal equations is printed. The two alternate, and the results are medians.
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
from smc_eval.engine.optimizer import make_optimizer
from smc_eval.sparse.net import Net
from smc_eval.tasks.arithmetic.beam import LONGEST_EQUATION
from smc_eval.tasks.arithmetic.datasets import MawpsGraph2Tree, MawpsGts
from smc_eval.tasks.arithmetic.encoding import ProblemBatch
from smc_eval.tasks.arithmetic.levels import Trees
from smc_eval.tasks.arithmetic.problems import Problem
from smc_eval.tasks.arithmetic.solver import Solver
from smc_eval.tasks.arithmetic.word_problems import WordProblems


@dataclass(frozen=True)
class Prefix:
    """One unfinished equation: its open goals, and its operators and finished trees."""

    goals: tuple[Tensor, ...]
    trees: tuple[int | Tensor, ...] = ()
    symbols: tuple[int, ...] = ()
    score: float = 0.0


@dataclass(frozen=True)
class Scores:
    """Nodes, contexts and log-probabilities of some unfinished equations at their next symbols, by row."""

    node_MH: Tensor
    context_MH: Tensor
    log_MC: Tensor


class Stepwise:
    """The decoder, symbol by symbol."""

    def __init__(self, net: Solver, batch: ProblemBatch) -> None:
        self.tree, self.reading = net.tree, net.read(batch)

    def start(self, row: int) -> Prefix:
        """The equation of a problem before its first symbol."""
        return Prefix((self.reading.root_NH[row],))

    def scores_of(self, prefixes: Sequence[Prefix], rows: Sequence[int]) -> Scores:
        """The scores of prefixes at their next symbols; those with a finished left operand must come last."""
        siblings = [prefix.trees[-1] for prefix in prefixes if beside(prefix)]
        goal_MH, row_M = torch.stack([prefix.goals[-1] for prefix in prefixes]), torch.tensor(rows)
        sibling_KH = torch.stack(cast("list[Tensor]", siblings)) if siblings else goal_MH[:0]
        node_MH = self.tree.node(goal_MH, sibling_KH)
        context_MH = self.tree.context(node_MH, self.reading, row_M)
        return Scores(
            node_MH, context_MH, self.tree.log_probabilities(node_MH, context_MH, self.reading, row_M)
        )

    def goals(self, symbols: Sequence[int], scores: Scores) -> tuple[Tensor, Tensor]:
        """Left and right goals for each row; those of leaves have no meaning."""
        operators = self.tree.operators.num_embeddings
        symbol_M = torch.tensor([symbol if symbol < operators else 0 for symbol in symbols])
        return self.tree.goals(symbol_M, scores.node_MH, scores.context_MH)

    def branch(self, prefix: Prefix, symbol: int, left_H: Tensor, right_H: Tensor) -> Prefix:
        """The prefix with one more operator."""
        goals = (*prefix.goals[:-1], right_H, left_H)
        return Prefix(goals, (*prefix.trees, symbol), (*prefix.symbols, symbol), prefix.score)

    def close(self, prefix: Prefix, symbol: int, row: int) -> Prefix:
        """The prefix with one more leaf; all trees that it finishes are merged."""
        leaf = symbol - self.tree.operators.num_embeddings
        trees, tree_1H = list(prefix.trees), self.reading.leaves_NCH[row, leaf][None]
        while trees and isinstance(trees[-1], Tensor):
            left_1H = cast("Tensor", trees.pop())[None]
            tree_1H = self.tree.merged(torch.tensor([trees.pop()]), left_1H, tree_1H)
        return Prefix(prefix.goals[:-1], (*trees, tree_1H[0]), (*prefix.symbols, symbol), prefix.score)

    def loss(self, equations: Sequence[Sequence[int]]) -> Tensor:
        """Mean loss over all symbols of the targets."""
        prefixes, logs = [self.start(row) for row in range(len(equations))], list[Tensor]()
        for place in range(max(map(len, equations))):
            going = [row for row, equation in enumerate(equations) if len(equation) > place]
            going.sort(key=lambda row: beside(prefixes[row]))
            symbols = [equations[row][place] for row in going]
            scores = self.scores_of([prefixes[row] for row in going], going)
            logs.append(scores.log_MC[range(len(going)), symbols])
            for row, symbol, left_H, right_H in zip(
                going, symbols, *self.goals(symbols, scores), strict=True
            ):
                if symbol < self.tree.operators.num_embeddings:
                    prefixes[row] = self.branch(prefixes[row], symbol, left_H, right_H)
                else:
                    prefixes[row] = self.close(prefixes[row], symbol, row)
        return -torch.cat(logs).mean()

    def best(self, width: int) -> tuple[int, ...]:
        """The best equation of the first problem, by beam search one branch at a time."""
        beam = [self.start(0)]
        for _ in range(LONGEST_EQUATION):
            if not any(prefix.goals for prefix in beam):
                break
            grown = [prefix for prefix in beam if not prefix.goals]
            for prefix in (prefix for prefix in beam if prefix.goals):
                scores = self.scores_of([prefix], [0])
                top = scores.log_MC[0].topk(min(width, scores.log_MC.shape[1]))
                for more, symbol in zip(top.values.tolist(), top.indices.tolist(), strict=True):
                    grown.append(self._longer(prefix, symbol, more, scores))
            beam = sorted(grown, key=lambda prefix: -prefix.score)[:width]
        return beam[0].symbols

    def _longer(self, prefix: Prefix, symbol: int, more: float, scores: Scores) -> Prefix:
        scored = Prefix(prefix.goals, prefix.trees, prefix.symbols, prefix.score + more)
        if symbol >= self.tree.operators.num_embeddings:
            return self.close(scored, symbol, 0)
        left_1H, right_1H = self.goals([symbol], scores)
        return self.branch(scored, symbol, left_1H[0], right_1H[0])


def beside(prefix: Prefix) -> bool:
    """Whether the next node is right of a finished tree."""
    return bool(prefix.trees) and isinstance(prefix.trees[-1], Tensor)


def target_equations(trees: Trees) -> list[list[int]]:
    """The target equations of a batch, from the levels of its trees."""

    def read(depth: int, place: int) -> list[int]:
        level = trees.levels[depth]
        equation, operators = [int(level.symbol_M[place])], level.operator_K.tolist()
        if place in operators:
            k = operators.index(place)
            equation += read(depth + 1, k) + read(depth + 1, len(operators) + k)
        return equation

    return [read(0, row) for row in range(len(trees.levels[0].symbol_M))]


def clock() -> float:
    """Process time on one thread, else wall-clock time."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def seconds(act: Callable[[], object]) -> float:
    """Seconds of one call."""
    began = clock()
    act()
    return clock() - began


class Engine:
    """The solver as the engine runs it."""

    def __init__(self, task: WordProblems) -> None:
        self.task, self.net = task, cast("Solver", task.model())
        self.optimizer = make_optimizer(task, Net(self.net, ()), task.recipe)

    def loss(self, problems: Sequence[Problem]) -> Tensor:
        """Mean loss over all symbols of a batch."""
        return self.task.loss(self.net, self.task.collate(problems))

    def solved(self, problems: Sequence[Problem]) -> list[tuple[int, ...]]:
        """The best equation of each problem."""
        size = self.task.recipe.eval_batch_size
        parts = [problems[first : first + size] for first in range(0, len(problems), size)]
        return [
            tuple(equation)
            for part in parts
            for equation in self.net.solve(self.task.collate(part), self.task.beam)
        ]


class Reference(Engine):
    """The same solver, symbol by symbol."""

    def __init__(self, task: WordProblems) -> None:
        super().__init__(task)
        self.net.sequence.__class__ = nn.LSTM  # type: ignore[assignment]  # the same parameters
        rate, decay = task.recipe.lr, task.recipe.weight_decay
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=rate, weight_decay=decay)

    def loss(self, problems: Sequence[Problem]) -> Tensor:
        batch = self.task.collate(problems)
        return Stepwise(self.net, batch).loss(target_equations(batch.trees))

    def solved(self, problems: Sequence[Problem]) -> list[tuple[int, ...]]:
        return [Stepwise(self.net, self.task.collate([problem])).best(self.task.beam) for problem in problems]


def stepped(side: Engine, problems: Sequence[Problem]) -> None:
    """One optimizer step."""
    side.net.train()
    side.optimizer.zero_grad()
    side.loss(problems).backward()  # type: ignore[no-untyped-call]
    side.optimizer.step()


def measured(task: WordProblems, steps: int, problems: int, repeats: int) -> None:
    """Print the two rates of a solver beside those of the reference."""
    Device("cpu").seed("solver")
    engine, plain = Engine(task), Reference(task)
    train, test, size = task.data("train"), task.data("test")[:problems], task.recipe.batch_size
    check_losses(engine, plain, test[:size])
    times = []
    for step in range(steps + 1):
        batch = [train[place % len(train)] for place in range(step * size, step * size + size)]
        times.append([seconds(partial(stepped, side, batch)) for side in (engine, plain)])
    print(f"{task.card.name}, batch {size}, {torch.get_num_threads()} threads, data {task.folder}")
    print_rates("training", "steps/s", *zip(*times[1:], strict=True))  # the first one allocates buffers
    some = test[::8]
    check_losses(engine, plain, test[:size])
    with torch.no_grad():
        times = [
            [
                seconds(partial(side.solved, part)) / len(part)
                for side, part in ((engine, test), (plain, some))
            ]
            for _ in range(repeats)
        ]
        pairs = list(zip(engine.solved(some), plain.solved(some), strict=True))
    print_rates("decoding", "problems/s", *zip(*times, strict=True))
    same = sum(equation == other for equation, other in pairs)
    length = sum(len(equation) for equation, _ in pairs) / len(pairs)
    print(f"  {same} of {len(pairs)} equations equal, of {length:.1f} symbols on average")


@torch.no_grad()
def check_losses(engine: Engine, plain: Reference, problems: Sequence[Problem]) -> None:
    """Copy the weights to the reference; end the program if the losses differ."""
    plain.net.load_state_dict(engine.net.state_dict())
    for side in (engine, plain):
        side.net.eval()
    own, other = float(engine.loss(problems)), float(plain.loss(problems))
    if not math.isclose(own, other, rel_tol=1e-4):
        raise SystemExit(f"the loss is {own:.6f}, the reference's {other:.6f}")


def print_rates(act: str, unit: str, engine: Sequence[float], plain: Sequence[float]) -> None:
    """Print both rates, and the median ratio of neighbouring turns."""
    ratio = median(other / own for own, other in zip(engine, plain, strict=True))
    print(f"  {act} {1 / median(engine):.2f} {unit}, reference {1 / median(plain):.2f}: {ratio:.2f} x")


def main() -> None:
    """Measure both solvers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data-dir", default="synthetic", help="data in the official layout")
    parser.add_argument("--steps", type=int, default=30, help="optimizer steps")
    parser.add_argument(
        "--problems", type=int, default=384, help="problems decoded, an eighth by the reference"
    )
    parser.add_argument("--repeats", type=int, default=3, help="repeats of decoding")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for kind in (MawpsGts, MawpsGraph2Tree):
        task = kind(backbone="scratch", folder=args.data_dir, fold=0)
        measured(task, args.steps, args.problems, args.repeats)


if __name__ == "__main__":
    main()
