"""The probe: what a pruner asks again it is told again."""

from __future__ import annotations

import torch

from smc_eval.engine.feed import Feed
from smc_eval.engine.probe import NetProbe
from smc_eval.engine.tally import Tally
from smc_eval.engine.world import World
from smc_eval.sparse.net import Net
from smc_eval.sparse.scope import in_scope
from smc_eval.testing import Toy, assert_equal


def test_each_gradient_is_the_same_when_asked_for_again_dropout_and_all() -> None:
    task, world = Toy(), World("cpu", threads=1)
    world.seed("a")
    model = task.model()
    probe = NetProbe(
        Net(model, in_scope(model, "body")), Feed(task, task.recipe, "a", world), "stage", Tally(), world
    )
    first, again = (
        [{name: grad.clone() for name, grad in grads.items()} for grads in probe.each_gradient(9)]
        for _ in range(2)
    )
    assert_equal(first, again)
    assert not torch.equal(first[0]["down.weight"], first[1]["down.weight"])
