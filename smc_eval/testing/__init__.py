"""The test kit: a toy task, and the contracts that every method and every task must keep.

Built-in methods and tasks are tested by it, and so can be those of plugins. It needs pytest:

    class TestMine(MethodContract):
        method = Mine()
"""

try:
    import pytest
except ImportError:
    raise ImportError("smc_eval.testing needs pytest: pip install pytest") from None
else:
    # so that a failed assertion of a contract shows its values
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
    "PrunedToy",
    "TaskContract",
    "Toy",
    "ToyNet",
    "TrackerContract",
    "assert_equal",
    "chain_of",
    "check_measurements",
    "record_with",
    "run_chain",
    "step_view",
    "targets_for",
    "without_time",
]
