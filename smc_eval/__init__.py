"""smc-eval: evaluate sparse neural networks on hard tasks.

Scripts and plugins import everything from here. Each name is loaded on first use, so `import smc_eval`
is fast and does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smc_eval.api.evaluate import evaluate, load
    from smc_eval.api.prune import prune
    from smc_eval.api.pruned_net import PrunedNet
    from smc_eval.api.results import Results
    from smc_eval.api.sparsity_callback import SparsityCallback
    from smc_eval.capabilities import (
        HasBackbone,
        HasCeiling,
        HasClasses,
        HasContent,
        HasDataFiles,
        HasExcerpts,
        HasExclusions,
        HasLength,
        HasLossTerms,
        HasOutputs,
        HasPadding,
        HasPaperExclusions,
        HasSideLengths,
        HasUnknownTokens,
        LeavesOut,
        Sized,
        TrainedAs,
    )
    from smc_eval.card import MethodCard, TaskCard
    from smc_eval.data_file import DataFile
    from smc_eval.errors import DataError, ModelError, PluginError, SmcError, SparsityError, UsageError
    from smc_eval.hookspecs import hookimpl
    from smc_eval.kind import Checkpoint, Form, KindCard, ModelKind, WrongKind
    from smc_eval.method import Method
    from smc_eval.optimizer import Optimizer, OptimizerCard
    from smc_eval.pruner import Criterion, Probe, Pruner, masks
    from smc_eval.recipe import Recipe
    from smc_eval.score import Items, Score, accuracy
    from smc_eval.sparse.inputs import InputObserver, Reducible, StackedObserver, TransposedObserver
    from smc_eval.sparse.shard_group import ShardGroup
    from smc_eval.spec import Outside, Spec
    from smc_eval.stages import START, Distillation, Prune, Rewind, Stage, Train
    from smc_eval.target import Distribution, Scope, Target
    from smc_eval.task import Part, Sizes, Source, Task
    from smc_eval.tasks.backbone import Backbone, find_backbone
    from smc_eval.tasks.checkpoint_tensors import read_tensors
    from smc_eval.tasks.protein.protein_encoder import ProteinEncoder
    from smc_eval.tasks.text_encoder import TextEncoder
    from smc_eval.tasks.transformers_kind import TransformersKind
    from smc_eval.tasks.translation.kind import EncoderDecoder
    from smc_eval.trackers.tracker import Outcome, TrackedCell, TrackedRun, Tracker, TrackerCard
    from smc_eval.updater import StepView, Updater

__version__ = "0.2.0"

MODULES = {
    "api.evaluate": "evaluate load",
    "api.prune": "prune",
    "api.pruned_net": "PrunedNet",
    "api.results": "Results",
    "api.sparsity_callback": "SparsityCallback",
    "capabilities": "HasBackbone HasCeiling HasClasses HasContent HasDataFiles HasExclusions "
    "HasExcerpts HasLength "
    "HasLossTerms HasOutputs HasPadding HasPaperExclusions HasSideLengths HasUnknownTokens LeavesOut Sized "
    "TrainedAs",
    "card": "MethodCard TaskCard",
    "data_file": "DataFile",
    "errors": "DataError ModelError PluginError SmcError SparsityError UsageError",
    "hookspecs": "hookimpl",
    "kind": "Checkpoint Form KindCard ModelKind WrongKind",
    "method": "Method",
    "optimizer": "Optimizer OptimizerCard",
    "pruner": "Criterion Probe Pruner masks",
    "recipe": "Recipe",
    "score": "Items Score accuracy",
    "sparse.inputs": "InputObserver Reducible StackedObserver TransposedObserver",
    "sparse.shard_group": "ShardGroup",
    "spec": "Outside Spec",
    "stages": "START Distillation Prune Rewind Stage Train",
    "target": "Distribution Scope Target",
    "task": "Part Sizes Source Task",
    "tasks.backbone": "Backbone find_backbone",
    "tasks.checkpoint_tensors": "read_tensors",
    "tasks.protein.protein_encoder": "ProteinEncoder",
    "tasks.text_encoder": "TextEncoder",
    "tasks.transformers_kind": "TransformersKind",
    "tasks.translation.kind": "EncoderDecoder",
    "trackers.tracker": "Outcome TrackedCell TrackedRun Tracker TrackerCard",
    "updater": "StepView Updater",
}
"""The public names of each module."""

__all__ = [
    "START",
    "Backbone",
    "Checkpoint",
    "Criterion",
    "DataError",
    "DataFile",
    "Distillation",
    "Distribution",
    "EncoderDecoder",
    "Form",
    "HasBackbone",
    "HasCeiling",
    "HasClasses",
    "HasContent",
    "HasDataFiles",
    "HasExcerpts",
    "HasExclusions",
    "HasLength",
    "HasLossTerms",
    "HasOutputs",
    "HasPadding",
    "HasPaperExclusions",
    "HasSideLengths",
    "HasUnknownTokens",
    "InputObserver",
    "Items",
    "KindCard",
    "LeavesOut",
    "Method",
    "MethodCard",
    "ModelError",
    "ModelKind",
    "Optimizer",
    "OptimizerCard",
    "Outcome",
    "Outside",
    "Part",
    "PluginError",
    "Probe",
    "ProteinEncoder",
    "Prune",
    "PrunedNet",
    "Pruner",
    "Recipe",
    "Reducible",
    "Results",
    "Rewind",
    "Scope",
    "Score",
    "ShardGroup",
    "Sized",
    "Sizes",
    "SmcError",
    "Source",
    "SparsityCallback",
    "SparsityError",
    "Spec",
    "StackedObserver",
    "Stage",
    "StepView",
    "Target",
    "Task",
    "TaskCard",
    "TextEncoder",
    "TrackedCell",
    "TrackedRun",
    "Tracker",
    "TrackerCard",
    "Train",
    "TrainedAs",
    "TransformersKind",
    "TransposedObserver",
    "Updater",
    "UsageError",
    "WrongKind",
    "accuracy",
    "evaluate",
    "find_backbone",
    "hookimpl",
    "load",
    "masks",
    "prune",
    "read_tensors",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    for module, names in MODULES.items():
        if name in names.split():
            value = getattr(import_module(f"smc_eval.{module}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'smc_eval' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
