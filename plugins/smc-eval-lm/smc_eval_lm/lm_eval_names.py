"""Names of lm-eval's tasks. They are looked up only when one is asked for: its index takes seconds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from smc_eval.errors import DataError, UnknownName, UsageError, first_line
from smc_eval.files.user_path import is_folder, user_path

NOUN = "task of lm-eval"

MOST_MEMBERS = 6
"""Members of a group that a refusal names."""


def find_entry(name: str, folder: Path | None) -> Any:
    """The entry of a task in lm-eval's index, or in that of a folder alone.

    Raises:
        UnknownName: there is no such task.
        UsageError: the name is that of several tasks, or there is none.
        DataError: the folder has the task twice.
    """
    if not name:
        raise UsageError("lm-eval needs the name of a task: --tasks lm-eval:task=hellaswag")
    entry = _own_entry(name) if folder is None else _entry_in(name, folder)
    if entry.kind.name in {"GROUP", "TAG"}:
        members = _members(entry)
        shown = ", ".join(members[:MOST_MEMBERS]) + ", …" * (len(members) > MOST_MEMBERS)
        raise UsageError(
            f"{name!r} is no {NOUN} but {len(members)} of them: {shown}\n"
            f"give each by its name: --tasks lm-eval:task={members[0] if members else 'NAME'}"
        )
    return entry


def folder_of(include: str, data_dir: str) -> Path:
    """The folder of `include=`: in the data folder, or a path.

    Raises:
        DataError: there is none.
    """
    path = user_path(include)
    places = [path] if path.is_absolute() else [Path(data_dir) / path, path]
    for place in places:
        if is_folder(place):
            return place.resolve()
    tried = " and no ".join(str(place) for place in places)
    raise DataError(f"include={include}: there is no folder {tried}; name one with YAML files of lm-eval")


def _own_entry(name: str) -> Any:
    """The entry of one of lm-eval's own tasks.

    A search through the text of its files takes half a second. Only a name that no file holds, such as that
    of a tag, needs the whole index.
    """
    import lm_eval.tasks
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks._index import Entry, TaskIndex
    from lm_eval.tasks._yaml_loader import load_yaml

    root = Path(lm_eval.tasks.__file__).parent
    holds = re.compile(
        rb"(?m)^[\"']?task[\"']?[ \t]*:[ \t]*[\"']?%s[\"']?[ \t]*(#.*)?\r?$" % re.escape(name).encode()
    )
    for path in TaskIndex._iter_yaml_files(root):  # noqa: SLF001  in the order of the index
        if holds.search(path.read_bytes()):
            config = load_yaml(path, resolve_func=False)
            if config.get("task") == name and "group" not in config:
                return Entry(name=name, kind=TaskIndex._kind_of(config), yaml_path=path, cfg=config)  # noqa: SLF001
    index = TaskManager().task_index
    if name not in index:
        raise UnknownName(NOUN, name, index, see="lm_eval ls tasks")
    return index[name]


def _entry_in(name: str, folder: Path) -> Any:
    """The entry of a task of a folder.

    Raises:
        UnknownName: there is no such task.
        DataError: two files have it.
    """
    from lm_eval.tasks._index import TaskIndex
    from lm_eval.tasks._yaml_loader import load_yaml

    index, broken, found = dict[str, Any](), list[str](), list[Path]()
    for path in TaskIndex._iter_yaml_files(folder):  # noqa: SLF001  in the order of the index
        try:
            config = load_yaml(path, resolve_func=False)
            TaskIndex.process_cfg(config, path, index)
        except Exception as error:  # noqa: BLE001  any text may be in the file
            broken.append(f"{path}: {first_line(error)}")
        else:
            found += [path] if config.get("task") == name else []
    if len(found) > 1:
        raise DataError(f"two files have the task {name!r}: {found[0]} and {found[1]}; rename one")
    if name in index:
        return index[name]
    if broken:
        raise DataError(f"{folder} has no task {name!r} that can be read: {broken[0]}")
    raise UnknownName(f"{NOUN} in {folder}", name, index)


def _members(entry: Any) -> list[str]:
    """The tasks and groups that a group or a tag stands for; empty for a task."""
    named: Iterable[Any] = ()
    if entry.kind.name == "TAG":
        named = sorted(entry.tags)
    elif entry.kind.name == "GROUP":
        listed = (entry.cfg or {}).get("task") or ()
        named = [listed] if isinstance(listed, str) else listed
    return [
        str(one.get("task") or one.get("group")) if isinstance(one, Mapping) else str(one) for one in named
    ]
