"""A diagnosis: all sections, and whether runs are possible. Nothing in it names the user."""

from __future__ import annotations

import contextlib
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smc_eval import __version__
from smc_eval.cli.diagnosis.devices import torch_sections
from smc_eval.cli.diagnosis.hub import hub_section
from smc_eval.cli.diagnosis.machine import environment_section, memory_section, python_section
from smc_eval.cli.diagnosis.packages import extras_section, packages_section
from smc_eval.cli.diagnosis.section import DiagnosisSection, Obstacle
from smc_eval.cli.grid_run import check_store, nearest_folder
from smc_eval.cli.store import bytes_text
from smc_eval.errors import SmcError, counted
from smc_eval.files.user_path import is_folder
from smc_eval.registry import load_registry

DIAGNOSIS_SCHEMA = 1
"""Version of the JSON of `smc-eval doctor`."""

LITTLE_SPACE = 2 * 10**9
"""Bytes of free disk below which a note says so."""


@dataclass(frozen=True)
class Diagnosis:
    """What was found on this machine."""

    sections: Mapping[str, DiagnosisSection]

    @property
    def problems(self) -> list[Obstacle]:
        """What makes runs impossible."""
        return [problem for section in self.sections.values() for problem in section.problems]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, that do not name the user."""
        content = {
            "schema": DIAGNOSIS_SCHEMA,
            "smc_eval": __version__,
            "usable": not self.problems,
            "problems": [vars(problem) for problem in self.problems],
            "notes": [note for section in self.sections.values() for note in section.notes],
            **{name: section.facts for name, section in self.sections.items()},
        }
        plain: dict[str, Any] = impersonal(content)
        return plain


def diagnose(output: Path) -> Diagnosis:
    """Look at everything that a run needs, with this store."""
    return Diagnosis(
        {
            "python": python_section(),
            "packages": packages_section(),
            **torch_sections(),
            "memory": memory_section(),
            "hub": hub_section(),
            "plugins": plugins_section(),
            "store": store_section(output),
            "extras": extras_section(),
            "environment": environment_section(),
        }
    )


def plugins_section() -> DiagnosisSection:
    """The installed plugins, and whether each can be loaded."""
    with contextlib.redirect_stdout(sys.stderr):  # a plugin may print, and --json must stay JSON
        plugins = load_registry().plugins
    nouns = ("methods", "tasks", "kinds", "optimizers", "trackers")
    facts = [
        {
            **{name: getattr(plugin, name) for name in ("package", "version", "name", "status", "reason")},
            **{noun: len(getattr(plugin, noun)) for noun in nouns},
        }
        for plugin in plugins
    ]
    problems = tuple(
        Obstacle(plugin.reason, plugin.remedy.strip() or "install smc-eval again: pip install smc-eval")
        for plugin in plugins
        if plugin.status == "broken"
    )
    lines = [
        f"{fact['package']} {fact['version']} ({fact['name']}): "
        + (
            "BROKEN"
            if fact["status"] == "broken"
            else ", ".join(counted(fact[noun], noun[:-1]) for noun in nouns if fact[noun])
        )
        for fact in facts
    ]
    return DiagnosisSection(facts, problems, lines=tuple(lines) or ("none",))


def store_section(output: Path) -> DiagnosisSection:
    """The folder of the store: whether it can be written, and how much is free."""
    problems, notes = list[Obstacle](), list[str]()
    try:
        check_store(output)
    except SmcError as error:
        problems.append(Obstacle(str(error), "name another folder: --output DIR"))
    try:
        free = shutil.disk_usage(nearest_folder(output)).free
    except (OSError, ValueError):  # a text that can name no folder
        free = None
    if free is not None and free < LITTLE_SPACE:
        notes.append(f"only {bytes_text(free)} are free for the store; --keep results needs the least")
    facts = {
        "folder": str(output),
        "exists": is_folder(output),
        "writable": not problems,
        "free_bytes": free,
    }
    line = f"{output} {'can' if facts['writable'] else 'CANNOT'} be written"
    line += f", {bytes_text(free)} free" if free is not None else ""
    return DiagnosisSection(facts, tuple(problems), tuple(notes), (line,))


def impersonal(value: Any) -> Any:
    """Plain JSON values whose texts do not name the user."""
    match value:
        case str():
            return impersonal_text(value)
        case dict():
            return {key: impersonal(part) for key, part in value.items()}
        case list() | tuple():
            return [impersonal(part) for part in value]
        case _:
            return value


def impersonal_text(text: str) -> str:
    """A text with `~` for the home folder, and `USER` for other folders with the name of the user."""
    try:
        home = Path.home()
    except RuntimeError:  # this user has none
        return text
    if home.name:
        text = re.sub(rf"(?<![\w.~-]){re.escape(str(home))}(?![\w.-])", "~", text)
        text = re.sub(rf"(?<=/){re.escape(home.name)}(?![\w.-])", "USER", text)
    return text
