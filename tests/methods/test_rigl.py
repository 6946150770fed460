"""RigL: one change by hand, the schedule, and tensors that keep their numbers of weights."""

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
from smc_eval.sparse.regrow import drop_count, remaining_after_drop
from smc_eval.stages import Prune
from smc_eval.target import Target
from smc_eval.testing import Toy, chain_of, run_chain, step_view

METHODS = (MagnitudeRigL(), SensitivityRigL(), RandomRigL())


def changes(updater: Regrow, steps: int) -> dict[int, float]:
    """Share of each change."""
    shares = {step: updater.due(step, steps) for step in range(steps)}
    return {step: share for step, share in shares.items() if share is not None}


def counts(masks: dict[str, Tensor]) -> dict[str, int]:
    return {name: int(mask.sum()) for name, mask in masks.items()}


def test_a_change_is_as_computed_by_hand() -> None:
    # half-way through a cosine from 0.8 the share is 0.4: of five weights, two are pruned and two grow
    weight = torch.tensor([[0.5, -0.1, 0.0, 0.9], [0.3, 0.0, -0.7, 0.0]])
    gradient = torch.tensor([[9.0, 0.2, -3.0, 9.0], [-0.4, 0.1, 8.0, 0.3]])
    view = step_view({"a": weight}, {"a": gradient}, at=50, steps=100)
    view.net.masks = {"a": weight != 0}
    Regrow(share=0.8, stop=1.0, every=50, events=2).update(view, {})
    # -0.1 and 0.3 are pruned. Of the gradients of pruned weights, 0.2, 3, 0.4, 0.1 and 0.3, the largest are
    # 3 and 0.4; the second is that of the weight 0.3, which grows again and keeps its value
    assert view.net.masks["a"].int().tolist() == [[1, 0, 1, 1], [1, 0, 1, 0]]
    after = view.net.weights["a"]
    torch.testing.assert_close(after, torch.tensor([[0.5, 0.0, 0.0, 0.9], [0.3, 0.0, -0.7, 0.0]]))
    assert view.skipped and view.net.regrown == 1


def test_a_change_by_gradient_skips_the_step_and_each_tensor_grows_on_its_own() -> None:
    weights = {"a": torch.tensor([[1.0, 2.0, 0.0]]), "b": torch.tensor([[1.0, 0.0, 0.0]])}
    gradients = {"a": torch.tensor([[0.0, 0.0, 0.1]]), "b": torch.tensor([[0.0, 7.0, 9.0]])}
    view = step_view(weights, gradients, at=2, steps=100)
    view.net.masks = {name: weight != 0 for name, weight in weights.items()}
    Regrow(every=2, share=0.5, end=0.5).update(view, {})
    assert {name: mask.int().tolist() for name, mask in view.net.masks.items()} == {
        "a": [[0, 1, 1]],
        "b": [[0, 0, 1]],
    }
    assert view.skipped
    between = step_view(weights, gradients, at=3, steps=100)
    between.net.masks = {name: weight != 0 for name, weight in weights.items()}
    Regrow(every=2, share=0.5, end=0.5).update(between, {})
    assert not between.skipped and counts(between.net.masks) == {"a": 2, "b": 1} and not between.net.regrown


def test_the_defaults_are_those_of_the_paper_and_end_at_three_quarters() -> None:
    shares = changes(Regrow(), 1000)
    assert [*shares] == [100, 200, 300, 400, 500, 600, 700]
    assert shares[300] == pytest.approx(0.3 / 2 * (1 + 0.3090170))  # cos(0.4 pi)
    assert [*shares.values()] == sorted(shares.values(), reverse=True)


def test_the_options_of_the_paper_protocol_are_those_of_smc_bench() -> None:
    stages = [*MagnitudeRigL(**MagnitudeRigL.paper).plan(Target(sparsity=0.5))]
    shares = changes(stages[1].updater, 12_250)  # GTS on ASDiv-A: twelve updates
    assert [*shares] == [1000 * number for number in range(1, 13)]
    assert shares[6000] == pytest.approx(
        0.005 + 0.495 / 2 * (1 + 0.0320516), abs=1e-6
    )  # cos(pi 6000 / 12250)
    assert len(changes(stages[1].updater, 3000)) == 5  # CSQA: every 500 of 3000 steps, none at the first


def test_a_short_training_has_changes_with_steps_in_between() -> None:
    assert [*changes(Regrow(), 12)] == [2, 4, 6, 8]
    assert [*changes(Regrow(), 300)] == [37, 74, 111, 148, 185, 222]
    assert not changes(Regrow(), 2)


@st.composite
def nets(draw: st.DrawFn) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Weights, gradients and masks: from empty to full; gradients of some tensors are all zero."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**30)))
    weights, gradients, masks = {}, {}, {}
    for name in "abc"[: draw(st.integers(1, 3))]:
        shape = draw(st.tuples(st.integers(1, 8), st.integers(1, 8)))
        masks[name] = torch.rand(shape, generator=generator) < draw(
            st.sampled_from([0.0, 0.02, 0.5, 0.98, 1.0])
        )
        weights[name] = torch.randn(shape, generator=generator) * masks[name]
        nonzero = torch.rand(shape, generator=generator) < draw(st.sampled_from([0.0, 0.1, 1.0]))
        gradients[name] = torch.randn(shape, generator=generator) * nonzero
    return weights, gradients, masks


@given(
    nets(),
    st.floats(0.01, 1),
    st.sampled_from(["gradient", "chance"]),
    st.sampled_from(["magnitude", "signs"]),
)
def test_every_tensor_keeps_its_count_and_grown_weights_are_zero(
    net: tuple[dict[str, Tensor], ...], share: float, grow: Any, drop: Any
) -> None:
    weights, gradients, masks = net
    view = step_view(weights, gradients, at=2, steps=100)
    view.net.set_masks(masks)
    Regrow(grow=grow, drop=drop, share=share, every=2).update(view, {})
    assert counts(view.net.masks) == counts(masks)
    for name, mask in view.net.masks.items():
        assert not view.net.weights[name][mask & ~masks[name]].any()
        assert torch.equal(view.net.weights[name][mask & masks[name]], weights[name][mask & masks[name]])
        assert not view.net.weights[name][~mask].any()


def test_an_embedding_with_unseen_tokens_keeps_its_count() -> None:
    """Only the rows of tokens in a batch have gradients. If these are fewer than the weights that must grow,
    an order by |gradient| in which unpruned weights count as zero chooses unpruned weights."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(200, 8, generator=generator) < 0.9
    first, official = int(mask.sum()), mask.clone()
    for step in range(2, 40, 2):
        weight = torch.randn(200, 8, generator=generator) * mask
        gradient = torch.zeros(200, 8)
        gradient[torch.randint(200, (3,), generator=generator)] = torch.randn(3, 8, generator=generator)
        view = step_view({"words": weight}, {"words": gradient}, at=step, steps=100)
        view.net.masks = {"words": mask}
        Regrow(share=0.3, end=0.3, every=2).update(view, {})
        nonzero = ~mask & (gradient != 0)
        assert not (nonzero & ~view.net.masks["words"]).any()  # weights with a gradient grow first
        mask = view.net.masks["words"]
        official = _official(weight * official, gradient, official)
    assert int(mask.sum()) == first
    assert int(official.sum()) < first / 4  # the result of an order by gradient alone


def _official(weight: Tensor, gradient: Tensor, mask: Tensor) -> Tensor:
    """The official code: prune 30 %, then set the k first by |gradient|, with 0 for unpruned weights."""
    count = -(-3 * int(mask.sum()) // 10)
    left = mask.clone().view(-1)
    left[(weight.abs() + 9 * ~mask).view(-1).argsort()[:count]] = False
    left[(gradient.abs() * ~left.view_as(mask)).view(-1).argsort(descending=True, stable=True)[:count]] = True
    return left.view_as(mask)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.card.name)
def test_a_whole_run_changes_masks_and_keeps_every_count(
    method: Method, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask_log: list[dict[str, Tensor]] = []
    set_masks = Net.set_masks

    def recorded(net: Net, masks: Any) -> dict[str, Tensor]:
        mask_log.append({name: mask.clone() for name, mask in masks.items()})
        return set_masks(net, masks)

    monkeypatch.setattr(Net, "set_masks", recorded)
    record = run_chain(chain_of(method, Target(sparsity=0.8, scope="all-2d")), tmp_path)[0]
    assert record.certificate.ok and record.certificate.regrown > 0
    assert len(mask_log) == 5  # the pruning and four changes
    assert all(counts(masks) == counts(mask_log[0]) for masks in mask_log)


def test_the_optimizer_skips_the_four_changes_of_twelve_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[bool] = []
    step = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda *args: moved.append(True) or step(*args))
    record = run_chain(chain_of(RandomRigL(), Target(sparsity=0.5)), tmp_path)[0]
    assert record.cost.steps == 12 and len(moved) == 8


def test_accumulated_batches_are_one_step(tmp_path: Path) -> None:
    class NoDropout(Toy):
        """Without dropout, a split batch differs only by rounding."""

        def model(self) -> nn.Module:
            model = super().model()
            model.drop.p = 0.0
            return model

    masks = []
    for batch_size, accumulation in ((8, 1), (2, 4)):
        changed = {"batch_size": batch_size, "accumulation": accumulation, "optimizer": "sgd"}
        task = NoDropout(recipe=Toy().recipe.model_copy(update=changed))
        link = chain_of(MagnitudeRigL(), Target(sparsity=0.7), task)
        record, _, last = run_chain(link, tmp_path / str(accumulation))
        assert record.certificate.mask_changes == 4  # the last share is below one weight of each tensor
        masks.append(last)
    assert all(torch.equal(mask, masks[1][name]) for name, mask in masks[0].items())


def test_its_first_masks_are_those_of_the_method_in_its_name() -> None:
    target = Target(sparsity=0.5)
    assert next(SensitivityRigL().plan(target)) == next(Snip().plan(target))
    stage = next(SensitivityRigL(**SensitivityRigL.paper).plan(target))
    assert isinstance(stage, Prune) and stage.by == next(Snip(**Snip.paper).plan(target)).by


@pytest.mark.parametrize(("rounding", "changed"), [("down", [0, 1, 3]), ("up", [1, 2, 3])])
def test_a_share_of_weights_is_rounded_down_as_the_authors_do_or_up(
    rounding: Any, changed: list[int]
) -> None:
    # 0.3 of 3, 5 and 10 weights are 0.9, 1.5 and 3
    weights = {
        name: torch.arange(1.0, n + 1)[None].repeat(2, 1) for name, n in (("a", 3), ("b", 5), ("c", 10))
    }
    masks = {name: torch.tensor([True, False])[:, None].expand_as(weight) for name, weight in weights.items()}
    gradients = {name: torch.ones_like(weight) for name, weight in weights.items()}
    view = step_view(weights, gradients, at=2, steps=100)
    view.net.set_masks({name: mask.clone() for name, mask in masks.items()})
    Regrow(every=2, share=0.3, end=0.3, rounding=rounding).update(view, {})
    # equal gradients grow in order, dropped places first
    after = view.net.masks
    pruned = {name: int((masks[name] & ~after[name]).sum()) for name in after}
    assert sum(int(mask.sum()) for mask in after.values()) == 18
    kept = {
        name: remaining_after_drop(weights[name], masks[name], 0.3, up=rounding == "up") for name in "abc"
    }
    assert [int(masks[name].sum() - kept[name].sum()) for name in "abc"] == changed
    assert all(pruned[name] <= n for name, n in zip("abc", changed, strict=True))


def test_rigl_rounds_down_and_smc_bench_up() -> None:
    target = Target(sparsity=0.5)
    updaters = [
        [*method.plan(target)][1].updater for method in (RandomRigL(), RandomRigL(**RandomRigL.paper))
    ]
    assert [updater.rounding for updater in updaters] == ["down", "up"]


def test_a_share_that_is_a_whole_number_is_not_rounded() -> None:
    for unpruned in range(200):
        for hundredths in range(101):
            exact, rest = divmod(unpruned * hundredths, 100)
            assert drop_count(unpruned, hundredths / 100, up=False) == exact
            assert drop_count(unpruned, hundredths / 100) == exact + (rest > 0)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.card.name)
def test_patterns_are_refused(method: Method) -> None:
    with pytest.raises(UsageError, match=f"'{method.card.name}' does not support pattern '2:4'"):
        method.accept(Target.parse("2:4"))
