"""A Spec: one frozen value that a user can choose, named by its digest."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from importlib.metadata import packages_distributions, version
from pathlib import PurePath
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from smc_eval.errors import PluginError

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


class Outside:
    """Marks a field that does not change what a Spec *is*: `folder: Annotated[str, Outside()]`.

    Such a field stays out of the digest: where a data folder lies, say, as what it
    holds is hashed by itself.
    """


class Spec(BaseModel):
    """Base of everything a user can choose. Fields are its options, its verbs are pure."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    version: ClassVar[int] = 1
    """Raise it when the same options come to mean something else: it is part of the digest."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse a field that hides a verb of a base class; pydantic only warns."""
        super().__init_subclass__(**kwargs)
        for name in inspect.get_annotations(cls):
            for base in cls.__mro__[1:]:
                if callable(vars(base).get(name)):
                    raise PluginError(
                        f"{cls.kind()} has a field named {name!r}, which hides the verb of "
                        f"{base.__qualname__}; rename the field"
                    )

    @classmethod
    def kind(cls) -> str:
        """The class's full name, `package.module:Name`."""
        # multiprocessing knows a script by another name in the processes that the script starts
        module = "__main__" if cls.__module__ == "__mp_main__" else cls.__module__
        return f"{module}:{cls.__qualname__}"

    @classmethod
    @cache  # a plan of thousands of cells asks for every part of every digest
    def outside(cls) -> frozenset[str]:
        """Fields that are no part of the digest; a subclass that gives one another default keeps it out."""
        return frozenset(
            name
            for base in cls.__mro__
            if issubclass(base, BaseModel)
            for name, field in base.model_fields.items()
            if any(isinstance(mark, Outside) for mark in field.metadata)
        )

    def canonical(self) -> dict[str, Json]:
        """Kind, version and every field that counts, as plain JSON values in a fixed form."""
        outside = self.outside()
        fields = {
            name: canonical(getattr(self, name)) for name in type(self).model_fields if name not in outside
        }
        named: dict[str, Json] = {"kind": self.kind(), "version": self.version, "fields": fields}
        if release := released(type(self).__module__.partition(".")[0]):
            named["release"] = release
        return named

    def digest(self) -> str:
        """Sixty-four hexadecimal digits that name this value on any machine."""
        return digest(self)


@cache
def released(package: str) -> str:
    """Who brings a package of a plugin and in which version, so that no two versions share a result.

    Empty for our own, whose versions are told class by class, and for what was never installed.
    """
    if package == "smc_eval":
        return ""
    return " ".join(f"{name} {version(name)}" for name in sorted(set(_distributions().get(package, ()))))


@cache
def _distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


def worded(name: str, spec: Spec, apart: Collection[str] = ()) -> str:
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
