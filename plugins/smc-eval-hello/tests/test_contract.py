"""The hello plugin passes the contract of every method, and is registered once it is installed."""

from __future__ import annotations

from types import SimpleNamespace

from smc_eval_hello import Hello, Relative

from smc_eval import Prune, Target, Train, registry
from smc_eval.testing import MethodContract


class TestHello(MethodContract):
    method = Hello()


def test_it_is_registered_once_it_is_installed() -> None:
    assert registry.load_registry().checked().methods["hello"] is Hello


def test_its_plan_trains_prunes_and_trains_again() -> None:
    target = Target(sparsity=0.5)
    assert list(Hello().plan(target)) == [Train(), Prune(by=Relative(), to=target), Train()]


def test_a_saliency_is_the_share_of_the_row_plus_the_share_of_the_column() -> None:
    import torch

    probe = SimpleNamespace(weights={"w": torch.tensor([[1.0, -3.0], [0.0, 1.0]])})
    shares = Relative().saliency(probe)["w"]
    assert torch.allclose(shares, torch.tensor([[1 / 4 + 1, 3 / 4 + 3 / 4], [0.0, 1 + 1 / 4]]))
