"""The methods we ship, one paper a file; they come in by the same hook as anybody's."""

from __future__ import annotations

from smc_eval.hookspecs import hookimpl
from smc_eval.method import Method
from smc_eval.methods.chance import RandomAfter, RandomBefore
from smc_eval.methods.dense import Dense
from smc_eval.methods.grasp import Grasp
from smc_eval.methods.lottery import Lottery
from smc_eval.methods.magnitude import MagnitudeAfter, MagnitudeBefore
from smc_eval.methods.snip import Snip
from smc_eval.methods.synflow import SynFlow


@hookimpl
def smc_eval_methods() -> list[type[Method]]:
    """What we ship, in the order of the paper's legend."""
    return [
        Dense,
        Lottery,
        MagnitudeAfter,
        RandomAfter,
        MagnitudeBefore,
        Snip,
        RandomBefore,
        Grasp,
        SynFlow,
    ]
