"""Documents of a task of lm-eval: what a net is asked about each, and all that scores its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

LOGLIKELIHOOD, ROLLING, GENERATE = "loglikelihood", "loglikelihood_rolling", "generate_until"

KINDS = (LOGLIKELIHOOD, ROLLING, GENERATE)
"""What a task can ask a net: log p of an answer after a context, log p of a text, and what it writes."""


@dataclass(frozen=True)
class Request:
    """One thing that a net is asked, `repeats` times."""

    kind: str
    arguments: tuple[Any, ...]
    """A context and an answer; a text; or a context and the settings of generation."""
    repeats: int = 1

    @property
    def text(self) -> str:
        """All that the net reads."""
        return "".join(part for part in self.arguments if isinstance(part, str))

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings of generation; empty where nothing is written."""
        return self.arguments[1] if self.kind == GENERATE else {}


@dataclass(frozen=True)
class Document:
    """An example of a task of lm-eval."""

    number: int
    """Its number among the documents of its task, from 0."""
    requests: tuple[Request, ...]
    question: str | None = None
    """What it asks, without shots; None if the task cannot say it."""
    part: int = 0
    """The number of its task within a group, from 0."""


@dataclass(frozen=True)
class Asked:
    """What a user names, as far as it decides the documents."""

    name: str
    folder: Path | None
    """The folder of `include=`; None for a task of lm-eval's own."""
    shots: int | None
    code: bool
    limit: int | None
    chat: Any = None
    """The tokenizer whose chat template is used; None if none is."""

    @property
    def in_sandbox(self) -> bool:
        """Whether templates must not run code: those of a folder that was not said to hold some."""
        return self.folder is not None and not self.code


@dataclass(frozen=True)
class Part:
    """One task of lm-eval."""

    name: str
    version: str
    shots: int
    task: Any = field(repr=False)
    """The task as an object of lm-eval."""
    rows: Sequence[Any] = field(repr=False)
    """The documents as lm-eval has them."""


@dataclass(frozen=True)
class Evaluation:
    """A task of lm-eval, or a group of them, with its documents."""

    asked: Asked
    package: str
    """Version of lm-eval."""
    parts: tuple[Part, ...]
    group: Any = field(repr=False)
    """The group as an object of lm-eval; None for a task."""
    documents: Sequence[Document] = field(repr=False)
    digest: str
    """SHA-256 over the version of lm-eval, the files of a task of the user, all rows and all requests."""

    @property
    def version(self) -> str:
        """Version of the task or of the group."""
        return self.parts[0].version if self.group is None else str(self.group.version)

    @property
    def shots(self) -> str:
        """The number of shots, or those of the tasks of a group."""
        return ",".join(map(str, sorted({part.shots for part in self.parts})))

    @cached_property
    def requests(self) -> list[Request]:
        """All that the net is asked."""
        return [request for document in self.documents for request in document.requests]

    @cached_property
    def kinds(self) -> frozenset[str]:
        """The kinds of its requests."""
        return frozenset(request.kind for request in self.requests)

    @cached_property
    def samples(self) -> bool:
        """Whether the net draws at random what it writes."""
        settings = [request.settings for request in self.requests]
        return any(one.get("do_sample") or float(one.get("temperature") or 0) > 0 for one in settings)
