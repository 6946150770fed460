"""A method for smc-eval: prune the weights that matter least to their row and to their column."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from smc_eval import Criterion, Method, MethodCard, Probe, Prune, Stage, Target, Train, hookimpl

if TYPE_CHECKING:
    from torch import Tensor


class Relative(Criterion):
    """|w| as a share of its row, plus that of its column: no row or column loses all its weights early."""

    def saliency(self, probe: Probe) -> dict[str, Tensor]:
        shares = {}
        for name, weight in probe.weights.items():
            size = weight.abs().flatten(1)
            rows = size.sum(dim=1, keepdim=True).clamp_min(1e-12)
            columns = size.sum(dim=0, keepdim=True).clamp_min(1e-12)
            shares[name] = (size / rows + size / columns).view_as(weight)
        return shares


class Hello(Method):
    """Train, prune by relative importance, train again."""

    card = MethodCard(
        name="hello",
        summary="relative importance after training, one shot, then trained again",
        source="Zhang et al. (2024), relative importance: https://iclr.cc/virtual/2024/poster/18549",
        when="after",
    )

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Train()
        yield Prune(by=Relative(), to=target)
        yield Train()


@hookimpl
def smc_eval_methods() -> list[type[Method]]:
    return [Hello]
