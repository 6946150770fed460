"""Cells that prune whole heads or neurons: counted, certified, and refused where there are none."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from smc_eval.card import MethodCard
from smc_eval.errors import SparsityError, UsageError
from smc_eval.experiment.ablation import Ablated
from smc_eval.method import Method
from smc_eval.methods.omp import MagnitudeAfter
from smc_eval.methods.taylor import Taylor
from smc_eval.methods.wanda import Wanda
from smc_eval.pruner import Probe, Pruner
from smc_eval.stages import Prune, Train
from smc_eval.store.certificate import UnitCount
from smc_eval.target import Target
from smc_eval.testing import chain_of, run_chain
from smc_eval.testing.toy import Toy, UnitToy


def test_the_certificate_counts_heads(tmp_path: Path) -> None:
    record, tensors, masks = run_chain(
        chain_of(MagnitudeAfter(), Target.parse("heads:0.25"), UnitToy()), tmp_path
    )
    certificate = record.certificate
    assert certificate is not None and certificate.ok
    assert certificate.units == UnitCount("heads", remaining=3, expected=3, total=4)
    assert set(masks) == {"query.weight", "key.weight", "value.weight", "mix.weight"}
    assert certificate.in_scope == 4 * 64 and certificate.remaining == certificate.expected == 4 * 48
    (gone,) = {int(row) // 2 for row in (~masks["query.weight"]).all(1).nonzero()[:, 0]}
    own = slice(2 * gone, 2 * gone + 2)
    assert not any(tensors[f"{name}.weight"][own].any() for name in ("query", "key", "value"))
    assert not tensors["mix.weight"][:, own].any()


def test_the_weakest_neurons_go_first(tmp_path: Path) -> None:
    task = UnitToy(recipe=UnitToy().recipe.model_copy(update={"steps": 0}))
    _, _, masks = run_chain(chain_of(MagnitudeAfter(), Target.parse("neurons:0.5"), task), tmp_path)
    _, dense, _ = run_chain(chain_of(MagnitudeAfter(), Target.parse("0.0"), task), tmp_path)
    size = dense["up.weight"].abs().sum(1) + dense["down.weight"].abs().sum(0)
    assert torch.equal(masks["up.weight"].all(1), size >= size.sort().values[6])


def test_the_same_units_are_found_where_some_of_their_weights_are_excluded(tmp_path: Path) -> None:
    target = Target.parse("neurons:0.5").replace(exclude=("up",))
    record, tensors, masks = run_chain(chain_of(MagnitudeAfter(), target, UnitToy()), tmp_path)
    certificate = record.certificate
    assert certificate is not None and certificate.ok
    assert certificate.units == UnitCount("neurons", remaining=6, expected=6, total=12)
    assert set(masks) == {"down.weight"} and bool(tensors["up.weight"].all())


class HalfAHead(Pruner):
    """Prunes one row of a query, and no head."""

    def prune(self, probe: Probe, target: Target) -> dict[str, Tensor]:
        masks = {name: mask.clone() for name, mask in probe.masks.items()}
        masks["query.weight"][0] = False
        return masks


class Careless(Method):
    card: ClassVar[MethodCard] = MethodCard(
        name="careless", summary="none", source="none", when="after", patterns=("heads",)
    )

    def plan(self, target: Target):  # type: ignore[no-untyped-def]
        yield Train()
        yield Prune(by=HalfAHead(), to=target)


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("heads:0.5", "4 heads remain, 2 expected"),
        ("heads:0.1", "heads that are pruned in part, in 'query.weight'"),
    ],
)
def test_masks_that_are_not_of_whole_heads_are_refused(tmp_path: Path, word: str, words: str) -> None:
    with pytest.raises(SparsityError, match=words):
        run_chain(chain_of(Careless(), Target.parse(word), UnitToy()), tmp_path)


def test_a_net_without_heads_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SparsityError, match="the net has no heads in scope"):
        run_chain(chain_of(MagnitudeAfter(), Target.parse("heads:0.5"), Toy()), tmp_path)


def test_methods_distributions_and_ablations_without_meaning_are_refused() -> None:
    heads = Target.parse("heads:0.5")
    with pytest.raises(UsageError, match="'wanda' does not support pattern 'heads'"):
        Wanda().accept(heads)
    with pytest.raises(
        UsageError, match="'heads' does not support distribution 'erk'; it supports: global, uniform"
    ):
        MagnitudeAfter().accept(heads.with_distribution("erk"))
    for how in ("shuffle", "random"):
        with pytest.raises(UsageError, match="moves single weights"):
            Ablated(method=MagnitudeAfter(), how=how).accept(heads)
    with pytest.raises(UsageError, match="it can be ablated by reinit$"):
        Ablated(method=Taylor(), how="invert").accept(heads)
    with pytest.raises(UsageError, match="names two patterns"):
        Target.parse("heads:2:4")
