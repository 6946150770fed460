"""The registry: it loads plugins, and the error of a broken plugin names its package."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint, distributions
from pathlib import Path

import pytest

from smc_eval import spec
from smc_eval.errors import DataError, PluginError, UnknownName
from smc_eval.methods.dense import Dense
from smc_eval.registry import Registry, guarded, load_registry

METHOD = """
from __future__ import annotations
from collections.abc import Iterator
from typing import ClassVar
from smc_eval import Method, MethodCard, Stage, Target, Train, hookimpl

class {kind}(Method):
    card: ClassVar[MethodCard] = MethodCard(name="{name}", summary="a toy", source="none", when="none")

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


KIND = """
from typing import ClassVar
from smc_eval import KindCard, ModelKind, hookimpl

class {kind}(ModelKind):
    card: ClassVar[KindCard] = KindCard(name="{name}", summary="a toy", source="none", example="org/toy")

    def why_not(self, config, tokens):
        return {reason}

    def load(self, checkpoint):
        raise NotImplementedError

@hookimpl
def smc_eval_kinds():
    return [{kind}]
"""

OPTIMIZER = """
from typing import ClassVar
from smc_eval import Optimizer, OptimizerCard, hookimpl

class {kind}(Optimizer):
    card: ClassVar[OptimizerCard] = OptimizerCard(name="{name}", summary="a toy", source="none")

    def make(self, groups, recipe):
        raise NotImplementedError

@hookimpl
def smc_eval_optimizers():
    return [{kind}]
"""

OWN_TYPE = "'' if config['model_type'] == 'toy' else 'not a toy'"


class Environment:
    """An environment in which a test installs packages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules = list[str]()

    def install(self, source: str, *, name: str = "toys", version: str = "1.2") -> None:
        module = f"{self.folder.name.replace('-', '_')}_{len(self.modules)}"
        (self.folder / f"{module}.py").write_text(source)
        info = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[smc_eval]\nentry-of-{name} = {module}\n")
        self.modules.append(module)

    def points(self) -> list[EntryPoint]:
        return [point for package in distributions(path=[str(self.folder)]) for point in package.entry_points]

    def load(self) -> Registry:
        return load_registry(self.points())


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Environment]:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(spec, "_CLAIMED", dict(spec._CLAIMED))
    environment = Environment(tmp_path)
    yield environment
    for module in environment.modules:
        sys.modules.pop(module, None)


def refusal(environment: Environment) -> str:
    with pytest.raises(PluginError) as caught:
        environment.load().checked()
    message, remedy = str(caught.value).splitlines()
    package = message.partition(" of ")[2].partition(" ")[0]
    assert remedy == f"repair or update {package}, or remove it: pip uninstall {package}"
    return message


def test_classes_of_a_plugin_are_registered_by_the_names_on_their_cards(environment: Environment) -> None:
    environment.install(METHOD.format(kind="Nothing", name="nothing"))
    environment.install(TASK.format(name="sums/gts", groups=("sums", "maths")), name="more-toys")
    registry = environment.load().checked()
    assert registry.method("nothing").__name__ == "Nothing"
    assert [task.card.name for task in registry.named_tasks("sums/gts")] == ["sums/gts"]
    assert [(p.package, p.version, p.status, p.methods, p.tasks) for p in registry.plugins] == [
        ("more-toys", "1.2", "ok", (), ("sums/gts",)),
        ("toys", "1.2", "ok", ("nothing",), ()),
    ]


def test_a_group_contains_its_tasks_and_all_contains_every_task(environment: Environment) -> None:
    environment.install(TASK.format(name="sums/gts", groups=("sums", "maths")))
    environment.install(TASK.format(name="terms/gts", groups=("terms", "maths")), name="more")
    registry = environment.load().checked()

    def named(word: str) -> list[str]:
        return sorted(task.card.name for task in registry.named_tasks(word))

    assert named("sums") == ["sums/gts"]
    assert named("maths") == named("all") == ["sums/gts", "terms/gts"]


def test_a_task_that_only_its_name_chooses_is_in_no_group_also_not_in_all(environment: Environment) -> None:
    environment.install(TASK.format(name="sums/gts", groups=("sums",)))
    alone = TASK.format(name="terms/gts", groups=("sums",)).replace('metric="accuracy (%)"', 'metric=""')
    environment.install(alone.replace('name="terms/gts"', 'name="terms/gts", by_name=True'), name="more")
    registry = environment.load().checked()
    for group in ("sums", "all"):
        assert [task.card.name for task in registry.named_tasks(group)] == ["sums/gts"]
    assert [task.card.name for task in registry.named_tasks("terms/gts")] == ["terms/gts"]


def test_the_error_of_an_unknown_name_gives_the_nearest_name(environment: Environment) -> None:
    environment.install(METHOD.format(kind="Nothing", name="nothing"))
    environment.install(TASK.format(name="sums/gts", groups=("sums",)), name="more")
    registry = environment.load()
    with pytest.raises(UnknownName, match="no method is named 'nothin'; did you mean 'nothing'"):
        registry.method("nothin")
    with pytest.raises(UnknownName, match="no task or group is named 'sms'; did you mean 'sums'"):
        registry.named_tasks("sms")


def test_the_error_of_a_plugin_that_cannot_be_imported_names_its_version(environment: Environment) -> None:
    environment.install("import a_module_that_is_nowhere")
    assert refusal(environment) == (
        "plugin 'entry-of-toys' of toys 1.2 cannot be imported: "
        "ModuleNotFoundError: No module named 'a_module_that_is_nowhere'"
    )


def test_the_error_of_an_invalid_card_is_one_line(environment: Environment) -> None:
    environment.install(METHOD.format(kind="Loud", name="LOUD"))
    start = "plugin 'entry-of-toys' of toys 1.2 cannot be imported: MethodCard: name: "
    assert refusal(environment).startswith(start)


def test_a_method_without_a_card_is_refused(environment: Environment) -> None:
    source = METHOD.format(kind="Bare", name="bare")
    environment.install(source.replace("card: ClassVar[MethodCard]", "other: ClassVar[MethodCard]"))
    assert "toys 1.2 registers toys:Bare with card None; it must be a MethodCard" in refusal(environment)


def test_a_method_without_a_required_method_is_refused(environment: Environment) -> None:
    environment.install(METHOD.format(kind="Idle", name="idle").replace("def plan", "def plam"))
    assert "without its required methods: plan" in refusal(environment)


def test_an_option_needs_a_default(environment: Environment) -> None:
    environment.install(
        METHOD.format(kind="Asks", name="asks").replace("    def plan", "    rate: float\n    def plan")
    )
    assert "with options that have no default: rate" in refusal(environment)


def test_defaults_that_contradict_each_other_are_refused(environment: Environment) -> None:
    raising = "    def model_post_init(self, _):\n        raise ValueError('never')\n\n    def plan"
    environment.install(METHOD.format(kind="Fussy", name="fussy").replace("    def plan", raising))
    assert "Fussy, which refuses its own defaults: Fussy: Value error, never" in refusal(environment)


def test_a_hook_that_returns_another_class_is_refused(environment: Environment) -> None:
    environment.install("from smc_eval import hookimpl\n@hookimpl\ndef smc_eval_tasks():\n    return [int]\n")
    assert "registers <class 'int'> as a task; it must be a subclass of smc_eval.Task" in refusal(environment)


def test_a_hook_that_does_not_exist_is_refused(environment: Environment) -> None:
    environment.install("from smc_eval import hookimpl\n@hookimpl\ndef smc_eval_method():\n    return []\n")
    message = refusal(environment)
    assert "toys 1.2 implements a hook that does not exist" in message and "smc_eval_method" in message


def test_a_plugin_without_hookimpl_is_refused(environment: Environment) -> None:
    environment.install(METHOD.format(kind="Nothing", name="nothing").replace("@hookimpl", ""))
    assert "toys 1.2 implements no hook; mark the functions of" in refusal(environment)


def test_a_hook_that_fails_is_an_error_of_its_plugin(environment: Environment) -> None:
    environment.install("from smc_eval import hookimpl\n@hookimpl\ndef smc_eval_tasks():\n    return 1 / 0\n")
    assert "toys 1.2 failed in its hook: ZeroDivisionError: division by zero" in refusal(environment)


def test_a_used_name_is_refused_with_both_classes(environment: Environment) -> None:
    environment.install(METHOD.format(kind="First", name="nothing"), name="early")
    environment.install(METHOD.format(kind="Second", name="nothing"), name="late", version="2")
    assert refusal(environment) == (
        "plugin 'entry-of-late' of late 2 uses a name twice: two methods are named 'nothing', "
        "early:First and late:Second; rename one card"
    )


def test_a_plugin_cannot_take_the_name_of_a_built_in_method(environment: Environment) -> None:
    environment.install(METHOD.format(kind="Theirs", name="nothing"), name="a-first-by-letters")
    environment.install(METHOD.format(kind="Ours", name="nothing"), name="smc-eval")
    assert refusal(environment).startswith("plugin 'entry-of-a-first-by-letters'")
    assert environment.load().methods["nothing"].__name__ == "Ours"


@pytest.mark.parametrize(
    ("name", "groups", "message"),
    [
        ("all", (), "'all', which means every task"),
        ("sums", ("sums",), "uses 'sums' both for a task"),
    ],
)
def test_a_name_is_either_a_task_or_a_group(
    environment: Environment, name: str, groups: tuple[str, ...], message: str
) -> None:
    environment.install(TASK.format(name=name, groups=groups))
    assert message in refusal(environment)


def test_a_broken_plugin_does_not_affect_the_others(environment: Environment) -> None:
    environment.install("1 / 0", name="bad")
    environment.install(METHOD.format(kind="Nothing", name="nothing"), name="good")
    registry = environment.load()
    assert [(plugin.package, plugin.status) for plugin in registry.plugins] == [
        ("bad", "broken"),
        ("good", "ok"),
    ]
    assert list(registry.methods) == ["nothing"]
    with pytest.raises(PluginError, match="bad 1.2 cannot be imported: ZeroDivisionError"):
        registry.checked()


def test_a_hook_is_called_once(environment: Environment) -> None:
    counting = METHOD.format(kind="Nothing", name="nothing") + "\ncalls = []\n"
    environment.install(counting.replace("    return [Nothing]", "    calls.append(1)\n    return [Nothing]"))
    environment.install(METHOD.format(kind="Other", name="other"), name="zebra")
    environment.load().checked()
    assert sys.modules[environment.modules[0]].calls == [1]


def test_a_module_that_two_entry_points_name_is_refused(environment: Environment) -> None:
    environment.install(METHOD.format(kind="Nothing", name="nothing"))
    (module,) = environment.modules
    points = [EntryPoint(name, module, "smc_eval") for name in ("first", "second")]
    registry = load_registry(points)
    assert [plugin.status for plugin in registry.plugins] == ["ok", "broken"]
    assert registry.plugins[1].reason.endswith(
        f"names the module {module!r}, which another plugin has registered"
    )


def test_an_unexpected_error_of_a_plugin_names_the_class_and_the_line() -> None:
    with pytest.raises(PluginError, match=r"smc-eval:Dense failed: KeyError: 'x' \(test_registry.py:\d+\)"):
        guarded(Dense(), lambda: {}["x"])


def test_an_intended_error_of_a_plugin_passes_unchanged() -> None:
    def fail() -> None:
        raise DataError("no file")

    with pytest.raises(DataError, match="^no file$"):
        guarded(Dense(), fail)
    assert guarded(Dense(), lambda: 3) == 3


def test_kinds_and_optimizers_are_registered_by_the_names_on_their_cards(environment: Environment) -> None:
    environment.install(KIND.format(kind="Waves", name="wave-net", reason=OWN_TYPE))
    environment.install(OPTIMIZER.format(kind="Slow", name="slow"), name="more")
    registry = environment.load().checked()
    assert {name: kind.__name__ for name, kind in registry.kinds.items()} == {"wave-net": "Waves"}
    assert {name: kind.__name__ for name, kind in registry.optimizers.items()} == {"slow": "Slow"}
    assert [(p.kinds, p.optimizers) for p in registry.plugins] == [((), ("slow",)), (("wave-net",), ())]


def test_a_kind_that_claims_every_model_is_refused(environment: Environment) -> None:
    environment.install(KIND.format(kind="Greedy", name="anything", reason="''"))
    assert refusal(environment) == (
        "plugin 'entry-of-toys' of toys 1.2 registers toys:Greedy, a kind that claims every model: "
        "an encoder, a causal language model, an encoder-decoder, an image classifier, a model of no known "
        "type; let `why_not` give a reason against those that it cannot load"
    )


def test_a_kind_that_breaks_on_the_models_of_others_is_refused(environment: Environment) -> None:
    environment.install(KIND.format(kind="Fragile", name="fragile", reason="config['channels']"))
    assert (
        "registers a kind of model that fails: toys:Fragile failed on the config of a bert model: KeyError"
        in (refusal(environment))
    )


def test_a_reason_that_is_no_text_is_refused(environment: Environment) -> None:
    environment.install(KIND.format(kind="Mute", name="mute", reason="None"))
    assert "toys:Mute gave None (NoneType) as its reason against a model; wanted a text" in refusal(
        environment
    )


@pytest.mark.parametrize("source", [KIND, OPTIMIZER], ids=["kind of model", "optimizer"])
def test_two_kinds_or_optimizers_of_one_name_are_refused(environment: Environment, source: str) -> None:
    nouns = "optimizers" if source is OPTIMIZER else "kinds of model"
    environment.install(source.format(kind="First", name="same", reason=OWN_TYPE), name="early")
    environment.install(source.format(kind="Second", name="same", reason=OWN_TYPE), name="late", version="2")
    assert refusal(environment) == (
        f"plugin 'entry-of-late' of late 2 uses a name twice: two {nouns} are named 'same', "
        "early:First and late:Second; rename one card"
    )


@pytest.mark.parametrize("name", ["tiny", "scratch"])
def test_a_kind_cannot_be_named_as_a_net_without_a_checkpoint(environment: Environment, name: str) -> None:
    environment.install(KIND.format(kind="Small", name=name, reason=OWN_TYPE))
    assert f"names toys:Small {name!r}, which means a net that is built without" in refusal(environment)


def test_a_kind_or_an_optimizer_without_its_methods_is_refused(environment: Environment) -> None:
    source = KIND.format(kind="Idle", name="idle", reason=OWN_TYPE)
    environment.install(source.replace("def why_not", "def why_yes"))
    assert "registers toys:Idle without its required methods: why_not" in refusal(environment)


def test_a_kind_with_the_card_of_an_optimizer_is_refused(environment: Environment) -> None:
    source = KIND.format(kind="Odd", name="odd", reason=OWN_TYPE)
    environment.install(
        source.replace('"a toy", source="none", example="org/toy")', '"a toy", source="none")')
    )
    assert "KindCard: example: Field required" in refusal(environment)


def task_of(kind: str) -> str:
    return TASK.format(name="waves/a", groups=()).replace('accepts=("tiny",)', f'accepts=("{kind}", "tiny")')


def test_a_task_of_a_kind_that_nobody_registers_is_refused(environment: Environment) -> None:
    environment.install(task_of("wave-net"))
    assert refusal(environment) == (
        "plugin 'entry-of-toys' of toys 1.2 registers toys:Sums, whose card accepts 'wave-net', a kind of "
        "model that no plugin registers; known: scratch, tiny"
    )
    assert environment.load().tasks == {}


def test_the_kind_of_a_task_may_come_from_a_plugin_that_is_loaded_later(environment: Environment) -> None:
    environment.install(task_of("wave-net"), name="a-task")
    environment.install(KIND.format(kind="Waves", name="wave-net", reason=OWN_TYPE), name="b-kind")
    registry = environment.load().checked()
    assert [kind.card.name for kind in registry.kinds_of(registry.tasks["waves/a"])] == ["wave-net"]


def test_a_task_whose_kind_is_of_a_broken_plugin_is_broken_too(environment: Environment) -> None:
    environment.install(task_of("wave-net"), name="a-task")
    environment.install(KIND.format(kind="Waves", name="wave-net", reason="''"), name="b-kind")
    environment.install(METHOD.format(kind="Nothing", name="nothing"), name="c-method")
    registry = environment.load()
    assert [(plugin.package, plugin.status) for plugin in registry.plugins] == [
        ("a-task", "broken"),
        ("b-kind", "broken"),
        ("c-method", "ok"),
    ]
    assert registry.tasks == registry.kinds == {} and list(registry.methods) == ["nothing"]
