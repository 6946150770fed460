"""A Net: masks by name, zeros that stay, and an unchanged model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from smc_eval.engine.certify import count_and_check
from smc_eval.errors import SparsityError
from smc_eval.sparse import net as net_module
from smc_eval.sparse.bits import mask_digest, packed, unpacked
from smc_eval.sparse.net import Net, hide, state
from smc_eval.sparse.scope import embeddings, in_scope, sparsities
from smc_eval.target import Target
from smc_eval.testing import ToyNet


def linear(*rows: list[float]) -> nn.Linear:
    layer = nn.Linear(len(rows[0]), len(rows), bias=True)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(rows))
    return layer


@pytest.fixture
def net() -> Net:
    return Net(linear([1.0, -2.0], [3.0, -4.0]), ["weight"])


def mask(*rows: list[int]) -> dict[str, Tensor]:
    return {"weight": torch.tensor(rows).bool()}


def test_setting_masks_writes_zeros_and_nothing_else(net: Net) -> None:
    net.set_masks(mask([1, 0], [0, 1]))
    assert net.weights["weight"].tolist() == [[1.0, 0.0], [0.0, -4.0]]
    assert net.changes == 1 and net.regrown == 0


def test_regrown_weights_are_zero_and_counted(net: Net) -> None:
    net.set_masks(mask([1, 0], [0, 1]))
    grown = net.set_masks(mask([1, 1], [0, 0]))
    assert grown["weight"].tolist() == [[False, True], [False, False]]
    assert net.weights["weight"].tolist() == [[1.0, 0.0], [0.0, 0.0]]
    assert net.changes == 2 and net.regrown == 1


def test_setting_the_same_masks_again_is_no_change(net: Net) -> None:
    net.set_masks(mask([1, 0], [0, 1]))
    net.set_masks(mask([1, 0], [0, 1]))
    assert net.changes == 1


def test_set_masks_are_copies(net: Net) -> None:
    given = mask([1, 0], [0, 1])
    net.set_masks(given)
    given["weight"].fill_(True)
    assert not net.masks["weight"].all()


def test_applying_masks_keeps_zeros_under_momentum_and_weight_decay(net: Net) -> None:
    optimizer = torch.optim.SGD(net.model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for step in range(4):
        if step == 2:
            net.set_masks(mask([1, 0], [0, 1]))
        optimizer.zero_grad()
        net.model(torch.ones(1, 2)).pow(2).sum().backward()
        optimizer.step()
        net.apply_masks()
    assert (net.weights["weight"] == 0).tolist() == [[False, True], [True, False]]


@pytest.mark.parametrize("shape", [(7, 3), (1, 9), (9, 1), (5,), (3, 2, 2, 2), (0, 4)])
@pytest.mark.parametrize("piece", [1, 4, 1000])
def test_masking_in_pieces_equals_masking_at_once(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], piece: int
) -> None:
    monkeypatch.setattr(net_module, "PIECE", piece)
    generator = torch.Generator().manual_seed(3)
    values, stays = torch.randn(shape, generator=generator), torch.rand(shape, generator=generator) > 0.5
    expected = torch.where(stays, values, 0)
    transposed = values.T.contiguous().T if values.ndim == 2 else values  # another memory layout
    for tensor in (values.clone(), transposed.clone(memory_format=torch.preserve_format)):
        hide(tensor, stays)
        assert torch.equal(tensor, expected)


FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn)


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_masked_value_is_positive_zero_whatever_it_was(dtype: torch.dtype) -> None:
    values = torch.tensor([[-1.0, 2.0, -0.0, float("nan"), -3.0, -0.0]]).to(dtype)
    if dtype != torch.float8_e4m3fn:  # has no infinity
        values[0, 1] = -float("inf")
    hide(values, torch.tensor([[False, False, False, False, True, True]]))
    plain = values.to(torch.float32)
    assert plain.tolist() == [[0.0, 0.0, 0.0, 0.0, -3.0, -0.0]]
    assert plain.signbit().tolist() == [[False, False, False, False, True, True]]


def test_masks_end_values_and_gradients_that_are_not_finite(net: Net) -> None:
    net.set_masks(mask([1, 0], [0, 1]))
    net.model(torch.ones(1, 2)).sum().backward()
    weight = net.parameters["weight"]
    assert weight.grad is not None
    with torch.no_grad():
        weight[0, 1], weight[1, 0] = float("inf"), float("nan")
        weight.grad[0, 1], weight.grad[1, 0] = float("nan"), -float("inf")
    net.apply_masks()
    net.mask_gradients()
    assert weight.tolist() == [[1.0, 0.0], [0.0, -4.0]]
    assert weight.grad.tolist() == [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize("soft", [False, True])
def test_no_zero_of_a_net_is_negative(soft: bool) -> None:  # noqa: FBT001
    negative = Net(linear([-1.0, -2.0], [-3.0, -4.0]), ["weight"])
    negative.soft = soft
    negative.set_masks(mask([1, 0], [0, 1]))
    with negative.masked():
        assert negative.weights["weight"].signbit().tolist() == [[True, False], [False, True]]


def test_gradients_of_masked_weights_are_zeroed(net: Net) -> None:
    net.set_masks(mask([1, 0], [0, 1]))
    net.model(torch.ones(1, 2)).sum().backward()
    net.mask_gradients()
    assert net.parameters["weight"].grad is not None
    assert net.parameters["weight"].grad.tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_a_soft_net_is_masked_within_the_context_alone(net: Net) -> None:
    net.soft = True
    net.set_masks(mask([1, 0], [0, 1]))
    with net.masked():
        assert net.weights["weight"].tolist() == [[1.0, 0.0], [0.0, -4.0]]
    assert net.weights["weight"].tolist() == [[1.0, -2.0], [3.0, -4.0]]


def test_loading_zeroes_masked_weights(net: Net) -> None:
    net.set_masks(mask([1, 0], [0, 1]))
    net.load({"weight": torch.full((2, 2), 5.0), "bias": torch.zeros(2)})
    assert net.weights["weight"].tolist() == [[5.0, 0.0], [0.0, 5.0]]


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({}, "missing or unknown: 'weight'"),
        ({"weight": torch.ones(2, 2)}, "torch.float32"),
        ({"weight": torch.ones(2, 3).bool()}, r"\(2, 3\)"),
    ],
)
def test_wrong_masks_are_refused_by_name(net: Net, masks: dict[str, Tensor], message: str) -> None:
    with pytest.raises(SparsityError, match=message):
        net.set_masks(masks)


def test_tensors_of_another_model_are_not_loaded(net: Net) -> None:
    with pytest.raises(SparsityError, match="'weight' is"):
        net.load({"weight": torch.ones(3, 2), "bias": torch.zeros(2)})
    with pytest.raises(SparsityError, match="differ in 'bias'"):
        net.load({"weight": torch.ones(2, 2)})


def test_tied_weights_are_one_parameter_in_scope() -> None:
    model = ToyNet()
    assert embeddings(model) == {"words.weight"}
    assert "out.weight" not in state(model)
    body = in_scope(model, "body")
    assert body == ("encoder.weight_ih_l0", "encoder.weight_hh_l0", "down.weight", "odd.weight")
    assert in_scope(model, "body", excluded=["odd.weight"]) == body[:3]
    assert in_scope(model, "all-2d") == ("words.weight", *body)
    assert in_scope(model, "all-2d", excluded=["odd.weight"]) == ("words.weight", *body[:3])


def test_a_scope_without_weights_is_refused() -> None:
    with pytest.raises(SparsityError, match="nothing can be pruned"):
        in_scope(nn.Embedding(3, 2), "body")
    with pytest.raises(SparsityError, match="the task excludes 'unknown'"):
        in_scope(ToyNet(), "body", excluded=["unknown"])


def test_one_mask_has_three_sparsities() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(5, 2)  # 10
            self.first = nn.Linear(2, 4)  # 8 and 4
            self.last = nn.Linear(4, 2)  # 8 and 2

    model = Model()
    masks = {"first.weight": torch.tensor([[1, 0]] * 4).bool()}
    assert sparsities(model, masks, ["first.weight"]) == {"scope": 4 / 8, "weights": 4 / 16, "all": 4 / 32}


def test_a_certificate_counts_weights_and_names_dead_tensors(net: Net) -> None:
    net.set_masks(mask([1, 0], [0, 1]))
    certificate = count_and_check(net, Target(sparsity=0.5))
    assert certificate.ok and certificate.remaining == certificate.expected == 2
    assert certificate.tensors == {"weight": 0.5} and certificate.dead_tensors == ()
    assert not count_and_check(net, Target(sparsity=0.25)).ok  # one weight too few
    net.set_masks(mask([0, 0], [0, 0]))
    assert count_and_check(net, Target(sparsity=0.5)).dead_tensors == ("weight",)


def test_a_certificate_fails_for_one_nonzero_masked_weight(net: Net) -> None:
    net.set_masks(mask([1, 0], [0, 1]))
    with torch.no_grad():
        net.parameters["weight"][0, 1] = 1e-30
    certificate = count_and_check(net, Target(sparsity=0.5))
    assert not certificate.ok and certificate.revived == 1 and certificate.largest_under_mask > 0


def test_a_certificate_fails_for_a_weight_that_is_not_finite(net: Net) -> None:
    with torch.no_grad():
        net.parameters["weight"][0, 0] = float("nan")
    assert not count_and_check(net, Target()).ok


def test_a_certificate_fails_for_one_group_outside_the_pattern() -> None:
    model = nn.Sequential(nn.Linear(8, 2, bias=False))
    target, halves = Target.parse("2:4"), torch.tensor([[1, 1, 0, 0, 1, 0, 1, 0]] * 2).bool()
    net = Net(model, ("0.weight",))
    net.set_masks({"0.weight": halves})
    assert count_and_check(net, target).ok
    net.set_masks({"0.weight": torch.tensor([[1, 1, 1, 0, 1, 0, 0, 0]] * 2).bool()})
    certificate = count_and_check(net, target)
    assert certificate.remaining == certificate.expected and not certificate.ok
    assert certificate.misfits == ("0.weight",)


@pytest.mark.parametrize("shape", [(1,), (3, 3), (2, 4), (5, 7, 2), (0, 3)])
def test_bits_unpack_to_the_mask_they_were_packed_from(shape: tuple[int, ...]) -> None:
    drawn = torch.rand(shape) > 0.5
    assert len(packed(drawn)) == -(-drawn.numel() // 8)
    assert torch.equal(unpacked(packed(drawn), shape), drawn)


def test_the_mask_digest_depends_on_every_bit_and_shape_but_not_on_order() -> None:
    masks = {"a": torch.tensor([True, False]), "b": torch.tensor([[True]])}
    assert mask_digest(masks) == mask_digest(dict(reversed(masks.items())))
    assert mask_digest(masks) != mask_digest({**masks, "a": torch.tensor([False, True])})
    assert mask_digest(masks) != mask_digest({**masks, "a": torch.tensor([[True, False]])})


class Looking(nn.Module):
    """A model of another library: its table has a class of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.layer = nn.Linear(2, 5, bias=False), nn.Linear(2, 3)
        self.pair_bias = nn.Parameter(torch.ones(3, 4))
        self.norm = nn.LayerNorm((3, 4))
        self.extra = nn.Parameter(torch.ones(2, 2))

    def get_input_embeddings(self) -> nn.Module:
        return self.table


def test_tables_biases_and_gains_are_not_in_the_body_whatever_their_class_and_shape() -> None:
    model = Looking()
    assert embeddings(model) == {"table.weight"}
    assert in_scope(model, "body") == ("extra", "layer.weight")
    assert in_scope(model, "body", tables=["extra"]) == ("layer.weight",)
    assert in_scope(model, "body", unused=["extra"]) == ("layer.weight",)
    assert in_scope(model, "all-2d", unused=["extra"]) == ("table.weight", "layer.weight")
    masks = {"layer.weight": torch.zeros(3, 2).bool()}
    # of 6 weights in matrices, where `extra` is a table
    assert sparsities(model, masks, ["layer.weight"], tables=["extra"])["weights"] == 1.0


def test_a_model_without_input_embeddings_has_no_tables() -> None:
    class Tableless(nn.Linear):
        def get_input_embeddings(self) -> nn.Module:
            raise NotImplementedError

    assert embeddings(Tableless(2, 2)) == frozenset()
