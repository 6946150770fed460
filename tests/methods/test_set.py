"""SET: an Erdős–Rényi start, a constant share, random growth."""

from __future__ import annotations

from pathlib import Path

import torch

from smc_eval.methods.rigl import Regrow
from smc_eval.methods.set import SparseEvolution
from smc_eval.sparse.allocate import budgets
from smc_eval.stages import Train
from smc_eval.target import Target
from smc_eval.testing import chain_of, run_chain, step_view


def updater(method: SparseEvolution) -> Regrow:
    stage = [*method.plan(Target(sparsity=0.5, distribution="erk"))][1]
    assert isinstance(stage, Train) and isinstance(stage.updater, Regrow)
    return stage.updater


def test_each_sign_loses_its_share_and_as_many_weights_grow_at_random() -> None:
    weight = torch.tensor([[0.1, 0.2, -0.3, -0.9, 0.0, 0.0, 0.0, 0.0]])
    gradient = torch.tensor([[0.0, 0.0, 0.0, 0.0, 9.0, 0.0, 0.0, 0.0]])
    grown = set()
    for seed in range(2, 60, 2):  # the step seeds the generator of the view
        view = step_view({"a": weight}, {"a": gradient}, at=seed, steps=100)
        view.net.masks = {"a": weight != 0}
        updater(SparseEvolution(every=2, share=0.5)).update(view, {})
        mask = view.net.masks["a"][0]
        assert int(mask.sum()) == 4 and mask[1] and mask[3]  # 0.1 and -0.3 are nearest to zero
        assert not view.skipped
        grown |= {*mask.nonzero()[:, 0].tolist()} - {1, 3}
    assert grown == {0, 2, 4, 5, 6, 7}


def test_the_share_is_the_same_at_every_change() -> None:
    shares = {updater(SparseEvolution()).due(step, 1000) for step in range(1000)} - {None}
    assert shares == {0.3}


def test_the_last_net_has_the_budgets_of_an_erdos_renyi_net(tmp_path: Path) -> None:
    target = Target(sparsity=0.8, distribution=SparseEvolution.card.distribution)
    assert target.distribution == "erk"
    record, _, masks = run_chain(chain_of(SparseEvolution(), target), tmp_path)
    shapes = {name: tuple(mask.shape) for name, mask in masks.items()}
    assert {name: int(mask.sum()) for name, mask in masks.items()} == budgets(shapes, target)
    assert record.certificate.ok and record.certificate.regrown > 0
