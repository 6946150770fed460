"""The contract over ablated methods: masks that revive, survivors that are mended, a rule undone."""

from __future__ import annotations

from smc_eval.experiment.ablation import Ablated
from smc_eval.methods.gmp import Gmp
from smc_eval.methods.omp import MagnitudeAfter, MagnitudeBefore
from smc_eval.testing import MethodContract


class TestShuffled(MethodContract):
    method = Ablated(method=MagnitudeAfter(), how="shuffle")


class TestRenewed(MethodContract):
    method = Ablated(method=MagnitudeBefore(), how="reinit")


class TestARuleUndone(MethodContract):
    method = Ablated(method=Gmp(), how="random")
