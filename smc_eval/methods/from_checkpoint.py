"""From-checkpoint: the masks of a net that was pruned elsewhere."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from smc_eval.card import MethodCard
from smc_eval.errors import ModelError, first_line
from smc_eval.exported.manifest import PACKED_FILE
from smc_eval.exported.packed_tensors import read_packed
from smc_eval.files.checksum import combined_sha256, file_sha256
from smc_eval.files.json_text import parse_json
from smc_eval.files.user_path import is_file, is_folder, user_path
from smc_eval.method import Method
from smc_eval.pruner import Probe, Pruner
from smc_eval.spec import Outside
from smc_eval.stages import Prune, Stage, Train
from smc_eval.target import Target

if TYPE_CHECKING:
    from torch import Tensor

READABLE = (".safetensors", ".bin", ".pt", ".pth")
"""Endings of files that hold tensors."""

WHOLE_FILES = ("model.safetensors", "net.safetensors", "pytorch_model.bin", PACKED_FILE)
"""Names of the single file of a checkpoint in its folder; the second is that of a store or an exported
state dict, the last one an archive format."""

INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
"""Names of the index file of a checkpoint in several files."""


class CustomMasks(Pruner):
    """Masks that already exist: the zeros of the net, the zeros of the weights in a file, or the masks in a
    file."""

    reads_batches: ClassVar[bool] = False
    version: ClassVar[int] = 2  # 2: reads pairs of torch's pruning, sparse layouts and wrapped names

    path: Annotated[str | None, Outside()] = None
    """File or folder; None takes the zeros of the net itself."""
    content: Literal["weights", "masks"] = "weights"
    """Content of the file."""
    sha256: str | None = Field(None, repr=False)
    """Checksum of the files when the run was planned."""

    def prune(self, probe: Probe, target: Target) -> dict[str, Tensor]:
        """A mask for each weight in scope, matched by name. The target is not used."""
        from smc_eval.sparse.custom_masks import custom_masks
        from smc_eval.sparse.foreign_masks import without_foreign_forms

        if self.path is None:
            return custom_masks(weights := probe.weights, weights, "weights").masks
        files = checkpoint_files(self.path)
        if checkpoint_sha256(files) != self.sha256:
            raise ModelError(f"{self.path} has changed since this run was planned; issue the command again")
        tensors = without_foreign_forms(load_tensors(files), self.content)
        made = custom_masks(probe.weights, tensors, self.content)
        probe.note(f"{Path(self.path).name}: {made.coverage}")
        return made.masks


class FromCheckpoint(Method):
    """Take the masks of a pruned checkpoint, then train under them. A recipe of 0 steps scores the net as
    it is.

    Weights in scope are pruned where the weights of `--model` are exactly zero, or those of another
    checkpoint (`path`), or where a file of masks is zero (`mask`). Only the masks come from there: the
    weights are always those of `--model`. Names can differ by a prefix, and by the parts that wrappers add.
    The state dict may be inside another dict; its tensors may be sparse, or pairs of
    `torch.nn.utils.prune`. The record says how many tensors in scope were found.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="from-checkpoint",
        summary="training under the masks of a pruned checkpoint, which are its zeros or a file",
        source="formats: https://huggingface.co/docs/safetensors",
        when="custom",
    )
    path: Annotated[str | None, Outside()] = None
    """Checkpoint whose zeros are the masks: a folder, .safetensors or .bin. Default: the model itself."""
    mask: Annotated[str | None, Outside()] = None
    """File of masks by name: bool, 0 and 1, or bits as in masks.safetensors of a store."""

    _sha256: str | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _read(self) -> Self:
        """Read the checksum of the files: it is part of the digest, their path is not."""
        if self.path and self.mask:
            raise ValueError("give a path or a mask, not both")
        if where := self.path or self.mask:
            self._sha256 = checkpoint_sha256(checkpoint_files(where))
        return self

    def canonical(self) -> dict[str, Any]:
        return {**super().canonical(), "reads": "masks" if self.mask else "weights", "sha256": self._sha256}

    def plan(self, target: Target) -> Iterator[Stage]:
        """Set the masks, train."""
        content: Literal["weights", "masks"] = "masks" if self.mask else "weights"
        yield Prune(
            by=CustomMasks(path=self.path or self.mask, content=content, sha256=self._sha256), to=None
        )
        yield Train()


def checkpoint_files(path: str) -> list[Path]:
    """The files of a checkpoint: one file, or its shards in order.

    Raises:
        ModelError: the checkpoint or a shard is missing.
    """
    file = user_path(path)
    if is_folder(file):
        names = (*WHOLE_FILES, *INDICES)
        present = [file / name for name in names if (file / name).is_file()]
        if not present:
            raise ModelError(f"folder {path} holds no checkpoint; looked for {', '.join(names)}")
        file = present[0]
    if file.name in INDICES:
        return _shards(file)
    if not is_file(file):
        raise ModelError(f"there is no checkpoint {path}; give a folder, or a file: {', '.join(READABLE)}")
    if file.suffix not in READABLE:
        raise ModelError(f"{path} has an unknown ending; give a file with one of {', '.join(READABLE)}")
    return [file]


def _shards(index: Path) -> list[Path]:
    try:
        names = sorted(set(parse_json(index.read_bytes())["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise ModelError(f"{index} names no shards; it must have a weight_map") from None
    shards = [index.parent / str(name) for name in names]
    if missing := [shard for shard in shards if not shard.is_file()]:
        raise ModelError(f"{index.name} names {missing[0]}, which does not exist")
    return shards


def checkpoint_sha256(files: list[Path]) -> str:
    """SHA-256 over the SHA-256 of each file.

    Raises:
        ModelError: a file cannot be read.
    """
    parts = list[str]()
    for path in files:
        try:
            parts.append(file_sha256(path))
        except OSError as error:
            raise ModelError(f"cannot read {path}: {error.strerror}") from None
    return combined_sha256(parts)


def load_tensors(files: list[Path]) -> dict[str, Tensor]:
    """All tensors of the files, by name, on the CPU.

    Raises:
        ModelError: a file is broken, or holds something other than tensors.
    """
    tensors: dict[str, Tensor] = {}
    for path in files:
        tensors |= _load_file(path)
    return tensors


def _load_file(path: Path) -> dict[str, Tensor]:
    import torch
    from safetensors.torch import load_file

    from smc_eval.sparse.plain_tensors import find_state_dict

    try:
        if path.name == PACKED_FILE:
            return read_packed(path)
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a broken file causes warnings before the error
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken file can raise anything
        message = first_line(error)[:160] or type(error).__name__
        raise ModelError(f"{path} cannot be read as tensors: {message}") from error
    try:
        return find_state_dict(state)
    except ValueError as error:
        raise ModelError(f"{path} is not a state dict: {error}") from None
