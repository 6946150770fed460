"""Pruned weights and masks of other libraries become plain ones."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from smc_eval.errors import SparsityError
from smc_eval.sparse.custom_masks import custom_masks
from smc_eval.sparse.foreign_masks import without_foreign_forms

W, OTHER = "layer.0.dense.weight", "layer.1.dense.weight"

# 2 rows of 10 columns: bits 0 and 9 of the first row, bits 1 and 8 of the second
BITS = torch.tensor([[0b0000_0001, 0b10], [0b0000_0010, 0b01]], dtype=torch.uint8)
MASK = torch.zeros(2, 10, dtype=torch.bool)
MASK[0, 0] = MASK[0, 9] = MASK[1, 1] = MASK[1, 8] = True


def packed(**changes: Tensor) -> dict[str, Tensor]:
    """The weight as `sparse-bitmask` stores it."""
    parts = {
        "shape": torch.tensor([2, 10]),
        "compressed": torch.tensor([1.0, 2.0, 3.0, 4.0]),
        "bitmask": BITS,
        "row_offsets": torch.tensor([0, 2]),
    }
    return {f"{W}.{part}": value for part, value in (parts | changes).items()} | {OTHER: torch.ones(3, 3)}


def test_a_bitmask_and_its_values_become_the_weight() -> None:
    plain = without_foreign_forms(packed(), "weights")
    expected = torch.zeros(2, 10)
    expected[0, 0], expected[0, 9], expected[1, 1], expected[1, 8] = 1, 2, 3, 4
    assert plain.keys() == {W, OTHER} and torch.equal(plain[W], expected)


def test_a_bitmask_alone_is_a_mask() -> None:
    plain = without_foreign_forms({f"{W}.bitmask": BITS, f"{W}.shape": torch.tensor([2, 10])}, "masks")
    assert plain.keys() == {W} and torch.equal(plain[W], MASK)


def test_the_masks_of_a_packed_net_are_found_by_name() -> None:
    weights = {f"encoder.{W}": torch.ones(2, 10), f"encoder.{OTHER}": torch.ones(3, 3)}
    masks = custom_masks(weights, without_foreign_forms(packed(), "weights"), "weights").masks
    assert torch.equal(masks[f"encoder.{W}"], MASK) and bool(masks[f"encoder.{OTHER}"].all())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"compressed": torch.ones(3)}, "has 3 values for 4 bits"),
        ({"bitmask": BITS[:, :1]}, r"the bitmask of .* is \(2, 1\); for a weight \(2, 10\) it is \(2, 2\)"),
        ({"bitmask": BITS.int()}, "bitmask' of bytes"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes: dict[str, Tensor], words: str) -> None:
    with pytest.raises(SparsityError, match=words):
        without_foreign_forms(packed(**changes), "weights")


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        (f"__nncf_hooks.post_hooks.{W.replace('.', ':')}__0.0.binary_mask", MASK),
        (f"__nncf_hooks.post_hooks.{W.replace('.', ':')}__0.0.mask", MASK.float() * 9 - 4.5),
        ("layer.0.dense.pre_ops.0.op._binary_mask", MASK.float()),
    ],
)
def test_a_mask_of_nncf_is_set_on_its_weight(name: str, stored: Tensor) -> None:
    tensors = {W: torch.full((2, 10), 7.0), name: stored, OTHER: torch.ones(3, 3)}
    plain = without_foreign_forms(tensors, "weights")
    assert plain.keys() == {W, OTHER} and torch.equal(plain[W], 7.0 * MASK)
    assert torch.equal(without_foreign_forms({name: stored}, "masks")[W], MASK)


def test_a_mask_of_nncf_without_its_weight_is_refused() -> None:
    with pytest.raises(SparsityError, match="is not in the file, or has another shape"):
        without_foreign_forms({"layer.0.dense.pre_ops.0.op._binary_mask": MASK}, "weights")


def test_plain_tensors_stay_as_they_are() -> None:
    tensors = {W: torch.ones(2, 2), "attention.mask": torch.ones(2), "bert.shape": torch.ones(1)}
    assert without_foreign_forms(tensors, "weights") == tensors
