"""Capabilities: the default of each function, and its value for a task that has the method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from torch import Tensor, nn

from smc_eval import capabilities
from smc_eval.capabilities import (
    HasBackbone,
    HasCeiling,
    HasChance,
    HasClasses,
    HasContent,
    HasDataFiles,
    HasExcerpts,
    HasExclusions,
    HasHeadFacts,
    HasLength,
    HasLossTerms,
    HasNetTokenizer,
    HasOutputs,
    HasPadding,
    HasPaperExclusions,
    HasSideLengths,
    HasUnknownTokens,
    LeavesOut,
    Sized,
    TrainedAs,
    backbone_weights,
    ceiling,
    chance,
    classes_of,
    content,
    data_files,
    excerpt,
    excluded,
    excluded_in_paper,
    head_facts,
    left_out_examples,
    loss_terms,
    net_tokenizer,
    published_sizes,
    real_tokens,
    side_lengths,
    trained_as,
    unknown_tokens,
)
from smc_eval.data_file import DataFile
from smc_eval.errors import PluginError
from smc_eval.task import CAPABILITIES, Part, Sizes, Task
from smc_eval.testing import Toy, ToyNet

FILE = DataFile("toy/train.json", licence="MIT")
SIZES = Sizes(train=52, test=20, tokens=5, source="toy")


class Bare(Toy):
    """A task with the seven required methods only."""

    loss_and_outputs: ClassVar[None] = None  # type: ignore[assignment]

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(model(batch["tokens"]), batch["answers"])


class Rich(Toy):
    """A task with every capability."""

    def length(self, example: Any) -> int:
        return len(example[0])

    def loss_terms(self, example: Any) -> int:
        return example[1] + 1

    def real_tokens(self, batch: Any) -> Tensor:
        return batch["tokens"] > 0

    def backbone_weights(self, model: nn.Module) -> list[str]:
        return ["words.weight"]

    def exclude(self, model: nn.Module) -> list[str]:
        return ["odd.weight"]

    def exclude_in_paper(self, model: nn.Module) -> list[str]:
        return ["down.weight"]

    def data_files(self) -> tuple[DataFile, ...]:
        return (FILE,)

    def sizes(self) -> Sizes | None:
        return SIZES

    def trained_as(self) -> Task:
        return Toy(limit=self.limit)

    def content(self, example: Any) -> tuple[int, ...]:
        return example[0]

    def excerpt(self, example: Any, tokens: int) -> Any:
        return example[0][:tokens], example[1]

    def left_out(self, part: Part) -> int:
        return len(part)

    def unknown_tokens(self, examples: Sequence[Any]) -> dict[str, float]:
        return {"toy": 1 / len(examples)}

    def class_of(self, example: Any) -> int:
        return int(example[1])

    def chance(self) -> float:
        return 12.5

    def ceiling(self, examples: Sequence[Any]) -> dict[str, float]:
        return {"toy": 100 - len(examples)}

    def net_tokenizer(self) -> str:
        return "tokenizer"

    def head_facts(self) -> dict[str, Any]:
        return {"symbols": ("+", "-")}


class TwoSides(Rich):
    """A task whose examples have two sides: they replace the length."""

    def side_lengths(self, example: Any) -> tuple[int, ...]:
        return len(example[0]), 1


@dataclass(frozen=True)
class Pair:
    """An example of a class of its own."""

    text: str
    answer: int


EXAMPLES = [((1, 2, 1), 1), ((3, 3), 3)]


def test_a_task_without_capabilities_has_the_defaults() -> None:
    task, model = Bare(), ToyNet()
    assert side_lengths(task, EXAMPLES) == [(1,), (1,)]
    assert loss_terms(task, EXAMPLES) == 2
    assert backbone_weights(task, model) == excluded(task, model) == excluded_in_paper(task, model) == ()
    assert real_tokens(task, task.collate(EXAMPLES[:1])) is None
    assert classes_of(task, EXAMPLES) is None
    assert data_files(task) == ()
    assert published_sizes(task) is None
    assert trained_as(task) is task
    assert content(task, EXAMPLES[0]) == content(task, ([1, 2, 1], 1)) != content(task, EXAMPLES[1])
    assert content(task, Pair("a", 1)) == content(task, Pair("a", 1)) != content(task, Pair("a", 2))
    assert content(task, (nn.Linear(1, 1), 1)) is None
    assert excerpt(task, EXAMPLES[0], 2) == EXAMPLES[0]
    assert left_out_examples(task) == unknown_tokens(task, EXAMPLES) == ceiling(task, EXAMPLES) == {}
    assert chance(task) == task.card.chance
    assert net_tokenizer(task) is None and head_facts(task) == {}


def test_a_task_with_capabilities_overrides_each_default() -> None:
    task, model = Rich(limit=3), ToyNet()
    assert side_lengths(task, EXAMPLES) == [(3,), (2,)]
    assert side_lengths(TwoSides(), EXAMPLES) == [(3, 1), (2, 1)]
    assert loss_terms(task, EXAMPLES) == 2 + 4
    assert list(backbone_weights(task, model)) == ["words.weight"]
    assert list(excluded(task, model)) == ["odd.weight"]
    assert list(excluded_in_paper(task, model)) == ["down.weight"]
    real_NL = real_tokens(task, task.collate([((2, 0), 2)]))
    assert classes_of(task, EXAMPLES) == [1, 3]
    assert real_NL is not None and real_NL.tolist() == [[True, False]]
    assert data_files(task) == (FILE,)
    assert published_sizes(task) is SIZES
    assert trained_as(task) == Toy(limit=3)
    assert content(task, EXAMPLES[0]) == (1, 2, 1)
    assert excerpt(task, EXAMPLES[0], 2) == ((1, 2), 1)
    assert left_out_examples(task) == {"train": 5, "test": 4}
    assert unknown_tokens(task, EXAMPLES) == {"toy": 0.5} and ceiling(task, EXAMPLES) == {"toy": 98}
    assert chance(task) == 12.5
    assert net_tokenizer(task) == "tokenizer" and head_facts(task) == {"symbols": ["+", "-"]}  # as JSON


@pytest.mark.parametrize(
    ("capability", "names"),
    [
        (HasLength, {"length"}),
        (HasSideLengths, {"side_lengths"}),
        (HasLossTerms, {"loss_terms"}),
        (HasOutputs, {"loss_and_outputs"}),
        (HasPadding, {"real_tokens"}),
        (HasBackbone, {"backbone_weights"}),
        (HasExclusions, {"exclude"}),
        (HasPaperExclusions, {"exclude_in_paper"}),
        (HasDataFiles, {"data_files"}),
        (Sized, {"sizes"}),
        (TrainedAs, {"trained_as"}),
        (HasContent, {"content"}),
        (LeavesOut, {"left_out"}),
        (HasUnknownTokens, {"unknown_tokens"}),
        (HasCeiling, {"ceiling"}),
        (HasChance, {"chance"}),
        (HasClasses, {"class_of"}),
        (HasExcerpts, {"excerpt"}),
        (HasNetTokenizer, {"net_tokenizer"}),
        (HasHeadFacts, {"head_facts"}),
    ],
)
def test_a_capability_is_one_method_and_having_it_is_enough(capability: type, names: set[str]) -> None:
    assert {name for name in vars(capability) if not name.startswith("_")} == names
    assert isinstance(TwoSides(), capability)
    assert not isinstance(Bare(), capability)


def test_every_capability_is_tested_here() -> None:
    protocols = {
        name for name, value in vars(capabilities).items() if getattr(value, "_is_protocol", False) is True
    }
    assert protocols - {"Protocol"} == {
        "HasBackbone", "HasCeiling", "HasChance", "HasClasses", "HasContent", "HasDataFiles", "HasExcerpts",
        "HasExclusions",
        "HasHeadFacts", "HasLength", "HasLossTerms", "HasNetTokenizer", "HasOutputs", "HasPadding",
        "HasPaperExclusions", "HasSideLengths", "HasUnknownTokens",
        "LeavesOut", "Sized", "TrainedAs",
    }  # fmt: skip


def test_a_subclass_gives_a_capability_up_by_a_class_variable() -> None:
    assert isinstance(Toy(), HasOutputs) and not isinstance(Bare(), HasOutputs)


def test_every_capability_is_a_name_that_no_option_may_have() -> None:
    own = [
        kind
        for kind in vars(capabilities).values()
        if getattr(kind, "__module__", "") == capabilities.__name__
    ]
    protocols = [kind for kind in own if getattr(kind, "_is_protocol", False)]
    methods = {name for kind in protocols for name in vars(kind) if not name.startswith("_")}
    assert methods == CAPABILITIES
    assert len(protocols) == len(methods)


@pytest.mark.parametrize("name", sorted(CAPABILITIES))
def test_an_option_with_the_name_of_a_capability_is_refused(name: str) -> None:
    with pytest.raises(PluginError, match=f"has a field named '{name}', which .* rename the field"):
        type("Long", (Bare,), {"__module__": __name__, "__annotations__": {name: int}, name: 5})
