"""The conformance kit: a toy task, and the contracts that every method and task must keep.

For strangers' packages as for ours. Needs pytest:

    class TestMine(MethodContract):
        method = Mine()
"""

from smc_eval.testing.methods import MethodContract
from smc_eval.testing.tasks import TaskContract
from smc_eval.testing.toy import Example, PrunedToy, Toy, ToyNet
from smc_eval.testing.walks import (
    Interrupting,
    Interruption,
    assert_equal,
    bound,
    check_measured,
    moment,
    targets,
    timeless,
    walked,
)

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
    "bound",
    "check_measured",
    "moment",
    "targets",
    "timeless",
    "walked",
]
