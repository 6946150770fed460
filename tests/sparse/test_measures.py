"""Measures of a finished net: stored bytes, weight change, dead units, mask samples."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from smc_eval.engine.certify import count_and_check, dead_units
from smc_eval.sparse.mask_sample import MAX_PLACES, sample_masks, sample_places
from smc_eval.sparse.net import Net
from smc_eval.sparse.stored_size import integer_width, stored_bytes
from smc_eval.sparse.weight_change import weight_change
from smc_eval.store.mask_samples import MaskSample, MaskSamples, iou
from smc_eval.target import Target


def bits(*rows: list[int]) -> Tensor:
    return torch.tensor(rows).bool()


def test_stored_bytes_are_those_of_values_bits_columns_and_rows() -> None:
    model = nn.Sequential(nn.Linear(300, 2), nn.Linear(2, 1))
    net = Net(model, ("0.weight",))
    rest = 4 * (2 + 2 + 1)
    # no mask: 600 values of 4 bytes; columns up to 299 and row starts up to 600 take 2 bytes each
    assert stored_bytes(net) == {
        "dense": 2400 + rest,
        "bitmask": 2400 + 75 + rest,
        "csr": 600 * (4 + 2) + 3 * 2 + rest,
    }
    mask = torch.zeros(2, 300).bool()
    mask[0, :10] = True
    net.set_masks({"0.weight": mask})
    assert stored_bytes(net) == {
        "dense": 2400 + rest,
        "bitmask": 40 + 75 + rest,
        "csr": 10 * 6 + 3 * 1 + rest,
    }


def test_tied_weights_are_stored_once_and_half_precision_takes_half() -> None:
    first, second = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
    second.weight = first.weight
    assert stored_bytes(Net(nn.Sequential(first, second).half(), ("0.weight",)))["dense"] == 32


@pytest.mark.parametrize(("largest", "width"), [(0, 1), (255, 1), (256, 2), (65536, 4), (2**32, 8)])
def test_an_integer_is_stored_in_the_fewest_bytes(largest: int, width: int) -> None:
    assert integer_width(largest) == width


def test_weight_change_by_hand_with_and_without_pruned_weights() -> None:
    model = nn.Linear(2, 2, bias=False)
    net = Net(model, ("weight",))
    start = {"weight": torch.tensor([[3.0, 4.0], [0.0, 0.0]])}
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[3.0, 5.0], [0.0, 0.0]]))
    assert weight_change(net, start)["scope"] == weight_change(net, start)["scope_remaining"] == 1 / 5
    net.set_masks({"weight": bits([0, 1], [1, 1])})
    change = weight_change(net, start)
    assert change["scope"] == change["tensors"]["weight"] == math.sqrt(3**2 + 1) / 5
    assert change["scope_remaining"] == change["tensors_remaining"]["weight"] == 1 / 4


def test_weight_change_from_zero_is_unknown() -> None:
    net = Net(nn.Linear(2, 2, bias=False), ("weight",))
    assert weight_change(net, {"weight": torch.zeros(2, 2)})["scope"] is None


def test_dead_rows_and_columns_and_channels_of_a_convolution_are_counted() -> None:
    assert dead_units(bits([1, 0, 0], [0, 0, 0])) == (1, 2)
    kernel = torch.zeros(2, 3, 2).bool()
    kernel[1, 2, 0] = True
    assert dead_units(kernel) == (1, 2)
    net = Net(nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1)), ("0.weight", "1.weight"))
    assert count_and_check(net, None).dead_units == {}
    net.set_masks({"0.weight": bits([1, 0, 0], [0, 0, 0]), "1.weight": bits([1, 1])})
    assert count_and_check(net, None).dead_units == {"0.weight": (1, 2)}


def test_a_failed_certificate_lists_its_faults() -> None:
    net = Net(nn.Linear(8, 2, bias=False), ("weight",))
    net.set_masks({"weight": bits([1, 1, 1, 0, 1, 0, 0, 0], [1, 1, 0, 0, 1, 1, 0, 0])})
    target = Target.parse("2:4")
    assert count_and_check(net, target).failed == ("groups that are not 2:4 in weight",)
    with torch.no_grad():
        net.parameters["weight"][0, 3:8:2] = torch.tensor([0.5, -2.0, 0.0])
        net.parameters["weight"][0, 0] = torch.nan
    assert count_and_check(net, Target(sparsity=0.25)).failed == (
        "8 weights remain, 12 expected",
        "2 weights under masks are not zero; the largest is 2",
        "some weights are not finite numbers",
    )
    assert count_and_check(net, Target(sparsity=0.25)).ok is False


def random_mask(density: float, seed: int, shape: tuple[int, ...] = (40, 30)) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < density


def exact_iou(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    both = sum(int((a[name] & b[name]).sum()) for name in a)
    return both / sum(int((a[name] | b[name]).sum()) for name in a)


def sampled(masks: dict[str, Tensor]) -> dict[str, MaskSample]:
    return {name: MaskSample.read(*parts) for name, parts in sample_masks(masks).items()}


def test_agreement_is_exact_if_every_place_is_sampled() -> None:
    first = {"a": random_mask(0.3, 0), "b": random_mask(0.5, 1, (7, 3))}
    second = {"a": random_mask(0.4, 2), "b": random_mask(0.1, 3, (7, 3))}
    assert iou(sampled(first), sampled(second)) == pytest.approx((exact_iou(first, second), 0.0))
    assert iou(sampled(first), sampled(first)) == (1.0, 0.0)


def test_agreement_by_hand() -> None:
    first, second = sampled({"a": bits([1, 1, 0, 0])}), sampled({"a": bits([1, 0, 1, 0])})
    assert iou(first, second) == (1 / 3, 0.0)
    assert math.isnan(iou(sampled({"a": bits([0, 0])}), sampled({"a": bits([0, 0])}))[0])
    assert math.isnan(iou(first, sampled({"b": bits([1, 0, 1, 0])}))[0])


def test_estimated_agreement_lies_within_its_errors_of_the_exact_one() -> None:
    misses = []
    for trial in range(60):
        shared = random_mask(0.1, trial, (300, 400))
        first = {
            f"{trial} a": shared | random_mask(0.05, trial + 100, (300, 400)),
            "b": random_mask(0.3, trial + 1000),
        }
        second = {
            f"{trial} a": shared | random_mask(0.1, trial + 200, (300, 400)),
            "b": random_mask(0.5, trial + 2000),
        }
        value, error = iou(sampled(first), sampled(second))
        assert 0 < error < 0.05
        misses.append((value - exact_iou(first, second)) / error)
    deviation = math.sqrt(sum(miss**2 for miss in misses) / len(misses))
    assert 0.75 < deviation < 1.25 and abs(sum(misses) / len(misses)) < 0.4


def test_sampled_places_depend_on_name_and_shape_alone() -> None:
    assert sample_places("a", (3, 2)).tolist() == [0, 1, 2, 3, 4, 5]
    assert sample_places("w", (100, 100)).tolist() != sample_places("v", (100, 100)).tolist()
    assert sample_places("w", (100, 100)).tolist() != sample_places("w", (50, 200)).tolist()
    at = sample_places("w", (1000, 1000))
    assert len(at) == MAX_PLACES and at.min() >= 0 and at.max() < 10**6
    assert abs(at.mean() / 10**6 - 0.5) < 0.03 and len(set(at.tolist())) > 0.99 * MAX_PLACES


def test_sampled_places_are_those_of_splitmix64_from_the_hash_of_name_and_shape() -> None:
    state = int.from_bytes(hashlib.sha256(b"encoder.weight(64, 64)").digest()[:8], "little")
    expected = []
    for _ in range(5):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        mixed = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB % 2**64
        expected.append((mixed ^ (mixed >> 31)) % 4096)
    assert (
        sample_places("encoder.weight", (64, 64))[:5].tolist() == expected == [2312, 3128, 2960, 1645, 3837]
    )


def test_mask_samples_are_loaded_as_saved_or_not_at_all(tmp_path: Path) -> None:
    masks = {"a": random_mask(0.3, 0)}
    samples = MaskSamples(tmp_path)
    assert samples.load("d") is None
    samples.save("d", sample_masks(masks))
    assert MaskSamples(tmp_path).load("d") == sampled(masks)
    samples._path("d").write_bytes(samples._path("d").read_bytes()[:-5])
    assert samples.load("d") is None


def test_mask_samples_of_300_large_tensors_take_less_than_60_kilobytes(tmp_path: Path) -> None:
    masks = {f"encoder.layer.{n}.dense.weight": random_mask(0.1, n, (256, 64)) for n in range(300)}
    MaskSamples(tmp_path).save("d", sample_masks(masks))
    assert MaskSamples(tmp_path)._path("d").stat().st_size < 60_000
