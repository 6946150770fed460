"""The conformance kit: a toy task, and the contracts that every method and task must keep.

For strangers' packages as for ours. Needs pytest:

    class TestMine(MethodContract):
        method = Mine()
"""

from smc_eval.testing.cell_runs import (
    Interrupting,
    Interruption,
    assert_equal,
    chain_of,
    check_measurements,
    run_chain,
    step_view,
    targets_for,
    without_time,
)
from smc_eval.testing.method_contract import MethodContract
from smc_eval.testing.records import record_with
from smc_eval.testing.task_contract import TaskContract
from smc_eval.testing.toy import Example, PrunedToy, Toy, ToyNet

__all__ = [
    "Example",
    "Interrupting",
    "Interruption",
    "MethodContract",
    "PrunedToy",
    "TaskContract",
    "Toy",
    "ToyNet",
    "assert_equal",
    "chain_of",
    "check_measurements",
    "record_with",
    "run_chain",
    "step_view",
    "targets_for",
    "without_time",
]
