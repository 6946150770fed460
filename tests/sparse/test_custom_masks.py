"""Custom masks: matched by name, and read from zeros, ones and bits."""

from __future__ import annotations

import pytest
import torch

from smc_eval.errors import SparsityError
from smc_eval.sparse.bits import packed
from smc_eval.sparse.custom_masks import custom_masks, matched_names

OURS = ["words.net.encoder.layer.0.out.weight", "words.net.encoder.layer.1.out.weight", "tree.out.weight"]


def test_equal_names_are_matched_alone() -> None:
    assert matched_names(["a.weight", "b.weight"], ["b.weight", "x.a.weight"]) == {"b.weight": "b.weight"}


WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_parts_that_wrappers_add_anywhere_in_a_name_do_not_count(wrapper: str) -> None:
    theirs = {name: name.replace("encoder.layer.0", f"encoder.{wrapper}.layer.0.{wrapper}") for name in OURS}
    assert matched_names(OURS, list(theirs.values())) == theirs
    assert matched_names(list(theirs.values()), OURS) == {there: here for here, there in theirs.items()}


def test_two_names_that_differ_only_in_a_wrapper_are_refused() -> None:
    with pytest.raises(SparsityError, match=r"'a\.weight' and 'module\.a\.weight' are of one weight"):
        matched_names(["a.weight"], ["a.weight", "module.a.weight"])


@pytest.mark.parametrize("prefix", ["bert.", "", "module.bert."])
def test_prefixes_on_both_sides_may_differ(prefix: str) -> None:
    theirs = [f"{prefix}encoder.layer.{n}.out.weight" for n in (0, 1)]
    assert matched_names(OURS, [*theirs, "cls.bias"]) == dict(zip(OURS[:2], theirs, strict=True))


def test_one_pair_of_prefixes_holds_for_all_names() -> None:
    theirs = ["bert.encoder.layer.0.out.weight", "bert.encoder.layer.1.out.weight", "cls.out.weight"]
    assert "tree.out.weight" not in matched_names(OURS, theirs)


def test_names_with_two_equally_good_matches_are_refused() -> None:
    ours = [f"net.layer.{n}.weight" for n in range(3)]
    theirs = [f"{side}.layer.{n}.weight" for side in ("encoder", "decoder") for n in range(3)]
    with pytest.raises(
        SparsityError, match=r"'net.…' could be 'encoder.…', or 'net.…' be 'decoder.…', for 3"
    ):
        matched_names(ours, theirs)


def test_the_error_for_names_without_a_match_lists_both_sides() -> None:
    with pytest.raises(
        SparsityError,
        match="no given name matches a name in scope: given 'x.y.z'; in scope 'words.* and 1 more",
    ):
        matched_names(OURS, ["x.y.z"])
    with pytest.raises(SparsityError, match="given nothing"):
        matched_names(OURS, [])
    with pytest.raises(SparsityError, match="no given name"):
        matched_names(["a.weight"], ["b.weight"])  # the name of the parameter alone is no match


WEIGHTS = {"a.weight": torch.ones(2, 3), "b.weight": torch.ones(2, 2)}
MASK = torch.tensor([[1, 0, 1], [0, 1, 1]])


def test_weights_that_are_exactly_zero_are_pruned() -> None:
    given = {"a.weight": torch.tensor([[0.5, 0.0, -0.0], [1e-30, -2.0, 0.0]])}
    masks = custom_masks(WEIGHTS, given, "weights").masks
    assert masks["a.weight"].int().tolist() == [[1, 0, 0], [1, 1, 0]]
    assert bool(masks["b.weight"].all()) and masks["a.weight"].dtype == torch.bool


def test_the_names_of_a_net_itself_are_never_taken_for_parts_of_a_pair() -> None:
    own = {"a.parametrizations.weight.original": MASK.float(), "b.weight_orig": torch.ones(2, 2)}
    masks = custom_masks(own, own, "weights").masks
    assert torch.equal(masks["a.parametrizations.weight.original"], MASK.bool())
    assert bool(masks["b.weight_orig"].all())


@pytest.mark.parametrize(
    "mask", [MASK.bool(), MASK.to(torch.uint8), MASK.float(), MASK.bfloat16(), packed(MASK.bool())]
)
def test_masks_may_be_bools_numbers_or_bits(mask: torch.Tensor) -> None:
    assert torch.equal(custom_masks(WEIGHTS, {"a.weight": mask}, "masks").masks["a.weight"], MASK.bool())


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        (
            torch.ones(2, 3),
            "weights",
            "prune nothing in scope: 1 of 2 tensors in scope found, and none of them is exactly zero",
        ),
        (
            torch.ones(2, 3).bool(),
            "masks",
            "prune nothing in scope: 1 of 2 tensors in scope found, and every mask is all ones",
        ),
        (
            torch.zeros(3, 2),
            "weights",
            r"the given 'a.weight' is \(3, 2\), but 'a.weight' of the net is \(2, 3\)",
        ),
        (torch.zeros(3, 2).bool(), "masks", r"'a.weight' is \(3, 2\)"),
        (torch.full((2, 3), 0.5), "masks", "mask 'a.weight' has values other than 0 and 1"),
        (torch.full((2, 3), torch.nan), "masks", "mask 'a.weight' has values other than 0 and 1"),
    ],
)
def test_unusable_tensors_are_refused_by_name(given: torch.Tensor, kind: str, message: str) -> None:
    with pytest.raises(SparsityError, match=message):
        custom_masks(WEIGHTS, {"a.weight": given}, kind)  # type: ignore[arg-type]
