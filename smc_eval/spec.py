"""A Spec: a frozen value that a user can choose, named by its digest."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points, packages_distributions, version
from pathlib import PurePath
from typing import Annotated, Any, ClassVar, get_origin

from pydantic import BaseModel, ConfigDict, Field

from smc_eval.errors import PluginError

OWN_MODULE, OWN_PACKAGE = "smc_eval", "smc-eval"
"""Names of smc-eval itself: of its module and of its package."""

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


class Outside:
    """Marks a field that is never part of the digest: `folder: Annotated[str, Outside()]`.

    For a field that changes no result, such as the path of a data folder: the content of the folder is
    hashed on its own.
    """


class OmitDefault:
    """Marks a field that is part of the digest only if it differs from its default.

    A new release can so add a field and change no digest of a value that does not use it:
    `include: Annotated[tuple[str, ...], OmitDefault()] = ()`.
    """


class Spec(BaseModel):
    """Base class of everything that a user can choose: methods, tasks, targets, recipes, stages.

    Fields are options. Instances are frozen, and methods have no side effects. Equal values have equal
    digests, on every machine and in every process.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    version: ClassVar[int] = 1
    """Part of the digest. Raise it when the same options give other results than before."""

    identity: ClassVar[str]
    """Names the class in every digest: `PACKAGE:CLASS`, unless the class sets another name. Module and file
    are not part of it, so a class can move and keep its digests."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Set the identity of a new class, and refuse a field that hides a method; pydantic only warns.

        Raises:
            PluginError: another class has the same identity, or a field hides a method.
        """
        super().__init_subclass__(**kwargs)
        if "identity" not in vars(cls):
            cls.identity = f"{package_of(cls.__module__)}:{cls.__qualname__}"
        _claim(cls.identity, cls)
        for name in options_of(cls):
            for base in cls.__mro__[1:]:
                if callable(vars(base).get(name)):
                    raise PluginError(
                        f"{cls.identity} has a field named {name!r}, which hides the method of "
                        f"{base.__qualname__}; rename the field"
                    )

    @classmethod
    @cache  # a plan of thousands of cells computes as many digests
    def marked(cls, mark: type[Outside | OmitDefault]) -> frozenset[str]:
        """Names of the fields with a mark. A subclass may give such a field another default."""
        return frozenset(
            name
            for base in cls.__mro__
            if issubclass(base, BaseModel)
            for name, field in base.model_fields.items()
            if any(isinstance(entry, mark) for entry in field.metadata)
        )

    def canonical(self) -> dict[str, Json]:
        """Identity, version and the fields that are part of the digest, as plain JSON values.

        A class of an installed plugin adds the release of its package.
        """
        outside, omitted = self.marked(Outside), self.marked(OmitDefault)
        fields = {
            name: canonical(value)
            for name, field in type(self).model_fields.items()
            if name not in outside
            and ((value := getattr(self, name)) != field.default or name not in omitted)
        }
        form: dict[str, Json] = {"identity": self.identity, "version": self.version, "fields": fields}
        if release := released(type(self).__module__.partition(".")[0]):
            form["release"] = release
        return form

    def digest(self) -> str:
        """SHA-256 of the canonical form: 64 hexadecimal digits, the same on every machine."""
        return digest(self)


_CLAIMED: dict[str, str] = {}
"""Module and name of the class with each identity."""


def options_of(cls: type) -> list[str]:
    """Names of the fields that a class itself declares."""
    annotations = inspect.get_annotations(cls)
    return [name for name, annotation in annotations.items() if not _is_class_variable(annotation)]


def _is_class_variable(annotation: object) -> bool:
    """Whether an annotation, which may be a string, is a `ClassVar`."""
    if isinstance(annotation, str):
        return re.match(r"(\w+\.)*ClassVar\b", annotation) is not None
    return (get_origin(annotation) or annotation) is ClassVar


def _claim(identity: str, cls: type[Spec]) -> None:
    """Register the identity of a class. A class that is defined again in the same place keeps it.

    Raises:
        PluginError: a class in another place has this identity.
    """
    place = f"{cls.__module__}.{cls.__qualname__}"
    if (first := _CLAIMED.setdefault(identity, place)) != place:
        raise PluginError(
            f"two classes have the identity {identity!r}: {first} and {place}; "
            "rename one, or set `identity: ClassVar[str]` in one"
        )


def package_of(module: str) -> str:
    """Name, on PyPI, of the package that installs a module; for a script or a test, its module."""
    package = module.partition(".")[0]
    if package == OWN_MODULE:
        return OWN_PACKAGE
    # in the processes that a script starts, multiprocessing gives the script's module another name
    return "+".join(_installers(package)) or ("__main__" if module == "__mp_main__" else module)


@cache
def released(package: str) -> str:
    """Packages that install a plugin's module, with versions: two releases never share a digest.

    Empty for smc-eval, whose classes raise their own `version`, and for code that is not installed.
    """
    if package == OWN_MODULE:
        return ""
    return " ".join(f"{name} {version(name)}" for name in _installers(package))


@cache
def _installers(package: str) -> tuple[str, ...]:
    """Packages that install a top-level module; editable installs are recognized by their entry points."""
    points = entry_points(group=OWN_MODULE)
    names = {point.dist.name for point in points if point.dist and point.module.partition(".")[0] == package}
    return tuple(sorted(names or set(_distributions().get(package, ()))))


@cache
def _distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


def label(name: str, spec: Spec, omit: Collection[str] = ()) -> str:
    """A registered name and the options that differ from the defaults, as users type them: `lth:share=0.1`.

    `omit` names fields that are not options.
    """
    fields = {key: field for key, field in type(spec).model_fields.items() if key not in omit}
    chosen = [
        f"{key}={_typed(value)}" for key in fields if (value := getattr(spec, key)) != fields[key].default
    ]
    return f"{name}:{','.join(chosen)}" if chosen else name


def _typed(value: object) -> str:
    """The value of an option as users type it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value, separators=(",", ":")) if isinstance(value, list | tuple) else str(value)


def canonical(value: object) -> Json:
    """A value as plain JSON. Equal values have equal forms.

    Raises:
        PluginError: the value holds something without a fixed form, such as a tensor or a function.
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
    """SHA-256 of the canonical form of the values, as 64 hexadecimal digits."""
    text = json.dumps(canonical(values), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


Name = Annotated[str, Field(pattern=r"^[a-z0-9]+([-/][a-z0-9]+)*$")]
"""A name that users type: lower case, parts joined by `-` or `/`."""


class Card(Spec):
    """The card of a method, task, kind of model or optimizer: what users see of it."""

    name: Name
    """The name that users type: lower case, parts joined by `-` or `/`."""
    summary: str = Field(min_length=1)
    """A description in one line."""
    source: str = Field(min_length=1)
    """The publication: paper and equation, or an address."""
