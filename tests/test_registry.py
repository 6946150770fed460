"""Plugins come in by one door, and what is wrong with one is told with the name of its distribution."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, distributions
from pathlib import Path

import pytest

from smc_eval.errors import PluginError, UnknownName
from smc_eval.registry import Registry, load

METHOD = """
from __future__ import annotations
from collections.abc import Iterator
from typing import ClassVar
from smc_eval import Method, MethodCard, Stage, Target, Train, hookimpl

class {kind}(Method):
    card: ClassVar[MethodCard] = MethodCard(name="{name}", summary="a toy", source="none", moment="none")

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Train()

@hookimpl
def smc_eval_methods() -> list[type[Method]]:
    return [{kind}]
"""

TASK = """
from typing import ClassVar
from smc_eval import TaskCard, hookimpl
from smc_eval.testing import Toy

class Sums(Toy):
    card: ClassVar[TaskCard] = TaskCard(
        name="{name}", summary="a toy", source="none", metric="accuracy (%)", groups={groups},
        accepts=("tiny",), published="tiny",
    )

@hookimpl
def smc_eval_tasks():
    return [Sums]
"""

Install = Callable[..., None]


class Shop:
    """Distributions that a test puts into an environment of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made = list[str]()

    def install(self, source: str, *, name: str = "toys", version: str = "1.2") -> None:
        module = f"{self.folder.name.replace('-', '_')}_{len(self.made)}"
        (self.folder / f"{module}.py").write_text(source)
        info = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[smc_eval]\nentry-of-{name} = {module}\n")
        self.made.append(module)

    def points(self) -> list[EntryPoint]:
        return [point for found in distributions(path=[str(self.folder)]) for point in found.entry_points]

    def load(self) -> Registry:
        return load(self.points())


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.syspath_prepend(tmp_path)
    shop = Shop(tmp_path)
    yield shop
    for module in shop.made:
        sys.modules.pop(module, None)


def refusal(shop: Shop) -> str:
    with pytest.raises(PluginError) as caught:
        shop.load().checked()
    told = str(caught.value)
    assert len(told.splitlines()) <= 3
    return told


def test_a_plugin_fills_the_shelves_under_the_names_of_its_cards(shop: Shop) -> None:
    shop.install(METHOD.format(kind="Nothing", name="nothing"))
    shop.install(TASK.format(name="sums/gts", groups=("sums", "maths")), name="more-toys")
    registry = shop.load().checked()
    assert registry.method("nothing").__name__ == "Nothing"
    assert [task.card.name for task in registry.named_tasks("sums/gts")] == ["sums/gts"]
    assert [(p.distribution, p.version, p.status, p.methods, p.tasks) for p in registry.plugins] == [
        ("more-toys", "1.2", "ok", (), ("sums/gts",)),
        ("toys", "1.2", "ok", ("nothing",), ()),
    ]


def test_a_group_stands_for_its_tasks_and_all_for_every_one(shop: Shop) -> None:
    shop.install(TASK.format(name="sums/gts", groups=("sums", "maths")))
    shop.install(TASK.format(name="terms/gts", groups=("terms", "maths")), name="more")
    registry = shop.load().checked()

    def named(word: str) -> list[str]:
        return sorted(task.card.name for task in registry.named_tasks(word))

    assert named("sums") == ["sums/gts"]
    assert named("maths") == named("all") == ["sums/gts", "terms/gts"]


def test_an_unknown_name_is_told_with_the_nearest(shop: Shop) -> None:
    shop.install(METHOD.format(kind="Nothing", name="nothing"))
    shop.install(TASK.format(name="sums/gts", groups=("sums",)), name="more")
    registry = shop.load()
    with pytest.raises(UnknownName, match="no method is named 'nothin'; did you mean 'nothing'"):
        registry.method("nothin")
    with pytest.raises(UnknownName, match="no task or group is named 'sms'; did you mean 'sums'"):
        registry.named_tasks("sms")


def test_a_plugin_that_does_not_import_is_named_with_its_version(shop: Shop) -> None:
    shop.install("import a_module_that_is_nowhere")
    assert refusal(shop) == (
        "plugin 'entry-of-toys' of toys 1.2 cannot be imported: "
        "ModuleNotFoundError: No module named 'a_module_that_is_nowhere'"
    )


def test_a_card_that_pydantic_refuses_is_told_in_one_line(shop: Shop) -> None:
    shop.install(METHOD.format(kind="Loud", name="LOUD"))
    told = refusal(shop)
    assert told.startswith("plugin 'entry-of-toys' of toys 1.2 cannot be imported: MethodCard: name: ")
    assert "\n" not in told


def test_a_method_without_a_card_is_refused(shop: Shop) -> None:
    source = METHOD.format(kind="Bare", name="bare")
    shop.install(source.replace("card: ClassVar[MethodCard]", "other: ClassVar[MethodCard]"))
    assert "toys 1.2 brings" in (told := refusal(shop))
    assert "Bare with card None; it must be a MethodCard" in told


def test_a_method_without_its_verb_is_refused(shop: Shop) -> None:
    shop.install(METHOD.format(kind="Idle", name="idle").replace("def plan", "def plam"))
    assert "without its verbs: plan" in refusal(shop)


def test_an_option_needs_a_default(shop: Shop) -> None:
    shop.install(
        METHOD.format(kind="Asks", name="asks").replace("    def plan", "    rate: float\n    def plan")
    )
    assert "with options that have no default: rate" in refusal(shop)


def test_defaults_must_hold_together(shop: Shop) -> None:
    raising = "    def model_post_init(self, _):\n        raise ValueError('never')\n\n    def plan"
    shop.install(METHOD.format(kind="Fussy", name="fussy").replace("    def plan", raising))
    assert "Fussy, which refuses its own defaults: Fussy: Value error, never" in refusal(shop)


def test_a_hook_that_brings_something_else_is_refused(shop: Shop) -> None:
    shop.install("from smc_eval import hookimpl\n@hookimpl\ndef smc_eval_tasks():\n    return [int]\n")
    assert "brings <class 'int'> as a task; it must be a subclass of smc_eval.Task" in refusal(shop)


def test_a_hook_that_nobody_specified_is_refused(shop: Shop) -> None:
    shop.install("from smc_eval import hookimpl\n@hookimpl\ndef smc_eval_method():\n    return []\n")
    assert "toys 1.2 hooks what nobody specified" in (told := refusal(shop))
    assert "smc_eval_method" in told


def test_a_plugin_that_forgot_its_hookimpl_is_refused(shop: Shop) -> None:
    shop.install(METHOD.format(kind="Nothing", name="nothing").replace("@hookimpl", ""))
    assert "toys 1.2 hooks nothing" in refusal(shop)


def test_a_hook_that_fails_is_told(shop: Shop) -> None:
    shop.install("from smc_eval import hookimpl\n@hookimpl\ndef smc_eval_tasks():\n    return 1 / 0\n")
    assert "toys 1.2 failed in its hook: ZeroDivisionError: division by zero" in refusal(shop)


def test_a_used_name_is_refused_with_both_kinds(shop: Shop) -> None:
    shop.install(METHOD.format(kind="First", name="nothing"), name="early")
    shop.install(METHOD.format(kind="Second", name="nothing"), name="late", version="2")
    first, second = shop.made
    assert refusal(shop) == (
        "plugin 'entry-of-late' of late 2 takes a used name: two methods are named 'nothing', "
        f"{first}:First and {second}:Second; rename one card"
    )


def test_nobody_takes_a_name_of_ours(shop: Shop) -> None:
    shop.install(METHOD.format(kind="Theirs", name="nothing"), name="a-first-by-letters")
    shop.install(METHOD.format(kind="Ours", name="nothing"), name="smc-eval")
    assert refusal(shop).startswith("plugin 'entry-of-a-first-by-letters'")
    assert shop.load().methods["nothing"].__name__ == "Ours"


@pytest.mark.parametrize(
    ("name", "groups", "told"),
    [
        ("all", (), "'all', which means every task"),
        ("sums", ("sums",), "uses 'sums' both for a task"),
    ],
)
def test_a_name_means_one_thing(shop: Shop, name: str, groups: tuple[str, ...], told: str) -> None:
    shop.install(TASK.format(name=name, groups=groups))
    assert told in refusal(shop)


def test_what_is_sound_stays_on_its_shelf_beside_what_is_broken(shop: Shop) -> None:
    shop.install("1 / 0", name="bad")
    shop.install(METHOD.format(kind="Nothing", name="nothing"), name="good")
    registry = shop.load()
    assert [(plugin.distribution, plugin.status) for plugin in registry.plugins] == [
        ("bad", "broken"),
        ("good", "ok"),
    ]
    assert list(registry.methods) == ["nothing"]
    with pytest.raises(PluginError, match="bad 1.2 cannot be imported: ZeroDivisionError"):
        registry.checked()


def test_a_hook_is_called_once(shop: Shop) -> None:
    counting = METHOD.format(kind="Nothing", name="nothing") + "\ncalls = []\n"
    shop.install(counting.replace("    return [Nothing]", "    calls.append(1)\n    return [Nothing]"))
    shop.install(METHOD.format(kind="Other", name="other"), name="zebra")
    shop.load().checked()
    assert sys.modules[shop.made[0]].calls == [1]
