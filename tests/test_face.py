"""The face of the package: every public name comes from `smc_eval`, and a plugin needs nothing else."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import smc_eval
from smc_eval import (
    Criterion,
    HasLength,
    HasLossTerms,
    Items,
    Method,
    MethodCard,
    Part,
    Probe,
    Prune,
    Pruner,
    Recipe,
    Score,
    Source,
    Stage,
    StepView,
    Target,
    Task,
    TaskCard,
    Train,
    Updater,
    masks,
)
from smc_eval.testing import MethodContract, TaskContract, chain_of, run_chain

# Names


def test_every_public_name_can_be_imported() -> None:
    for name in smc_eval.__all__:
        assert getattr(smc_eval, name) is not None, name


def test_no_name_is_public_twice() -> None:
    names = [name for names in smc_eval.MODULES.values() for name in names.split()]
    assert len(names) == len(set(names)) and len(smc_eval.__all__) == len(set(smc_eval.__all__))


def test_the_table_of_modules_has_exactly_the_public_names() -> None:
    assert {name for names in smc_eval.MODULES.values() for name in names.split()} == set(smc_eval.__all__)


def test_type_checkers_see_the_same_names_from_the_same_modules() -> None:
    tree = ast.parse(Path(smc_eval.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    assert len(imports) == len(block.body)
    for_checkers = {
        (node.module or "").removeprefix("smc_eval."): {alias.name for alias in node.names}
        for node in imports
    }
    assert for_checkers == {module: set(names.split()) for module, names in smc_eval.MODULES.items()}


def test_each_name_comes_from_the_module_that_defines_it() -> None:
    for module, names in smc_eval.MODULES.items():
        for name in names.split():
            home = getattr(getattr(smc_eval, name), "__module__", "")
            assert home == f"smc_eval.{module}" or not home.startswith("smc_eval"), name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'smc_eval' has no attribute 'Rule'"):
        _ = smc_eval.Rule


def test_dir_lists_all_public_names() -> None:
    assert set(smc_eval.__all__) <= set(dir(smc_eval))


def test_importing_the_package_imports_no_torch_and_no_other_module_of_it() -> None:
    code = "import sys, smc_eval; print(*(m for m in sys.modules if m.startswith(('torch', 'smc_eval.'))))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []


def examples(kind: type) -> dict[str, Any]:
    """Names that the example in a docstring defines, with everything imported from `smc_eval`."""
    block = inspect.cleandoc(kind.__doc__ or "").partition(":\n\n    ")[2]
    names: dict[str, Any] = {"__name__": f"example_of_{kind.__name__}"}
    source = "from typing import ClassVar\nfrom smc_eval import *\n" + textwrap.dedent("    " + block)
    exec(compile(source, kind.__name__, "exec", dont_inherit=True), names)
    return names


def test_the_examples_in_docstrings_run(tmp_path: Path) -> None:
    target = Target(sparsity=0.5)
    assert run_chain(chain_of(examples(Method)["OneShot"](), target), tmp_path)[0].status == "ok"

    class Example(Method):
        card: ClassVar[MethodCard] = HalfTimePruning.card

        def plan(self, target: Target) -> Iterator[Stage]:
            yield Train(updater=examples(Updater)["HalfAtHalfTime"](to=target))
            yield Prune(by=examples(Criterion)["Magnitude"](), to=target)

    assert run_chain(chain_of(Example(), target), tmp_path)[0].status == "ok"


# A plugin's pruner, criterion, updater, method and task, with imports from `smc_eval` alone


class LargestRows(Pruner):
    """Scores each weight by the norm of its row."""

    def prune(self, probe: Probe, target: Target) -> dict[str, Tensor]:
        norms = {
            name: weight.flatten(1).norm(dim=1, keepdim=True).expand(len(weight), weight[0].numel())
            for name, weight in probe.weights.items()
        }
        saliency = {name: norm.reshape(probe.weights[name].shape) for name, norm in norms.items()}
        return masks(saliency, target, within=probe.masks, shards=probe.shards)


class Centered(Criterion):
    """Scores each weight by its distance from the mean of its tensor."""

    def saliency(self, probe: Probe) -> dict[str, Tensor]:
        return {name: (weight - weight.mean()).abs() for name, weight in probe.weights.items()}


class HalfTime(Updater):
    """Prunes by magnitude after half of the steps."""

    to: Target

    def init(self, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {}

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        if view.step == view.steps // 2:
            saliency = {name: weight.abs() for name, weight in view.weights.items()}
            view.set_masks(masks(saliency, self.to, within=view.masks, shards=view.shards))
        return state

    def densities(self, steps: int, density: float) -> Iterator[tuple[int, float]]:
        yield steps // 2, self.to.density

    def dense_gradient_steps(self, steps: int) -> Sequence[int]:
        return ()


class RowsBefore(Method):
    """Prune by rows, then train."""

    card: ClassVar[MethodCard] = MethodCard(name="rows", summary="rows", source="none", when="before")

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Prune(by=LargestRows(), to=target)
        yield Train()


class CenteredAfter(Method):
    """Train, prune by the distance from the mean, train again."""

    card: ClassVar[MethodCard] = MethodCard(name="centered", summary="mean", source="none", when="after")

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Train()
        yield Prune(by=Centered(), to=target)
        yield Train()


class HalfTimePruning(Method):
    """Prune once, in the middle of training."""

    card: ClassVar[MethodCard] = MethodCard(name="half-time", summary="half", source="none", when="during")

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Train(updater=HalfTime(to=target))


class Sums(Task):
    """Predict the sum of some numbers, with one linear layer."""

    card: ClassVar[TaskCard] = TaskCard(
        name="sums",
        summary="sums of numbers",
        source="none",
        metric="mean absolute error",
        accepts=("tiny",),
        published="tiny",
    )
    recipe: Recipe = Recipe(steps=20, batch_size=8, lr=0.01)

    def sources(self) -> tuple[Source, ...]:
        return (Source("data", "synthetic", "sums"),)

    def data(self, part: Part) -> Sequence[list[float]]:
        generator = torch.Generator().manual_seed(len(part))
        return torch.rand(24, 6, generator=generator).tolist()[: self.limit]

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 1))

    def collate(self, examples: Sequence[list[float]]) -> Tensor:
        return torch.tensor(examples)

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        return nn.functional.mse_loss(model(batch)[:, 0], batch.sum(1))

    def predict(self, model: nn.Module, batch: Tensor) -> list[float]:
        return [round(value, 4) for value in model(batch)[:, 0].tolist()]

    def score(self, predicted: Sequence[float], examples: Sequence[list[float]]) -> Score:
        errors = [abs(value - sum(example)) for value, example in zip(predicted, examples, strict=True)]
        return Score(
            metric="mean absolute error",
            value=sum(errors) / len(errors),
            n=len(errors),
            higher_is_better=False,
            signature="mae",
            items=Items("mean", tuple((error,) for error in errors)),
        )


class TestRowsBefore(MethodContract):
    method = RowsBefore()


class TestCenteredAfter(MethodContract):
    method = CenteredAfter()


class TestHalfTimePruning(MethodContract):
    method = HalfTimePruning()


class TestSums(TaskContract):
    task = Sums()


def test_a_method_of_a_plugin_runs_on_a_task_of_a_plugin(tmp_path: Path) -> None:
    for method in (RowsBefore(), CenteredAfter(), HalfTimePruning()):
        record = run_chain(chain_of(method, Target(sparsity=0.5), Sums()), tmp_path)[0]
        assert record.certificate is not None and record.certificate.ok
        assert record.score is not None and record.score.n == 24


def test_a_task_has_a_capability_if_it_has_the_method() -> None:
    class WithLengths(Sums):
        def length(self, example: Any) -> int:
            return len(example)

    assert isinstance(WithLengths(), HasLength) and not isinstance(Sums(), HasLength)
    assert not isinstance(WithLengths(), HasLossTerms)


def test_masks_meet_a_target_exactly_without_anything_else() -> None:
    saliency = {"a": torch.arange(8.0).view(2, 4), "b": torch.arange(8.0).view(2, 4) + 0.5}
    made = masks(saliency, Target(sparsity=0.75))
    assert {name: mask.int().tolist() for name, mask in made.items()} == {
        "a": [[0, 0, 0, 0], [0, 0, 1, 1]],
        "b": [[0, 0, 0, 0], [0, 0, 1, 1]],
    }
    within = {"a": torch.zeros(2, 4).bool(), "b": torch.ones(2, 4).bool()}
    made = masks(saliency, Target(sparsity=0.75), within=within)
    assert not made["a"].any() and made["b"].int().tolist() == [[0, 0, 0, 0], [1, 1, 1, 1]]
    assert masks(saliency, Target.parse("2:4"))["a"].int().tolist() == [[0, 0, 1, 1]] * 2
