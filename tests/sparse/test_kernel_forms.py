import pytest
import torch
from torch import nn

from smc_eval.errors import UsageError
from smc_eval.sparse.kernels.forms import KERNELS, Cut, with_kernel


def sparse_net() -> tuple[nn.Sequential, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(24, 40), nn.GELU(), nn.Linear(40, 16, bias=False))
    masks = {}
    for name in ("0.weight", "2.weight"):
        weight = dict(net.named_parameters())[name]
        masks[name] = torch.rand_like(weight) < 0.2
        masks[name][3] = False  # a dead row
        masks[name][:, 5] = False  # a dead column
        weight.data.mul_(masks[name])
    return net, masks


@pytest.mark.parametrize("name", ["csr", "tiles", "cut"])
@pytest.mark.parametrize("shape", [(24,), (7, 24), (3, 50, 24)])
def test_a_kernel_gives_the_outputs_of_the_dense_net(name: str, shape: tuple[int, ...]) -> None:
    net, masks = sparse_net()
    served, found = with_kernel(net, masks, name)
    inputs = torch.randn(shape)
    assert torch.allclose(served(inputs), net(inputs), atol=1e-6)
    assert [*found.kernels] == ["0.weight", "2.weight"]
    assert len(found.called) == 2
    assert found.dense_bytes == (24 * 40 + 40 * 16) * 4


def test_the_net_itself_keeps_its_layers() -> None:
    net, masks = sparse_net()
    with_kernel(net, masks, "tiles")
    assert type(net[0]) is nn.Linear


def test_bytes_of_compressed_rows_count_indices() -> None:
    net = nn.Sequential(nn.Linear(4, 2, bias=False))
    net[0].weight.data = torch.tensor([[1.0, 0, 0, 2.0], [0, 0, 3.0, 0]])
    served, found = with_kernel(net, {"0.weight": net[0].weight != 0}, "csr")
    assert found.bytes == 0  # the net has not called it
    served(torch.ones(1, 4))
    assert found.bytes == 3 * 4 + 3 * 4 + 3 * 4  # values, columns, and the starts of rows with their end


def test_dead_rows_and_columns_are_cut_out() -> None:
    kernel = Cut(torch.tensor([[1.0, 0, 2.0], [0, 0, 0], [3.0, 0, 4.0]]), torch.tensor([1.0, 1.0, 1.0]))
    assert kernel.weight_RC.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert kernel(torch.tensor([1.0, 9.0, 1.0])).tolist() == [4.0, 1.0, 8.0]


def test_a_layer_without_dead_rows_is_not_cut() -> None:
    net = nn.Sequential(nn.Linear(3, 3))
    with pytest.raises(
        UsageError, match=r"kernel 'cut' serves no layer: no row or column is dead \(0.weight\)"
    ):
        with_kernel(net, {"0.weight": torch.ones(3, 3, dtype=torch.bool)}, "cut")


def test_two_of_four_needs_a_device_that_has_it() -> None:
    net, masks = sparse_net()
    with pytest.raises(UsageError, match="a cpu device has no 2:4 kernel in torch"):
        with_kernel(net, masks, "2:4")


def test_checked_calls_are_compared_with_dense_products() -> None:
    net = nn.Sequential(nn.Linear(2, 2, bias=False))
    net[0].weight.data = torch.tensor([[1.0, 0.0], [0.0, 4.0]])
    served, found = with_kernel(net, {"0.weight": net[0].weight != 0}, "tiles")
    with found.checking():
        served(torch.ones(1, 2))
    assert found.difference == 0
    found.kernels["0.weight"].weight_OI.values()[1] = 3.0  # a kernel that is wrong by a quarter
    served(torch.ones(1, 2))
    assert found.difference == 0  # this call was not checked
    with found.checking():
        served(torch.ones(1, 2))
    assert found.difference == 0.25


def test_layers_without_a_mask_stay_dense() -> None:
    net, masks = sparse_net()
    served, found = with_kernel(net, {"2.weight": masks["2.weight"]}, "tiles")
    assert [*found.kernels] == ["2.weight"]
    assert type(served[0]) is nn.Linear


def test_a_whole_layer_without_weights_gives_its_bias() -> None:
    for kind in KERNELS.values():
        if kind.name == "2:4":
            continue
        kernel = kind(torch.zeros(2, 3), torch.tensor([1.0, 2.0]))
        assert kernel(torch.ones(4, 3)).tolist() == [[1.0, 2.0]] * 4


class ReadsItsWeight(nn.Module):
    """A net that calls one layer, and reads the weight of another."""

    def __init__(self) -> None:
        super().__init__()
        self.called, self.read = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(self.called(inputs), self.read.weight[:, 1:].repeat(1, 2)[:, :4])


def test_a_layer_whose_weight_is_read_stays_dense() -> None:
    net, inputs = ReadsItsWeight(), torch.randn(3, 4)
    masks = {name: torch.ones(4, 4, dtype=torch.bool) for name in ("called.weight", "read.weight")}
    served, found = with_kernel(net, masks, "tiles")
    assert torch.allclose(served(inputs), net(inputs), atol=1e-6)
    assert [kernel is found.kernels["called.weight"] for kernel in found.called] == [True]
    assert isinstance(served.read, nn.Linear)
