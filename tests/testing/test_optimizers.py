"""The built-in optimizers keep the contract of all optimizers."""

from __future__ import annotations

from smc_eval.optimizer import Adam, AdamW, Sgd
from smc_eval.testing import OptimizerContract


class TestAdamW(OptimizerContract):
    optimizer = AdamW()


class TestAdam(OptimizerContract):
    optimizer = Adam()


class TestSgd(OptimizerContract):
    optimizer = Sgd()
