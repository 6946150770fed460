"""Pruned net: a model, its masks and their certificate."""

from __future__ import annotations

import html
from dataclasses import dataclass

from torch import Tensor, nn

from smc_eval.store.certificate import Certificate
from smc_eval.target import Target, level_text


@dataclass(frozen=True)
class PrunedNet:
    """What `smc_eval.prune` returns."""

    model: nn.Module
    """The net, with zeros where masks are False."""
    masks: dict[str, Tensor]
    """A bool tensor on the CPU for each weight in scope, by canonical parameter name; True stays."""
    certificate: Certificate
    """The engine's own checks and counts."""
    method: str
    """The method, as users type it."""
    target: Target
    unused: tuple[str, ...] = ()
    """Matrices on which the loss of no batch depends; they are in no scope."""
    notes: tuple[str, ...] = ()
    """Notes of the method, each one line."""

    @property
    def sparsity(self) -> float:
        """Share of the weights in scope that is pruned."""
        return self.certificate.reached

    def lines(self) -> tuple[str, ...]:
        """What a reader should know, in lines."""
        found = self.certificate
        level = level_text(self.target.pattern, f"{self.target.sparsity:.4g}")
        yes = "all checks passed" if found.ok else "FAILED: " + "; ".join(found.failed)
        return (
            f"{self.method} {level}, {self.target.distribution}, scope {self.target.scope}",
            f"{found.remaining:,} of {found.in_scope:,} weights in scope remain; {yes}",
            *([f"all weights pruned in {', '.join(found.dead_tensors)}"] if found.dead_tensors else []),
            *([f"the loss does not use {', '.join(self.unused)}"] if self.unused else []),
            *self.notes,
        )

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def _repr_html_(self) -> str:
        return "<br>".join(map(html.escape, self.lines()))
