"""What a task uses of its net: found once for each start, kept in the store, and left out of every scope."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from smc_eval.engine import cell_run
from smc_eval.engine.batches import Batches
from smc_eval.engine.device import Device
from smc_eval.engine.net_use import LookUps, find_use
from smc_eval.methods.omp import MagnitudeBefore
from smc_eval.store.net_uses import NetUse
from smc_eval.store.store import Store
from smc_eval.target import Target
from smc_eval.testing import Toy, chain_of, run_chain
from smc_eval.testing.toy import ToyNet


class Table(nn.Module):
    """A lookup table that is no nn.Embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.randn(12, 8))

    def forward(self, ids: Tensor) -> Tensor:
        return nn.functional.embedding(ids, self.rows)


class PartlyUsedNet(ToyNet):
    """A toy net with a table of its own, and layers: rare, for nothing, always times 0, frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.rare, self.idle, self.closed = Table(), *(nn.Linear(12, 12) for _ in range(3))
        self.frozen = nn.Linear(12, 12).requires_grad_(False)
        self.noted = nn.BatchNorm1d(12)

    def forward(self, tokens_NL: Tensor) -> Tensor:
        logits = self.noted(super().forward(tokens_NL) + self.table(tokens_NL).mean((1, 2))[:, None])
        if bool((tokens_NL == 7).all(1).any()):
            logits = logits + self.rare(logits)
        return cast("Tensor", logits + self.frozen(logits) + 0 * self.closed(logits))


class PartlyUsed(Toy):
    """One training example of 52 is of the rare token alone."""

    def data(self, part: Any) -> Any:
        return [*super().data(part)[:-1], ((7,) * 5, 7)]

    def model(self) -> nn.Module:
        return PartlyUsedNet()


@pytest.mark.parametrize(
    "look_up",
    [
        lambda table, ids: nn.functional.embedding(ids, table),
        torch.embedding,
        lambda table, ids: table[ids],
        lambda table, ids: table.index_select(0, ids.flatten()),
        lambda table, ids: table.gather(0, ids.flatten()[:, None].expand(-1, 8)),
    ],
)
def test_a_table_is_found_however_its_rows_are_looked_up(look_up: Any) -> None:
    table, other = torch.randn(12, 8), torch.randn(12, 8)
    found = LookUps({id(table): "table", id(other): "other"})
    with found:
        look_up(table, torch.tensor([[1, 2, 3]]))
        _ = other[:4], other @ table.T
    assert found.seen_tables == {"table"}


def test_a_tensor_is_unused_if_no_example_reaches_it_and_a_zero_gradient_reaches_it() -> None:
    device, task = Device("cpu", threads=1), PartlyUsed()
    device.seed("a")
    model = task.model().train()
    batches = Batches(task, task.recipe, "start", device)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    drawn = torch.random.get_rng_state()
    assert find_use(model, batches) == NetUse(("idle.weight",), ("table.rows", "words.weight"))
    assert torch.equal(torch.random.get_rng_state(), drawn) and model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    needed = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    assert needed == {"frozen.weight", "frozen.bias"}
    assert all(weight.grad is None for weight in model.parameters())


def test_what_the_net_does_not_use_is_in_no_scope_and_the_certificate_names_it(tmp_path: Path) -> None:
    untrained = PartlyUsed(recipe=Toy().recipe.model_copy(update={"steps": 0}))
    target = Target(sparsity=0.5)
    record = run_chain(chain_of(MagnitudeBefore(), target, untrained), tmp_path)[0]
    assert record.certificate is not None
    assert record.certificate.unused == ("idle.weight",)
    scope = set(record.certificate.tensors)
    assert {"rare.weight", "closed.weight", "frozen.weight"} <= scope
    assert scope.isdisjoint({"idle.weight", "table.rows", "words.weight"})


def test_the_use_of_a_net_is_found_once_for_a_start(tmp_path: Path, monkeypatch: Any) -> None:
    calls = []

    def counted(model: nn.Module, batches: Batches) -> NetUse:
        calls.append(batches.start)
        return find_use(model, batches)

    monkeypatch.setattr(cell_run, "find_use", counted)
    task = PartlyUsed(recipe=Toy().recipe.model_copy(update={"steps": 1}))
    chains = [chain_of(MagnitudeBefore(), Target(sparsity=sparsity), task) for sparsity in (0.3, 0.5)]
    for chain in chains:
        run_chain(chain, tmp_path)
    assert calls == [chains[0].start]
    assert Store(tmp_path).net_uses.load(chains[0].start) == NetUse(
        ("idle.weight",), ("table.rows", "words.weight")
    )


def test_a_broken_file_of_uses_is_as_none(tmp_path: Path) -> None:
    uses = Store(tmp_path).net_uses
    uses.save("a", NetUse(("x",)))
    assert uses.load("a") == NetUse(("x",)) and uses.load("b") is None
    (uses.folder / "a.json.gz").write_bytes(b"cut")
    assert uses.load("a") is None
