"""Packed tensors: pruned weights as bits and values, or as compressed sparse rows, in a safetensors file.

Shapes: R rows, C columns (all further dimensions joined), V unpruned values.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from smc_eval.exported.bits import packed, unpacked

if TYPE_CHECKING:
    from torch import Tensor

Packing = Literal["bitmask", "csr"]
"""`bitmask`: `NAME.bits` and `NAME.values`. `csr`: `NAME.columns`, `NAME.starts` and `NAME.values`."""

MASKS_ALONE = "masks"
"""The packing of a file of masks alone: each has its own name, and its bits."""

METADATA_KEY = "smc_eval"
"""Key of a safetensors file's metadata, under which JSON names the packing and the shapes."""

SIXTEEN_BIT = 2
"""Bytes of a value in bf16 or fp16."""


def metadata(packing: str, shapes: Mapping[str, Any]) -> dict[str, str]:
    """The metadata of a file with packed tensors of these shapes."""
    plain = {name: list(shape) for name, shape in shapes.items()}
    return {"format": "pt", METADATA_KEY: json.dumps({"packing": packing, "shapes": plain})}


def write_masks(path: Path, masks: Mapping[str, Tensor]) -> None:
    """Write masks into one file, as bits, each under its own name.

    Raises:
        OSError, SafetensorError: it cannot be written.
    """
    from safetensors.torch import save_file

    shapes = {name: tuple(mask.shape) for name, mask in masks.items()}
    save_file({name: packed(mask) for name, mask in masks.items()}, path, metadata(MASKS_ALONE, shapes))


def pack_tensors(
    tensors: Mapping[str, Tensor], masks: Mapping[str, Tensor], packing: Packing
) -> dict[str, Tensor]:
    """The tensors as they are stored: those with a mask packed, the others as they are.

    Only unpruned values are stored, so every masked value must be zero.

    Raises:
        ValueError: a masked value is not zero.
    """
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name not in masks:
            stored[name] = tensor
            continue
        mask = masks[name].cpu()
        if bool(tensor[~mask].count_nonzero()):
            raise ValueError(f"{name!r} has values under its mask that are not zero")
        stored[f"{name}.values"] = tensor[mask].contiguous()
        if packing == "bitmask":
            stored[f"{name}.bits"] = packed(mask)
        else:
            stored[f"{name}.columns"], stored[f"{name}.starts"] = _places(mask)
    return stored


def unpack_tensors(stored: dict[str, Tensor], packing: str, shapes: Mapping[str, Any]) -> dict[str, Tensor]:
    """Dense tensors, or bool masks, from those of a file.

    Raises:
        KeyError, RuntimeError, ValueError: a part of a tensor is missing, or does not fit its shape.
    """
    dense = dict(stored)
    for name, shape in shapes.items():
        if packing == MASKS_ALONE:
            dense[name] = unpacked(dense[name], shape)
            continue
        mask = (
            unpacked(dense.pop(f"{name}.bits"), shape)
            if packing == "bitmask"
            else _mask(dense.pop(f"{name}.columns"), dense.pop(f"{name}.starts"), shape)
        )
        values_V = dense.pop(f"{name}.values")
        if int(mask.count_nonzero()) != len(values_V):
            raise ValueError(f"{name!r} has {len(values_V)} values for {int(mask.count_nonzero())} places")
        dense[name] = values_V.new_zeros(tuple(shape)).masked_scatter_(mask, values_V)
    return dense


def read_packed(path: Path) -> dict[str, Tensor]:
    """The dense tensors, or bool masks, of a safetensors file, whether it is packed or not.

    Raises:
        OSError, KeyError, RuntimeError, ValueError, SafetensorError: the file cannot be read, or is broken.
    """
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        told = json.loads((file.metadata() or {}).get(METADATA_KEY, "{}"))
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no dict
    return unpack_tensors(stored, told["packing"], told["shapes"]) if told else stored


def packed_bytes(
    shapes: Mapping[str, tuple[int, int]], packing: Literal["dense", "bitmask", "csr"], width: int, kept: int
) -> int:
    """Bytes of matrices [R, C] with values of `width` bytes, of which `kept` are stored, in a packing.

    The values of `kept` are those of all matrices together; row starts are counted with four bytes.
    """
    sizes = [rows * columns for rows, columns in shapes.values()]
    match packing:
        case "dense":
            return sum(sizes) * width
        case "bitmask":
            return kept * width + sum(math.ceil(size / 8) for size in sizes)
    widest = max((columns for _, columns in shapes.values()), default=1)
    column = 1 if widest <= 2**8 else 2 if widest <= 2**16 else 4
    return kept * (width + column) + sum(4 * (rows + 1) for rows, _ in shapes.values())


def shares_of_dense(
    tensors: Mapping[str, Tensor], masks: Mapping[str, Tensor]
) -> Iterator[tuple[str, float]]:
    """Bytes of the masked tensors as a share of dense ones: with their own values, and with 16-bit values."""
    own = {name: tensors[name] for name in masks if name in tensors}
    if not own:
        return
    shapes = {name: (len(tensor), tensor.numel() // max(1, len(tensor))) for name, tensor in own.items()}
    kept = sum(int(masks[name].count_nonzero()) for name in own)
    widths = {next(iter(own.values())).element_size(), SIXTEEN_BIT}
    for width in sorted(widths, reverse=True):
        dense = packed_bytes(shapes, "dense", width, kept)
        for packing in ("bitmask", "csr"):
            yield f"{packing}, {8 * width}-bit values", packed_bytes(shapes, packing, width, kept) / dense


def _places(mask: Tensor) -> tuple[Tensor, Tensor]:
    """The column of each unpruned value [V], and where each row starts [R + 1], in small integers."""
    import torch

    mask_RC = mask.reshape(len(mask), -1)
    columns_V = mask_RC.nonzero()[:, 1]
    starts = torch.zeros(len(mask_RC) + 1, dtype=torch.long)
    starts[1:] = mask_RC.sum(1).cumsum(0)
    small = (
        torch.uint8
        if mask_RC.shape[1] <= 2**8
        else torch.uint16
        if mask_RC.shape[1] <= 2**16
        else torch.int32
    )
    return columns_V.to(small), starts.to(torch.int32 if int(starts[-1]) < 2**31 else torch.int64)


def _mask(columns_V: Tensor, starts: Tensor, shape: Any) -> Tensor:
    import torch

    counts_R = starts.long().diff()
    rows_V = torch.repeat_interleave(torch.arange(len(counts_R)), counts_R)
    mask_RC = torch.zeros(tuple(shape), dtype=torch.bool).reshape(shape[0], -1)
    mask_RC[rows_V, columns_V.long()] = True
    return mask_RC.view(tuple(shape))
