"""The name of a new plugin, and the names of its package, module and classes."""

from __future__ import annotations

import builtins
import keyword
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import smc_eval
from smc_eval.errors import UsageError
from smc_eval.protocol import PROTOCOLS
from smc_eval.registry import ALL, Registry
from smc_eval.task import BUILT_MODELS

PACKAGE_PREFIX = "smc-eval-"
"""How the names of plugin packages begin."""

MOST_CHARACTERS = 30
"""Most characters of a name. With the prefix it names a folder, a package and a module."""


@dataclass(frozen=True)
class PluginName:
    """A name that is free, and that makes valid names of a package, a module and a class."""

    name: str
    """What users type, and what the card says: `row-norm`."""

    @classmethod
    def checked(cls, word: str, registry: Registry) -> PluginName:
        """The name that a user typed; the prefix `smc-eval-` may be part of it.

        Raises:
            UsageError: it is no valid name, or something has it already; says what, and what to type instead.
        """
        name = cls(word.removeprefix(PACKAGE_PREFIX))
        name._refuse_wrong_form(word)
        name._refuse_words_of_python()
        name._refuse_used(registry)
        return name

    @property
    def package(self) -> str:
        """Name of the package, and of its folder: `smc-eval-row-norm`."""
        return PACKAGE_PREFIX + self.name

    @property
    def module(self) -> str:
        """Name of the module: `smc_eval_row_norm`."""
        return self.package.replace("-", "_")

    @property
    def class_name(self) -> str:
        """Name of the class: `RowNorm`."""
        return "".join(part.capitalize() for part in self.name.split("-"))

    def _refuse_wrong_form(self, word: str) -> None:
        if "/" in word or "\\" in word:
            raise UsageError(
                f"the name {word!r} is a path; give the name alone, and its folder with --to DIR"
            )
        if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", self.name):
            near = _valid(self.name)
            hint = f"; try {near!r}" if near else ""
            raise UsageError(
                f"the name {word!r} cannot be that of a package; wanted lower-case letters a-z, digits and "
                f"single dashes, with a letter first{hint}"
            )
        if len(self.name) > MOST_CHARACTERS:
            raise UsageError(
                f"the name {word!r} has {len(self.name)} characters; wanted {MOST_CHARACTERS} at most"
            )

    def _refuse_words_of_python(self) -> None:
        word = self.name.replace("-", "_")
        if keyword.iskeyword(word) or keyword.issoftkeyword(word):
            raise UsageError(f"the name {self.name!r} is a keyword of Python; choose another name")
        if word in sys.stdlib_module_names:
            raise UsageError(
                f"the name {self.name!r} is that of a module of Python itself; choose another name"
            )
        if self.class_name in {*dir(builtins), *smc_eval.__all__}:
            owner = "smc_eval" if self.class_name in smc_eval.__all__ else "Python"
            raise UsageError(
                f"the name {self.name!r} would make a class {self.class_name!r}, which {owner} has already; "
                "choose another name"
            )

    def _refuse_used(self, registry: Registry) -> None:
        for noun, names in _used_names(registry):
            if self.name in names:
                raise UsageError(
                    f"the name {self.name!r} is that of {noun}; choose another name (smc-eval list shows all)"
                )
        try:
            number = version(self.package)
        except PackageNotFoundError:
            pass
        else:
            raise UsageError(
                f"the package {self.package} {number} is installed; choose another name, or remove it: "
                f"pip uninstall {self.package}"
            )
        if find_spec(self.module) is not None:
            raise UsageError(f"a module {self.module!r} can be imported here already; choose another name")


def _used_names(registry: Registry) -> Iterable[tuple[str, Iterable[str]]]:
    """What has names already, in words, with its names."""
    yield "an installed method", registry.methods
    yield "an installed task", registry.tasks
    yield "a group of tasks", registry.groups
    yield "an installed kind of model", registry.kinds
    yield "an installed optimizer", registry.optimizers
    yield "an installed tracker", registry.trackers
    yield "a protocol", PROTOCOLS
    yield "a net that is built without a checkpoint", BUILT_MODELS
    yield "everything of a sort", (ALL,)
    yield "an installed plugin", (plugin.name for plugin in registry.plugins)


def _valid(word: str) -> str:
    """A valid name near a word; empty if there is none."""
    parts = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", word).lower()  # RowNorm is row-norm
    name = re.sub(r"[^a-z0-9]+", "-", parts).strip("-")
    return name if re.match("[a-z]", name) else ""
