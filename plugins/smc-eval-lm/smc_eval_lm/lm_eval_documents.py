"""Documents of a task of lm-eval: what lm-eval asks a net about each, and all that scores the answers."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from smc_eval.errors import DataError, SmcError, UsageError, first_line
from smc_eval.tasks.hub import hub_reachable
from smc_eval_lm.lm_eval_files import TaskFiles, data_paths, task_files
from smc_eval_lm.lm_eval_names import find_entry
from smc_eval_lm.lm_eval_package import SHOT_SEED, as_its_command, check_version

LOGLIKELIHOOD, ROLLING, GENERATE = "loglikelihood", "loglikelihood_rolling", "generate_until"

KINDS = (LOGLIKELIHOOD, ROLLING, GENERATE)
"""What a task can ask a net: log p of an answer after a context, log p of a text, and what it writes."""


@dataclass(frozen=True)
class Request:
    """One thing that a net is asked, `repeats` times."""

    kind: str
    arguments: tuple[Any, ...]
    """A context and an answer; a text; or a context and the settings of generation."""
    repeats: int


@dataclass(frozen=True)
class Document:
    """An example of a task of lm-eval."""

    number: int
    """Its number among all documents, from 0."""
    requests: tuple[Request, ...]
    question: str | None = None
    """What it asks, without shots; None if the task cannot say it."""

    @property
    def text(self) -> str:
        """The text of its first request."""
        return "".join(part for part in self.requests[0].arguments if isinstance(part, str))


@dataclass(frozen=True)
class Asked:
    """The task that a user names, as far as it decides the documents."""

    name: str
    folder: Path | None
    """The folder of `include=`; None for a task of lm-eval's own."""
    shots: int | None
    code: bool
    limit: int | None
    chat: Any = None
    """The tokenizer whose chat template is used; None if none is."""


@dataclass(frozen=True)
class Evaluation:
    """A task of lm-eval with its documents."""

    asked: Asked
    package: str
    """Version of lm-eval."""
    version: str
    """Version of the task."""
    shots: int
    task: Any = field(repr=False)
    """The task as an object of lm-eval."""
    rows: Sequence[Any] = field(repr=False)
    """The documents as lm-eval has them."""
    documents: Sequence[Document] = field(repr=False)
    digest: str
    """SHA-256 over the version of lm-eval, the files of a task of the user, all rows and all requests."""

    @property
    def in_sandbox(self) -> bool:
        """Whether templates must not run code: those of a folder that was not said to hold some."""
        return self.asked.folder is not None and not self.asked.code

    @property
    def samples(self) -> bool:
        """Whether the net draws at random what it writes."""
        settings = [
            request.arguments[1]
            for document in self.documents
            for request in document.requests
            if request.kind == GENERATE
        ]
        return any(one.get("do_sample") or float(one.get("temperature") or 0) > 0 for one in settings)

    @property
    def kinds(self) -> frozenset[str]:
        """What the net is asked."""
        return frozenset(request.kind for document in self.documents for request in document.requests)


def evaluation(asked: Asked) -> Evaluation:
    """A task with its documents, made once a process for each state of its files.

    Raises:
        UsageError: lm-eval is missing or of another release; there is no such task; it runs code, or needs
            more than text; or its shots would show answers of what is scored.
        DataError: its data cannot be loaded.
    """
    check_version()
    return _evaluation(asked, _state(asked.folder))


def _state(folder: Path | None) -> tuple[tuple[str, int, int], ...]:
    """The files of a folder, with their times and sizes."""
    if folder is None:
        return ()
    found = [(path, path.stat()) for path in sorted(folder.rglob("*")) if path.is_file()]
    return tuple((str(path), stat.st_mtime_ns, stat.st_size) for path, stat in found)


@lru_cache(maxsize=8)
def _evaluation(asked: Asked, _: object) -> Evaluation:
    package = check_version()
    entry = find_entry(asked.name, asked.folder)
    _refuse_config(asked, entry.cfg)
    files = None
    if asked.folder is not None:
        files = task_files(entry.yaml_path)
        _refuse_code(asked, entry.cfg, files)
    with as_its_command(in_sandbox=asked.folder is not None and not asked.code), _named_faults(asked):
        task = _built(entry, asked)
        shots = _set_shots(task, asked)
        rows, documents = _documents(task, asked)
    return Evaluation(
        asked=asked,
        package=package,
        version=str(task.VERSION),
        shots=shots,
        task=task,
        rows=rows,
        documents=documents,
        digest=_digest(package, files, rows, documents),
    )


def _refuse_code(asked: Asked, config: dict[str, Any], files: TaskFiles) -> None:
    """Refuse a task of a folder that runs Python code, unless the user allows it.

    Raises:
        UsageError: it does.
    """
    from lm_eval.api import metrics
    from lm_eval.api.registry import metric_registry

    assert metrics  # it fills the registry
    listed = config.get("metric_list") or () if not config.get("process_results") else ()
    names = [metric.get("metric") for metric in listed if isinstance(metric, dict)]
    foreign = [name for name in names if isinstance(name, str) and name not in metric_registry]
    code = files.code or (f"the metric {foreign[0]!r}, which is fetched as code" if foreign else "")
    if code and not asked.code:
        raise UsageError(
            f"the task {asked.name!r} in {asked.folder} runs Python code of its own ({code})\n"
            f"{_permission(asked)}"
        )


@contextmanager
def _named_faults(asked: Asked) -> Iterator[None]:
    """Within: whatever lm-eval raises becomes an error that names the task.

    Raises:
        DataError: something went wrong.
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


def _built(entry: Any, asked: Asked) -> Any:
    """The task as an object of lm-eval, with its data."""
    from lm_eval.tasks._factory import TaskFactory

    changes = data_paths(entry.cfg, asked.folder) if asked.folder is not None else {}
    with _without_hub():
        return TaskFactory().build(entry, overrides=changes or None, registry={})


@contextmanager
def _without_hub() -> Iterator[None]:
    """Within: if the hub does not answer, only its cache is asked; else each file is tried for long."""
    import datasets
    from huggingface_hub import constants

    offline = not hub_reachable()
    with (
        patch.object(datasets.config, "HF_HUB_OFFLINE", offline or datasets.config.HF_HUB_OFFLINE),
        patch.object(constants, "HF_HUB_OFFLINE", offline or constants.HF_HUB_OFFLINE),
    ):
        yield


def _refuse_config(asked: Asked, config: Mapping[str, Any]) -> None:
    """Refuse a task, or its shots, by its config alone, before its data is loaded.

    Raises:
        UsageError: it runs code that the net writes, or reads more than text; or it fixes another number of
            shots, reads none, or would show answers of what is scored.
    """
    if config.get("unsafe_code"):
        raise UsageError(f"the task {asked.name!r} of lm-eval runs code that the net writes; it is refused")
    if config.get("doc_to_image") or config.get("doc_to_audio"):
        raise UsageError(f"the task {asked.name!r} of lm-eval shows images or sounds; a causal-lm reads text")
    own, fault = config.get("num_fewshot"), ""
    if asked.shots and own == 0:
        fault = "fixes its shots at 0, and lm-eval would take 0 without a word\nleave out shots"
    elif asked.shots and config.get("output_type") == ROLLING:
        fault = "reads a text alone, without shots\nleave out shots"
    elif (asked.shots or own) and asked.shots != 0 and shows_answers(config):
        fault = (
            "has no documents for shots; lm-eval would draw them from those that are scored, each document "
            "with its own answer among them\ntake shots=0"
        )
    if fault:
        shots = own if asked.shots is None else asked.shots
        raise UsageError(f"shots={shots}: the task {asked.name!r} of lm-eval {fault}")


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


def _set_shots(task: Any, asked: Asked) -> int:
    """Set the number of shots as lm-eval's command does; returns it.

    Raises:
        UsageError: the task has fewer documents for them.
    """
    shots = (task.get_config("num_fewshot") or 0) if asked.shots is None else asked.shots
    task.set_config(key="num_fewshot", value=shots)
    task.set_fewshot_seed(seed=SHOT_SEED)
    pool = len(task.sampler.df) if hasattr(task, "sampler") else shots
    if pool < shots:
        raise UsageError(f"shots={shots}: the task {asked.name!r} of lm-eval has {pool} documents for shots")
    return shots


def _documents(task: Any, asked: Asked) -> tuple[list[Any], list[Document]]:
    """The documents of a task, as lm-eval has them and as it asks about them.

    Raises:
        UsageError: it asks for something that a causal language model does not answer.
    """
    chat: dict[str, Any] = {}
    if asked.chat is not None:
        from lm_eval.models.huggingface import HFLM

        shell = SimpleNamespace(tokenizer=asked.chat, chat_template_args={})
        template = partial(HFLM.apply_chat_template, shell)
        chat = {"apply_chat_template": True, "fewshot_as_multiturn": True, "chat_template": template}
    task.build_all_requests(limit=asked.limit, rank=0, world_size=1, **chat)
    by_document = defaultdict[int, list[Any]](list)
    for instance in task.instances:
        by_document[instance.doc_id].append(instance)
    rows, documents = [], []
    for number, row in task.doc_iterator(limit=asked.limit, rank=0, world_size=1):
        found = sorted(by_document[number], key=lambda one: one.idx)
        requests = tuple(Request(one.request_type, tuple(one.args), one.repeats or 1) for one in found)
        if unknown := [one.kind for one in requests if one.kind not in KINDS]:
            raise UsageError(
                f"the task {asked.name!r} of lm-eval asks for {unknown[0]!r}; wanted one of {KINDS}"
            )
        rows.append(row)
        documents.append(Document(number, requests, _question(task, row, requests)))
    if not documents:
        raise DataError(f"the task {asked.name!r} of lm-eval has no documents")
    return rows, documents


def _question(task: Any, row: Any, requests: Sequence[Request]) -> str | None:
    """What a document asks, without shots and without the answer."""
    if requests[0].kind == ROLLING:
        return str(requests[0].arguments[0])
    try:
        asked = task.doc_to_text(row)
        choices = task.doc_to_choice(row) if task.get_config("doc_to_choice") else None
        if isinstance(asked, int):  # the place of the right choice; the rest follows each choice
            asked = task.doc_to_target(row)
        return json.dumps([asked, choices])
    except Exception:  # noqa: BLE001  a class of lm-eval need not have them
        return None


def _digest(package: str, files: TaskFiles | None, rows: Sequence[Any], documents: Sequence[Document]) -> str:
    content = hashlib.sha256(json.dumps([package, files.digest if files else ""]).encode())
    for row, document in zip(rows, documents, strict=True):
        requests = [(one.kind, one.arguments, one.repeats) for one in document.requests]
        content.update(json.dumps([row, requests], default=str, sort_keys=True).encode())
    return content.hexdigest()
