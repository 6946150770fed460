"""Stored solver: a solver of word problems from an exported folder, ready to write equations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from smc_eval.errors import ModelError, UsageError, named_value
from smc_eval.exported.manifest import Manifest
from smc_eval.exported.packed_tensors import read_packed
from smc_eval.tasks import backbone
from smc_eval.tasks.arithmetic.encoding import Encoder
from smc_eval.tasks.arithmetic.problems import Problem
from smc_eval.tasks.arithmetic.solver import Solver, make_solver
from smc_eval.tasks.arithmetic.symbols import Symbols, Vocabulary
from smc_eval.tasks.arithmetic.text_readers import Pretrained, Reader, WholeWords
from smc_eval.tasks.text_encoder import TextEncoder

ENCODER = "words.net."
"""Begin of the names of the text encoder's tensors in a solver."""


class StoredSolver:
    """A solver with the words and symbols that it was trained with."""

    def __init__(self, net: Solver, reader: Reader, symbols: Symbols, *, graphs: bool) -> None:
        self.net, self.reader, self.symbols, self.graphs = net.eval(), reader, symbols, graphs

    @torch.no_grad()
    def equations(self, problems: Sequence[Problem], beam: int = 5) -> list[list[str]]:
        """The equation of each problem in prefix form: `["+", "N0", "2.0"]`.

        The equations that the problems have are not read.

        Raises:
            UsageError: one is something else than a problem, such as a text.
        """
        if not problems:
            return []
        given: Sequence[object] = problems
        if strange := [problem for problem in given if not isinstance(problem, Problem)]:
            raise UsageError(f"a problem is {named_value(strange[0])}; read problems by read_problems")
        copies = max(len(problem.numbers) for problem in problems)
        symbols = Symbols(self.symbols.operators, self.symbols.constants, copies)
        encoder = Encoder(self.reader, symbols, graphs=self.graphs)
        batch = encoder.batch([problem._replace(equation=("N0",)) for problem in problems])
        return [[symbols.symbol(index) for index in equation] for equation in self.net.solve(batch, beam)]


def load_solver(folder: str | Path) -> StoredSolver:
    """The solver in a folder that `smc-eval export` wrote.

    Raises:
        ModelError: it holds no solver, or was altered.
    """
    manifest = Manifest.read(Path(folder))
    if manifest is None or not {"words", "operators", "constants"} <= manifest.facts.keys():
        raise ModelError(f"{str(folder)!r} holds no solver of word problems that smc-eval export wrote")
    manifest.refuse_altered()
    facts = manifest.facts
    known = Vocabulary(tuple(facts["words"]))
    symbols = Symbols(tuple(facts["operators"]), tuple(facts["constants"]), 0)
    reader: Reader = (
        WholeWords(known)
        if manifest.form == "state dict"
        else Pretrained(backbone.find_backbone(str(folder), TextEncoder()), known)
    )
    words = reader.net(facts["embedding"], 0.0)
    net = make_solver(words, symbols, facts["hidden"], facts["embedding"], 0.0, graphs=facts["graphs"])
    assert manifest.head is not None
    report = net.load_state_dict(read_packed(manifest.folder / manifest.head), strict=False)
    lacking = [name for name in report.missing_keys if not name.startswith(ENCODER)]
    if lacking or report.unexpected_keys:
        raise ModelError(
            f"{str(folder)!r} is no solver of this release: its tensor "
            f"{[*lacking, *report.unexpected_keys][0]!r} does not fit"
        )
    return StoredSolver(net, reader, symbols, graphs=facts["graphs"])
