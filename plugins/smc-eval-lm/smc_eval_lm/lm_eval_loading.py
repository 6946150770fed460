"""Loading a task of lm-eval, or a group of them: its prompts are those of lm-eval's own command."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from smc_eval.errors import DataError, UsageError
from smc_eval.tasks.hub import hub_reachable
from smc_eval_lm.lm_eval_documents import KINDS, ROLLING, Asked, Document, Evaluation, Part, Request
from smc_eval_lm.lm_eval_files import TaskFiles, data_paths, task_files
from smc_eval_lm.lm_eval_names import Named, find_named
from smc_eval_lm.lm_eval_package import SHOT_SEED, as_its_command, check_version
from smc_eval_lm.lm_eval_refusals import named_faults, refuse_code, refuse_config

SHOT_FIELDS = (
    "num_fewshot",
    "output_type",
    "training_split",
    "validation_split",
    "test_split",
    "unsafe_code",
    "doc_to_image",
    "doc_to_audio",
)
"""Fields of a config by which a task, or its shots, are refused."""


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
    package, named = check_version(), find_named(asked.name, asked.folder)
    for entry in named.leaves:
        refuse_config(entry.name, entry.cfg, asked)
    files = [] if asked.folder is None else [_checked_files(entry, asked) for entry in named.entries]
    with as_its_command(in_sandbox=asked.in_sandbox), named_faults(asked):
        group, tasks = _built(named, asked)
        loaded = [_loaded(name, task, asked) for name, task in tasks.items()]
    parts = tuple(part for part, _ in loaded)
    documents = [replace(document, part=number) for number, (_, own) in enumerate(loaded) for document in own]
    digest = _digest([package, *(one.digest for one in files)], parts, documents)
    return Evaluation(asked, package, parts, group, documents, digest)


def _checked_files(entry: Any, asked: Asked) -> TaskFiles:
    """The files of a task or a group of a folder, if it may run what they hold."""
    files = task_files(entry.yaml_path) if entry.yaml_path else TaskFiles((), "")  # a tag has none
    refuse_code(entry.name, entry.cfg or {}, files, asked)
    return files


def _built(named: Named, asked: Asked) -> tuple[Any, dict[str, Any]]:
    """The group, if it is one, and its tasks by name, as objects of lm-eval with their data."""
    from lm_eval.api.group import Group
    from lm_eval.tasks._factory import TaskFactory

    index = named.index
    if asked.folder is not None:
        index = {**index, **{entry.name: _placed(entry, asked.folder) for entry in named.leaves}}
    entry = index.get(asked.name, named.entry)
    with _without_hub():
        built = TaskFactory().build(entry, overrides=None, registry=index)
    if isinstance(built, Group):
        return built, {task.task_name: task for task in built.get_all_tasks()}
    return None, {asked.name: built}


def _placed(entry: Any, folder: Path) -> Any:
    """The entry of a task whose paths of data begin at its folder."""
    from lm_eval.tasks._yaml_loader import load_yaml

    config = {**load_yaml(entry.yaml_path), **data_paths(entry.cfg, folder)}
    return type(entry)(name=entry.name, kind=entry.kind, yaml_path=None, cfg=config)


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


def _loaded(name: str, task: Any, asked: Asked) -> tuple[Part, list[Document]]:
    """A task with its documents."""
    refuse_config(name, _config(task), asked)  # a group may change what its files say
    shots = _set_shots(name, task, asked)
    rows, documents = _documents(name, task, asked)
    return Part(name, str(task.VERSION), shots, task, rows), documents


def _config(task: Any) -> dict[str, Any]:
    """What decides whether a task is refused, of its object."""
    shots = getattr(task, "fewshot_cfg", None)
    if shots is None:
        return {"class": type(task)}
    own = {name: getattr(task.config, name, None) for name in SHOT_FIELDS}
    return {**own, "fewshot_config": {"split": shots.split, "samples": shots.samples}}


def _set_shots(name: str, task: Any, asked: Asked) -> int:
    """Set the number of shots as lm-eval's command does; returns it.

    Raises:
        UsageError: the task has fewer documents for them.
    """
    shots = (task.get_config("num_fewshot") or 0) if asked.shots is None else asked.shots
    task.set_config(key="num_fewshot", value=shots)
    task.set_fewshot_seed(seed=SHOT_SEED)
    pool = len(task.sampler.df) if hasattr(task, "sampler") else shots
    if pool < shots:
        raise UsageError(f"shots={shots}: the task {name!r} of lm-eval has {pool} documents for shots")
    return shots


def _documents(name: str, task: Any, asked: Asked) -> tuple[list[Any], list[Document]]:
    """The documents of a task, as lm-eval has them and as it asks about them.

    Raises:
        UsageError: it asks for something that a causal language model does not answer.
        DataError: there are none.
    """
    task.build_all_requests(limit=asked.limit, rank=0, world_size=1, **_chat(asked))
    by_document = defaultdict[int, list[Any]](list)
    for instance in task.instances:
        by_document[instance.doc_id].append(instance)
    rows, documents = [], []
    for number, row in task.doc_iterator(limit=asked.limit, rank=0, world_size=1):
        found = sorted(by_document[number], key=lambda one: one.idx)
        requests = tuple(Request(one.request_type, tuple(one.args), one.repeats or 1) for one in found)
        if unknown := [one.kind for one in requests if one.kind not in KINDS]:
            raise UsageError(f"the task {name!r} of lm-eval asks for {unknown[0]!r}; wanted one of {KINDS}")
        rows.append(row)
        documents.append(Document(number, requests, _question(task, row, requests)))
    if not documents:
        raise DataError(f"the task {name!r} of lm-eval has no documents")
    return rows, documents


def _chat(asked: Asked) -> Mapping[str, Any]:
    """How lm-eval's command puts a question into a chat template, if it is to do so."""
    if asked.chat is None:
        return {}
    from lm_eval.models.huggingface import HFLM

    shell = SimpleNamespace(tokenizer=asked.chat, chat_template_args={})
    template = partial(HFLM.apply_chat_template, shell)
    return {"apply_chat_template": True, "fewshot_as_multiturn": True, "chat_template": template}


def _question(task: Any, row: Any, requests: Sequence[Request]) -> str | None:
    """What a document asks, without shots and without the answer."""
    if requests[0].kind == ROLLING:
        return requests[0].text
    try:
        asked = task.doc_to_text(row)
        choices = task.doc_to_choice(row) if task.get_config("doc_to_choice") else None
        if isinstance(asked, int):  # the place of the right choice; the rest follows each choice
            asked = task.doc_to_target(row)
        return json.dumps([asked, choices])
    except Exception:  # noqa: BLE001  a class of lm-eval need not have them
        return None


def _digest(named: Sequence[str], parts: Sequence[Part], documents: Sequence[Document]) -> str:
    content = hashlib.sha256(json.dumps(named).encode())
    for document in documents:
        row = parts[document.part].rows[document.number]
        requests = [(one.kind, one.arguments, one.repeats) for one in document.requests]
        content.update(json.dumps([row, requests], default=str, sort_keys=True).encode())
    return content.hexdigest()
