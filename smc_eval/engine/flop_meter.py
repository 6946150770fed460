"""FLOP meter: the operations of many passes through a net, estimated from a few measured ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from smc_eval.sparse.net import Net
from smc_eval.sparse.operations import Counting, Operations

MEASURING_BASE = 16
"""The passes with these numbers are measured: 1, 16, 256, and so on."""


class FlopMeter:
    """Counts the operations of passes of one kind, twice.

    The `dense` count takes every weight; the `sparse` count takes each weight in proportion to its
    density at that time. A measured pass takes longer, so measured passes become ever rarer. Their
    operations a token, padding included, are assumed for all other passes. Densities are weighed in
    when the masks change. Attribute names are keys of checkpoints.
    """

    def __init__(self, net: Net) -> None:
        self.net = net
        self.passes = 0
        self.looked = 0.0
        """Tokens of the measured passes."""
        self.operations = Operations()
        """Operations of the measured passes."""
        self.tokens = 0.0
        self.gone: dict[str, float] = {}
        """By weight: tokens times the share of it that was masked."""
        self.gone_slopes: dict[str, float] = {}
        """The same, without the tokens whose gradients were needed dense."""
        self.counting: Counting | None = None
        """Within a pass that is measured: what counts it."""
        self.pending = self.pending_dense = 0.0
        """Tokens since the masks last changed; and those of them whose gradients were needed dense."""
        self._read_masks()

    @contextmanager
    def over(self, tokens: float) -> Iterator[None]:
        """Within: one pass, or one step of several passes, over so many tokens."""
        if self.changes != self.net.changes:
            self._add_pending()
            self._read_masks()
        self.passes += 1
        if is_measured(self.passes):
            with (
                Counting(self.net.weights, self.operations) as counting,
                self.net.gathering(counting.register),
            ):
                self.counting = counting
                try:
                    yield
                finally:
                    self.counting = None
            self.looked += tokens
        else:
            yield
        self.tokens += tokens
        self.pending += tokens

    @property
    def measures(self) -> bool:
        """Whether the present pass, within `over`, is measured."""
        return is_measured(self.passes)

    def add_remote_tokens(self, tokens: float) -> None:
        """Count tokens that went through the same net on other ranks."""
        self.tokens += tokens
        self.pending += tokens

    def dense_gradients(self, tokens: float) -> None:
        """Count the gradients of so many tokens as dense: those of masked weights were read too."""
        self.pending_dense += tokens

    def wider_gradients(self, tokens: float, shares: Mapping[str, float]) -> None:
        """Count the gradients of so many tokens for these shares of the weights, by name.

        Of a weight that is not named, the gradients are those of its unpruned part.
        """
        self.pending_dense += tokens
        for name, masked in self.masked.items():
            gone = 1 - shares[name] if name in shares else masked
            self.gone_slopes[name] = self.gone_slopes.get(name, 0.0) + gone * tokens

    def spent(self) -> dict[str, int]:
        """Operations of all passes so far, `dense` and `sparse`."""
        self._add_pending()
        each = self.operations
        saved = sum(count * self.gone.get(name, 0.0) for name, count in each.products.items())
        saved += sum(count * self.gone_slopes.get(name, 0.0) for name, count in each.slopes.items())
        tokens = self.looked or 1.0
        return {
            "dense": round(each.total * self.tokens / tokens),
            "sparse": round((each.total * self.tokens - saved) / tokens),
        }

    def state(self) -> dict[str, Any]:
        """All counts, as plain values for a checkpoint."""
        counts = {name: value for name, value in vars(self).items() if name not in {"net", "counting"}}
        return counts | {"operations": asdict(self.operations)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state`."""
        vars(self).update(state)
        self.operations = Operations(**state["operations"])

    def _read_masks(self) -> None:
        self.changes = self.net.changes
        self.masked = self.net.sparsity

    def _add_pending(self) -> None:
        """Add the tokens since the last change of masks, at the density that they met."""
        for name, share in self.masked.items():
            self.gone[name] = self.gone.get(name, 0.0) + share * self.pending
            read = self.pending - self.pending_dense
            self.gone_slopes[name] = self.gone_slopes.get(name, 0.0) + share * read
        self.pending = self.pending_dense = 0.0


def is_measured(number: int) -> bool:
    """Whether the pass of this number, counted from 1, is measured."""
    while number % MEASURING_BASE == 0:
        number //= MEASURING_BASE
    return number == 1
