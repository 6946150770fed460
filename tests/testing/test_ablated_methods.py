"""The contract for ablated methods: shuffled masks, reinitialized weights, random masks after an updater."""

from __future__ import annotations

from smc_eval.experiment.ablation import Ablated
from smc_eval.methods.gmp import Gmp
from smc_eval.methods.omp import MagnitudeAfter, MagnitudeBefore
from smc_eval.testing import MethodContract


class TestShuffled(MethodContract):
    method = Ablated(method=MagnitudeAfter(), how="shuffle")


class TestReinitialized(MethodContract):
    method = Ablated(method=MagnitudeBefore(), how="reinit")


class TestRandomAfterAnUpdater(MethodContract):
    method = Ablated(method=Gmp(), how="random")
