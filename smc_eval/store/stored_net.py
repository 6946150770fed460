"""Stored net: the folder of a finished net, of which every file is sealed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from smc_eval.errors import PluginError, StoreError
from smc_eval.files.atomic import sync, write_synced
from smc_eval.files.checksum import file_sha256
from smc_eval.files.json_text import parse_json
from smc_eval.spec import digest

if TYPE_CHECKING:
    from torch import Tensor

NET, MASKS, META = "net.safetensors", "masks.safetensors", "meta.json"


class StoredNet(NamedTuple):
    """A finished net as it is stored."""

    tensors: dict[str, Tensor]
    """Parameters and buffers by name."""
    masks: dict[str, Tensor]
    """Bool, by the names of the pruned tensors; True means unpruned. Empty for a dense net."""
    meta: Any
    """What else its cell needs to go on, as JSON."""

    def write(self, folder: Path, net_digest: str, *, stays: bool) -> None:
        """Write the files of a net into an empty folder. They name the digest of the net.

        No tensor is copied, except those that share memory and those on another device.

        Raises:
            OSError, StoreError: a file cannot be written.
        """
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        from smc_eval.sparse.bits import packed

        bits = {name: packed(mask) for name, mask in self.masks.items()}
        seals = dict[str, str]()
        for name, tensors in ((NET, _plain(self.tensors)), (MASKS, bits)):
            try:
                save_file(tensors, folder / name)
            except SafetensorError as error:
                raise StoreError(f"cannot write {folder / name}: {error}") from None
            sync(folder / name)
            seals[name] = file_sha256(folder / name)
        meta = {"digest": net_digest, "seals": seals, "meta": self.meta, "stays": stays}
        write_synced(folder / META, json.dumps(meta | {"seal": digest(meta)}).encode())
        sync(folder)

    @classmethod
    def read(cls, folder: Path) -> StoredNet | None:
        """The net in a folder; None where a file is missing, cut short, altered or of another net."""
        from safetensors.torch import load

        from smc_eval.sparse.bits import unpacked

        meta = sealed_meta(folder)
        if meta is None:
            return None
        try:  # no memory map: the process would end if another machine deletes the file meanwhile
            tensors, bits = (
                load(_checked((folder / name).read_bytes(), meta["seals"][name])) for name in (NET, MASKS)
            )
            masks = {name: unpacked(packed, tensors[name].shape) for name, packed in bits.items()}
        except (OSError, ValueError, KeyError):
            return None
        return cls(tensors, masks, meta["meta"])


def sealed_meta(folder: Path) -> dict[str, Any] | None:
    """The content of the meta file of a net; None where it is not whole, or is of another net."""
    try:
        meta = parse_json((folder / META).read_bytes())
        seal = meta.pop("seal")
        return meta if digest(meta) == seal and meta["digest"] == folder.name else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, PluginError, RecursionError):
        return None


def files_are_whole(folder: Path, meta: Mapping[str, Any]) -> bool:
    """Whether each file has the seal that its meta file gives."""
    try:
        return all(file_sha256(folder / name) == seal for name, seal in meta["seals"].items())
    except OSError:
        return False


def _checked(content: bytes, seal: str) -> bytes:
    if hashlib.sha256(content).hexdigest() != seal:
        raise ValueError("the seal does not hold")
    return content


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors for a checkpoint file: on the CPU, contiguous, each with memory of its own."""
    plain: dict[str, Tensor] = {}
    seen = set[int]()
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        place = own.untyped_storage().data_ptr()
        plain[name] = own.clone() if place in seen else own
        seen.add(place)
    return plain
