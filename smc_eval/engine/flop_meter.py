"""The meter: what many passes through a net take, from looking closely at a few of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from smc_eval.sparse.net import Net
from smc_eval.sparse.operations import Counting, Operations

RARER = 16
"""Passes that are looked at: the first, the 16th, the 256th, and so on."""


class FlopMeter:
    """Counts the operations of passes of one kind, twice: as if every weight were there, and with those
    of each weight in proportion to its density at that time.

    A pass that is looked at takes longer, so only ever fewer are; what these took for each token,
    padding included, is taken for the others'. Densities are weighed in when the masks change.
    """

    def __init__(self, net: Net) -> None:
        self.net = net
        self.passes = 0
        self.looked = 0.0
        """Tokens of the passes that were looked at."""
        self.operations = Operations()
        """What these took."""
        self.tokens = 0.0
        self.gone: dict[str, float] = {}
        """By weight: tokens times the share of it that was masked."""
        self.gone_slopes: dict[str, float] = {}
        """The same, without the tokens whose gradients were wanted dense."""
        self.pending = self.pending_dense = 0.0
        """Tokens since the masks last changed; and those of them whose gradients were wanted dense."""
        self._look_at_masks()

    @contextmanager
    def over(self, tokens: float) -> Iterator[None]:
        """Within is one pass, or one step of several, over so many tokens."""
        if self.changes != self.net.changes:
            self._weigh()
            self._look_at_masks()
        self.passes += 1
        if looks(self.passes):
            with Counting(self.net.weights, self.operations) as counting, self.net.gathering(counting.own):
                yield
            self.looked += tokens
        else:
            yield
        self.tokens += tokens
        self.pending += tokens

    def elsewhere(self, tokens: float) -> None:
        """So many tokens more went through the same net, on other ranks."""
        self.tokens += tokens
        self.pending += tokens

    def dense_gradients(self, tokens: float) -> None:
        """Somebody read the gradients of the pass just made, also of what is masked."""
        self.pending_dense += tokens

    def spent(self) -> dict[str, int]:
        """Operations of all passes so far, `dense` and `sparse`."""
        self._weigh()
        each = self.operations
        saved = sum(count * self.gone.get(name, 0.0) for name, count in each.products.items())
        saved += sum(count * self.gone_slopes.get(name, 0.0) for name, count in each.slopes.items())
        tokens = self.looked or 1.0
        return {
            "dense": round(each.total * self.tokens / tokens),
            "sparse": round((each.total * self.tokens - saved) / tokens),
        }

    def state(self) -> dict[str, Any]:
        """All it knows, as plain values."""
        told = {name: value for name, value in vars(self).items() if name != "net"}
        return told | {"operations": asdict(self.operations)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was told."""
        vars(self).update(state)
        self.operations = Operations(**state["operations"])

    def _look_at_masks(self) -> None:
        self.changes = self.net.changes
        self.masked = self.net.sparsity

    def _weigh(self) -> None:
        """Add what passed since the masks changed, at the densities it met."""
        for name, share in self.masked.items():
            self.gone[name] = self.gone.get(name, 0.0) + share * self.pending
            read = self.pending - self.pending_dense
            self.gone_slopes[name] = self.gone_slopes.get(name, 0.0) + share * read
        self.pending = self.pending_dense = 0.0


def looks(number: int) -> bool:
    """Whether the pass of this number, counted from 1, is looked at."""
    while number % RARER == 0:
        number //= RARER
    return number == 1
