"""The test kit: a toy task, and the contracts that every method and every task must keep.

Built-in methods and tasks are tested by it, and so can be those of plugins. `smc-eval check NAME` runs a
contract without pytest; with pytest, a test module needs these lines:

    class TestMine(MethodContract):
        method = Mine()
"""

import sys

if pytest := sys.modules.get("pytest"):  # so that a failed assertion of a contract shows its values
    pytest.register_assert_rewrite(
        *(
            f"{__name__}.{module}"
            for module in (
                "cell_runs",
                "kind_contract",
                "method_contract",
                "optimizer_contract",
                "task_contract",
                "tracker_contract",
            )
        )
    )

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
from smc_eval.testing.kind_contract import KindContract
from smc_eval.testing.method_contract import MethodContract
from smc_eval.testing.optimizer_contract import OptimizerContract
from smc_eval.testing.promise import Promise, PromiseVerdict, check_promise, promises_of
from smc_eval.testing.records import record_with
from smc_eval.testing.task_contract import TaskContract
from smc_eval.testing.toy import Example, PrunedToy, Toy, ToyNet
from smc_eval.testing.tracker_contract import TrackerContract

__all__ = [
    "Example",
    "Interrupting",
    "Interruption",
    "KindContract",
    "MethodContract",
    "OptimizerContract",
    "Promise",
    "PromiseVerdict",
    "PrunedToy",
    "TaskContract",
    "Toy",
    "ToyNet",
    "TrackerContract",
    "assert_equal",
    "chain_of",
    "check_measurements",
    "check_promise",
    "promises_of",
    "record_with",
    "run_chain",
    "step_view",
    "targets_for",
    "without_time",
]
