"""The files of a new plugin, from templates: all of them, or none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Literal, get_args

from smc_eval import __version__
from smc_eval.cli.scaffold.plugin_name import PluginName
from smc_eval.errors import UsageError
from smc_eval.files.atomic import atomic_folder, write_synced
from smc_eval.files.user_path import is_folder

PluginKind = Literal["method", "task", "updater"]
"""What a new plugin brings. An updater comes with a method that uses it."""

PLUGIN_KINDS: tuple[PluginKind, ...] = get_args(PluginKind)

TEMPLATES = Path(__file__).parent / "templates"
"""Folder of the templates. Their ending keeps them from being taken for files of smc-eval."""

EXAMPLE_WORDS: Mapping[PluginKind, str] = {
    "method": "magnitudes, weighed by the norm of their row",
    "updater": "sparsity that rises in equal steps during training",
    "task": "which of four pairs of numbers has the largest sum",
}
"""What the example of each kind does."""


def run_flags(kind: PluginKind, name: str) -> str:
    """The flags of a first run of a new plugin."""
    method, task = ("omp-after", name) if kind == "task" else (name, "csqa")
    return f"--model tiny --method {method} --tasks {task} --sparsity 0.5"


def package_files(kind: PluginKind, name: PluginName) -> dict[str, str]:
    """The text of each file of a new plugin, by its path in the folder of the package."""
    words = {
        "name": name.name,
        "package": name.package,
        "module": name.module,
        "class_name": name.class_name,
        "noun": "task" if kind == "task" else "method",
        "release": ".".join(__version__.split(".")[:2]),
        "text": EXAMPLE_WORDS[kind],
        "flags": run_flags(kind, name.name),
    }
    sources = {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        f"{name.module}.py": f"{kind}.py",
        "tests/test_contract.py": f"test_{kind}.py",
        ".github/workflows/tests.yml": "tests.yml",
        ".gitignore": "gitignore",
    }
    return {
        path: Template((TEMPLATES / f"{source}.template").read_text(encoding="utf-8")).substitute(words)
        for path, source in sources.items()
    }


def write_package(kind: PluginKind, name: PluginName, parent: Path) -> Path:
    """Write a new plugin into a new folder with the name of its package. Returns the folder.

    Raises:
        UsageError: there is no folder to write into, something has the name, or it cannot be written. Then
            nothing is left behind.
    """
    files, folder = package_files(kind, name), parent / name.package
    if not is_folder(parent):
        raise UsageError(
            f"there is no folder {str(parent)!r} to write into; create it first, or name another with --to"
        )
    try:
        with atomic_folder(folder) as draft:
            for path, text in files.items():
                (draft / path).parent.mkdir(parents=True, exist_ok=True)
                write_synced(draft / path, text.encode())
    except FileExistsError:
        raise UsageError(
            f"{str(folder)!r} exists already, and nothing was written; "
            "choose another name, or another folder with --to"
        ) from None
    except OSError as error:
        raise UsageError(
            f"cannot write into {str(parent)!r}: {error.strerror}; name another folder with --to"
        ) from None
    return folder
