"""Masks from a checkpoint: what somebody else pruned, measured by the same rule."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from smc_eval.card import MethodCard
from smc_eval.errors import ModelError, first_line
from smc_eval.files.checksum import combined_sha256, file_sha256
from smc_eval.method import Method
from smc_eval.pruner import Probe, Pruner
from smc_eval.spec import Outside
from smc_eval.stages import Prune, Stage, Train
from smc_eval.target import Target

if TYPE_CHECKING:
    from torch import Tensor

READABLE = (".safetensors", ".bin", ".pt", ".pth")
"""Endings of files that hold tensors."""

WHOLE_FILES = ("model.safetensors", "net.safetensors", "pytorch_model.bin")
"""Names of a checkpoint's one file in its folder; the second is our own store's."""

INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
"""Names of the file that says which shards a folder's checkpoint has."""


class CustomMasks(Pruner):
    """The masks somebody else made: the zeros of the net or of a file's weights, or a file's masks."""

    path: Annotated[str | None, Outside()] = None
    """File or folder; None reads the net itself."""
    content: Literal["weights", "masks"] = "weights"
    """What lies there."""
    sha256: str | None = Field(None, repr=False)
    """Of what lies there, when it was asked for."""

    def prune(self, probe: Probe, target: Target) -> dict[str, Tensor]:
        """A mask for every weight in scope, found by its name; the target has no say."""
        from smc_eval.sparse.custom_masks import custom_masks

        if self.path is None:
            return custom_masks(probe.weights, probe.weights, "weights")
        files = checkpoint_files(self.path)
        if checkpoint_sha256(files) != self.sha256:
            raise ModelError(f"{self.path} has changed since this run was planned; issue the command again")
        return custom_masks(probe.weights, load_tensors(files), self.content)


class FromCheckpoint(Method):
    """Take the masks of a pruned checkpoint, then train under them; 0 steps score it as it is.

    The masks are where the weights that `--model` brings are exactly zero, in scope; or where another
    checkpoint's are, or what a file of masks says. Only masks are taken from there: the weights
    are always those of `--model`. Names may differ by what stands before them.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="from-checkpoint",
        summary="the masks of a pruned checkpoint, read from its zeros or from a file, then trained under",
        source="formats: https://huggingface.co/docs/safetensors",
        when="custom",
    )
    path: Annotated[str | None, Outside()] = None
    """Checkpoint whose zeros are the masks: a folder, .safetensors or .bin; none reads --model itself."""
    mask: Annotated[str | None, Outside()] = None
    """File of masks by name: bool, 0 and 1, or bits as the store's masks.safetensors."""

    _sha256: str | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _read(self) -> Self:
        """Take down what is asked for by its content: that is what the digest names."""
        if self.path and self.mask:
            raise ValueError("give a path or a mask, not both")
        if where := self.path or self.mask:
            self._sha256 = checkpoint_sha256(checkpoint_files(where))
        return self

    def canonical(self) -> dict[str, Any]:
        return {**super().canonical(), "reads": "masks" if self.mask else "weights", "sha256": self._sha256}

    def plan(self, target: Target) -> Iterator[Stage]:
        """Put on the masks, train."""
        kind_of: Literal["weights", "masks"] = "masks" if self.mask else "weights"
        yield Prune(
            by=CustomMasks(path=self.path or self.mask, content=kind_of, sha256=self._sha256), to=None
        )
        yield Train()


def checkpoint_files(path: str) -> list[Path]:
    """The files of a checkpoint: one, or its shards in order.

    Raises:
        ModelError: there is none, or a shard is missing.
    """
    place = Path(path).expanduser()
    if place.is_dir():
        found = next((place / name for name in (*WHOLE_FILES, *INDICES) if (place / name).is_file()), None)
        if found is None:
            raise ModelError(
                f"folder {path} holds no checkpoint; looked for {', '.join((*WHOLE_FILES, *INDICES))}"
            )
        place = found
    if place.name in INDICES:
        return _shards(place)
    if not place.is_file():
        raise ModelError(f"there is no checkpoint {path}; give a folder, or a file: {', '.join(READABLE)}")
    if place.suffix not in READABLE:
        raise ModelError(f"{path} is no file of tensors that can be read; give one of {', '.join(READABLE)}")
    return [place]


def _shards(index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise ModelError(f"{index} names no shards; it should have a weight_map") from None
    shards = [index.parent / str(name) for name in names]
    if missing := [shard for shard in shards if not shard.is_file()]:
        raise ModelError(f"{index.name} names {missing[0]}, which is not there")
    return shards


def checkpoint_sha256(files: list[Path]) -> str:
    """SHA-256 over the SHA-256 of each file.

    Raises:
        ModelError: one cannot be read.
    """
    parts = list[str]()
    for path in files:
        try:
            parts.append(file_sha256(path))
        except OSError as error:
            raise ModelError(f"cannot read {path}: {error.strerror}") from None
    return combined_sha256(parts)


def load_tensors(files: list[Path]) -> dict[str, Tensor]:
    """Everything that the files hold, by name, on the CPU.

    Raises:
        ModelError: one is broken, or holds something other than tensors.
    """
    found: dict[str, Tensor] = {}
    for path in files:
        found |= _opened(path)
    return found


def _opened(path: Path) -> dict[str, Tensor]:
    import torch
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a broken file looks like
            held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a stranger's file may raise
        told = first_line(error)[:160]
        raise ModelError(f"{path} cannot be read as tensors: {told or type(error).__name__}") from error
    if not isinstance(held, dict) or not all(isinstance(value, torch.Tensor) for value in held.values()):
        raise ModelError(f"{path} is no state dict; it should map names to tensors, and nothing else")
    return held
