"""What a launcher says: how many ranks carry out a cell together, and which of them this process is."""

from __future__ import annotations

import os

from smc_eval.errors import UsageError


def world_size() -> int:
    """Ranks that were started together; 1 without a launcher."""
    return max(1, _number("WORLD_SIZE", 1))


def rank() -> int:
    """This process's number among them, counted from 0; the first speaks and writes for all."""
    return _number("RANK", 0) if world_size() > 1 else 0


def local_rank() -> int:
    """Its number among the ranks of this machine: that of its accelerator."""
    return _number("LOCAL_RANK", rank())


def refuse_with_ranks(asked: str) -> None:
    """Refuse, where there are several ranks, what carries out several cells at once.

    Raises:
        UsageError: there are.
    """
    if world_size() > 1:
        raise UsageError(
            f"{asked} carries out several cells at once, and {world_size()} ranks carry out each together; "
            "leave out one, the launcher or that"
        )


def refuse_without_ranks(asked: str) -> None:
    """Refuse, where there is one rank, what takes several.

    Raises:
        UsageError: there is one.
    """
    if world_size() == 1:
        raise UsageError(
            f"{asked} shares a net out among several ranks, and there is one; "
            "leave it out, or start ranks with torchrun or accelerate launch"
        )


def _number(name: str, usual: int) -> int:
    told = os.environ.get(name, "")
    return int(told) if told.isdecimal() else usual
