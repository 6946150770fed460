"""RigL: one change worked out by hand, its schedule, and counts that no tensor loses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from smc_eval.errors import UsageError
from smc_eval.method import Method
from smc_eval.methods.rigl import MagnitudeRigL, RandomRigL, Regrow, SensitivityRigL
from smc_eval.methods.snip import Snip
from smc_eval.sparse.net import Net
from smc_eval.stages import Prune
from smc_eval.target import Target
from smc_eval.testing import Toy, chain_of, run_chain, step_view

METHODS = (MagnitudeRigL(), SensitivityRigL(), RandomRigL())


def changes(updater: Regrow, steps: int) -> dict[int, float]:
    found = {step: updater.due(step, steps) for step in range(steps)}
    return {step: share for step, share in found.items() if share is not None}


def counts(masks: dict[str, Tensor]) -> dict[str, int]:
    return {name: int(mask.sum()) for name, mask in masks.items()}


def test_a_change_by_hand() -> None:
    # half-way through a cosine from 0.8 the share is 0.4: of five alive, two go and two come
    weight = torch.tensor([[0.5, -0.1, 0.0, 0.9], [0.3, 0.0, -0.7, 0.0]])
    gradient = torch.tensor([[9.0, 0.2, -3.0, 9.0], [-0.4, 0.1, 8.0, 0.3]])
    now = step_view({"a": weight}, {"a": gradient}, at=50, steps=100)
    now.net.masks = {"a": weight != 0}
    Regrow(share=0.8, stop=1.0, every=50, events=2).update(now, {})
    # -0.1 and 0.3 are dropped; of the gradients 0.2, 3, 0.4, 0.1, 0.3 there, 3 and 0.4 are largest:
    # the second is that of 0.3, which so keeps its place and its value
    assert now.net.masks["a"].int().tolist() == [[1, 0, 1, 1], [1, 0, 1, 0]]
    after = now.net.weights["a"]
    torch.testing.assert_close(after, torch.tensor([[0.5, 0.0, 0.0, 0.9], [0.3, 0.0, -0.7, 0.0]]))
    assert now.skipped and now.net.regrown == 1


def test_no_weight_moves_at_a_change_by_gradient_and_each_tensor_grows_for_itself() -> None:
    weights = {"a": torch.tensor([[1.0, 2.0, 0.0]]), "b": torch.tensor([[1.0, 0.0, 0.0]])}
    gradients = {"a": torch.tensor([[0.0, 0.0, 0.1]]), "b": torch.tensor([[0.0, 7.0, 9.0]])}
    now = step_view(weights, gradients, at=2, steps=100)
    now.net.masks = {name: weight != 0 for name, weight in weights.items()}
    Regrow(every=2, share=0.5, end=0.5).update(now, {})
    assert {name: mask.int().tolist() for name, mask in now.net.masks.items()} == {
        "a": [[0, 1, 1]],
        "b": [[0, 0, 1]],
    }
    assert now.skipped
    between = step_view(weights, gradients, at=3, steps=100)
    between.net.masks = {name: weight != 0 for name, weight in weights.items()}
    Regrow(every=2, share=0.5, end=0.5).update(between, {})
    assert not between.skipped and counts(between.net.masks) == {"a": 2, "b": 1} and not between.net.regrown


def test_the_defaults_are_the_papers_and_end_at_three_quarters() -> None:
    found = changes(Regrow(), 1000)
    assert [*found] == [100, 200, 300, 400, 500, 600, 700]
    assert found[300] == pytest.approx(0.3 / 2 * (1 + 0.3090170))  # cos(0.4 pi)
    assert [*found.values()] == sorted(found.values(), reverse=True)


def test_the_options_of_the_paper_protocol_are_those_of_smc_bench() -> None:
    stages = [*MagnitudeRigL(**MagnitudeRigL.paper).plan(Target(sparsity=0.5))]
    found = changes(stages[1].updater, 12_250)  # GTS on ASDiv-A: twelve updates
    assert [*found] == [1000 * number for number in range(1, 13)]
    assert found[6000] == pytest.approx(0.005 + 0.495 / 2 * (1 + 0.0320516), abs=1e-6)  # cos(pi 6000 / 12250)
    assert len(changes(stages[1].updater, 3000)) == 5  # CSQA: every 500 of 3000 steps, none at the first


def test_a_short_training_changes_its_masks_but_learns_in_between() -> None:
    assert [*changes(Regrow(), 12)] == [2, 4, 6, 8]
    assert [*changes(Regrow(), 300)] == [37, 74, 111, 148, 185, 222]
    assert not changes(Regrow(), 2)


@st.composite
def nets(draw: st.DrawFn) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Weights, gradients and masks: from empty to full; gradients of some tensors are all zero."""
    chance = torch.Generator().manual_seed(draw(st.integers(0, 2**30)))
    weights, gradients, masks = {}, {}, {}
    for name in "abc"[: draw(st.integers(1, 3))]:
        shape = draw(st.tuples(st.integers(1, 8), st.integers(1, 8)))
        masks[name] = torch.rand(shape, generator=chance) < draw(st.sampled_from([0.0, 0.02, 0.5, 0.98, 1.0]))
        weights[name] = torch.randn(shape, generator=chance) * masks[name]
        steep = torch.rand(shape, generator=chance) < draw(st.sampled_from([0.0, 0.1, 1.0]))
        gradients[name] = torch.randn(shape, generator=chance) * steep
    return weights, gradients, masks


@given(
    nets(),
    st.floats(0.01, 1),
    st.sampled_from(["gradient", "chance"]),
    st.sampled_from(["magnitude", "signs"]),
)
def test_every_tensor_keeps_its_count_and_what_is_new_is_zero(
    net: tuple[dict[str, Tensor], ...], share: float, grow: Any, drop: Any
) -> None:
    weights, gradients, masks = net
    now = step_view(weights, gradients, at=2, steps=100)
    now.net.set_masks(masks)
    Regrow(grow=grow, drop=drop, share=share, every=2).update(now, {})
    assert counts(now.net.masks) == counts(masks)
    for name, mask in now.net.masks.items():
        assert not now.net.weights[name][mask & ~masks[name]].any()
        assert torch.equal(now.net.weights[name][mask & masks[name]], weights[name][mask & masks[name]])
        assert not now.net.weights[name][~mask].any()


def test_an_embedding_of_absent_tokens_leaks_no_weight() -> None:
    """Only rows of the tokens in a batch have gradients; where those are fewer than the places to fill,
    an order by |gradient| in which the living count as zero picks places that are alive already."""
    chance = torch.Generator().manual_seed(0)
    mask = torch.rand(200, 8, generator=chance) < 0.9
    first, leaking = int(mask.sum()), mask.clone()
    for step in range(2, 40, 2):
        weight = torch.randn(200, 8, generator=chance) * mask
        gradient = torch.zeros(200, 8)
        gradient[torch.randint(200, (3,), generator=chance)] = torch.randn(3, 8, generator=chance)
        now = step_view({"words": weight}, {"words": gradient}, at=step, steps=100)
        now.net.masks = {"words": mask}
        Regrow(share=0.3, end=0.3, every=2).update(now, {})
        steep = ~mask & (gradient != 0)
        assert not (steep & ~now.net.masks["words"]).any()  # what has a gradient comes first
        mask = now.net.masks["words"]
        leaking = _official(weight * leaking, gradient, leaking)
    assert int(mask.sum()) == first
    assert int(leaking.sum()) < first / 4  # what an order by gradient alone leaves


def _official(weight: Tensor, gradient: Tensor, mask: Tensor) -> Tensor:
    """Drop 30 %, then set the k places that come first by |gradient|, the living's being taken as zero."""
    count = -(-3 * int(mask.sum()) // 10)
    left = mask.clone().view(-1)
    left[(weight.abs() + 9 * ~mask).view(-1).argsort()[:count]] = False
    left[(gradient.abs() * ~left.view_as(mask)).view(-1).argsort(descending=True, stable=True)[:count]] = True
    return left.view_as(mask)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.card.name)
def test_a_whole_run_rewires_and_keeps_every_count(
    method: Method, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Tensor]] = []
    wear = Net.set_masks

    def watched(net: Net, masks: Any) -> dict[str, Tensor]:
        seen.append({name: mask.clone() for name, mask in masks.items()})
        return wear(net, masks)

    monkeypatch.setattr(Net, "wear", watched)
    result = run_chain(chain_of(method, Target(sparsity=0.8, scope="all-2d")), tmp_path)[0]
    assert result.certificate.ok and result.certificate.regrown > 0
    assert len(seen) == 5  # the pruning and four changes
    assert all(counts(masks) == counts(seen[0]) for masks in seen)


def test_twelve_steps_lose_four_to_the_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[bool] = []
    step = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda *given: moved.append(True) or step(*given))
    result = run_chain(chain_of(RandomRigL(), Target(sparsity=0.5)), tmp_path)[0]
    assert result.cost.steps == 12 and len(moved) == 8


def test_accumulated_batches_make_one_moment(tmp_path: Path) -> None:
    class Still(Toy):
        """No dropout, so that splitting a batch changes nothing but rounding."""

        def model(self) -> nn.Module:
            model = super().model()
            model.drop.p = 0.0
            return model

    masks = []
    for batch_size, accumulation in ((8, 1), (2, 4)):
        changed = {"batch_size": batch_size, "accumulation": accumulation, "optimizer": "sgd"}
        task = Still(recipe=Toy().recipe.model_copy(update=changed))
        link = chain_of(MagnitudeRigL(), Target(sparsity=0.7), task)
        result, _, last = run_chain(link, tmp_path / str(accumulation))
        assert result.certificate.mask_changes == 5
        masks.append(last)
    assert all(torch.equal(mask, masks[1][name]) for name, mask in masks[0].items())


def test_its_starts_are_those_of_the_methods_it_is_named_after() -> None:
    target = Target(sparsity=0.5)
    assert next(SensitivityRigL().plan(target)) == next(Snip().plan(target))
    for batches in (SensitivityRigL(**SensitivityRigL.paper), SensitivityRigL(batches=1)):
        stage = next(batches.plan(target))
        assert isinstance(stage, Prune) and stage.by == next(Snip(**Snip.paper).plan(target)).by


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.card.name)
def test_growing_anywhere_would_break_a_pattern(method: Method) -> None:
    with pytest.raises(UsageError, match=f"'{method.card.name}' cannot make pattern '2:4'"):
        method.accept(Target.parse("2:4"))
