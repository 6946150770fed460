"""What is refused of lm-eval's tasks, by their configs: code, images, and shots that show answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from smc_eval.errors import DataError, SmcError, UsageError, first_line
from smc_eval.tasks.hub import hub_reachable
from smc_eval_lm.lm_eval_documents import ROLLING, Asked
from smc_eval_lm.lm_eval_files import TaskFiles


def refuse_config(name: str, config: Mapping[str, Any], asked: Asked) -> None:
    """Refuse a task, or its shots, by its config alone.

    Raises:
        UsageError: it runs code that the net writes, or reads more than text; or it fixes another number of
            shots, reads none, or would show answers of what is scored.
    """
    if config.get("unsafe_code"):
        raise UsageError(f"the task {name!r} of lm-eval runs code that the net writes; it is refused")
    if config.get("doc_to_image") or config.get("doc_to_audio"):
        raise UsageError(f"the task {name!r} of lm-eval shows images or sounds; a causal-lm reads text")
    own, fault = config.get("num_fewshot"), ""
    shots = own if asked.shots is None else asked.shots
    if shots and own == 0:
        fault = "fixes its shots at 0, and lm-eval would take 0 without a word\nleave out shots"
    elif asked.shots and config.get("output_type") == ROLLING:
        fault = "reads a text alone, without shots\nleave out shots"
    elif shots and shows_answers(config):
        fault = (
            "has no documents for shots; lm-eval would draw them from those that are scored, each document "
            "with its own answer among them\ntake shots=0"
        )
    if fault:
        raise UsageError(f"shots={shots}: the task {name!r} of lm-eval {fault}")


def shows_answers(config: Mapping[str, Any]) -> bool:
    """Whether shots are drawn from the scored documents, and a document may be among its own shots.

    lm-eval leaves it out only where the config names the test split as that of the shots.
    """
    if "class" in config:
        return False  # an older class of lm-eval, which always leaves it out
    given = config.get("fewshot_config") or {}
    split = given.get("split", config.get("fewshot_split"))
    if split is None and given.get("samples") is not None:
        return False
    train, validation, test = (config.get(f"{name}_split") for name in ("training", "validation", "test"))
    scored = validation if test is None else test
    drawn = split or train or validation or test
    return bool(drawn == scored and split != test)


def refuse_code(name: str, config: Mapping[str, Any], files: TaskFiles, asked: Asked) -> None:
    """Refuse a task of a folder that runs Python code, unless the user allows it.

    Raises:
        UsageError: it does.
    """
    from lm_eval.api import metrics
    from lm_eval.api.registry import metric_registry

    assert metrics  # it fills the registry
    listed = config.get("metric_list") or () if not config.get("process_results") else ()
    names = [metric.get("metric") for metric in listed if isinstance(metric, dict)]
    foreign = [metric for metric in names if isinstance(metric, str) and metric not in metric_registry]
    code = files.code or (f"the metric {foreign[0]!r}, which is fetched as code" if foreign else "")
    if code and not asked.code:
        raise UsageError(
            f"the task {name!r} in {asked.folder} runs Python code of its own ({code})\n{_permission(asked)}"
        )


@contextmanager
def named_faults(asked: Asked) -> Iterator[None]:
    """Within: whatever lm-eval raises becomes an error that names the task.

    Raises:
        UsageError: a template reaches for Python objects.
        DataError: something else went wrong.
    """
    from jinja2.exceptions import SecurityError

    try:
        yield
    except SmcError:
        raise
    except SecurityError as error:
        raise UsageError(
            f"a template of the task {asked.name!r} in {asked.folder} reaches for Python objects "
            f"({first_line(error)})\n{_permission(asked)}"
        ) from None
    except (Exception, SystemExit) as error:  # a task can raise anything
        fault = f"{type(error).__name__}: {first_line(error)}"
        raise DataError(f"lm-eval cannot load the task {asked.name!r}: {fault}{_hint(asked)}") from error


def _permission(asked: Asked) -> str:
    """How a user allows the code of a task."""
    return f"read it, and if you trust it, allow it: lm-eval:task={asked.name},…,code=true"


def _hint(asked: Asked) -> str:
    if asked.folder is not None:
        return f"\nits files are in {asked.folder}"
    if hub_reachable():
        return ""
    return (
        "\nits data is on the Hugging Face hub, which does not answer: run once where it does, then offline"
    )
