"""The built-in methods, one file for each paper, optimizers and trackers. They come in as plugins do."""

from __future__ import annotations

from smc_eval.hookspecs import hookimpl
from smc_eval.method import Method
from smc_eval.methods.ac_dc import AcDc
from smc_eval.methods.alps import Alps
from smc_eval.methods.cap import CorrelationAware
from smc_eval.methods.chts import Chts, Chtss
from smc_eval.methods.dense import Dense
from smc_eval.methods.dsnot import DynamicSparseNoTraining
from smc_eval.methods.from_checkpoint import FromCheckpoint
from smc_eval.methods.gmp import Gmp
from smc_eval.methods.gmp_tuned import TunedGmp
from smc_eval.methods.grasp import Grasp
from smc_eval.methods.lth import LotteryTicket
from smc_eval.methods.mest import Mest
from smc_eval.methods.movement import Movement
from smc_eval.methods.obert import OptimalBertSurgeon
from smc_eval.methods.omp import MagnitudeAfter, MagnitudeBefore
from smc_eval.methods.random import RandomAfter, RandomBefore
from smc_eval.methods.ria import Ria
from smc_eval.methods.rigl import MagnitudeRigL, RandomRigL, SensitivityRigL
from smc_eval.methods.set import SparseEvolution
from smc_eval.methods.snip import Snip
from smc_eval.methods.sparsegpt import SparseGPT
from smc_eval.methods.sparseswaps import SparseSwaps
from smc_eval.methods.sr_ste import SrSte
from smc_eval.methods.srigl import StructuredRigL
from smc_eval.methods.synflow import SynFlow
from smc_eval.methods.taylor import Taylor
from smc_eval.methods.top_kast import TopKast
from smc_eval.methods.wanda import Wanda
from smc_eval.optimizer import OPTIMIZERS, Optimizer
from smc_eval.trackers.mlflow import MLflow
from smc_eval.trackers.tensorboard import TensorBoard
from smc_eval.trackers.tracker import Tracker
from smc_eval.trackers.trackio import Trackio
from smc_eval.trackers.wandb import WeightsAndBiases

SMC_BENCH_METHODS: tuple[type[Method], ...] = (
    Dense,
    LotteryTicket,
    MagnitudeAfter,
    RandomAfter,
    Gmp,
    MagnitudeBefore,
    Snip,
    RandomBefore,
    MagnitudeRigL,
    SensitivityRigL,
    RandomRigL,
    OptimalBertSurgeon,
)
"""The methods of SMC-Bench, in the order of its legend."""

FURTHER_METHODS: tuple[type[Method], ...] = (
    Grasp,
    SynFlow,
    Wanda,
    SparseGPT,
    SparseEvolution,
    Movement,
    TopKast,
    SrSte,
    AcDc,
    Taylor,
    Mest,
    CorrelationAware,
    DynamicSparseNoTraining,
    SparseSwaps,
    TunedGmp,
    StructuredRigL,
    Chts,
    Chtss,
    Ria,
    Alps,
    FromCheckpoint,
)
"""Methods that SMC-Bench does not have."""


@hookimpl
def smc_eval_methods() -> list[type[Method]]:
    """The built-in methods."""
    return [*SMC_BENCH_METHODS, *FURTHER_METHODS]


@hookimpl
def smc_eval_optimizers() -> list[type[Optimizer]]:
    """The built-in optimizers."""
    return [*OPTIMIZERS]


@hookimpl
def smc_eval_trackers() -> list[type[Tracker]]:
    """The built-in trackers."""
    return [TensorBoard, MLflow, WeightsAndBiases, Trackio]
