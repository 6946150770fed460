"""The conformance kit: a toy task, and the contracts that every method and task must keep.

For strangers' packages as for ours. Needs pytest:

    class TestMine(MethodContract):
        method = Mine()
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast, get_args

import pytest
import torch
from torch import Tensor, nn

from smc_eval.card import TaskCard
from smc_eval.cell import Cell, Chain, chain
from smc_eval.engine import train as loop
from smc_eval.engine.feed import Feed, predict
from smc_eval.engine.store import Store
from smc_eval.engine.train import Step
from smc_eval.engine.walk import Walk
from smc_eval.engine.watch import Silent
from smc_eval.engine.world import World
from smc_eval.errors import UsageError
from smc_eval.method import Method
from smc_eval.protocol import SOUND
from smc_eval.recipe import Recipe
from smc_eval.score import Score, accuracy
from smc_eval.sparse.net import Net
from smc_eval.spec import digest
from smc_eval.stages import Prune, Stage, Train
from smc_eval.target import Scope, Target
from smc_eval.task import Part, Source, Task

if TYPE_CHECKING:
    from smc_eval.results import Result

Example = tuple[tuple[int, ...], int]


class ToyNet(nn.Module):
    """What trips methods up, in one small net: a tied embedding, a GRU, dropout, a norm, an odd shape."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(12, 8)
        self.encoder = nn.GRU(8, 10, batch_first=True)
        self.drop = nn.Dropout(0.2)
        self.norm = nn.LayerNorm(10)
        self.down = nn.Linear(10, 8)
        self.odd = nn.Linear(7, 5)
        self.out = nn.Linear(8, 12, bias=False)
        self.out.weight = self.words.weight

    def forward(self, tokens_NL: Tensor) -> Tensor:
        """Logits of shape [N, 12] from tokens of shape [N, L]."""
        hidden_NLH = self.encoder(self.words(tokens_NL))[0]
        down_N8 = torch.tanh(self.down(self.drop(self.norm(hidden_NLH[:, -1]))))
        side_N8 = nn.functional.pad(self.odd(down_N8[:, :7]), (0, 3))
        return cast("Tensor", self.out(down_N8 + side_N8))


class Toy(Task):
    """Which token came twice? Learned in seconds."""

    card: ClassVar[TaskCard] = TaskCard(
        name="toy",
        summary="which token came twice",
        source="smc-eval",
        metric="accuracy (%)",
        accepts=("tiny",),
        published="tiny",
    )
    recipe: Recipe = Recipe(steps=12, batch_size=8, lr=0.01, weight_decay=0.1)

    def sources(self) -> tuple[Source, ...]:
        return (Source("data", "twin", digest("toy", 1)),)

    def data(self, part: Part) -> Sequence[Example]:
        chance = random.Random(part)
        return [self._example(chance) for _ in range(52 if part == "train" else 20)][: self.limit]

    def _example(self, chance: random.Random) -> Example:
        tokens = chance.sample(range(12), 5)
        tokens[chance.randrange(1, 5)] = tokens[0]
        return tuple(tokens), tokens[0]

    def model(self) -> nn.Module:
        return ToyNet()

    def collate(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        return {
            "tokens": torch.tensor([tokens for tokens, _ in examples]),
            "answers": torch.tensor([answer for _, answer in examples]),
        }

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return self.judged(model, batch)[0]

    def judged(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        log_NC = model(batch["tokens"]).log_softmax(-1)
        return nn.functional.nll_loss(log_NC, batch["answers"]), log_NC

    def predict(self, model: nn.Module, batch: Any) -> list[int]:
        return cast("list[int]", model(batch["tokens"]).argmax(-1).tolist())

    def score(self, predicted: Sequence[int], examples: Sequence[Example]) -> Score:
        right = [guess == answer for guess, (_, answer) in zip(predicted, examples, strict=True)]
        return accuracy(right, "accuracy (%)", "accuracy")


class PrunedToy(Toy):
    """The toy on a net that comes pruned: every other weight is zero."""

    def model(self) -> nn.Module:
        model = super().model()
        with torch.no_grad():
            for weight in model.parameters():
                if weight.ndim >= 2:
                    weight.view(-1)[::2] = 0
        return model


class Interruption(Exception):
    """Stands for whatever ends a process between two steps."""


class Interrupting(Silent):
    """Ends the run after so many steps and prunings."""

    def __init__(self, after: int) -> None:
        self.left = after

    def step(self, done: int, loss: float) -> None:
        self.left -= 1
        if self.left < 0:
            raise Interruption


def bound(method: Method, target: Target, task: Task | None = None, seed: int = 0) -> Chain:
    """The chain of a cell on the toy task, or on another."""
    task = task or Toy()
    cell = Cell(task=task, method=method, target=target, protocol=SOUND, seed=seed)
    return chain(cell, task.sources(), len(task.data("train")))


def walked(
    link: Chain, folder: Path, watcher: Silent | None = None
) -> tuple[Result, dict[str, Tensor], dict[str, Tensor]]:
    """Walk a chain in a store; its result, and the last net's tensors and masks."""
    store = Store(folder)
    store.open()
    last = link.links[-1].digest
    walk = Walk(
        link,
        store,
        World("cpu", threads=1),
        watcher or Silent(),
        keep={last, *(n.back for n in link.links if n.back)},
    )
    result = walk.run()
    stored = store.load(last)
    assert stored is not None
    return result, stored[0], stored[1]


def timeless(result: Result) -> dict[str, Any]:
    """A record without what may differ between two equal runs: seconds and memory."""
    record = dict(vars(result))
    record["cost"] = {k: v for k, v in result.cost.items() if k not in ("seconds", "peak_memory_mb")}
    return record


def targets(method: Method, scope: Scope = "body") -> list[Target]:
    """Targets that a method must meet, as its card says."""
    if method.card.moment in {"none", "given"}:
        return [Target(scope=scope)]
    words = ["0.3", "0.9"] if "free" in method.card.patterns else []
    words += ["2:4"] if "n:m" in method.card.patterns else []
    return [Target.parse(word, scope=scope).spread_as(method.card.spread) for word in words]


def moment(weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor], at: int, steps: int) -> Step:
    """The moment before step `at` of a net that is nothing but these weights, to try a rule by hand.

    What the rule did is in its `net`, with its masks, and in `skipped`.
    """
    net = Net(
        nn.ParameterDict({name: nn.Parameter(w.clone()) for name, w in weights.items()}), tuple(weights)
    )
    for name, gradient in gradients.items():
        net.parameters[name].grad = gradient.clone()
    optimizer = torch.optim.SGD(net.model.parameters(), lr=1.0)
    return Step(net, optimizer, torch.Generator().manual_seed(at), at, steps)


class MethodContract:
    """What every method must keep. Subclass it in a test module and name the method."""

    method: Method

    def toy(self, **fields: Any) -> Task:
        """What it runs on; where masks are given, the toy whose net comes pruned."""
        return PrunedToy(**fields) if self.method.card.moment == "given" else Toy(**fields)

    def bound(self, target: Target, seed: int = 0, **fields: Any) -> Chain:
        """Its chain to a target on the toy."""
        return bound(self.method, target, self.toy(**fields), seed)

    def test_its_plan_is_pure(self) -> None:
        for target in targets(self.method):
            assert [digest(s) for s in self.method.plan(target)] == [
                digest(s) for s in self.method.plan(target)
            ]

    def test_it_refuses_patterns_that_its_card_does_not_name(self) -> None:
        words = {"free": "0.5", "n:m": "2:4"}
        for pattern in words.keys() - set(self.method.card.patterns):
            with pytest.raises(UsageError, match=self.method.card.name):
                self.method.accept(Target.parse(words[pattern]))

    def test_it_refuses_scopes_that_its_card_does_not_name(self) -> None:
        scopes = self.method.card.scopes
        for scope in set(get_args(Scope)) - set(scopes or get_args(Scope)):
            with pytest.raises(UsageError, match=self.method.card.name):
                self.method.accept(Target(scope=scope))

    def test_the_target_is_met_exactly(self, tmp_path: Path) -> None:
        for target in targets(self.method):
            result, _, masks = walked(self.bound(target), tmp_path)
            kept = sum(int(mask.sum()) for mask in masks.values())
            assert bool(masks) == (self.method.card.moment != "none")
            assert result.certificate["ok"], result.certificate
            dead = [name for name, mask in masks.items() if not mask.any()]
            assert result.certificate["dead_tensors"] == dead
            assert not masks or kept == result.certificate["wanted"]

    @pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
    def test_zeros_hold_under_momentum_and_decay(self, tmp_path: Path, optimizer: str) -> None:
        recipe = Toy().recipe.model_copy(update={"optimizer": optimizer, "lr": 0.1, "clip": 1.0})
        for target in targets(self.method):
            _, tensors, masks = walked(self.bound(target, recipe=recipe), tmp_path)
            for name, mask in masks.items():
                assert not tensors[name][~mask].any(), name

    def test_what_grows_back_starts_at_zero(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        wear = Net.wear
        seen: list[Tensor] = []

        def watched(net: Net, masks: Any) -> dict[str, Tensor]:
            grown = wear(net, masks)
            if not net.soft:
                seen.extend(net.weights[name][back] for name, back in grown.items())
            return grown

        monkeypatch.setattr(Net, "wear", watched)
        for target in targets(self.method):
            walked(self.bound(target), tmp_path)
        assert not any(values.any() for values in seen)

    def test_what_a_pruning_took_stays_gone_unless_a_rule_regrows(self, tmp_path: Path) -> None:
        for target in targets(self.method):
            link = self.bound(target)
            if not any(_regrows(n.stage) for n in link.links):
                assert walked(link, tmp_path)[0].certificate["regrown"] == 0

    def test_tied_weights_stay_tied_under_one_mask(self, tmp_path: Path) -> None:
        scopes = self.method.card.scopes
        scope: Scope = "all-2d" if scopes is None or "all-2d" in scopes else "body"
        for target in targets(self.method, scope):
            _, tensors, masks = walked(self.bound(target), tmp_path)
            assert "words.weight" in tensors and "out.weight" not in tensors
            assert not masks or ("words.weight" in masks) == (scope == "all-2d")
            assert "out.weight" not in masks

    def test_two_runs_are_equal_bit_for_bit(self, tmp_path: Path) -> None:
        for target in targets(self.method):
            link = self.bound(target)
            first, second = walked(link, tmp_path / "first"), walked(link, tmp_path / "second")
            assert timeless(first[0]) == timeless(second[0])
            assert_equal(first[1:], second[1:])

    def test_a_killed_run_ends_like_one_that_was_not(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
        target = targets(self.method)[0]
        link = self.bound(target)
        whole = walked(link, tmp_path / "whole")
        for after in (1, 7, 12, 13, 20, 33):
            folder = tmp_path / f"killed {after}"
            try:
                walked(link, folder, Interrupting(after))
            except Interruption:
                resumed = walked(link, folder)
                assert timeless(resumed[0]) == timeless(whole[0])
                assert_equal(resumed[1:], whole[1:])

    def test_seeds_give_different_nets(self, tmp_path: Path) -> None:
        target = targets(self.method)[0]
        first, second = (walked(self.bound(target, seed=seed), tmp_path)[1] for seed in (0, 1))
        assert any(not torch.equal(first[name], second[name]) for name in first)

    def test_the_plan_prunes_unless_it_is_the_dense_one(self) -> None:
        stages = list(self.method.plan(targets(self.method)[0]))
        prunes = any(isinstance(s, Prune) or (isinstance(s, Train) and s.rule) for s in stages)
        assert prunes == (self.method.card.moment != "none")


def _regrows(stage: Stage) -> bool:
    """Whether a stage may bring weights back from under a mask."""
    match stage:
        case Train(rule=rule):
            return rule is not None
        case Prune(by=by):
            return by.revives
    return False


def assert_equal(found: Sequence[dict[str, Tensor]], wanted: Sequence[dict[str, Tensor]]) -> None:
    """Two sequences of named tensors are equal bit for bit."""
    for these, those in zip(found, wanted, strict=True):
        assert these.keys() == those.keys()
        for name in these:
            assert torch.equal(these[name], those[name]), name


class TaskContract:
    """What every task must keep. Subclass it in a test module and name the task, on its twin."""

    task: Task
    steps: ClassVar[int] = 8
    """Optimizer steps in which the training loss must fall."""

    def test_its_sources_are_named_and_stable(self) -> None:
        assert self.task.sources() == self.task.sources()
        assert {source.role for source in self.task.sources()} >= {"data"}
        assert all(source.digest for source in self.task.sources())

    def test_where_the_data_lies_is_no_part_of_its_name(self) -> None:
        assert self.task.but(folder="elsewhere").digest() == self.task.digest()

    def test_how_it_is_trained_is_no_part_of_its_name(self) -> None:
        other = self.task.recipe.model_copy(update={"lr": self.task.recipe.lr * 2})
        assert self.task.but(recipe=other).digest() == self.task.digest()

    def test_what_it_is_trained_as_reads_the_same_and_trains_alike(self) -> None:
        trained = self.task.trained_as()
        assert trained.trained_as() == trained
        assert trained.sources() == self.task.sources()
        assert trained.recipe == self.task.recipe
        assert list(trained.data("train")) == list(self.task.data("train"))

    def test_both_parts_hold_examples_and_the_limit_holds(self) -> None:
        for part in ("train", "test"):
            examples = self.task.data(part)
            assert len(examples) > 2
            assert list(self.task.but(limit=2).data(part)) == list(examples[:2])

    def test_equal_seeds_give_equal_nets(self) -> None:
        world, nets = World("cpu", threads=1), []
        for _ in range(2):
            world.seed("a")
            nets.append(dict(self.task.model().state_dict()))
        assert_equal([nets[0]], [nets[1]])

    def test_names_it_gives_are_parameters(self) -> None:
        model = self.task.model()
        names = dict(model.named_parameters()).keys()
        assert set(self.task.spared(model)) <= names
        assert set(self.task.backbone_weights(model)) <= names

    def test_the_loss_is_a_number_with_a_gradient(self) -> None:
        model = self.task.model()
        loss = self.task.loss(model, self.task.collate(self.task.data("train")[:3]))
        loss.backward()  # type: ignore[no-untyped-call]
        assert loss.shape == () and bool(loss.isfinite())
        assert any(weight.grad is not None for weight in model.parameters())

    def test_training_lowers_the_loss(self, tmp_path: Path) -> None:
        losses: list[float] = []

        class Listening(Silent):
            def step(self, done: int, loss: float) -> None:
                losses.append(loss)

        from smc_eval.methods.dense import Dense

        recipe = self.task.recipe.model_copy(update={"epochs": None, "steps": 5 * self.steps, "warmup": 0})
        walked(bound(Dense(), Target(), self.task.but(recipe=recipe)), tmp_path, Listening())
        assert sum(losses[-self.steps :]) < sum(losses[: self.steps])

    def test_no_score_depends_on_the_evaluation_batch(self) -> None:
        world = World("cpu", threads=1)
        world.seed("a")
        model, examples = self.task.model(), self.task.data("test")[:7]
        predicted = [
            predict(
                self.task,
                model,
                examples,
                self.task.recipe.model_copy(update={"eval_batch_size": size}),
                world,
            )
            for size in (1, 3, 7)
        ]
        assert predicted[0] == predicted[1] == predicted[2]

    def test_the_score_counts_every_example(self) -> None:
        examples = self.task.data("test")[:5]
        model = self.task.model()
        predicted = predict(self.task, model, examples, self.task.recipe, World("cpu", threads=1))
        score = self.task.score(predicted, examples)
        assert score.n == 5 and score.metric == self.task.card.metric and score.signature

    def test_batches_are_a_function_of_the_seed(self) -> None:
        recipe, world = self.task.recipe, World("cpu", threads=1)
        first, again, other = (Feed(self.task, recipe, start, world)._order("epoch 0", 50) for start in "aab")
        assert first == again != other
