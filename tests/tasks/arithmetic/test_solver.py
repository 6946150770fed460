"""The parts of the solver, compared with simple versions: torch's LSTM, and a tree built node by node."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from smc_eval.tasks import tiny
from smc_eval.tasks.arithmetic.encoding import Encoder
from smc_eval.tasks.arithmetic.levels import Trees, Unknown, build_trees
from smc_eval.tasks.arithmetic.problems import Problem
from smc_eval.tasks.arithmetic.sequence import BiLSTM, pack, recurrence, reversed_rows, unpack_padded
from smc_eval.tasks.arithmetic.solver import Solver, make_solver
from smc_eval.tasks.arithmetic.symbols import Symbols, output_symbols, vocabulary
from smc_eval.tasks.arithmetic.text_readers import SubWords, WholeWords
from smc_eval.tasks.arithmetic.tree import EncodedProblems, TreeDecoder

SYMBOLS = Symbols(operators=("+", "-", "*", "/"), constants=("100.0", "0.5"), copies=3)
HIDDEN = 8


def problem(text: str, equation: str, numbers: Sequence[float], groups: Sequence[int] = ()) -> Problem:
    words = tuple(text.split())
    at = tuple(place for place, word in enumerate(words) if word == "NUM")
    return Problem(words, at, tuple(numbers), tuple(equation.split()), tuple(groups))


PROBLEMS = [
    problem("Anna has NUM apples and NUM pears .", "+ N0 N1", (3, 4)),
    problem("NUM boxes hold NUM coins each , and NUM are lost ; how many stay ?", "- * N0 N1 N2", (5, 6, 7)),
    problem("How many cents are NUM dollars ?", "* N0 100.0", (9,)),
    problem("NUM of NUM of NUM", "/ - N2 N1 + * N0 N0 0.5", (1, 2, 8)),
    problem("NUM ?", "N0", (2,)),
]


def make_net(*, graphs: bool = False) -> tuple[Solver, Encoder]:
    torch.manual_seed(0)
    encoder = Encoder(WholeWords(vocabulary(PROBLEMS, ())), SYMBOLS, graphs=graphs)
    net = make_solver(encoder.reader.net(6, 0.0), SYMBOLS, HIDDEN, 5, 0.0, graphs=graphs)
    return net.train(not graphs), encoder  # the graph block has a dropout of its own


def a_reading(
    decoder: TreeDecoder, problems: int, seed: int = 0, counts: Sequence[int] = (3, 1, 2)
) -> EncodedProblems:
    """Random states of problems with `counts` numbers, and texts of different lengths."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    real_NQ = torch.arange(max(counts)) < torch.tensor(counts[:problems])[:, None]
    real_NS = torch.arange(5) < torch.tensor([5, 3, 4][:problems])[:, None]
    numbers = random(problems, max(counts), HIDDEN) * real_NQ[..., None]
    return decoder.read(random(problems, HIDDEN), random(problems, 5, HIDDEN), real_NS, numbers, real_NQ)


def random_symbols(draw: st.DrawFn, leaves: int, depth: int = 4) -> list[int]:
    """A prefix equation over 4 operators and a number of leaves."""
    if depth == 0 or draw(st.booleans()):
        return [4 + draw(st.integers(0, leaves - 1))]
    operands = (random_symbols(draw, leaves, depth - 1) for _ in range(2))
    return [draw(st.integers(0, 3)), *(symbol for operand in operands for symbol in operand)]


class Naive:
    """GTS's decoder as in its paper: one problem, symbol by symbol, with two stacks."""

    def __init__(self, decoder: TreeDecoder, reading: EncodedProblems, row: int) -> None:
        self.net = decoder
        self.states = reading.states_NSH[row][reading.real_NS[row]]
        self.leaves = reading.leaves_NCH[row]
        self.there = reading.real_NC[row]
        self.goals = [reading.root_NH[row]]
        self.done: list[tuple[Tensor, bool]] = []

    def log_probabilities(self) -> Tensor:
        """Log-probabilities of all symbols at the next node."""
        net = self.net
        self.goal = self.goals.pop()
        if self.done and self.done[-1][1]:
            self.node = net.right(torch.cat([self.done[-1][0], self.goal])[None])[0]
        else:
            self.node = net.left(self.goal[None])[0]
        energies = [self._affinity(net.attention, self.node, state) for state in self.states]
        shares = torch.stack(energies).softmax(0)
        self.context = sum((share * state for share, state in zip(shares, self.states, strict=True)), start=0)
        seen = torch.cat([self.node, self.context])
        scores = [*net.operator(seen)]
        for leaf, there in zip(self.leaves, self.there, strict=True):
            scores.append(self._affinity(net.leaf, seen, leaf) if there else torch.tensor(-math.inf))
        return torch.stack(scores).log_softmax(0)

    def take(self, symbol: int) -> None:
        """Append a symbol."""
        net = self.net
        if symbol < 4:
            operator = net.operators.weight[symbol]
            seen = torch.cat([self.node, self.context, operator])[None]
            self.goals += [net.to_right(seen)[0], net.to_left(seen)[0]]
            self.done.append((operator, False))
            return
        tree = self.leaves[symbol - 4]
        while self.done and self.done[-1][1]:
            left, _ = self.done.pop()
            operator, _ = self.done.pop()
            tree = net.merge(torch.cat([operator, left, tree])[None])[0]
        self.done.append((tree, True))

    def run(self, equation: Sequence[int]) -> Iterator[Tensor]:
        """Append the symbols of an equation, and yield the log-probability of each."""
        for symbol in equation:
            yield self.log_probabilities()[symbol]
            self.take(symbol)

    @staticmethod
    def _affinity(net: nn.Module, query: Tensor, key: Tensor) -> Tensor:
        return net.score(torch.tanh(net.join(torch.cat([query, key]))))[0]


def a_decoder() -> TreeDecoder:
    torch.manual_seed(1)
    return TreeDecoder(operators=4, constants=2, hidden=HIDDEN, embedding=5, dropout=0.0)


@given(st.data())
def test_the_tree_gives_the_log_probabilities_of_the_naive_decoder(data: st.DataObject) -> None:
    decoder, counts = a_decoder(), (3, 1, 2)
    reading = a_reading(decoder, 3, counts=counts)
    equations = [data.draw(st.composite(random_symbols)(2 + count)) for count in counts]
    shape = build_trees(equations, 4, [{}] * 3)
    log_probabilities = decoder(reading, shape)
    log_probabilities = log_probabilities.gather(1, shape.symbols[:, None])[:, 0]
    problems = torch.cat([level.problem_M for level in shape.levels])
    for row, equation in enumerate(equations):
        wanted = torch.stack(list(Naive(decoder, reading, row).run(equation)))
        # levels hold the nodes in another order, so compare sorted values
        torch.testing.assert_close(
            log_probabilities[problems == row].sort()[0], wanted.sort()[0], atol=1e-5, rtol=1e-5
        )


def test_the_tree_gives_the_gradients_of_the_naive_decoder() -> None:
    decoder = a_decoder()
    equations = [[0, 2, 4, 7, 1, 6, 8], [3, 1, 4, 6, 5], [6]]
    decoder(a_reading(decoder, 3), shape := build_trees(equations, 4, [{}] * 3)).gather(
        1, shape.symbols[:, None]
    ).sum().backward()
    gradients = {name: weight.grad for name, weight in decoder.named_parameters()}
    decoder.zero_grad()
    reading = a_reading(decoder, 3)
    sum(sum(Naive(decoder, reading, row).run(equation)) for row, equation in enumerate(equations)).backward()
    for name, weight in decoder.named_parameters():
        assert weight.grad is not None and bool(weight.grad.any()), name
        torch.testing.assert_close(gradients[name], weight.grad, atol=1e-5, rtol=1e-4)


def test_the_levels_of_an_equation_written_by_hand() -> None:
    # - (* N0 N1) N2, and N0 alone: 4 + 2 constants make N0 symbol 6
    shape = build_trees([[1, 2, 6, 7, 8], [6]], 4, [{}, {}])
    levels = [
        (x.problem_M.tolist(), x.symbol_M.tolist(), x.operator_K.tolist(), x.inner_J.tolist())
        for x in shape.levels
    ]
    assert levels == [
        ([0, 1], [1, 6], [0], []),  # no node is right of a root
        ([0, 0], [2, 8], [0], [0]),  # N2 is right of the product
        ([0, 0], [6, 7], [], []),
    ]
    assert shape.symbols.tolist() == [1, 6, 2, 8, 6, 7]


def test_an_unknown_symbol_becomes_the_most_probable_number() -> None:
    net, encoder = make_net()
    one = problem("NUM of NUM and NUM dozen", "+ * 7.0 N1 13.0", (7, 5, 7))
    batch = encoder.batch([PROBLEMS[0], one])
    choices = [unknown.choices for unknown in batch.trees.unknown]
    assert choices == [(6, 8), (6, 7, 8)]  # 7.0 is the value of N0 and N2, 13.0 of no number
    reading = net.read(batch)
    naive, wanted = Naive(net.tree, reading, 1), []
    for symbol, options in zip((0, 2, None, 7, None), ([], [], choices[0], [], choices[1]), strict=True):
        log_probabilities = naive.log_probabilities()
        wanted.append(
            max(options, key=lambda choice: log_probabilities[choice].item()) if options else symbol
        )
        naive.take(wanted[-1])
    known = net._known(reading, batch.trees)
    mine = torch.cat([level.problem_M for level in known.levels]) == 1
    assert known.symbols[mine].tolist() == [wanted[0], wanted[1], wanted[4], wanted[2], wanted[3]]


def test_an_operator_of_the_test_part_alone_is_accepted() -> None:
    few = output_symbols([problem("NUM NUM", "+ N0 N1", (1, 2))], [PROBLEMS[2]])
    encoder = Encoder(WholeWords(vocabulary(PROBLEMS, ())), few, graphs=False)
    net = make_solver(encoder.reader.net(6, 0.0), few, HIDDEN, 5, 0.0, graphs=False).eval()
    assert len(net.solve(encoder.batch([PROBLEMS[2]]), 5)) == 1


@pytest.mark.parametrize("graphs", [False, True])
def test_the_loss_does_not_depend_on_padding(*, graphs: bool) -> None:
    net, encoder = make_net(graphs=graphs)
    alone = [net(encoder.batch([one]))[0] * len(one.equation) for one in PROBLEMS]
    total = sum(len(one.equation) for one in PROBLEMS)
    torch.testing.assert_close(net(encoder.batch(PROBLEMS))[0], sum(alone) / total)


@pytest.mark.parametrize("graphs", [False, True])
def test_the_loss_is_the_mean_over_all_symbols(*, graphs: bool) -> None:
    net, encoder = make_net(graphs=graphs)
    reading = net.read(encoder.batch(PROBLEMS))
    logs = [
        log
        for row, one in enumerate(PROBLEMS)
        for log in Naive(net.tree, reading, row).run([SYMBOLS.index(symbol) for symbol in one.equation])
    ]
    torch.testing.assert_close(net(encoder.batch(PROBLEMS))[0], -torch.stack(logs).mean())


def test_the_root_is_read_at_the_ends_of_the_text_without_padding() -> None:
    net, encoder = make_net()
    batch = encoder.batch([PROBLEMS[4], PROBLEMS[1]])
    packed = pack(net.words(batch.ids_NL, batch.real_NL), batch.lengths_N)
    both_NLX = unpack_padded(net.sequence(packed)[0], batch.ids_NL.shape[1])
    root = net.read(batch).root_NH[0]
    assert batch.lengths_N.tolist() == [2, 16]
    torch.testing.assert_close(root, both_NLX[0, 1, :HIDDEN] + both_NLX[0, 0, HIDDEN:])


def test_the_leaves_are_the_constants_then_the_states_of_the_numbers() -> None:
    net, encoder = make_net()
    reading = net.read(encoder.batch(PROBLEMS[:2]))
    torch.testing.assert_close(reading.leaves_NCH[0, :2], net.tree.constants[0])
    torch.testing.assert_close(reading.leaves_NCH[0, 2:4], reading.states_NSH[0, [2, 5]])
    assert not reading.leaves_NCH[0, 4].any()
    assert reading.real_NC.tolist() == [[True, True, True, True, False], [True] * 5]


def test_without_constants_all_leaves_are_numbers() -> None:
    decoder = TreeDecoder(operators=4, constants=0, hidden=HIDDEN, embedding=5, dropout=0.0)
    logs = decoder(a_reading(decoder, 3), build_trees([[0, 4, 5], [4], [1, 4, 4]], 4, [{}] * 3))
    assert logs.shape == (7, 7)
    assert torch.isneginf(logs[1]).tolist() == [False] * 5 + [True] * 2  # the second problem has one number


def lengths() -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(1, 7), min_size=1, max_size=5)


@given(lengths())
def test_the_lstm_equals_torchs_packed_lstm(lengths: list[int]) -> None:
    torch.manual_seed(0)
    own, torchs = BiLSTM(3, 4, 2, 0.0), nn.LSTM(3, 4, 2, batch_first=True, bidirectional=True)
    torchs.load_state_dict(own.state_dict())
    inputs = torch.randn(len(lengths), max(lengths), 3)
    weights = torch.randn(len(lengths), max(lengths), 8)
    values, gradients = [], []
    for net in (own, torchs):
        read = inputs.clone().requires_grad_()
        states = unpack_padded(net(pack(read, torch.tensor(lengths)))[0], max(lengths))
        (states * weights).sum().backward()
        values.append(states)
        gradients.append([read.grad, *(weight.grad for weight in net.parameters())])
    with torch.no_grad():
        values.append(unpack_padded(own(pack(inputs, torch.tensor(lengths)))[0], max(lengths)))
    for other in values[1:]:
        torch.testing.assert_close(values[0], other, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-5, rtol=1e-5)


def test_reversed_rows_of_two_small_batches() -> None:
    # sentences of 3 and 2 words, packed: a0 b0 a1 b1 a2
    assert reversed_rows(torch.tensor([2, 2, 1])).tolist() == [4, 3, 2, 1, 0]
    # of 3 and 1: a0 b0 a1 a2
    assert reversed_rows(torch.tensor([2, 1, 1])).tolist() == [3, 1, 2, 0]


def test_the_recurrence_has_gradients_and_gradients_of_gradients() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(2, 6, 8, dtype=torch.double, requires_grad=True)
    weight = torch.randn(2, 8, 2, dtype=torch.double, requires_grad=True)

    def states(inputs: Tensor, weight: Tensor) -> Tensor:
        return recurrence(inputs, weight, (3, 2, 1))

    assert torch.autograd.gradcheck(states, (inputs, weight))
    assert torch.autograd.gradgradcheck(states, (inputs, weight))


def test_each_word_has_the_position_of_its_first_token() -> None:
    texts = ["Anna has apples", "Anna eats apples"] * 3
    tokenizer = tiny.tiny_tokenizer(texts, 300)
    known = vocabulary([problem("Anna grows NUM pineapples", "N0", (1,))], ())
    ids, first = SubWords(tokenizer, known).tokenize(["Anna", "grows", "NUM", "pineapples", "4th"])
    tokens = tokenizer.convert_ids_to_tokens(ids)
    assert tokens[0] == "<s>" and tokens[-1] == "</s>"
    ends = [*first[1:], len(tokens) - 1]
    words = ["".join(tokens[a:b]).strip("Ġ") for a, b in zip(first, ends, strict=True)]
    assert words == ["Anna", "grows", "NUM", "pineapples", "UNK"]
    assert max(b - a for a, b in zip(first, ends, strict=True)) > 1  # some word is more than one token


def test_the_batch_holds_the_positions_of_numbers() -> None:
    _, encoder = make_net()
    batch = encoder.batch(PROBLEMS[:3])
    assert batch.lengths_N.tolist() == [8, 16, 7]
    assert batch.number_NQ.tolist() == [[2, 5, 0], [0, 3, 8], [4, 0, 0]]
    assert batch.real_NQ.tolist() == [[True, True, False], [True] * 3, [True, False, False]]
    assert isinstance(batch.trees, Trees)
    assert batch.trees.unknown == ()
    assert Unknown(0, 0, (6,)).choices == (6,)
