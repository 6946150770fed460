"""Packed tensors: they come back bit for bit, in the sizes that the documentation names."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from smc_eval.exported.packed_tensors import (
    MASKS_ALONE,
    metadata,
    pack_tensors,
    packed_bytes,
    read_packed,
    shares_of_dense,
)
from smc_eval.sparse.bits import packed

Reader = Callable[[str], dict[str, Tensor]]


@pytest.fixture(scope="session")
def reader(root: Path) -> Reader:
    """The reader of the documentation."""
    page = (root / "docs/take-home.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(import json\n.*?)```", page, re.DOTALL)
    assert len(code.partition("def read")[2].splitlines()) <= 20
    space: dict[str, Any] = {}
    exec(code, space)
    found: Reader = space["read"]
    return found


def masked(
    shape: tuple[int, ...], density: float, dtype: torch.dtype, seed: int = 0
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(shape, generator=generator) < density
    weight = torch.randn(shape, generator=generator).to(dtype)
    return weight.masked_fill(~mask, 0), mask


@given(
    shape=st.lists(st.integers(1, 7), min_size=2, max_size=4).map(tuple),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    packing=st.sampled_from(["bitmask", "csr"]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
)
def test_packed_weights_come_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory,
    reader: Reader,
    shape: tuple[int, ...],
    density: float,
    packing: Any,
    dtype: torch.dtype,
) -> None:
    path = tmp_path_factory.mktemp("packed") / "packed.safetensors"
    weight, mask = masked(shape, density, dtype)
    tensors = {"a.weight": weight, "a.bias": torch.ones(3)}
    save_file(
        pack_tensors(tensors, {"a.weight": mask}, packing), path, metadata(packing, {"a.weight": shape})
    )
    for read in (read_packed(path), reader(str(path))):
        assert read.keys() == tensors.keys()
        assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())
        assert read["a.weight"].dtype == dtype


def test_columns_above_a_byte_and_above_two_are_kept(tmp_path: Path, reader: Reader) -> None:
    for columns in (256, 257, 65_536, 65_537):
        weight = torch.zeros(2, columns)
        weight[0, -1], weight[1, 0] = 1.5, -2.5
        path = tmp_path / f"{columns}.safetensors"
        save_file(
            pack_tensors({"w": weight}, {"w": weight != 0}, "csr"), path, metadata("csr", {"w": (2, columns)})
        )
        assert torch.equal(read_packed(path)["w"], weight) and torch.equal(reader(str(path))["w"], weight)


def test_masks_alone_come_back_as_bool(tmp_path: Path, reader: Reader) -> None:
    _, mask = masked((3, 5), 0.4, torch.float32)
    save_file({"w": packed(mask)}, tmp_path / "m.safetensors", metadata(MASKS_ALONE, {"w": (3, 5)}))
    for read in (read_packed(tmp_path / "m.safetensors"), reader(str(tmp_path / "m.safetensors"))):
        assert read["w"].dtype == torch.bool and torch.equal(read["w"], mask)


def test_the_reader_of_the_documentation_reads_plain_files_too(tmp_path: Path, reader: Reader) -> None:
    save_file({"w": torch.arange(3.0)}, tmp_path / "plain.safetensors")
    assert torch.equal(reader(str(tmp_path / "plain.safetensors"))["w"], torch.arange(3.0))


def test_a_value_under_its_mask_is_not_lost_in_silence() -> None:
    with pytest.raises(ValueError, match="'w' has values under its mask that are not zero"):
        pack_tensors({"w": torch.ones(2, 2)}, {"w": torch.eye(2).bool()}, "bitmask")


def test_a_file_that_lacks_values_is_an_error(tmp_path: Path) -> None:
    weight, mask = masked((4, 4), 0.5, torch.float32)
    stored = pack_tensors({"w": weight}, {"w": mask}, "bitmask")
    stored["w.values"] = stored["w.values"][:-1]
    save_file(stored, tmp_path / "short.safetensors", metadata("bitmask", {"w": (4, 4)}))
    with pytest.raises(ValueError, match="values for"):
        read_packed(tmp_path / "short.safetensors")


@pytest.mark.parametrize(("dtype", "most"), [(torch.bfloat16, 0.17), (torch.float32, 0.14)])
def test_a_bitmask_at_nine_tenths_takes_at_most_17_per_cent_of_bf16(dtype: torch.dtype, most: float) -> None:
    weight = torch.randn(768, 768).to(dtype)
    mask = torch.zeros(768 * 768, dtype=torch.bool)
    mask[torch.randperm(mask.numel())[: round(0.1 * mask.numel())]] = True
    mask = mask.view(768, 768)
    weight = weight.masked_fill(~mask, 0)
    stored = pack_tensors({"w": weight}, {"w": mask}, "bitmask")
    share = sum(tensor.nbytes for tensor in stored.values()) / weight.nbytes
    assert share <= most
    shares = dict(shares_of_dense({"w": weight}, {"w": mask}))
    width = 8 * weight.element_size()
    assert shares[f"bitmask, {width}-bit values"] == pytest.approx(share, rel=1e-6)
    csr = pack_tensors({"w": weight}, {"w": mask}, "csr")
    bytes_csr = sum(tensor.nbytes for tensor in csr.values())
    assert shares[f"csr, {width}-bit values"] == pytest.approx(bytes_csr / weight.nbytes, rel=1e-6)


def test_bytes_by_hand() -> None:
    shapes = {"a": (2, 8), "b": (3, 3)}  # 16 and 9 values, 5 of them stored
    assert packed_bytes(shapes, "dense", 4, 5) == 25 * 4
    assert packed_bytes(shapes, "bitmask", 4, 5) == 5 * 4 + 2 + 2
    assert packed_bytes(shapes, "csr", 2, 5) == 5 * (2 + 1) + 4 * 3 + 4 * 4
