"""Installed packages: what smc-eval needs, in which versions, and which extras are there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from typing import NamedTuple

import smc_eval
from smc_eval.cli.diagnosis.section import DiagnosisSection, Obstacle
from smc_eval.spec import OWN_PACKAGE

EXTRAS: Mapping[str, str] = {
    "page": "report --html and --figures",
    "slurm": "--executor slurm",
    "ray": "--executor ray",
    "trackers": "--track",
}
"""What needs each extra."""

NOT_INSTALLED = Obstacle(
    "smc-eval itself is not installed, only its files are on the path: it has no method and no task",
    "install it: pip install smc-eval",
)

_REQUIREMENT = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)\s*(\[[^]]*\])?\s*(>=\s*(?P<least>[^;,\s]+))?[^;]*"
    r"(;.*extra\s*==\s*['\"](?P<extra>[\w-]+)['\"])?"
)


class Requirement(NamedTuple):
    """A package that smc-eval needs, and the lowest version of it."""

    name: str
    least: str = ""
    """Empty: any."""
    extra: str = ""
    """The extra that needs it; empty: smc-eval itself does."""

    @property
    def installed(self) -> str | None:
        """The installed version; None if there is none."""
        return installed_version(self.name)

    @property
    def is_met(self) -> bool:
        """Whether it is installed, and new enough."""
        return self.installed is not None and numbers_of(self.installed) >= numbers_of(self.least)


def installed_version(package: str) -> str | None:
    """The version of an installed package; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def numbers_of(text: str) -> tuple[int, ...]:
    """The numbers of a version, without those of its build: (2, 13, 0) of `2.13.0+cpu`."""
    return tuple(map(int, re.findall(r"\d+", text.partition("+")[0])))


def read_requirements(lines: Iterable[str]) -> Iterator[Requirement]:
    """The requirements of a package's metadata, without those of an extra for another of its own extras."""
    for line in lines:
        if (match := _REQUIREMENT.match(line)) and match["name"].lower() != OWN_PACKAGE:
            yield Requirement(match["name"], match["least"] or "", match["extra"] or "")


def packages_section() -> DiagnosisSection:
    """The packages that smc-eval needs."""
    found = installed_version(OWN_PACKAGE)
    needed = [one for one in requirements() if not one.extra]
    facts = {one.name: {"version": one.installed, "least": one.least or None} for one in needed}
    problems = [
        Obstacle(
            f"the package {one.name} is not installed"
            if one.installed is None
            else f"the package {one.name} is {one.installed}, and smc-eval needs {one.least} or newer",
            f"install it: pip install '{one.name}{'>=' * bool(one.least)}{one.least}'",
        )
        for one in needed
        if not one.is_met
    ]
    notes = []
    if found is None:
        problems.insert(0, NOT_INSTALLED)
    elif found != smc_eval.__version__:
        notes.append(
            f"smc-eval was installed as {found}, its files are of {smc_eval.__version__}; install it again"
        )
    line = ", ".join(f"{name} {fact['version'] or 'MISSING'}" for name, fact in facts.items())
    return DiagnosisSection(facts, tuple(problems), tuple(notes), (line or "unknown",))


def extras_section() -> DiagnosisSection:
    """The optional packages, by the extra that brings them; None where the installation does not know it."""
    facts, missing = {}, []
    for name, purpose in EXTRAS.items():
        own = [one for one in requirements() if one.extra == name]
        lacking = sorted(one.name for one in own if not one.is_met)
        facts[name] = {"for": purpose, "missing": lacking if own else None}
        if lacking or not own:
            missing.append(f"{name} is not installed ({purpose}): pip install 'smc-eval[{name}]'")
    return DiagnosisSection(facts, lines=tuple(missing) or ("all are installed",))


def requirements() -> list[Requirement]:
    """What smc-eval needs, for itself and for its extras; nothing if it is not installed."""
    try:
        return list(read_requirements(requires(OWN_PACKAGE) or ()))
    except PackageNotFoundError:
        return []
