"""Stored head: the tensors of a task's net that an exported folder holds beside its model."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from smc_eval.capabilities import head_facts, trained_as
from smc_eval.errors import ModelError
from smc_eval.exported.manifest import Manifest, manifest_of
from smc_eval.exported.packed_tensors import read_packed
from smc_eval.task import Task


def load_head(task: Task, model: nn.Module) -> None:
    """Load the head of the folder that is the task's model, if the folder was exported from this task.

    A head of another task stays where it is: the net begins with the new one that the task made.

    Raises:
        ModelError: files of the folder were altered, or the head is of other options or other data.
    """
    manifest = manifest_of(task.backbone)
    if manifest is None:
        return
    manifest.refuse_altered()
    if manifest.head is None or manifest.task != trained_as(task).identity:
        return
    _refuse_other_facts(manifest, task)
    tensors = _tensors(manifest.folder / manifest.head)
    own = own_tensors(model, None if manifest.form == "state dict" else manifest.prefix)
    wanted = {name: tuple(tensor.shape) for name, tensor in own.items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if differing := sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name)):
        name = differing[0]
        raise ModelError(
            f"the head in {str(manifest.folder)!r} has {name!r} of shape {found.get(name, 'none')}, the net "
            f"of this task of shape {wanted.get(name, 'none')}\nit was trained with other options or other "
            f"data: --tasks {manifest.tasks}"
        )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])


def head_notes(task: Task) -> tuple[str, ...]:
    """What a reader must know where the folder's head is of another task: one note, or none."""
    manifest = manifest_of(task.backbone)
    if manifest is None or manifest.head is None or manifest.task == trained_as(task).identity:
        return ()
    return (
        f"the head in {task.backbone} is that of {manifest.tasks}; here it is new, and not trained before",
    )


def own_tensors(model: nn.Module, prefix: str | None) -> dict[str, Tensor]:
    """Parameters and buffers of a net outside of the model of this name in it, by name.

    A tensor that is also one of the model's, as tied weights are, is left out. None: the net has no model.
    """
    every: dict[str, Tensor] = model.state_dict(keep_vars=True)
    if prefix is None:
        return every
    start = f"{prefix}." if prefix else ""
    inside = {id(tensor) for name, tensor in every.items() if name.startswith(start)}
    return {name: tensor for name, tensor in every.items() if id(tensor) not in inside}


def _tensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError

    try:
        return read_packed(path)
    except (OSError, KeyError, RuntimeError, ValueError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be read as tensors: {error}") from None


def _refuse_other_facts(manifest: Manifest, task: Task) -> None:
    """Refuse a head whose outputs mean something else here.

    Raises:
        ModelError: a fact differs; it is named.
    """
    facts = head_facts(task)
    for name in sorted({*facts, *manifest.facts}):
        if facts.get(name) != manifest.facts.get(name):
            raise ModelError(
                f"the head in {str(manifest.folder)!r} was trained with other {name} than this task has "
                f"here; use the data and options of its record: --tasks {manifest.tasks}"
            )
