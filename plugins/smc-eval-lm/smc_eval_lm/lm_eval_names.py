"""Names of lm-eval's tasks. They are looked up only when one is asked for: its index takes seconds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smc_eval.errors import DataError, UnknownName, UsageError, first_line
from smc_eval.files.user_path import is_folder, user_path

NOUN = "task of lm-eval"

MOST_MEMBERS = 6
"""Members of a group that a refusal names."""


@dataclass(frozen=True)
class Named:
    """What a name stands for in lm-eval's index."""

    entry: Any
    index: Mapping[str, Any]
    """All entries by name; empty if it is a task, which needs no other."""

    @property
    def leaves(self) -> list[Any]:
        """The entry of the task, or those of the tasks of a group that are in files of their own."""
        return [entry for entry in self.entries if entry.kind.name not in {"GROUP", "TAG"}]

    @property
    def entries(self) -> list[Any]:
        """The entry, and all entries below it."""
        found = {self.entry.name: self.entry}
        waiting = [self.entry]
        while waiting:
            for member in _members(waiting.pop(0)):
                if member in self.index and member not in found:
                    found[member] = self.index[member]
                    waiting.append(found[member])
        return list(found.values())

    @property
    def undefined(self) -> list[str]:
        """Members of groups that are in no file of their own."""
        members = (member for entry in self.entries for member in _members(entry))
        return [member for member in members if member not in self.index]


def find_named(name: str, folder: Path | None) -> Named:
    """What a name stands for in lm-eval's index, or in that of a folder alone.

    Raises:
        UnknownName: there is no such task.
        UsageError: there is no name; or it is that of several tasks, and lm-eval gives them no common score.
        DataError: the folder has the task twice, or a group has a task that it lacks.
    """
    if not name:
        raise UsageError("lm-eval needs the name of a task: --tasks lm-eval:task=hellaswag")
    named = _own(name) if folder is None else _in_folder(name, folder)
    entry = named.entry
    if entry.kind.name == "TAG" or (
        entry.kind.name == "GROUP" and not entry.cfg.get("aggregate_metric_list")
    ):
        members = _members(entry)
        shown = ", ".join(members[:MOST_MEMBERS]) + ", …" * (len(members) > MOST_MEMBERS)
        raise UsageError(
            f"{name!r} is no {NOUN} but {len(members)} of them, without a common score: {shown}\n"
            f"give each by its name: --tasks lm-eval:task={members[0] if members else 'NAME'}"
        )
    return named


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


def _own(name: str) -> Named:
    """One of lm-eval's own tasks or groups.

    A search through the text of its files finds a task in half a second. Only a name that no file gives to a
    task, such as that of a group, needs the whole index.
    """
    import lm_eval.tasks
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks._index import Entry, TaskIndex
    from lm_eval.tasks._yaml_loader import load_yaml

    root = Path(lm_eval.tasks.__file__).parent
    word = re.escape(name).encode()
    holds = re.compile(rb"(?m)^[\"']?task[\"']?[ \t]*:[ \t]*[\"']?%s[\"']?[ \t]*(#.*)?\r?$" % word)
    for path in TaskIndex._iter_yaml_files(root):  # noqa: SLF001  in the order of the index
        if holds.search(path.read_bytes()):
            config = load_yaml(path, resolve_func=False)
            if config.get("task") == name and "group" not in config:
                kind = TaskIndex._kind_of(config)  # noqa: SLF001
                return Named(Entry(name=name, kind=kind, yaml_path=path, cfg=config), {})
    index = TaskManager().task_index
    if name not in index:
        raise UnknownName(NOUN, name, index, see="lm_eval ls tasks")
    return Named(index[name], index)


def _in_folder(name: str, folder: Path) -> Named:
    """A task or a group of a folder.

    Raises:
        UnknownName: there is no such task.
        DataError: two files have it; or the file that has it cannot be read.
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
            found += [path] if name in (config.get("task"), config.get("group")) else []
    if len(found) > 1:
        raise DataError(f"two files have the task {name!r}: {found[0]} and {found[1]}; rename one")
    if name in index:
        named = Named(index[name], index)
        if named.undefined:
            raise DataError(
                f"the group {name!r} in {folder} has {named.undefined[0]!r}, a task in none of its files"
            )
        return named
    if broken:
        raise DataError(f"{folder} has no task {name!r} that can be read: {broken[0]}")
    raise UnknownName(f"{NOUN} in {folder}", name, index)


def _members(entry: Any) -> list[str]:
    """Names of the members of a group or a tag; none of a task."""
    if entry.kind.name == "TAG":
        return sorted(entry.tags)
    listed = ((entry.cfg or {}).get("task") or ()) if entry.kind.name == "GROUP" else ()
    named = [listed] if isinstance(listed, str) else listed
    return [
        str(one.get("task") or one.get("group")) if isinstance(one, Mapping) else str(one) for one in named
    ]
