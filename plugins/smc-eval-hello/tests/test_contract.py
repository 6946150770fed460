"""The hello plugin keeps the contract of every method, and is found where it is installed."""

from __future__ import annotations

from types import SimpleNamespace

from smc_eval_hello import Hello, Relative

from smc_eval import Prune, Target, Train, registry
from smc_eval.testing import MethodContract


class TestHello(MethodContract):
    method = Hello()


def test_the_registry_finds_it_where_it_is_installed() -> None:
    assert registry.load().checked().methods["hello"] is Hello


def test_its_plan_trains_prunes_and_trains_again() -> None:
    target = Target(sparsity=0.5)
    assert list(Hello().plan(target)) == [Train(), Prune(by=Relative(), to=target), Train()]


def test_a_weight_counts_as_a_share_of_its_row_and_of_its_column() -> None:
    import torch

    window = SimpleNamespace(weights={"w": torch.tensor([[1.0, -3.0], [0.0, 1.0]])})
    shares = Relative().saliency(window)["w"]
    assert torch.allclose(shares, torch.tensor([[1 / 4 + 1, 3 / 4 + 3 / 4], [0.0, 1 + 1 / 4]]))
