"""Protocols: the choices made around all methods alike."""

from __future__ import annotations

from typing import Literal

from smc_eval.recipe import Recipe
from smc_eval.spec import Spec
from smc_eval.target import Scope


class Protocol(Spec):
    """What holds for every method and task of a run, and is part of every digest."""

    name: Literal["sound", "paper"]
    scope: Scope
    """Which tensors count, unless the user says."""
    decoupled: bool
    """Whether Adam's weight decay is decoupled; coupled, it drives unused embeddings to zero."""
    keep: Literal["last", "best"]
    """Which net is scored: the last, or the best epoch on the reported split."""

    def recipe(self, own: Recipe) -> Recipe:
        """A task's recipe under this protocol."""
        optimizer = "adamw" if self.decoupled and own.optimizer == "adam" else own.optimizer
        return own.model_copy(update={"optimizer": optimizer, "keep": self.keep})


SOUND = Protocol(name="sound", scope="body", decoupled=True, keep="last")
"""The default: nothing is selected on the reported split, embeddings are not pruned."""

PAPER = Protocol(name="paper", scope="all-2d", decoupled=False, keep="best")
"""The choices of SMC-Bench, so that published numbers can be met on the same terms."""

PROTOCOLS = {protocol.name: protocol for protocol in (SOUND, PAPER)}

SUMMARIES = {
    "sound": "the default: nothing is selected on the reported split, embeddings are not pruned",
    "paper": "SMC-Bench's own choices, so that its numbers can be met on the same terms",
}
"""Each in one line."""
