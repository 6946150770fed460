"""Protocols: the choices that hold for all methods and tasks of a run."""

from __future__ import annotations

from typing import Literal

from smc_eval.recipe import Recipe
from smc_eval.spec import Spec
from smc_eval.target import Scope


class Protocol(Spec):
    """Choices that hold for every method and task of a run. They are part of every digest."""

    name: Literal["sound", "paper"]
    scope: Scope
    """Default scope: the tensors that are pruned."""
    decoupled: bool
    """Whether Adam's weight decay is decoupled. Coupled decay drives unused embeddings to zero."""
    keep: Literal["last", "best"]
    """The scored net: the last, or that of the best epoch on the reported split."""

    def recipe(self, own: Recipe) -> Recipe:
        """The recipe of a task under this protocol."""
        optimizer = "adamw" if self.decoupled and own.optimizer == "adam" else own.optimizer
        return own.model_copy(update={"optimizer": optimizer, "keep": self.keep})


SOUND = Protocol(name="sound", scope="body", decoupled=True, keep="last")
"""The default: no selection on the reported split, embeddings are not pruned."""

PAPER = Protocol(name="paper", scope="all-2d", decoupled=False, keep="best")
"""The choices of SMC-Bench, to compare with its published numbers."""

PROTOCOLS = {protocol.name: protocol for protocol in (SOUND, PAPER)}

SUMMARIES = {
    "sound": "the default: no selection on the reported split, embeddings are not pruned",
    "paper": "the choices of SMC-Bench, to compare with its published numbers",
}
"""A description of each protocol in one line."""
