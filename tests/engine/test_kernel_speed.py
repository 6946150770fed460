import pytest
import torch

from smc_eval.engine import kernel_speed
from smc_eval.engine.device import Device
from smc_eval.engine.kernel_speed import measure_speeds, same_prediction
from smc_eval.errors import SparsityError
from smc_eval.sparse.kernels.forms import Tiles
from smc_eval.store.speeds import SpeedFiles
from smc_eval.testing.toy import Toy, ToyNet


def pruned() -> tuple[ToyNet, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    net = ToyNet()
    mask = torch.arange(80).view(8, 10) % 4 == 0
    mask[:, 4] = False
    net.down.weight.data.mul_(mask)
    return net, {"down.weight": mask}


def test_every_kernel_is_measured_beside_dense_products(tmp_path, monkeypatch) -> None:
    net, masks = pruned()
    clock = iter(range(1000))
    monkeypatch.setattr(kernel_speed.time, "perf_counter", lambda: float(next(clock)))
    speeds = measure_speeds(
        Toy(), net, masks, Device("cpu"), examples=Toy().data("test")[:6], pairs=4, machine={"threads": 1}
    )
    assert [kernel.kernel for kernel in speeds.kernels] == ["csr", "tiles", "cut"]
    assert {kernel.speed for kernel in speeds.kernels} == {1.0}  # each pass took one tick of the clock
    assert all(kernel.layers == 1 for kernel in speeds.kernels)
    assert all(kernel.same == 1 for kernel in speeds.kernels)
    assert all(kernel.difference < 1e-6 for kernel in speeds.kernels)
    assert speeds.absent["2:4"].startswith("a cpu device has no 2:4 kernel in torch")
    files = SpeedFiles(tmp_path)
    files.save("a", speeds)
    assert files.load("a") == speeds
    assert files.load("b") is None


def test_quartiles_of_few_uneven_pairs_lie_between_them(tmp_path, monkeypatch) -> None:
    net, masks = pruned()
    monkeypatch.setattr(
        kernel_speed, "_pair", lambda dense, kernel, number: [(30.0, 1.0), (1.0, 2.0)][number]
    )
    speeds = measure_speeds(
        Toy(), net, masks, Device("cpu"), examples=Toy().data("test")[:6], pairs=2, machine={}
    )
    quartiles = {(kernel.low, kernel.speed, kernel.high) for kernel in speeds.kernels}
    assert quartiles == {(0.5 + 29.5 / 4, 0.5 + 29.5 / 2, 0.5 + 29.5 * 3 / 4)}
    files = SpeedFiles(tmp_path)
    files.save("a", speeds)
    assert files.load("a") == speeds


def test_a_kernel_that_is_wrong_is_refused(monkeypatch) -> None:
    net, masks = pruned()
    monkeypatch.setattr(Tiles, "multiply", lambda self, rows: torch.zeros(len(rows), self.out_features))
    with pytest.raises(SparsityError, match="outputs of a layer with kernel 'tiles' differ by"):
        measure_speeds(Toy(), net, masks, Device("cpu"), examples=Toy().data("test")[:6], pairs=2, machine={})


def test_numbers_in_predictions_may_differ_as_much_as_outputs() -> None:
    assert same_prediction([(1.0, "a"), {"b": 2.0}], [(1.0 + 1e-6, "a"), {"b": 2.0}])
    assert not same_prediction([1.0], [1.01])
    assert not same_prediction(["a"], ["b"])
    assert not same_prediction([1.0], [1.0, 2.0])


def test_the_order_of_a_pair_changes(monkeypatch) -> None:
    seen = []

    class Noted:
        def __init__(self, name: str) -> None:
            self.name = name

        def seconds(self) -> float:
            seen.append(self.name)
            return 2.0 if self.name == "dense" else 1.0

    assert [kernel_speed._pair(Noted("dense"), Noted("kernel"), number) for number in (0, 1)] == [(2, 1)] * 2
    assert seen == ["dense", "kernel", "kernel", "dense"]
