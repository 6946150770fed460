"""Packed maps: 2:4 weights in predictions on a GPU. Without a GPU, dense products stand for packed ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from smc_eval.sparse.kernels import packed, switch
from smc_eval.sparse.kernels.choice import ALL_DENSE, Choice, KernelQuestion
from smc_eval.sparse.kernels.forms import SemiStructured
from smc_eval.sparse.kernels.packed import PACKED, PackedMap, measured_packing, why_not_packed
from smc_eval.sparse.kernels.switch import Switch
from smc_eval.sparse.net import Net
from smc_eval.sparse.operations import Counting, Operations
from smc_eval.sparse.pattern import grouped

CPU = torch.device("cpu")


def packing(_: KernelQuestion) -> Choice:
    return Choice(predicting=PACKED)


def measuring(question: KernelQuestion) -> Choice:
    """Multiplies before it answers, as a crossover does."""
    measured_packing(question, CPU)
    return Choice(predicting=PACKED)


@pytest.fixture
def packs(monkeypatch: pytest.MonkeyPatch) -> list[torch.dtype]:
    """The types of the weights that were packed."""
    found: list[torch.dtype] = []

    def prepare(form: SemiStructured, weight_OI: Tensor) -> None:
        found.append(weight_OI.dtype)
        form.weight_OI = weight_OI.clone()

    monkeypatch.setattr(SemiStructured, "prepare", prepare)
    monkeypatch.setattr(switch, "is_on_gpu", lambda _: True)
    return found


def two_of_four(model: nn.Module) -> Net:
    torch.manual_seed(0)
    net = Net(model, [name for name, weight in model.named_parameters() if weight.ndim == 2])
    net.set_masks({name: grouped(torch.rand_like(weight), 2, 4) for name, weight in net.weights.items()})
    return net


def half() -> torch.autocast:
    return torch.autocast("cpu", dtype=torch.bfloat16)


def test_in_half_precision_the_outputs_are_those_of_the_dense_map(packs: list[torch.dtype]) -> None:
    net, x = two_of_four(nn.Sequential(nn.Linear(64, 32))), torch.randn(3, 5, 64)
    with torch.no_grad(), half():
        dense = net.model(x)
        with Switch(net, packing).on() as ran:
            found = net.model(x)
    assert ran == {"0.weight"} and packs == [torch.bfloat16]
    assert found.dtype == dense.dtype == torch.bfloat16
    assert torch.allclose(found.float(), dense.float(), atol=0.02)


@pytest.mark.parametrize("why", ["fp32", "gradients", "dense is faster", "no rows"])
def test_all_else_is_dense(packs: list[torch.dtype], why: str) -> None:
    net, x = two_of_four(nn.Sequential(nn.Linear(64, 32))), torch.randn(0 if why == "no rows" else 5, 64)
    choose = packing if why != "dense is faster" else lambda _: ALL_DENSE
    with torch.set_grad_enabled(why == "gradients"), torch.autocast("cpu", torch.bfloat16, why != "fp32"):
        wanted = net.model(x)
        with Switch(net, choose).on() as ran:
            found = net.model(x)
    assert ran == set() and packs == [] and torch.equal(found, wanted)


def test_weights_are_packed_once_for_a_prediction_and_again_when_they_change(
    packs: list[torch.dtype],
) -> None:
    net, x = two_of_four(nn.Sequential(nn.Linear(64, 32, bias=False))), torch.randn(5, 64)
    one = Switch(net, packing)

    def passed() -> Tensor:
        with torch.no_grad(), half(), one.on():
            return net.model(x)

    first = passed()
    assert torch.equal(passed(), first) and len(packs) == 1
    with torch.no_grad():
        net.model[0].weight.mul_(2)
    assert torch.equal(passed(), 2 * first) and len(packs) == 2
    one.forget()
    net.model[0].weight.data.mul_(2)  # a write that torch does not count, between two predictions
    assert torch.equal(passed(), 4 * first) and len(packs) == 3


def test_weights_that_are_not_two_of_four_are_not_packed(packs: list[torch.dtype]) -> None:
    net, x = two_of_four(nn.Sequential(nn.Linear(64, 32))), torch.randn(5, 64)
    with torch.no_grad(), half():
        net.model[0].weight.fill_(1.0)  # under masks that say otherwise
        wanted = net.model(x)
        with Switch(net, packing).on() as ran:
            found = net.model(x)
    assert ran == set() and packs == [] and torch.equal(found, wanted)


def test_rows_that_are_no_neighbours_reach_the_kernel_as_neighbours(
    packs: list[torch.dtype], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    linear = nn.functional.linear

    def watched(input: Tensor, *rest: Tensor) -> Tensor:  # noqa: A002
        seen.append(input.is_contiguous())
        return linear(input, *rest)

    net, x = two_of_four(nn.Sequential(nn.Linear(64, 32))), torch.randn(8, 3, 64).bfloat16()
    monkeypatch.setattr("smc_eval.sparse.kernels.forms.nn.functional.linear", watched)
    with torch.no_grad(), half(), Switch(net, packing).on() as ran:
        net.model(x[:, 0])
    assert ran == {"0.weight"} and seen == [True]


def test_operations_are_counted_as_dense_ones(packs: list[torch.dtype]) -> None:
    net, x = two_of_four(nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 8))), torch.randn(5, 64)
    dense, found = Operations(), Operations()
    with torch.no_grad(), half(), Counting(net.weights, dense):
        net.model(x)
    counted = Counting(net.weights, found)
    with torch.no_grad(), half(), counted as counting, Switch(net, measuring).on(counting) as ran:
        net.model(x)
    assert ran == {"0.weight"} and found == dense


def test_maps_that_are_not_packed_say_why(packs: list[torch.dtype]) -> None:
    net = two_of_four(nn.ModuleDict({"fits": nn.Linear(64, 32), "small": nn.Linear(64, 8)}))
    masks = net.masks | {"fits.weight": torch.ones(32, 64, dtype=torch.bool)}
    one = Switch(net, packing)
    with one.on():
        pass
    small = "it takes multiples of 32 × 64, not 8 × 64"
    assert one.reasons == {"small.weight": small}
    net.set_masks(masks)
    with one.on():
        pass
    assert one.reasons == {"small.weight": small, "fits.weight": "not 2:4"}
    assert why_not_packed(Conv1D(32, 64), torch.ones(64, 32, dtype=torch.bool)) == "stored turned"


def question(outputs: int = 32) -> KernelQuestion:
    return KernelQuestion(outputs, 64, False, 16, 0.5, (PACKED,), "bfloat16", 1, "2.13", "none")


def test_where_torch_cannot_pack_maps_stay_dense() -> None:
    assert measured_packing(question(), CPU) == ALL_DENSE


@pytest.mark.parametrize(
    ("share", "kernel"), [(0.5, PACKED), (0.93, PACKED), (0.95, "dense"), (1.2, "dense")]
)
def test_a_packed_map_serves_if_it_is_faster(
    packs: list[torch.dtype], monkeypatch: pytest.MonkeyPatch, share: float, kernel: str
) -> None:
    monkeypatch.setattr(packed, "_times", lambda *_: (1.0, share))
    assert measured_packing(question(), CPU) == Choice(predicting=kernel)


@pytest.mark.parametrize("fault", [1.1, float("nan")])
def test_a_packed_map_with_wrong_products_never_serves(
    packs: list[torch.dtype], monkeypatch: pytest.MonkeyPatch, fault: float
) -> None:
    right: Callable[[SemiStructured, Tensor], Tensor] = SemiStructured.multiply
    monkeypatch.setattr(packed, "_times", lambda *_: (1.0, 0.5))
    assert measured_packing(question(), CPU) != ALL_DENSE
    monkeypatch.setattr(SemiStructured, "multiply", lambda form, x: fault * right(form, x))
    assert measured_packing(question(), CPU) == ALL_DENSE


def test_times_are_measured_in_turns(packs: list[torch.dtype]) -> None:
    calls: list[str] = []
    dense, other = packed._times(lambda: calls.append("d"), lambda: calls.append("p"), CPU)
    assert "".join(calls) == ("d" * packed.CALLS + "p" * packed.CALLS) * (packed.ROUNDS + 1)
    assert dense > 0 and other > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rows", [1, 7, 8, 4096])
def test_on_a_gpu_the_outputs_are_those_of_the_dense_map(dtype: torch.dtype, rows: int) -> None:
    net = two_of_four(nn.Sequential(nn.Linear(1024, 4096), nn.Linear(4096, 1024)).cuda())
    wide = torch.randn(rows, 3, 1024, device="cuda", dtype=dtype)
    with torch.no_grad(), torch.autocast("cuda", dtype=dtype):
        for x in (wide, wide[:, 0], wide[0, 0]):
            dense = net.model(x)
            with Switch(net, packing).on() as ran:
                found = net.model(x)
            assert ran == {"0.weight", "1.weight"} and found.shape == dense.shape
            assert float((found - dense).abs().max()) <= 0.02 * float(dense.abs().max())


def test_a_packed_map_stands_in_for_its_module_alone() -> None:
    module = nn.Linear(64, 32)
    one = PackedMap("weight", module, packing)
    module.weight = nn.Parameter(torch.zeros(32, 64))  # another weight, which nobody asked to pack
    with torch.no_grad(), half():
        assert torch.equal(one(torch.ones(1, 64)), module(torch.ones(1, 64))) and not one.ran
