"""Plain tensors: each form that a library stores pruned weights in comes to the same zeros."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.ao.pruning import WeightNormSparsifier
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from smc_eval.errors import SparsityError
from smc_eval.sparse.custom_masks import custom_masks
from smc_eval.sparse.plain_tensors import find_state_dict, plain_tensors


class Small(nn.Module):
    """A linear map, a GRU, an attention and a convolution."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.gru = nn.Linear(6, 4), nn.GRU(4, 3)
        self.attention, self.conv = nn.MultiheadAttention(4, 2), nn.Conv1d(4, 2, 3)

    def half_pruned(self, *, permanent: int) -> dict[str, Tensor]:
        """The state dict after torch's pruning, which is made permanent in so many parts."""
        parts = [
            (self.linear, "weight"),
            (self.gru, "weight_hh_l0"),
            (self.attention, "in_proj_weight"),
            (self.conv, "weight"),
        ]
        for number, (part, name) in enumerate(parts):
            prune.l1_unstructured(part, name, 0.5)
            if number < permanent:
                prune.remove(part, name)
        return self.state_dict()


WHOLE = Small().half_pruned(permanent=4)
WEIGHTS = {name: torch.ones_like(weight) for name, weight in WHOLE.items() if weight.ndim > 1}
MASKS = {name: WHOLE[name] != 0 for name in WEIGHTS}


@pytest.mark.parametrize("permanent", [0, 1, 2, 3])
def test_weights_under_torchs_masks_are_those_that_it_makes_permanent(permanent: int) -> None:
    given = Small().half_pruned(permanent=permanent)
    assert any(name.endswith("_orig") for name in given)
    plain = plain_tensors(given, "weights")
    assert plain.keys() == WHOLE.keys()
    assert all(torch.equal(plain[name], weight) for name, weight in WHOLE.items())
    made = custom_masks(WEIGHTS, given, "weights")
    assert all(torch.equal(made.masks[name], mask) for name, mask in MASKS.items())
    assert made.coverage == f"{len(MASKS)} of {len(MASKS)} tensors in scope found"


def test_masks_of_torchs_pruning_can_be_given_as_masks() -> None:
    given = {name: part for name, part in Small().half_pruned(permanent=0).items() if name.endswith("_mask")}
    made = custom_masks(WEIGHTS, given, "masks")
    assert set(made.matched) == {name.removesuffix("_mask") for name in given}
    assert all(torch.equal(made.masks[name], MASKS[name]) for name in made.matched)


def test_a_net_under_torchs_sparsifier_lacks_its_masks_and_is_refused() -> None:
    net = nn.Sequential(nn.Linear(8, 4))
    sparsifier = WeightNormSparsifier(sparsity_level=0.5, sparse_block_shape=(1, 1))
    sparsifier.prepare(net, [{"tensor_fqn": "0.weight"}])
    sparsifier.step()
    with pytest.raises(SparsityError, match="'0.parametrizations.weight.original' is part of a parametrized"):
        plain_tensors(net.state_dict(), "weights")
    sparsifier.squash_mask()
    assert int((plain_tensors(net.state_dict(), "weights")["0.weight"] == 0).sum()) == 16


@pytest.mark.filterwarnings("ignore")  # the old forms are deprecated, and files have them
@pytest.mark.parametrize("norm", [weight_norm, parametrizations.weight_norm, spectral_norm])
def test_a_normed_weight_is_zero_where_its_parts_are(norm: Callable[..., nn.Module]) -> None:
    linear = nn.Linear(6, 4)
    with torch.no_grad():
        linear.weight.view(-1)[::3] = 0
    expected = linear.weight != 0
    made = custom_masks({"weight": torch.ones(4, 6)}, norm(linear).state_dict(), "weights")
    assert torch.equal(made.masks["weight"], expected)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "coo": Tensor.to_sparse,
    "csr": Tensor.to_sparse_csr,
    "csc": Tensor.to_sparse_csc,
    "bsr": lambda weight: weight.to_sparse_bsr((2, 2)),
    "float8": lambda weight: weight.to(torch.float8_e4m3fn),
    "quantized": lambda weight: torch.quantize_per_tensor(weight, 0.1, 3, torch.qint8),
}


@pytest.mark.filterwarnings("ignore")  # torch calls some layouts experimental
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_has_the_zeros_of_the_dense_tensor(layout: str) -> None:
    weight = torch.tensor([[1.0, 0, 0, -2.0], [0, 0, 3.0, 0], [0, 0, 0, 0], [0.5, 0, 0, 1.0]])
    made = custom_masks({"a.weight": weight}, {"a.weight": LAYOUTS[layout](weight)}, "weights")
    assert torch.equal(made.masks["a.weight"], weight != 0)


ONES = torch.ones(2, 3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"a.weight_orig": ONES}, "'a.weight_orig' has no mask of 'a.weight' beside it; give the whole file"),
        ({"a.weight_mask": ONES}, "'a.weight_mask' has no value of 'a.weight' beside it"),
        (
            {"a.weight_orig": ONES, "a.weight_mask": torch.ones(3, 2)},
            r"'a.weight_mask' is \(3, 2\), but 'a.weight_orig' is \(2, 3\)",
        ),
        (
            {"a.weight": ONES, "a.weight_orig": ONES, "a.weight_mask": ONES},
            "'a.weight' twice: also as 'a.weight_orig'",
        ),
        ({"a.parametrizations.weight.original": ONES}, "is part of a parametrized weight"),
        ({"a.weight": ONES, "a.lora_A.default.weight": ONES}, "is of an adapter, .*; merge it first"),
        ({"a.weight": ONES.to("meta")}, r"has a shape and no values \(device 'meta'\)"),
    ],
)
def test_parts_that_do_not_make_a_weight_are_refused_by_name(given: dict[str, Tensor], message: str) -> None:
    with pytest.raises(SparsityError, match=message):
        plain_tensors(given, "weights")


def test_a_state_dict_is_found_wherever_it_is_and_never_guessed() -> None:
    state = {"a.weight": ONES, "a.bias": torch.ones(2)}
    assert find_state_dict(state) == state
    assert find_state_dict({"state_dict": {**state, "_extra_state": None}, "step": torch.tensor(3)}) == state
    assert find_state_dict({"run": {"model": state}, "optimizer": {"state": {0: {"m": ONES}}}}) == state
    packed = {"a.weight": torch.ones(1, dtype=torch.uint8)}
    assert find_state_dict(packed) == packed
    with pytest.raises(ValueError, match="several: 'generator', 'judge'; save one of them alone"):
        find_state_dict({"generator": state, "judge": state})
    for nothing in (None, 3, [ONES], {}, {"a": 1}, {0: ONES}):
        with pytest.raises(ValueError, match="it must map names to tensors"):
            find_state_dict(nothing)
