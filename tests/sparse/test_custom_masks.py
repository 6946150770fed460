"""Masks that are given: found under other names, read from zeros, ones and bits."""

from __future__ import annotations

import pytest
import torch

from smc_eval.errors import SparsityError
from smc_eval.sparse.bits import packed
from smc_eval.sparse.custom_masks import custom_masks, paired

OURS = ["words.net.encoder.layer.0.out.weight", "words.net.encoder.layer.1.out.weight", "tree.out.weight"]


def test_equal_names_belong_together_and_nothing_else_then() -> None:
    assert paired(["a.weight", "b.weight"], ["b.weight", "x.a.weight"]) == {"b.weight": "b.weight"}


@pytest.mark.parametrize("beginning", ["bert.", "", "module.bert."])
def test_a_beginning_on_either_side_may_differ(beginning: str) -> None:
    theirs = [f"{beginning}encoder.layer.{n}.out.weight" for n in (0, 1)]
    assert paired(OURS, [*theirs, "cls.bias"]) == dict(zip(OURS[:2], theirs, strict=True))


def test_one_pair_of_beginnings_holds_for_all_so_that_no_head_is_taken_for_another() -> None:
    theirs = ["bert.encoder.layer.0.out.weight", "bert.encoder.layer.1.out.weight", "cls.out.weight"]
    assert "tree.out.weight" not in paired(OURS, theirs)


def test_names_that_could_be_two_are_ambiguous() -> None:
    ours = [f"net.layer.{n}.weight" for n in range(3)]
    theirs = [f"{side}.layer.{n}.weight" for side in ("encoder", "decoder") for n in range(3)]
    with pytest.raises(
        SparsityError, match=r"'net.…' could be 'encoder.…', or 'net.…' be 'decoder.…', for 3"
    ):
        paired(ours, theirs)


def test_names_that_fit_nothing_are_told_from_either_side() -> None:
    with pytest.raises(
        SparsityError, match="no name .* fits one in scope: given 'x.y.z'; in scope 'words.* and 1 more"
    ):
        paired(OURS, ["x.y.z"])
    with pytest.raises(SparsityError, match="given nothing"):
        paired(OURS, [])
    with pytest.raises(SparsityError, match="no name"):
        paired(["a.weight"], ["b.weight"])  # a parameter's name alone says nothing


WEIGHTS = {"a.weight": torch.ones(2, 3), "b.weight": torch.ones(2, 2)}
MASK = torch.tensor([[1, 0, 1], [0, 1, 1]])


def test_of_weights_what_is_exactly_zero_goes() -> None:
    found = {"a.weight": torch.tensor([[0.5, 0.0, -0.0], [1e-30, -2.0, 0.0]])}
    masks = custom_masks(WEIGHTS, found, "weights")
    assert masks["a.weight"].int().tolist() == [[1, 0, 0], [1, 1, 0]]
    assert bool(masks["b.weight"].all()) and masks["a.weight"].dtype == torch.bool


@pytest.mark.parametrize(
    "mask", [MASK.bool(), MASK.to(torch.uint8), MASK.float(), MASK.bfloat16(), packed(MASK.bool())]
)
def test_masks_may_be_truths_numbers_or_bits(mask: torch.Tensor) -> None:
    assert torch.equal(custom_masks(WEIGHTS, {"a.weight": mask}, "masks")["a.weight"], MASK.bool())


@pytest.mark.parametrize(
    ("found", "kind", "told"),
    [
        (
            torch.ones(2, 3),
            "weights",
            "prune nothing in scope: no weight that they hold is exactly zero, in 1",
        ),
        (torch.ones(2, 3).bool(), "masks", "prune nothing in scope: every mask is all ones"),
        (torch.zeros(3, 2), "weights", r"'a.weight' is \(3, 2\) in what is given, \(2, 3\) as 'a.weight'"),
        (torch.zeros(3, 2).bool(), "masks", r"'a.weight' is \(3, 2\)"),
        (torch.full((2, 3), 0.5), "masks", "mask 'a.weight' holds other values than 0 and 1"),
        (torch.full((2, 3), torch.nan), "masks", "mask 'a.weight' holds other values than 0 and 1"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(found: torch.Tensor, kind: str, told: str) -> None:
    with pytest.raises(SparsityError, match=told):
        custom_masks(WEIGHTS, {"a.weight": found}, kind)  # type: ignore[arg-type]
