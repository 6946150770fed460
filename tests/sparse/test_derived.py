"""Derived weights, with torch's own: a zero of the parameter is one of the matrix, or the net is refused."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from smc_eval.card import MethodCard
from smc_eval.engine import train
from smc_eval.errors import SparsityError, TrainingError
from smc_eval.method import Method
from smc_eval.methods.dense import Dense
from smc_eval.methods.gmp import Gmp
from smc_eval.methods.omp import MagnitudeAfter
from smc_eval.pruner import Probe, Pruner
from smc_eval.recipe import Recipe
from smc_eval.sparse.derived import derived_weights, refuse_lost_zeros, scale_parameters
from smc_eval.sparse.net import Net
from smc_eval.stages import Prune, Stage
from smc_eval.target import Target
from smc_eval.task import Task
from smc_eval.testing import Toy, chain_of, run_chain


def old_weight_norm(layer: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return torch.nn.utils.weight_norm(layer)


class Symmetric(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.triu() + x.triu(1).T


class Shifted(nn.Module):
    """A low-rank addition, as adapters make it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.ones(8, 1)), nn.Parameter(torch.ones(1, 8))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.a @ self.b


def with_map(kind: type[nn.Module]) -> Callable[[nn.Module], nn.Module]:
    return lambda layer: parametrize.register_parametrization(layer, "weight", kind())


HOLDING: dict[str, Callable[[nn.Module], nn.Module]] = {
    "weight norm": parametrizations.weight_norm,
    "old weight norm": old_weight_norm,
    "spectral norm": parametrizations.spectral_norm,
    "old spectral norm": torch.nn.utils.spectral_norm,
}
LOSING: dict[str, tuple[Callable[[nn.Module], nn.Module], str]] = {
    "orthogonal": (
        parametrizations.orthogonal,
        "_Orthogonal makes 'down.weight' of it, where its zeros are not",
    ),
    "symmetric": (with_map(Symmetric), "Symmetric makes 'down.weight' of it, where its zeros are not zeros"),
    "shifted": (with_map(Shifted), "Shifted makes 'down.weight' of it, where its zeros are not zeros"),
    "torch's own masks": (
        lambda layer: cast("nn.Module", prune.random_unstructured(layer, "weight", 0.5)),
        "RandomUnstructured makes 'down.weight' of it, with further zeros",
    ),
}


class Net8(nn.Module):
    """Attention, a square layer that a test changes, and an output layer."""

    def __init__(self, change: Callable[[nn.Module], nn.Module] = lambda layer: layer) -> None:
        super().__init__()
        self.words = nn.Embedding(12, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.down = nn.Linear(8, 8)
        change(self.down)
        self.out = nn.Linear(8, 12)

    def forward(self, tokens_NL: Tensor) -> Tensor:
        x_NLE = self.words(tokens_NL)
        return cast("Tensor", self.out(self.down(self.attention(x_NLE, x_NLE, x_NLE)[0].mean(1)).tanh()))


class DerivedToy(Toy):
    """The toy with such a net."""

    kind: str = ""

    def model(self) -> nn.Module:
        changes: dict[str, Any] = {"": lambda layer: layer, **HOLDING} | {k: v[0] for k, v in LOSING.items()}
        return Net8(changes[self.kind])


@pytest.mark.parametrize("kind", HOLDING)
def test_zeros_of_a_normed_weight_are_zeros_of_the_matrix_that_is_used(kind: str) -> None:
    model = Net8(HOLDING[kind])
    (derived,) = derived_weights(model)
    matrices = [name for name, weight in derived.parameters.items() if weight.shape == (8, 8)]
    assert derived.label == "down.weight" and len(matrices) == 1
    assert scale_parameters(model) == derived.parameters.keys() - set(matrices)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    refuse_lost_zeros(model, matrices)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    net = Net(model, matrices)
    stays = torch.rand(8, 8, generator=torch.Generator().manual_seed(0)) > 0.5
    net.set_masks({matrices[0]: stays})
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for _ in range(5):
        model(torch.randint(12, (4, 5))).square().mean().backward()
        optimizer.step()
        net.apply_masks()
    model.eval()(torch.randint(12, (4, 5)))
    used = model.down.weight.detach()
    assert torch.equal(used != 0, stays) and bool(used.isfinite().all())


@pytest.mark.parametrize("kind", LOSING)
def test_a_weight_whose_zeros_are_lost_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    change, message = LOSING[kind]
    model = Net8(change)
    (name,) = [n for n in next(derived_weights(model)).parameters if model.get_parameter(n).shape == (8, 8)]
    with pytest.raises(SparsityError, match=f"'{name}' cannot be pruned: {message}"):
        refuse_lost_zeros(model, [name])
    refuse_lost_zeros(model, ["out.weight"])
    with pytest.raises(SparsityError, match=message):
        run_chain(chain_of(MagnitudeAfter(), Target(sparsity=0.5), DerivedToy(kind=kind)), tmp_path)


def test_a_dense_net_is_not_refused(tmp_path: Path) -> None:
    assert run_chain(chain_of(Dense(), Target(), DerivedToy(kind="orthogonal")), tmp_path)[0].sound


@pytest.mark.parametrize("kind", ["weight norm", "old weight norm"])
@pytest.mark.parametrize("method", [MagnitudeAfter(), Gmp()], ids=lambda method: method.card.name)
def test_a_cell_with_a_normed_weight_is_certified(kind: str, method: Any, tmp_path: Path) -> None:
    # the same share of each row: an emptied row has no length to divide by
    target = Target(sparsity=0.5, distribution="rows")
    result, weights, masks = run_chain(chain_of(method, target, DerivedToy(kind=kind)), tmp_path)
    assert result.sound and not any(weight.shape == (8, 1) for weight in masks.values())
    assert all(not bool(weights[name][~mask].any()) for name, mask in masks.items())


class Emptying(Pruner):
    """Custom masks that empty the first row of each tensor."""

    def prune(self, probe: Probe, target: Target) -> dict[str, Tensor]:
        masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in probe.weights.items()}
        for mask in masks.values():
            mask[0] = False
        return masks


class Emptied(Method):
    card: ClassVar[MethodCard] = MethodCard(name="emptied", summary="x", source="none", when="custom")

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Prune(by=Emptying(), to=None)


def test_an_emptied_row_of_a_normed_weight_is_an_error_not_a_score(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"'down.weight', which WeightNorm makes of .* is not finite"):
        run_chain(chain_of(Emptied(), Target(), DerivedToy(kind="old weight norm")), tmp_path)


def test_a_hook_on_the_last_layer_of_attention_is_refused_because_it_never_runs() -> None:
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    old_weight_norm(attention.out_proj)
    x_NLE = torch.randn(1, 3, 8)
    before = attention(x_NLE, x_NLE, x_NLE)[0]
    with torch.no_grad():
        attention.out_proj.weight_v.zero_()
    assert torch.equal(attention(x_NLE, x_NLE, x_NLE)[0], before)  # stale: what torch does
    with pytest.raises(SparsityError, match="'out_proj.weight_v' cannot be pruned: .* uses the old matrix"):
        refuse_lost_zeros(attention, ["out_proj.weight_v"])


def test_the_fast_path_of_attention_uses_the_pruned_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
    names = [name for name, weight in layer.named_parameters() if weight.ndim == 2]
    assert "self_attn.out_proj.weight" in names
    net = Net(layer, names)
    net.set_masks({name: torch.rand(w.shape) > 0.7 for name, w in net.weights.items()})
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.05)
    x_NLE = torch.randn(2, 5, 8)
    for _ in range(3):
        layer.train()(x_NLE).square().mean().backward()
        optimizer.step()
        net.apply_masks()
    kernels: list[str] = []

    class Seen(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kernels.append(func.overloadpacket.__name__)
            return func(*args, **(kwargs or {}))

    with torch.no_grad(), Seen():
        fast = layer.eval()(x_NLE)
    assert "_transformer_encoder_layer_fwd" in kernels
    monkeypatch.setattr(torch.backends.mha, "get_fastpath_enabled", lambda: False)
    kernels.clear()
    with torch.no_grad(), Seen():
        slow = layer(x_NLE)
    assert "_transformer_encoder_layer_fwd" not in kernels
    assert torch.allclose(fast, slow, atol=1e-5)
    dead = {name: weight[~net.masks[name]] for name, weight in net.weights.items()}
    assert all(not bool(values.any()) and not bool(values.signbit().any()) for values in dead.values())


def test_a_pruned_last_layer_of_attention_holds_its_zeros(tmp_path: Path) -> None:
    result, weights, masks = run_chain(
        chain_of(MagnitudeAfter(), Target(sparsity=0.5), DerivedToy()), tmp_path
    )
    assert result.sound
    mask = masks["attention.out_proj.weight"]
    assert bool((~mask).any()) and not bool(weights["attention.out_proj.weight"][~mask].any())


class Restless(torch.optim.SGD):
    """Moves every weight by the learning rate at each step, also where the gradient is 0.

    8-bit optimizers do so: their codes of a moment have no exact zero.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in group["params"]:
                weight.sub_(group["lr"] * torch.where(weight < 0, -1.0, 1.0))


def test_an_optimizer_that_moves_weights_without_a_gradient_moves_no_pruned_weight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def restless(task: Task, net: Net, recipe: Recipe) -> Restless:
        return Restless([{"params": list(net.model.parameters()), "lr": recipe.lr, "peak": recipe.lr}])

    monkeypatch.setattr(train, "make_optimizer", restless)

    class Watched(Toy):
        """Fails where a forward pass meets a pruned weight that is not zero."""

        def loss(self, model: nn.Module, batch: Any) -> Tensor:
            held.append(int(cast("Tensor", model.get_parameter("odd.weight")).count_nonzero()))
            return super().loss(model, batch)

    held: list[int] = []
    result, weights, masks = run_chain(chain_of(MagnitudeAfter(), Target(sparsity=0.5), Watched()), tmp_path)
    assert result.sound and all(not bool(weights[name][~mask].any()) for name, mask in masks.items())
    assert held[-1] <= int(masks["odd.weight"].sum())
