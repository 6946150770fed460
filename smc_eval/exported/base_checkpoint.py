"""Base checkpoint: what an exported folder takes from the checkpoint that its net began with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def no_tensors() -> Mapping[str, Tensor]:
    """The tensors of a net without a checkpoint: none."""
    return {}


@dataclass(frozen=True)
class BaseCheckpoint:
    """The checkpoint that a net began with, if there is one."""

    name: str
    """As `--model` names it: a hub id, a folder, pkg:NAME, tiny or scratch."""
    is_hub_id: bool = False
    licence: str = ""
    """Its licence, as its model card names it; empty where it names none."""
    files: tuple[Path, ...] = ()
    """Its files besides config and weights: tokenizer, licence."""
    tensors: Callable[[], Mapping[str, Tensor]] = no_tensors
    """Reads its tensors, by their names in its files."""
