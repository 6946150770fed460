"""Batch effect: a score does not depend on what shares a batch with an example."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest
import torch
from torch import Tensor, nn

from smc_eval.engine.batch_effect import has_batch_effect
from smc_eval.engine.device import Device
from smc_eval.engine.initial_net import initial_model
from smc_eval.methods.dense import Dense
from smc_eval.methods.omp import MagnitudeAfter
from smc_eval.recipe import Recipe
from smc_eval.reporting.footnotes import footnotes
from smc_eval.reporting.rescore import Rescored
from smc_eval.reporting.table import table_of
from smc_eval.score import Score, accuracy
from smc_eval.store.record import Record
from smc_eval.store.store import Store
from smc_eval.target import Target
from smc_eval.task import Part
from smc_eval.testing import Toy, chain_of, run_chain

CPU = Device("cpu", threads=1)


class Mixing(nn.Module):
    """A net that mixes all positions, as FNet does by a Fourier transform; or one that a mask guards."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.words, self.out = how, nn.Embedding(12, 8), nn.Linear(8, 12)

    def forward(self, tokens_NL: Tensor) -> Tensor:
        x_NLE, there_NL1 = self.words(tokens_NL.clamp_min(0)), (tokens_NL >= 0).float()[..., None]
        match self.how:
            case "fourier":
                x_NE = torch.fft.fftn(x_NLE, dim=(1, 2)).real[:, 0]
            case "guarded":
                x_NE = (x_NLE * there_NL1).sum(1) / there_NL1.sum(1)
            case "batch mean":  # no padding, but the other examples of the batch
                x_NE = (x_NLE * there_NL1).sum(1) / there_NL1.sum(1)
                x_NE = x_NE - x_NE.mean(0)
            case _:
                raise AssertionError(self.how)
        return cast("Tensor", self.out(x_NE))


class Lengths(Toy):
    """The toy with examples of 3 to 9 tokens, and a net that mixes positions. Padding is the token -1."""

    how: str = "fourier"
    only_loss: bool = False
    recipe: Recipe = Recipe(steps=8, batch_size=8, lr=0.05)

    def model(self) -> nn.Module:
        return Mixing(self.how)

    def data(self, part: Part) -> Sequence[Any]:
        long = [
            ((tokens * 2)[: 3 + number % 7], answer)
            for number, (tokens, answer) in enumerate(super().data(part))
        ]
        return [
            (tokens[::-1] if number % 2 else tokens, answer) for number, (tokens, answer) in enumerate(long)
        ]

    def length(self, example: Any) -> int:
        return len(example[0])

    def collate(self, examples: Sequence[Any]) -> dict[str, Tensor]:
        longest = max(len(tokens) for tokens, _ in examples)
        padded = [[*tokens, *[-1] * (longest - len(tokens))] for tokens, _ in examples]
        return {"tokens": torch.tensor(padded), "answers": torch.tensor([answer for _, answer in examples])}

    def predict(self, model: nn.Module, batch: Any) -> list[Any]:
        return model(batch["tokens"]).argmax(-1).tolist()  # type: ignore[no-any-return]


class OnlyLoss(Lengths):
    """The same without outputs: the loss alone must show it."""

    loss_and_outputs: ClassVar[None] = None  # type: ignore[assignment]

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(model(batch["tokens"]), batch["answers"])


def effect(task: Toy) -> bool:
    return has_batch_effect(task, initial_model(task, "start", CPU), task.data("test"), CPU)


@pytest.mark.parametrize("kind", [Lengths, OnlyLoss])
@pytest.mark.parametrize(("how", "found"), [("fourier", True), ("guarded", False), ("batch mean", True)])
def test_what_leaks_between_examples_is_found(kind: type[Lengths], how: str, found: bool) -> None:  # noqa: FBT001
    assert effect(kind(how=how)) is found


def test_the_toy_has_no_batch_effect_and_its_net_keeps_its_mode() -> None:
    model = initial_model(Toy(), "start", CPU).train()
    assert not has_batch_effect(Toy(), model, Toy().data("test"), CPU) and model.training
    assert not has_batch_effect(Toy(), model, Toy().data("test")[:1], CPU)


def scored(task: Toy, folder: Path, method: Any = None, **recipe: Any) -> tuple[Record, list[Any]]:
    task = task.replace(recipe=task.recipe.model_copy(update=recipe))
    method = method or Dense()
    record = run_chain(
        chain_of(method, Target(sparsity=0.5 if method.card.name != "dense" else 0), task), folder
    )[0]
    predicted = Store(folder).predictions.predicted(record.digest)
    assert predicted is not None
    return record, predicted


def test_one_score_whatever_shares_the_batch_and_the_record_says_so(tmp_path: Path) -> None:
    found = [scored(Lengths(), tmp_path / str(size), eval_batch_size=size) for size in (1, 7, 64)]
    assert found[0][1] == found[1][1] == found[2][1]
    for record, _ in found:
        assert record.score is not None and record.score.one_by_one
        assert record.score.signature == "accuracy|batch:1"
        assert Record.from_json(record.to_json()) == record
    pruned, _ = scored(Lengths(), tmp_path / "pruned", MagnitudeAfter())
    assert pruned.score is not None and pruned.score.one_by_one
    assert pruned.cost is not None and pruned.cost.uncounted == ("aten._fft_c2c",)  # named: not counted
    guarded, _ = scored(Lengths(how="guarded"), tmp_path / "guarded")
    assert guarded.score is not None and guarded.score.signature == "accuracy"
    assert "one_by_one" not in guarded.to_json()["score"]


def test_the_selection_of_an_epoch_does_not_depend_on_the_batch_either(tmp_path: Path) -> None:
    chosen = [
        scored(Lengths(), tmp_path / str(size), keep="best", validation=0.3, eval_batch_size=size)
        for size in (1, 64)
    ]
    assert chosen[0][1] == chosen[1][1]


def test_the_footer_says_that_examples_were_predicted_one_by_one(tmp_path: Path) -> None:
    record, _ = scored(Lengths(), tmp_path)
    settings = footnotes(table_of([record])).settings
    assert (
        "predicted one by one: padding or other examples of a batch change the outputs of this net for an "
        "example"
    ) in settings


def test_a_score_that_is_computed_again_keeps_the_sign_of_its_predictions(tmp_path: Path) -> None:
    record, _ = scored(Lengths(), tmp_path)
    assert record.score is not None
    again: Score = accuracy([True] * record.score.n, "accuracy (%)", "accuracy")
    rescored = Rescored(record, again).rescored_record
    assert rescored.score is not None and rescored.score.one_by_one
    assert rescored.score.signature == "accuracy|batch:1"
