"""Launch: the number of ranks that compute a cell together, and the rank of this process."""

from __future__ import annotations

import os

from smc_eval.errors import UsageError


def world_size() -> int:
    """Number of ranks that were started together; 1 without a launcher."""
    return max(1, _number("WORLD_SIZE", 1))


def rank() -> int:
    """Rank of this process, counted from 0. Rank 0 prints and writes for all."""
    return _number("RANK", 0) if world_size() > 1 else 0


def local_rank() -> int:
    """Rank of this process among those on this machine: the number of its accelerator."""
    return _number("LOCAL_RANK", rank())


def refuse_with_ranks(option: str) -> None:
    """Refuse an option that runs several cells at once, if there are several ranks.

    Raises:
        UsageError: there are several ranks.
    """
    if world_size() > 1:
        raise UsageError(
            f"{option} runs several cells at once, and {world_size()} ranks run each cell together; "
            "leave out the option or the launcher"
        )


def refuse_without_ranks(option: str) -> None:
    """Refuse an option that needs several ranks, if there is one.

    Raises:
        UsageError: there is one rank.
    """
    if world_size() == 1:
        raise UsageError(
            f"{option} needs several ranks, and there is one; "
            "leave it out, or start ranks with torchrun or accelerate launch"
        )


def _number(name: str, default: int) -> int:
    value = os.environ.get(name, "")
    return int(value) if value.isdecimal() else default
