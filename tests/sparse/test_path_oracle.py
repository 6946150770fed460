"""Paths against brute force: the mixed derivative ∂²out/∂w∂x of the real net, at random weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from smc_eval.sparse.net import Net
from smc_eval.sparse.paths import on_paths

DRAWS = 12
"""Random weights of each net. Of units that are off for an input, some draws have one that is on."""
NOISE = 1e-10
"""Derivatives below are rounding."""
MASKS = 6
"""Masks of each net; the first net is dense."""
IDS = torch.tensor([[0, 1, 2, 1], [3, 2, 0, 4]])


def mixed_derivatives(net: Net, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """Masks of the weights with a mixed derivative at one of some random weights and inputs.

    Inputs x are floats, and rows that an embedding looks up; ε moves all of them in a random direction.
    """
    found = {name: torch.zeros_like(mask) for name, mask in net.full_masks.items()}
    model = copy.deepcopy(net.model).double().eval()
    named = dict(model.named_parameters())
    scale = torch.zeros((), dtype=torch.double, requires_grad=True)

    def moved(x: Tensor) -> Tensor:
        return x + scale * torch.randn_like(x)

    for module in model.modules():
        if isinstance(module, nn.Embedding):
            module.register_forward_hook(lambda _, __, rows: moved(rows))
    for _ in range(DRAWS):
        with torch.no_grad():
            for name, weight in named.items():
                weight.copy_(torch.randn_like(weight) * net.full_masks.get(name, torch.tensor(1.0)))
        draws = [
            moved(torch.randn_like(x, dtype=torch.double)) if x.is_floating_point() else x for x in inputs
        ]
        with sdpa_kernel(SDPBackend.MATH):
            out = model(*draws)
            slope = torch.autograd.grad((out * torch.randn_like(out)).sum(), scale, create_graph=True)[0]
        if not slope.requires_grad:
            continue
        weights = [named[name] for name in net.scope]
        for name, part in zip(net.scope, torch.autograd.grad(slope, weights, allow_unused=True), strict=True):
            if part is not None:
                found[name] |= part.abs() > NOISE
    return {name: mask & net.full_masks[name] for name, mask in found.items()}


def random_masks(net: Net, generator: torch.Generator) -> dict[str, Tensor]:
    """Masks of all densities, with dead tensors, rows and columns."""
    masks = {}
    for name, weight in net.weights.items():
        density = float(torch.tensor([0.0, 0.3, 0.6, 1.0])[torch.randint(4, (), generator=generator)])
        mask = torch.rand(weight.shape, generator=generator) < density
        mask[torch.rand(len(weight), generator=generator) < 0.3] = False
        mask[:, torch.rand(weight.shape[1], generator=generator) < 0.2] = False
        masks[name] = mask if torch.rand((), generator=generator) < 0.8 else torch.ones_like(mask)
    return masks


class Of(nn.Module):
    """Modules and raw parameters, and a function of them."""

    def __init__(self, forward: Callable[..., Tensor], **parts: nn.Module | tuple[int, ...]) -> None:
        super().__init__()
        self.function = forward
        for name, part in parts.items():
            setattr(self, name, part if isinstance(part, nn.Module) else nn.Parameter(torch.randn(part)))

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(self, *inputs)


def attention(*, fused: bool, causal: bool = False, mask: Tensor | None = None) -> Callable[..., Tensor]:
    def forward(net: Any, ids: Tensor) -> Tensor:
        x = net.table(ids) if hasattr(net, "table") else ids
        q, k, v = net.q(x), net.k(x), net.v(x)
        allowed = torch.ones(x.shape[1], x.shape[1]).bool().tril() if causal else mask
        if fused:
            mixed = scaled_dot_product_attention(q, k, v, mask, is_causal=causal)
        else:
            scores = q @ k.transpose(-2, -1) / 2
            scores = scores if allowed is None else scores.masked_fill(~allowed, float("-inf"))
            mixed = nn.functional.dropout(scores.softmax(-1), 0.1, net.training) @ v
        return cast("Tensor", net.out(mixed))

    return forward


def heads(*, bias: bool = True, wide: int = 3, **further: Any) -> dict[str, Any]:
    return {
        "q": nn.Linear(wide, 4, bias=bias),
        "k": nn.Linear(wide, 4, bias=bias),
        "v": nn.Linear(wide, 4, bias=bias),
        "out": nn.Linear(4, 2),
    } | further


def recurrent(kind: Any, **options: Any) -> Of:
    wide = options.get("proj_size", 3) * (1 + options.get("bidirectional", False))
    return Of(
        lambda net, x: net.out(net.net(x)[0]),
        net=kind(2, 3, batch_first=True, **options),
        out=nn.Linear(wide, 2),
    )


def packed(net: Any, ids: Tensor) -> Tensor:
    rows = pack_padded_sequence(net.table(ids), torch.tensor([4, 2]), batch_first=True)
    return cast("Tensor", net.out(pad_packed_sequence(net.net(rows)[0], batch_first=True)[0]))


def cells(net: Any, x: Tensor) -> Tensor:
    state = None
    for step in x.unbind(1):
        state = net.net(step, state)
    return cast("Tensor", net.out(state[0] if isinstance(state, tuple) else state))


def chain(middle: Callable[[], nn.Module], *, bias: bool = True) -> nn.Module:
    layers = [part for n in range(3) for part in (nn.Linear(3, 3, bias=bias), middle())]
    return nn.Sequential(*layers, nn.Linear(3, 2))


def residual(net: Any, x: Tensor) -> Tensor:
    x = x if x.is_floating_point() else net.table(x)
    x = x + net.b(torch.relu(net.a(x)))
    return cast("Tensor", net.c(x + net.e(torch.tanh(net.d(x)))))


def multihead(net: Any, x: Tensor) -> Tensor:
    return cast("Tensor", net.out(net.net(x, x, x, need_weights=net.weighted)[0]))


def memory(net: Any, x: Tensor) -> Tensor:
    """Attention over the inputs and a learned row."""
    x = torch.cat([net.row.expand(len(x), 1, 3), x], 1)
    return cast("Tensor", net.out(scaled_dot_product_attention(net.q(x), net.k(x), net.v(x))))


def pooled(net: Any, x: Tensor) -> Tensor:
    """Attention of one learned query, written as a product and a sum."""
    shares = (net.k(x) @ net.query).softmax(1)
    return cast("Tensor", net.out((shares * net.v(x)).sum(1)))


def multi(*, weighted: bool) -> Of:
    net = Of(multihead, net=nn.MultiheadAttention(4, 2, batch_first=True), out=nn.Linear(4, 2))
    net.weighted = weighted  # type: ignore[assignment]
    return net


LINES = {letter: nn.Linear(3, 3) for letter in "abde"}
FLOATS = torch.randn(2, 4, 3)
NETS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "relu": (lambda: chain(nn.ReLU), FLOATS),
    "gelu": (lambda: chain(nn.GELU), FLOATS),
    "tanh": (lambda: chain(nn.Tanh), FLOATS),
    "sigmoid": (lambda: chain(nn.Sigmoid), FLOATS),
    "softplus, no bias": (lambda: chain(nn.Softplus, bias=False), FLOATS),
    "silu, no bias": (lambda: chain(nn.SiLU, bias=False), FLOATS),
    "residual of floats": (lambda: Of(residual, **LINES, c=nn.Linear(3, 2)), FLOATS),
    "residual of ids": (
        lambda: Of(residual, **LINES, c=nn.Linear(3, 2), table=nn.Embedding(5, 3)),
        IDS,
    ),
    "attention": (lambda: Of(attention(fused=False), **heads(table=nn.Embedding(5, 3))), IDS),
    "fused attention": (lambda: Of(attention(fused=True), **heads(table=nn.Embedding(5, 3))), IDS),
    "attention without bias": (lambda: Of(attention(fused=False), **heads(bias=False)), FLOATS),
    "causal attention": (lambda: Of(attention(fused=True, causal=True), **heads()), FLOATS),
    "causal attention, written out": (lambda: Of(attention(fused=False, causal=True), **heads()), FLOATS),
    "attention to one position": (
        lambda: Of(attention(fused=True, mask=torch.eye(4).bool()), **heads()),
        FLOATS,
    ),
    "attention to one position, written out": (
        lambda: Of(attention(fused=False, mask=torch.eye(4).bool()), **heads()),
        FLOATS,
    ),
    "attention behind a layer": (
        lambda: Of(
            lambda net, x: attention(fused=True)(net, torch.tanh(net.first(x))),
            **heads(first=nn.Linear(3, 3)),
        ),
        FLOATS,
    ),
    "attention with a learned row": (lambda: Of(memory, **heads(row=(1, 3))), FLOATS),
    "a learned query": (lambda: Of(pooled, **heads(query=(4, 1))), FLOATS),
    "MultiheadAttention": (lambda: multi(weighted=False), torch.randn(2, 3, 4)),
    "MultiheadAttention with shares": (lambda: multi(weighted=True), torch.randn(2, 3, 4)),
    "RNN": (lambda: recurrent(nn.RNN), torch.randn(2, 3, 2)),
    "RNN of relu": (lambda: recurrent(nn.RNN, nonlinearity="relu"), torch.randn(2, 3, 2)),
    "GRU": (lambda: recurrent(nn.GRU), torch.randn(2, 3, 2)),
    "GRU without bias": (lambda: recurrent(nn.GRU, bias=False), torch.randn(2, 3, 2)),
    "LSTM": (lambda: recurrent(nn.LSTM), torch.randn(2, 3, 2)),
    "LSTM without bias": (lambda: recurrent(nn.LSTM, bias=False), torch.randn(2, 3, 2)),
    "LSTM of two layers and directions": (
        lambda: recurrent(nn.LSTM, num_layers=2, bidirectional=True),
        torch.randn(2, 3, 2),
    ),
    "LSTM with a projection": (lambda: recurrent(nn.LSTM, proj_size=2), torch.randn(2, 3, 2)),
    "packed GRU": (
        lambda: Of(packed, table=nn.Embedding(5, 2), net=nn.GRU(2, 3, batch_first=True), out=nn.Linear(3, 2)),
        IDS,
    ),
    "RNN cell": (lambda: Of(cells, net=nn.RNNCell(2, 3), out=nn.Linear(3, 2)), torch.randn(2, 3, 2)),
    "GRU cell": (lambda: Of(cells, net=nn.GRUCell(2, 3), out=nn.Linear(3, 2)), torch.randn(2, 3, 2)),
    "LSTM cell": (lambda: Of(cells, net=nn.LSTMCell(2, 3), out=nn.Linear(3, 2)), torch.randn(2, 3, 2)),
    "raw matrices": (
        lambda: Of(lambda net, x: torch.relu(x @ net.p + net.shift) @ net.q, p=(3, 3), q=(3, 2), shift=(3,)),
        FLOATS,
    ),
    "raw matrices, linear": (lambda: Of(lambda net, x: x @ net.p, p=(3, 3)), FLOATS),
    "einsum": (
        lambda: Of(lambda net, x: torch.einsum("nli,io->nlo", x, net.p).tanh() @ net.q, p=(3, 3), q=(3, 2)),
        FLOATS,
    ),
    "a raw summand": (
        lambda: Of(lambda net, x: net.c((x + net.p).tanh()), p=(4, 3), c=nn.Linear(3, 2)),
        FLOATS,
    ),
    "a raw factor": (lambda: Of(lambda net, x: (x * net.p) @ net.q, p=(4, 3), q=(3, 2)), FLOATS),
    "a raw shortcut": (
        lambda: Of(lambda net, x: (x + torch.relu(x @ net.p)) @ net.q, p=(3, 3), q=(3, 2)),
        FLOATS,
    ),
    "a gate": (
        lambda: Of(
            lambda net, x: net.c(torch.tanh(net.a(x)) * torch.sigmoid(net.b(x))),
            a=nn.Linear(3, 3),
            b=nn.Linear(3, 3),
            c=nn.Linear(3, 2),
        ),
        FLOATS,
    ),
    "a part that is left": (
        lambda: Of(
            lambda net, x: net.c((1 - torch.sigmoid(net.a(x))) * net.b(x)),
            a=nn.Linear(3, 3),
            b=nn.Linear(3, 3),
            c=nn.Linear(3, 2),
        ),
        FLOATS,
    ),
    "GLU": (
        lambda: Of(lambda net, x: net.c(nn.functional.glu(net.a(x))), a=nn.Linear(3, 6), c=nn.Linear(3, 2)),
        FLOATS,
    ),
    "a bilinear layer": (
        lambda: Of(
            lambda net, x: net.c(net.a(x, net.b(x))),
            a=nn.Bilinear(3, 3, 3),
            b=nn.Linear(3, 3),
            c=nn.Linear(3, 2),
        ),
        FLOATS,
    ),
    "convolutions": (
        lambda: nn.Sequential(
            nn.Conv1d(4, 3, 2), nn.Tanh(), nn.Conv1d(3, 2, 1), nn.ReLU(), nn.Conv1d(2, 2, 1)
        ),
        FLOATS,
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_weights_on_paths_are_those_with_a_mixed_derivative(name: str) -> None:
    make, inputs = NETS[name]
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    for number in range(MASKS):
        net = Net(make(), [])
        net.scope = tuple(
            each for each, weight in net.model.named_parameters() if weight.ndim > 1 and "table" not in each
        )
        for weight in net.all_parameters.values():
            nn.init.normal_(weight)
        if number:  # the first net is dense
            net.set_masks(random_masks(net, generator))
        expected = mixed_derivatives(net, (inputs,))
        found = {each: torch.zeros_like(mask) for each, mask in expected.items()}
        found |= on_paths(net, lambda dark: cast("Tensor", dark(inputs)))
        for each, mask in expected.items():
            assert torch.equal(found[each], mask), (number, each, found[each].int(), mask.int(), net.masks)
