"""Language models for smc-eval: causal language models, and the perplexity of a text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smc_eval import Task, hookimpl
from smc_eval_lm.lm_eval_task import LmEval
from smc_eval_lm.model_kind import CausalLanguageModel
from smc_eval_lm.perplexity import Perplexity

if TYPE_CHECKING:
    from smc_eval.kind import ModelKind


@hookimpl
def smc_eval_kinds() -> list[type[ModelKind]]:
    """The kind of its models."""
    return [CausalLanguageModel]


@hookimpl
def smc_eval_tasks() -> list[type[Task]]:
    """Its tasks."""
    return [Perplexity, LmEval]
