"""Whole masks of each cell's final net, for `--keep masks`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from smc_eval.errors import StoreError
from smc_eval.files.atomic import write_atomic
from smc_eval.files.json_text import parse_json

if TYPE_CHECKING:
    from torch import Tensor

MASKS_FOLDER = "masks"
"""Their folder inside a store; one file for each record."""


class MaskFiles:
    """The masks of a store's cells, by the digest of the cell: bits by parameter name, as safetensors.

    The file's metadata has the cell's digest, the shapes, and the digest of the masks as in the cell's
    certificate.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / MASKS_FOLDER

    def save(self, digest: str, masks: Mapping[str, Tensor]) -> None:
        """Save one cell's masks: all of them, or nothing.

        Raises:
            StoreError: they cannot be written.
        """
        from safetensors.torch import save

        from smc_eval.sparse.bits import mask_digest, packed

        shapes = json.dumps({name: list(mask.shape) for name, mask in masks.items()})
        metadata = {"cell": digest, "shapes": shapes, "digest": mask_digest(masks)}
        path = self.folder / f"{digest}.safetensors"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomic(path, save({name: packed(mask) for name, mask in masks.items()}, metadata))
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror}") from None

    def load(self, digest: str) -> dict[str, Tensor] | None:
        """A cell's masks as bool tensors; None where they are missing, cut short or altered."""
        from safetensors import SafetensorError, safe_open

        from smc_eval.sparse.bits import mask_digest, unpacked

        try:
            with safe_open(self.folder / f"{digest}.safetensors", "pt") as file:
                metadata = file.metadata() or {}
                shapes = parse_json(metadata["shapes"])
                masks = {name: unpacked(file.get_tensor(name), tuple(shapes[name])) for name in file.keys()}  # noqa: SIM118
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError):
            return None
        whole = (metadata.get("cell"), metadata.get("digest")) == (digest, mask_digest(masks))
        return masks if whole else None
