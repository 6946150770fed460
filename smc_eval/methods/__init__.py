"""The methods we ship, one paper a file; they come in by the same hook as anybody's."""

from __future__ import annotations

from smc_eval.hookspecs import hookimpl
from smc_eval.method import Method
from smc_eval.methods.chance import RandomAfter, RandomBefore
from smc_eval.methods.dense import Dense
from smc_eval.methods.lottery import Lottery
from smc_eval.methods.magnitude import MagnitudeAfter, MagnitudeBefore
from smc_eval.methods.sparsegpt import SparseGPT
from smc_eval.methods.wanda import Wanda


@hookimpl
def smc_eval_methods() -> list[type[Method]]:
    """What we ship: first the paper's, in the order of its legend."""
    return [Dense, Lottery, MagnitudeAfter, RandomAfter, MagnitudeBefore, RandomBefore, Wanda, SparseGPT]
