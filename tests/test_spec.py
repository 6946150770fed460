"""Specs: equal values have equal digests, a class can move, and a field cannot hide a method."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, ClassVar

import pytest
from pydantic import Field, ValidationError

from smc_eval import spec
from smc_eval.errors import PluginError
from smc_eval.experiment.ablation import Ablated
from smc_eval.experiment.budget import Budget
from smc_eval.experiment.cell import Cell, Chain, chain
from smc_eval.methods.dense import Dense
from smc_eval.methods.gmp import Gmp
from smc_eval.methods.lth import LotteryTicket
from smc_eval.methods.obert import OptimalBertSurgeon
from smc_eval.methods.omp import MagnitudeAfter, MagnitudeBefore
from smc_eval.methods.rigl import SensitivityRigL
from smc_eval.protocol import PAPER
from smc_eval.recipe import Recipe
from smc_eval.spec import OmitDefault, Outside, Spec, canonical, digest
from smc_eval.target import Target
from smc_eval.testing import Toy, chain_of

GOLDEN: dict[str, str] = json.loads(
    (Path(__file__).with_name("golden_digests.json")).read_text(encoding="utf-8")
)
HALF = Target(sparsity=0.5)


class Point(Spec):
    """A value."""

    x: float = Field(0.0, ge=0)
    names: tuple[str, ...] = ()
    where: Annotated[str, Outside()] = "here"


class Holder(Spec):
    """A value in a value."""

    point: Point = Point()


# Digests of values


def test_equal_values_have_equal_digests_and_different_values_different_ones() -> None:
    assert Point(x=1).digest() == Point(x=1.0).digest()
    assert len({Point(x=1).digest(), Point(x=2).digest(), Point(x=1, names=("a",)).digest()}) == 3


def test_a_digest_is_the_same_in_every_process() -> None:
    assert (
        digest("a", 1, [True, None], {"b": 2.5})
        == "9d74535684dfd2fff3fe8fdd33f732c50fbca7c251513b47abd10bc42fbcfdbe"
    )


def test_an_outside_field_is_not_part_of_the_digest_even_with_another_default() -> None:
    class Elsewhere(Point):
        where: str = "there"

    assert Point(where="there").digest() == Point().digest()
    assert Elsewhere(where="a").digest() == Elsewhere(where="b").digest()


def test_a_new_field_that_omits_its_default_changes_no_digest_until_it_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Before(Spec):
        identity: ClassVar[str] = "tests:Grows"
        x: float = 0.0

    monkeypatch.setattr(spec, "_CLAIMED", {})

    class After(Spec):
        identity: ClassVar[str] = "tests:Grows"
        x: float = 0.0
        new: Annotated[tuple[str, ...], OmitDefault()] = ()
        plain: Annotated[int, OmitDefault()] = 1

    assert After(x=2).digest() == Before(x=2).digest()
    assert After(new=("a",)).digest() != Before().digest() != After(plain=2).digest()
    assert Target().digest() == Target(include=(), exclude=()).digest() != Target(include=("*",)).digest()


def test_an_instance_of_a_subclass_in_a_field_has_its_own_identity_and_version() -> None:
    class Pixel(Point):
        pass

    class NewPixel(Point):
        version = 2

    assert Holder(point=Pixel()).digest() != Holder().digest()
    assert canonical(NewPixel()) != canonical(Point())


@pytest.mark.parametrize("value", [object(), float("nan"), float("inf"), print, {1: object()}])
def test_a_value_without_a_fixed_form_is_refused(value: object) -> None:
    with pytest.raises(PluginError, match="cannot be part of a digest"):
        digest(value)


# Fields


def test_a_field_that_hides_a_method_is_refused() -> None:
    class Long(Spec):
        def length(self) -> int:
            return 1

    with pytest.raises(PluginError, match="field named 'length', which hides the method of .*Long"):

        class Short(Long):
            length: int = 2  # type: ignore[assignment]


def test_a_class_variable_can_replace_a_method() -> None:
    class Long(Spec):
        def length(self) -> int:
            return 1

    class Without(Long):
        length: ClassVar[None] = None  # type: ignore[assignment]

    assert Without().length is None and Without.model_fields == {}


def test_values_are_frozen_and_unknown_fields_are_refused() -> None:
    with pytest.raises(ValidationError):
        Point().x = 2.0  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Point(y=1)  # type: ignore[call-arg]


# Identities


Install = Callable[[str, str, dict[str, str]], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a release of a package with these modules, in place of an earlier release."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(spec, "_CLAIMED", dict(spec._CLAIMED))
    installed = set[str]()

    def forget() -> None:
        for module in [m for m in sys.modules if m.partition(".")[0] in installed]:
            del sys.modules[module]
        for cached in (spec.released, spec._distributions, spec._installers):
            cached.cache_clear()

    def put(package: str, release: str, modules: dict[str, str]) -> None:
        top = package.replace("-", "_")
        installed.add(top)
        forget()
        info = tmp_path / f"{top}.dist-info"
        for folder in (info, tmp_path / top):
            folder.mkdir(exist_ok=True)
            for file in folder.glob("*.py"):
                file.unlink()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {release}\n")
        (info / "top_level.txt").write_text(f"{top}\n")
        for name, source in {"__init__": "", **modules}.items():
            (tmp_path / top / f"{name}.py").write_text(source)

    yield put
    forget()


BOOK = """
from typing import ClassVar
from smc_eval import Method, MethodCard, Prune, Target, Train
from smc_eval.methods.omp import Magnitude

class Book(Method):
    card: ClassVar[MethodCard] = MethodCard(name="book", summary="a book", source="none", when="after")
    pages: int = 3

    def plan(self, target):
        yield Train()
        yield Prune(by=Magnitude(), to=target)
"""


def loaded(module: str) -> ModuleType:
    return import_module(module)


def test_a_class_that_moves_to_another_module_keeps_its_digest(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("book-shop", "1.0", {"first": BOOK})
    first = loaded("book_shop.first").Book
    monkeypatch.setattr(spec, "_CLAIMED", {})  # as in a new process
    install("book-shop", "1.0", {"second": BOOK})
    second = loaded("book_shop.second").Book
    assert first is not second and first.__module__ != second.__module__
    assert first.identity == second.identity == "book-shop:Book"
    assert first(pages=7).digest() == second(pages=7).digest()
    assert chain_of(first(), HALF).digest == chain_of(second(), HALF).digest


def test_a_built_in_class_that_moves_keeps_its_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(module: str) -> Any:
        monkeypatch.setattr(spec, "_CLAIMED", {})
        return type("Movable", (Spec,), {"__module__": module, "__qualname__": "Movable"})

    here, there = made("smc_eval.methods.here"), made("smc_eval.sparse.deep.there")
    assert here.identity == there.identity == "smc-eval:Movable"
    assert here().digest() == there().digest()


def test_two_classes_with_one_identity_are_refused_with_both_places(install: Install) -> None:
    install("book-shop", "1.0", {"first": BOOK, "second": BOOK})
    loaded("book_shop.first")
    with pytest.raises(PluginError) as raised:
        loaded("book_shop.second")
    assert str(raised.value) == (
        "two classes have the identity 'book-shop:Book': book_shop.first.Book and book_shop.second.Book; "
        "rename one, or set `identity: ClassVar[str]` in one"
    )


def test_a_class_that_is_defined_again_in_the_same_place_keeps_its_identity(install: Install) -> None:
    install("book-shop", "1.0", {"first": BOOK})
    before = loaded("book_shop.first").Book
    install("book-shop", "1.0", {"first": BOOK})
    assert loaded("book_shop.first").Book.identity == before.identity


def test_an_explicit_identity_is_used_and_not_inherited(install: Install) -> None:
    named = BOOK.replace("    pages: int", '    identity: ClassVar[str] = "library:Book"\n    pages: int')
    install("book-shop", "1.0", {"first": BOOK, "second": named + "\n\nclass Novel(Book):\n    pass\n"})
    first, second = loaded("book_shop.first"), loaded("book_shop.second")
    assert (first.Book.identity, second.Book.identity) == ("book-shop:Book", "library:Book")
    assert second.Novel.identity == "book-shop:Novel"
    assert first.Book().digest() != second.Book().digest()
    assert second.Book().canonical()["identity"] == "library:Book"


def test_code_that_is_not_installed_has_the_identity_of_its_module() -> None:
    assert Point.identity == f"{__name__}:Point"
    assert "release" not in Point().canonical()


def test_two_releases_of_a_plugin_never_share_a_digest(install: Install) -> None:
    digests = []
    for release in ("1.0", "1.1", "1.0"):
        install("book-shop", release, {"first": BOOK})
        digests.append(loaded("book_shop.first").Book().digest())
    assert digests[0] == digests[2] != digests[1]


def test_the_release_of_smc_eval_is_not_part_of_a_digest() -> None:
    assert set(HALF.canonical()) == {"identity", "version", "fields"}
    assert HALF.canonical()["identity"] == "smc-eval:Target"


# Golden digests: a change of one of them makes every store of earlier runs useless


def golden_chains() -> dict[str, Chain]:
    """Chains of cells that differ in all that a user can choose."""
    recipe = Recipe(epochs=3, batch_size=4, schedule="linear", warmup=2, precision="bf16", clip=1.0)
    paper = Cell(task=Toy(), method=Gmp(**Gmp.paper), target=HALF, protocol=PAPER, seed=1)
    picked = Target(sparsity=0.6, distribution="erk", include=("*.weight",), exclude=("re:odd",))
    return {
        "dense": chain_of(Dense(), Target()),
        "before": chain_of(MagnitudeBefore(), HALF),
        "after, 2:4": chain_of(MagnitudeAfter(), Target.parse("2:4")),
        "during": chain_of(Gmp(), Target(sparsity=0.9)),
        "during, options": chain_of(SensitivityRigL(share=0.5, batches=3), Target(sparsity=0.8)),
        "iterative, options": chain_of(LotteryTicket(share=0.5, early=0.25), Target(sparsity=0.75)),
        "levels, options": chain_of(OptimalBertSurgeon(block=4, gradients=8, levels=2), HALF),
        "ablation": chain_of(Ablated(method=MagnitudeAfter(), how="shuffle"), HALF),
        "budget": chain_of(MagnitudeAfter(), HALF, budget=Budget(measure="steps", factor=2.0)),
        "include and exclude": chain_of(MagnitudeBefore(), picked),
        "fold and seed": chain_of(MagnitudeBefore(), HALF, Toy(fold=3), seed=2),
        "recipe": chain_of(MagnitudeBefore(), HALF, Toy(recipe=recipe)),
        "paper": chain(paper, Toy().sources(), 52),
    }


@pytest.mark.parametrize("name", golden_chains())
def test_the_digest_of_a_cell_is_the_same_as_ever(name: str) -> None:
    assert golden_chains()[name].digest == GOLDEN[name]


def test_the_digest_of_a_plugins_cell_is_the_same_as_ever(install: Install) -> None:
    install("book-shop", "1.0", {"first": BOOK})
    assert chain_of(loaded("book_shop.first").Book(), HALF).digest == GOLDEN["plugin, release 1.0"]


def test_every_golden_digest_is_tested_and_no_two_are_equal() -> None:
    assert GOLDEN.keys() == {*golden_chains(), "plugin, release 1.0"}
    assert len(set(GOLDEN.values())) == len(GOLDEN)
