"""The meaning of a field is the text below it, and is read from the source when it is asked for."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import Field

from smc_eval.experiment.meaning import meaning
from smc_eval.registry import registry
from smc_eval.spec import Spec
from smc_eval.task import Task


class Plain(Spec):
    """A class with fields of every kind."""

    told: int = Field(1, ge=0)
    """How many, over
    two lines."""
    described: int = Field(2, description="Its own words.")
    """Not these."""
    silent: int = 3
    last: int = 4
    """The last one."""


class Changed(Plain):
    """A class that declares two fields again."""

    told: int = 5
    """Another meaning."""
    last: int = 6


def test_a_meaning_is_the_text_below_the_field_on_one_line() -> None:
    assert meaning(Plain, "told") == "How many, over two lines."
    assert meaning(Plain, "last") == "The last one."


def test_a_description_goes_before_the_text_below() -> None:
    assert meaning(Plain, "described") == "Its own words."


def test_a_field_without_a_text_has_no_meaning() -> None:
    assert meaning(Plain, "silent") == ""


def test_the_class_that_declares_a_field_last_says_what_it_means() -> None:
    assert meaning(Changed, "told") == "Another meaning."
    assert meaning(Changed, "described") == "Its own words."
    assert meaning(Changed, "last") == ""


def test_a_class_within_a_function_has_meanings() -> None:
    class Inner(Spec):
        identity = "tests:Inner"

        depth: int = 1
        """How deep."""

    assert meaning(Inner, "depth") == "How deep."


class Nested:
    """Holds a class with a text that begins a line."""

    class Deep(Spec):
        identity = "tests:Deep"

        words: str = """
one
"""
        """Some words."""


def test_a_class_within_a_class_has_meanings_whatever_its_texts_look_like() -> None:
    assert meaning(Nested.Deep, "words") == "Some words."


class Branched(Spec):
    """Declares a field in one of two branches."""

    identity = "tests:Branched"

    if "any":
        size: int = 1
        """A size."""


def test_a_field_of_a_branch_has_a_meaning() -> None:
    assert meaning(Branched, "size") == "A size."


def made_twice(first: bool) -> type[Spec]:  # noqa: FBT001
    if first:

        class Twice(Spec):
            identity = "tests:Twice"

            size: int = 1
            """The first one."""

    else:

        class Twice(Spec):  # type: ignore[no-redef]
            identity = "tests:Twice"

            size: int = 2
            """The second one."""

    return Twice


def test_of_two_classes_of_one_name_none_gets_the_meaning_of_the_other() -> None:
    known = sys.version_info >= (3, 13)  # a class knows its line from there on
    assert meaning(made_twice(True), "size") == ("The first one." if known else "")
    assert meaning(made_twice(False), "size") == ("The second one." if known else "")


class Left(Plain):
    """Inherits all."""


class Right(Plain):
    """Declares a field again."""

    told: int = 7
    """Right's."""


class Both(Left, Right):
    """Gets the default of its first base, as pydantic has it, and the meaning too."""


def test_of_two_bases_the_meaning_is_that_of_the_default() -> None:
    assert (Both().told, meaning(Both, "told")) == (1, "How many, over two lines.")


@dataclass(frozen=True)
class Data:
    """No Spec."""

    size: int = 1
    """A size."""


def test_a_field_of_a_dataclass_has_a_meaning() -> None:
    assert meaning(Data, "size") == "A size."


def test_a_class_without_source_has_fields_without_meanings() -> None:
    space: dict[str, Any] = {"Spec": Spec, "__name__": "made"}
    exec('class Made(Spec):\n    size: int = 1\n    """A size."""\n', space)
    assert meaning(space["Made"], "size") == ""


def test_no_source_is_read_before_a_meaning_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> str:
        raise AssertionError("source was read")

    monkeypatch.setattr(inspect, "getsource", refuse)
    monkeypatch.setattr(inspect, "getsourcelines", refuse)
    monkeypatch.setattr(inspect, "getblock", refuse)

    class Late(Spec):
        identity = "tests:Late"

        size: int = 1
        """A size."""

    assert Late().size == 1


def test_every_option_of_a_built_in_method_or_task_has_a_meaning() -> None:
    known = registry()
    kinds = [kind for named in (known.methods, known.tasks) for kind in named.values()]
    options = [(kind, name) for kind in kinds for name in kind.model_fields if name not in Task.model_fields]
    assert len(options) > 150
    assert [f"{kind.__name__}.{name}" for kind, name in options if not meaning(kind, name)] == []
