"""Files of a task of lm-eval in a folder of the user: what they include, the data they name, and code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smc_eval.errors import DataError, first_line
from smc_eval.files.user_path import is_folder
from smc_eval.tasks.folder import content_digest

PLAIN = "tag:yaml.org,2002:"
"""Start of the tags of plain YAML values."""

ADDRESS = "://"

PATHS = ("data_files", "data_dir")
"""Fields of `dataset_kwargs` with the paths of data."""


@dataclass(frozen=True)
class TaskFiles:
    """A YAML file with a task, and the files that it includes."""

    paths: tuple[Path, ...]
    code: str
    """The first thing in them that runs Python code, in words; empty if there is none."""

    @property
    def digest(self) -> str:
        """SHA-256 over their content, and over the Python files beside them."""
        beside = sorted(
            path for folder in {path.parent for path in self.paths} for path in folder.glob("*.py")
        )
        return content_digest([*self.paths, *(beside if self.code else ())])


def task_files(path: Path) -> TaskFiles:
    """The files of a task, read without running anything.

    Raises:
        DataError: a file is missing or is no YAML.
    """
    paths, code = list[Path](), list[str]()
    waiting = [path]
    while waiting:
        here = waiting.pop(0)
        if here in paths:
            raise DataError(f"{here} includes itself")
        paths.append(here)
        root = _composed(here)
        code.extend(f"{here.name}: {words}" for words in _code(root))
        waiting.extend(here.parent / name for name in _included(root))
    return TaskFiles(tuple(paths), code[0] if code else "")


def data_paths(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The fields of a task's config that name local data, with paths that begin at its folder.

    lm-eval itself begins at the folder in which it runs. Names on the hub, and paths there, stay.

    Raises:
        DataError: a file does not exist.
    """
    from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES as READERS

    source, given = config.get("dataset_path"), config.get("dataset_kwargs")
    if isinstance(source, str) and source not in READERS:
        return {"dataset_path": str(folder / source)} if is_folder(folder / source) else {}
    if not isinstance(given, Mapping):
        return {}
    placed = {name: _placed(value, folder) if name in PATHS else value for name, value in given.items()}
    return {"dataset_kwargs": placed}


def _placed(value: Any, folder: Path) -> Any:
    """A path, or paths by split or in a list, beginning at a folder."""
    match value:
        case Mapping():
            return {name: _placed(part, folder) for name, part in value.items()}
        case list() | tuple():
            return [_placed(part, folder) for part in value]
        case str() if ADDRESS not in value:
            path = folder / value
            if not any(sign in value for sign in "*?[") and not path.exists():
                raise DataError(
                    f"the data {value!r} of a task of lm-eval is missing: there is no {path}; "
                    "relative paths begin at the folder of include="
                )
            return str(path)
    return value


def _composed(path: Path) -> Any:
    """The nodes of a YAML file."""
    import yaml

    try:
        return yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError) as error:
        raise DataError(f"{path} is no YAML: {first_line(error)}") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None


def _code(root: Any) -> Iterator[str]:
    """What runs Python code: functions and classes, and metrics that are fetched as code."""
    for node in _nodes(root):
        if not node.tag.startswith(PLAIN) or node.tag.startswith(f"{PLAIN}python/"):
            yield f"{node.tag} {node.value if isinstance(node.value, str) else ''}".strip()
    for metric in _sequence(_field(root, "metric_list")):
        if getattr(_field(metric, "hf_evaluate"), "value", "").lower() in {"true", "yes", "on"}:
            yield f"hf_evaluate of the metric {getattr(_field(metric, 'metric'), 'value', '')!r}"


def _included(root: Any) -> Iterator[str]:
    """The files that a file includes, as it names them."""
    node = _field(root, "include")
    for part in _sequence(node) or ((node,) if node is not None else ()):
        if isinstance(part.value, str):
            yield part.value


def _nodes(root: Any) -> Iterator[Any]:
    waiting = [root] if root is not None else []
    while waiting:
        node = waiting.pop(0)
        yield node
        if isinstance(node.value, list):
            for part in node.value:
                waiting.extend(part if isinstance(part, tuple) else (part,))


def _field(root: Any, name: str) -> Any:
    """The value of a field of a mapping; None if there is none."""
    pairs = root.value if root is not None and isinstance(root.value, list) else ()
    return next((pair[1] for pair in pairs if isinstance(pair, tuple) and pair[0].value == name), None)


def _sequence(node: Any) -> Sequence[Any]:
    """The parts of a list; none if it is another node."""
    return node.value if node is not None and node.id == "sequence" else ()
