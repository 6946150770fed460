"""A guess scores what a task's options make of it, and nothing is said of tasks that are not known."""

from __future__ import annotations

import pytest

from smc_eval.registry import registry
from smc_eval.reporting.chance import chances_of


def test_a_guess_depends_on_the_options_of_the_task() -> None:
    labels = ["csqa", "csqa:choices=2", "csqa:choices=4,dropout=0.2", "winogrande", "mawps/gts:hidden=128"]
    assert chances_of(labels, registry()) == pytest.approx(
        dict(zip(labels, (20, 50, 25, 50, 0), strict=True))
    )


@pytest.mark.parametrize("label", ["nothing", "nothing:a=1", "csqa:colour=2", "csqa:choices=9", "race", ""])
def test_a_task_that_cannot_be_built_has_no_known_chance(label: str) -> None:
    assert chances_of([label, "csqa"], registry()) == {"csqa": 20.0}
