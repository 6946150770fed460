"""Specs: named by what they are, refused when they hide a verb."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field, ValidationError

from smc_eval import spec
from smc_eval.errors import PluginError
from smc_eval.spec import Outside, Spec, canonical, digest
from smc_eval.target import Target


class Point(Spec):
    """A value."""

    x: float = Field(0.0, ge=0)
    names: tuple[str, ...] = ()
    where: Annotated[str, Outside()] = "here"


class Holder(Spec):
    """A value in a value."""

    point: Point = Point()


def test_equal_values_have_one_name_and_others_have_others() -> None:
    assert Point(x=1).digest() == Point(x=1.0).digest()
    assert len({Point(x=1).digest(), Point(x=2).digest(), Point(x=1, names=("a",)).digest()}) == 3


def test_the_name_is_the_same_in_every_process() -> None:
    assert (
        digest("a", 1, [True, None], {"b": 2.5})
        == "9d74535684dfd2fff3fe8fdd33f732c50fbca7c251513b47abd10bc42fbcfdbe"
    )


def test_what_is_outside_is_no_part_of_the_name_even_with_another_default() -> None:
    class Elsewhere(Point):
        where: str = "there"

    assert Point(where="there").digest() == Point().digest()
    assert Elsewhere(where="a").digest() == Elsewhere(where="b").digest()


def test_a_subclass_in_a_field_keeps_its_kind_and_version() -> None:
    class Pixel(Point):
        pass

    class NewPixel(Point):
        version = 2

    assert Holder(point=Pixel()).digest() != Holder().digest()
    assert canonical(NewPixel()) != canonical(Point())


def test_a_field_that_hides_a_verb_is_refused() -> None:
    class Long(Spec):
        def length(self) -> int:
            return 1

    with pytest.raises(PluginError, match="field named 'length', which hides the verb of .*Long"):

        class Short(Long):
            length: int = 2  # type: ignore[assignment]


def test_values_are_frozen_and_strangers_forbidden() -> None:
    with pytest.raises(ValidationError):
        Point().x = 2.0  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Point(y=1)  # type: ignore[call-arg]


@pytest.mark.parametrize("value", [object(), float("nan"), float("inf"), print, {1: object()}])
def test_what_has_no_fixed_form_is_refused(value: object) -> None:
    with pytest.raises(PluginError, match="cannot be part of a digest"):
        digest(value)


def test_two_releases_of_a_plugin_never_share_a_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"shelf_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(
        "from smc_eval.spec import Spec\nclass Book(Spec):\n    pages: int = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    book = __import__(name).Book

    def installed(release: str) -> str:
        info = tmp_path / f"{name}-1.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {release}\n")
        (info / "top_level.txt").write_text(f"{name}\n")
        for told in (spec.released, spec._distributions):
            told.cache_clear()
        return str(book().digest())

    digests = [installed(release) for release in ("1.0", "1.1", "1.0")]
    assert digests[0] == digests[2] != digests[1]


def test_our_own_release_is_no_part_of_a_digest() -> None:
    assert set(Target(sparsity=0.5).canonical()) == {"kind", "version", "fields"}
