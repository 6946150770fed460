"""Installed packages: what smc-eval needs, in which versions, and which extras are there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion

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


class NeededPackage(NamedTuple):
    """A package that smc-eval needs, or an extra of it, and the versions that will do."""

    name: str
    versions: SpecifierSet
    """Empty: any."""

    @property
    def installed(self) -> str | None:
        """The installed version; None if there is none."""
        return installed_version(self.name)

    @property
    def is_met(self) -> bool:
        """Whether it is installed, in a version that will do."""
        try:
            return self.installed is not None and self.versions.contains(self.installed, prereleases=True)
        except InvalidVersion:
            return False


def installed_version(package: str) -> str | None:
    """The version of an installed package; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def read_needs(lines: Iterable[str], extra: str = "") -> Iterator[NeededPackage]:
    """What lines of a package's metadata need on this machine, or what an extra of it needs besides."""
    for own in map(Requirement, lines):
        always, here = (
            own.marker is None or own.marker.evaluate({"extra": chosen}) for chosen in ("", extra)
        )
        if own.name != OWN_PACKAGE and here and (not extra or not always):
            yield NeededPackage(own.name, own.specifier)


def packages_section() -> DiagnosisSection:
    """The packages that smc-eval needs."""
    found = installed_version(OWN_PACKAGE)
    needed = needs()
    facts = {one.name: {"version": one.installed, "needs": str(one.versions) or None} for one in needed}
    problems = [
        Obstacle(
            f"the package {one.name} is not installed"
            if one.installed is None
            else f"the package {one.name} is {one.installed}, and smc-eval needs {one.versions}",
            f"install it: pip install '{one.name}{one.versions}'",
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
        own = needs(name)
        lacking = sorted(one.name for one in own if not one.is_met)
        facts[name] = {"for": purpose, "missing": lacking if own else None}
        if lacking or not own:
            missing.append(f"{name} is not installed ({purpose}): pip install 'smc-eval[{name}]'")
    return DiagnosisSection(facts, lines=tuple(missing) or ("all are installed",))


def needs(extra: str = "") -> list[NeededPackage]:
    """What smc-eval needs, or what an extra of it needs besides; nothing if it is not installed."""
    try:
        return list(read_needs(requires(OWN_PACKAGE) or (), extra))
    except PackageNotFoundError:
        return []
