"""A Spec: one frozen value that a user can choose, named by its digest."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points, packages_distributions, version
from pathlib import PurePath
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from smc_eval.errors import PluginError

OWN_MODULE, OWN_PACKAGE = "smc_eval", "smc-eval"
"""Our name where it is imported, and where it is installed."""

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


class Outside:
    """Marks a field that does not change what a Spec *is*: `folder: Annotated[str, Outside()]`.

    Such a field stays out of the digest: where a data folder lies, say, as what it
    holds is hashed by itself.
    """


class OmitDefault:
    """Marks a field that is no part of the digest while it has its default.

    So a field that is new in a release changes no digest of what does not use it.
    """


class Spec(BaseModel):
    """Base of everything a user can choose. Fields are its options, its verbs are pure."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    version: ClassVar[int] = 1
    """Raise it when the same options come to mean something else: it is part of the digest."""

    identity: ClassVar[str]
    """Names the class in every digest: `PACKAGE:CLASS`, or what the class itself sets. Where the class
    lies, in which module and file, is no part of it."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Name the class. Refuse a field that hides a method of a base class; pydantic only warns.

        Raises:
            PluginError: another class has the same identity, or a field hides a method.
        """
        super().__init_subclass__(**kwargs)
        if "identity" not in vars(cls):
            cls.identity = f"{package_of(cls.__module__)}:{cls.__qualname__}"
        _claim(cls.identity, cls)
        for name in inspect.get_annotations(cls):
            for base in cls.__mro__[1:]:
                if callable(vars(base).get(name)):
                    raise PluginError(
                        f"{cls.identity} has a field named {name!r}, which hides the method of "
                        f"{base.__qualname__}; rename the field"
                    )

    @classmethod
    @cache  # a plan of thousands of cells asks for every part of every digest
    def marked(cls, mark: type[Outside | OmitDefault]) -> frozenset[str]:
        """Names of the fields with a mark, also those that a subclass gives another default."""
        return frozenset(
            name
            for base in cls.__mro__
            if issubclass(base, BaseModel)
            for name, field in base.model_fields.items()
            if any(isinstance(one, mark) for one in field.metadata)
        )

    def canonical(self) -> dict[str, Json]:
        """Identity, version and every field that counts, as plain JSON values in a fixed form."""
        outside, omitted = self.marked(Outside), self.marked(OmitDefault)
        fields = {
            name: canonical(value)
            for name, field in type(self).model_fields.items()
            if name not in outside
            and ((value := getattr(self, name)) != field.default or name not in omitted)
        }
        named: dict[str, Json] = {"identity": self.identity, "version": self.version, "fields": fields}
        if release := released(type(self).__module__.partition(".")[0]):
            named["release"] = release
        return named

    def digest(self) -> str:
        """Sixty-four hexadecimal digits that name this value on any machine."""
        return digest(self)


_CLAIMED: dict[str, str] = {}
"""Where the class of each identity lies."""


def _claim(identity: str, cls: type[Spec]) -> None:
    """Give an identity to a class.

    A class that is made again in the same place, as a reloaded module does, keeps it.

    Raises:
        PluginError: a class elsewhere has it.
    """
    place = f"{cls.__module__}.{cls.__qualname__}"
    if (first := _CLAIMED.setdefault(identity, place)) != place:
        raise PluginError(
            f"two classes have the identity {identity!r}: {first} and {place}; "
            "rename one, or set its `identity: ClassVar[str]`"
        )


def package_of(module: str) -> str:
    """The package that a module is installed by, as package indices name it.

    Code that is not installed, a script's or a test's, goes by its module.
    """
    package = module.partition(".")[0]
    if package == OWN_MODULE:
        return OWN_PACKAGE
    # multiprocessing knows a script by another name in the processes that the script starts
    return "+".join(_brought_by(package)) or ("__main__" if module == "__mp_main__" else module)


@cache
def released(package: str) -> str:
    """The packages that install a plugin's module, with versions, so that no two versions share a result.

    Empty for our own, which raises `version` class by class, and for code that is not installed.
    """
    if package == OWN_MODULE:
        return ""
    return " ".join(f"{name} {version(name)}" for name in _brought_by(package))


@cache
def _brought_by(package: str) -> tuple[str, ...]:
    """Packages that install a top-level module; editable ones are known by their entry points."""
    points = entry_points(group=OWN_MODULE)
    named = {point.dist.name for point in points if point.dist and point.module.partition(".")[0] == package}
    return tuple(sorted(named or set(_distributions().get(package, ()))))


@cache
def _distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


def label(name: str, spec: Spec, apart: Collection[str] = ()) -> str:
    """A registered name and the options that differ from the defaults, as users type them: `lth:share=0.1`.

    `apart` names fields that are no options.
    """
    fields = {key: field for key, field in type(spec).model_fields.items() if key not in apart}
    chosen = [
        f"{key}={_typed(value)}" for key in fields if (value := getattr(spec, key)) != fields[key].default
    ]
    return f"{name}:{','.join(chosen)}" if chosen else name


def _typed(value: object) -> str:
    """An option's value in the form in which it is read."""
    if value is None:
        return "none"
    return json.dumps(value, separators=(",", ":")) if isinstance(value, list | tuple) else str(value)


def canonical(value: object) -> Json:
    """A value as plain JSON, the same for equal values; refuses what has no fixed form.

    Raises:
        PluginError: the value holds something that cannot be named, a tensor or a function, say.
    """
    match value:
        case Spec():
            return value.canonical()
        case None | bool() | int() | str():
            return value
        case float() if math.isfinite(value):
            return value
        case PurePath():
            return value.as_posix()
        case Mapping():
            return {str(key): canonical(value[key]) for key in sorted(value, key=str)}
        case Sequence():
            return [canonical(item) for item in value]
        case set() | frozenset():
            return sorted((canonical(item) for item in value), key=str)
    raise PluginError(f"{value!r} ({type(value).__qualname__}) cannot be part of a digest")


def digest(*values: object) -> str:
    """SHA-256 over the canonical form of the values, as hexadecimal digits."""
    text = json.dumps(canonical(values), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
