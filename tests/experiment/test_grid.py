"""A grid is what was ordered, multiplied; and binding says what cannot run, cell by cell."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from smc_eval.card import MethodCard, TaskCard
from smc_eval.errors import DataError, PluginError, UnknownName, UsageError
from smc_eval.experiment.config import RunConfig, configured
from smc_eval.experiment.grid import Grid, chosen_tasks
from smc_eval.method import Method
from smc_eval.methods import SMC_BENCH_METHODS
from smc_eval.methods.dense import Dense
from smc_eval.methods.from_checkpoint import FromCheckpoint
from smc_eval.methods.lth import LotteryTicket
from smc_eval.methods.omp import MagnitudeAfter
from smc_eval.planning.resolve import Resolver
from smc_eval.recipe import Recipe
from smc_eval.registry import Registry, load
from smc_eval.stages import Stage, Train
from smc_eval.target import SMC_GRID, Target
from smc_eval.task import Part, Source
from smc_eval.testing import Toy


def card(name: str, **more: Any) -> TaskCard:
    facts = {"summary": "a toy", "source": "none", "metric": "accuracy (%)", "published": "org/published"}
    return TaskCard(name=name, **{**facts, "accepts": ("text-encoder", "scratch", "tiny"), **more})


class Sums(Toy):
    card: ClassVar[TaskCard] = card("sums/gts", groups=("sums", "maths"), folds=3)
    tiny: ClassVar[dict[str, Any]] = {"steps": 2, "batch_size": 4}
    paper_recipe: ClassVar[dict[str, Any]] = {"bucket": 1}
    recipe: Recipe = Recipe(epochs=50, optimizer="adam", lr=0.25, bucket=20)


class Terms(Toy):
    card: ClassVar[TaskCard] = card("terms/gts", groups=("terms", "maths"))
    paper: ClassVar[dict[str, Any]] = {"size": "l"}
    size: str = "xl"
    """Which of its training files is read."""


class Proteins(Toy):
    card: ClassVar[TaskCard] = card("proteins", accepts=("protein-encoder",))


class Unread(Toy):
    card: ClassVar[TaskCard] = card("unread")

    def data(self, part: Part) -> Sequence[Any]:
        raise DataError("train.csv, line 3: no number")


class Faulty(Toy):
    card: ClassVar[TaskCard] = card("faulty")

    def sources(self) -> tuple[Source, ...]:
        raise KeyError("no such key")


class Stopgap(Method):
    card: ClassVar[MethodCard] = MethodCard(name="stopgap", summary="a toy", source="none", when="during")
    share: float = 0.5

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Train(stop=1 / (self.share - 0.5))


class Chosen(Stopgap):
    """Spreads by itself, and SMC-Bench chose another share."""

    card: ClassVar[MethodCard] = MethodCard(
        name="chosen", summary="a toy", source="none", when="before", distribution="erk"
    )
    paper: ClassVar[dict[str, Any]] = {"share": 0.75}

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Train()


REGISTRY = Registry(
    (),
    {kind.card.name: kind for kind in (LotteryTicket, MagnitudeAfter, Dense)},
    {kind.card.name: kind for kind in (Sums, Terms, Proteins)},
)


def grid(registry: Registry = REGISTRY, **said: Any) -> Grid:
    return Grid.of(
        RunConfig(**{"tasks": ("sums",), "method": ("lth",), "sparsity": ("0.5",), **said}), registry
    )


def with_tasks(*kinds: type[Toy]) -> Registry:
    return Registry((), REGISTRY.methods, {kind.card.name: kind for kind in kinds})


def test_the_grid_multiplies_and_keeps_what_shares_a_start_together() -> None:
    cells = grid(tasks=("sums,terms",), folds="0,2", seeds="2", sparsity=("0.5,0.8",)).cells()
    assert [cell.label for cell in cells] == [
        f"{task} {method} seed {seed}"
        for task in ("sums/gts fold 0", "sums/gts fold 2", "terms/gts")
        for seed in (0, 1)
        for method in ("dense 0", "lth 0.5", "lth 0.8")
    ]


def test_all_methods_are_those_that_need_no_masks_from_elsewhere() -> None:
    shelf = {kind.card.name: kind for kind in (Dense, LotteryTicket, FromCheckpoint)}
    asked = grid(registry=Registry((), shelf, REGISTRY.tasks), method=("all",)).methods
    assert [method.card.name for method in asked] == ["dense", "lth"]


def test_dense_stands_beside_once_and_first_whatever_is_asked() -> None:
    def methods(**said: Any) -> list[tuple[str, float]]:
        cells = grid(tasks=("terms",), **said).cells()
        return [(cell.method.card.name, cell.target.sparsity) for cell in cells]

    assert methods() == [("dense", 0.0), ("lth", 0.5)]
    assert methods(method=("lth,dense",)) == [("dense", 0.0), ("lth", 0.5)]
    assert methods(method=("all",)) == [("dense", 0.0), ("lth", 0.5), ("omp-after", 0.5)]
    assert methods(method=()) == [("dense", 0.0)]
    assert methods(dense=False) == [("lth", 0.5)]
    assert methods(dense=False, method=("all",)) == [("lth", 0.5), ("omp-after", 0.5)]
    assert methods(dense=False, method=("dense",)) == [("dense", 0.0)]


def test_the_dense_cell_is_the_same_whatever_the_spread_of_the_others() -> None:
    first, second = (
        next(grid(tasks=("terms",), distribution=distribution).cells()) for distribution in ("global", "erk")
    )
    assert first == second


def test_everything_stands_once_however_often_it_is_named() -> None:
    once = grid(tasks=("all",), method=("lth:share=0.3,omp-after",), sparsity=("smc",))
    often = grid(
        tasks=("sums", "maths", "all"), method=("lth:share=0.3,omp-after", "omp-after"), sparsity=("smc,smc",)
    )
    assert set(often.cells()) == set(once.cells())
    assert len(list(often.cells())) == 5 * (1 + 2 * len(SMC_GRID))


def test_scope_and_spread_come_from_the_protocol_unless_said() -> None:
    def told(**said: Any) -> set[tuple[str, str]]:
        return {
            (cell.target.distribution, cell.target.scope) for cell in grid(method=("lth",), **said).cells()
        }

    assert told() == {("global", "body")}
    assert told(protocol="paper") == {("global", "all-2d")}
    assert told(protocol="paper", scope="body", distribution="erk") == {("global", "body"), ("erk", "body")}


SHELF = Registry((), {"chosen": Chosen, "dense": Dense, "omp-after": MagnitudeAfter}, {"terms/gts": Terms})


def test_the_papers_options_are_the_defaults_under_its_protocol_and_the_users_win() -> None:
    def share(method: str, protocol: str) -> float:
        made = grid(SHELF, tasks=("terms",), method=(method,), protocol=protocol, dense=False).methods[0]
        assert isinstance(made, Chosen)
        return made.share

    assert (share("chosen", "sound"), share("chosen", "paper")) == (0.5, 0.75)
    assert share("chosen:share=0.6", "paper") == 0.6


def test_a_spread_is_the_users_then_the_methods_own() -> None:
    def spreads(**said: Any) -> dict[str, str]:
        cells = grid(SHELF, tasks=("terms",), method=("chosen,omp-after",), dense=False, **said).cells()
        return {cell.method.card.name: cell.target.distribution for cell in cells}

    assert spreads() == {"chosen": "erk", "omp-after": "global"}
    assert spreads(distribution="uniform") == {"chosen": "uniform", "omp-after": "uniform"}
    assert spreads(sparsity=("2:4",), distribution="erk") == {"chosen": "uniform", "omp-after": "uniform"}


def test_a_recipe_is_the_tasks_then_tiny_then_the_papers_then_the_protocols_then_the_users() -> None:
    def recipe(**said: Any) -> Recipe:
        return grid(folds="0", **said).tasks[0].recipe

    assert recipe() == Recipe(epochs=50, optimizer="adamw", lr=0.25, bucket=20)
    assert recipe(protocol="paper") == Recipe(epochs=50, optimizer="adam", lr=0.25, keep="best")
    assert recipe(model=("tiny",)) == Recipe(steps=2, batch_size=4, optimizer="adamw", lr=0.25, bucket=20)
    assert recipe(protocol="paper", recipe=("bucket=3",)).bucket == 3
    said = {"model": ("tiny",), "recipe": ("epochs=3,optimizer=adam", "lr=0.1"), "precision": "bf16"}
    assert recipe(**said) == Recipe(
        epochs=3, batch_size=4, optimizer="adam", lr=0.1, precision="bf16", bucket=20
    )


def test_a_model_goes_to_every_task_that_it_can_serve() -> None:
    def models(*said: str) -> dict[str, str]:
        return {task.card.name: task.backbone for task in grid(tasks=("all",), folds="0", model=said).tasks}

    published = "org/published"
    assert set(models().values()) == {published}
    assert models("tiny") == {"sums/gts": "tiny", "terms/gts": "tiny", "proteins": published}
    assert models("org/mine") == dict.fromkeys(("sums/gts", "terms/gts", "proteins"), "org/mine")
    assert models("tiny", "maths=scratch", "sums=org/mine", "proteins=org/esm") == {
        "sums/gts": "org/mine",
        "terms/gts": "scratch",
        "proteins": "org/esm",
    }


def test_a_tasks_own_options_are_said_behind_its_name_and_are_part_of_it() -> None:
    tasks = grid(tasks=["terms/gts:size=xs", "terms/gts", "terms/gts:size=xl"]).tasks
    assert [task.label for task in tasks] == ["terms/gts:size=xs", "terms/gts"]
    assert tasks[0].digest() != tasks[1].digest()


def test_a_checkpoint_of_another_kind_leaves_a_task_its_published_model(tmp_path: Path) -> None:
    letters = {letter: number for number, letter in enumerate("ACDEFGHIKLMNPQRSTVWYX")}
    (tmp_path / "config.json").write_text('{"model_type": "esm", "architectures": ["EsmForMaskedLM"]}')
    (tmp_path / "vocab.json").write_text(json.dumps(letters))
    tasks = grid(tasks=["terms,proteins"], model=[str(tmp_path)], registry=with_tasks(Terms, Proteins)).tasks
    assert {task.card.name: task.backbone for task in tasks} == {
        "terms/gts": "org/published",
        "proteins": str(tmp_path),
    }


def test_the_papers_options_of_a_task_hold_under_its_protocol_unless_said() -> None:
    def sizes(**said: Any) -> list[str]:
        return [
            task.size for task in grid(registry=with_tasks(Terms), **said).tasks if isinstance(task, Terms)
        ]

    assert sizes(tasks=["terms"]) == ["xl"]
    assert sizes(tasks=["terms"], protocol="paper") == ["l"]
    assert sizes(tasks=["terms:size=s"], protocol="paper") == ["s"]


def test_two_models_are_two_rows() -> None:
    assert [task.backbone for task in grid(tasks=("terms",), model=("tiny", "org/mine")).tasks] == [
        "tiny",
        "org/mine",
    ]


def test_data_limit_and_fold_reach_the_task(tmp_path: Path) -> None:
    tasks = grid(data_dir=str(tmp_path), limit=7).tasks
    assert [(task.folder, task.limit, task.fold) for task in tasks] == [
        (str(tmp_path), 7, n) for n in range(3)
    ]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"tasks": ("summs",)}, "no task or group is named 'summs'; did you mean 'sums'"),
        ({"tasks": ()}, "no task is asked for; name some with --tasks: sums/gts"),
        ({"method": ("lht",)}, "no method is named 'lht'; did you mean 'lth'"),
        ({"method": (), "dense": False}, "no method is asked for"),
        ({"method": ("lth:shard=0.1",)}, "no option of method 'lth' is named 'shard'; did you mean 'share'"),
        ({"method": ("lth:share=2",)}, "option 'share' of method 'lth' is '2'; it should be less than 1"),
        ({"method": ("all:share=0.1",)}, "give them to one by name"),
        ({"model": ("math=tiny",)}, "no task or group is named 'math'; did you mean 'maths'"),
        (
            {"model": ("proteins=tiny",)},
            "'?proteins=tiny can serve no task of 'proteins'; they take: protein-encoder",
        ),
        ({"tasks": ("sums:size=xs",)}, "no option of task 'sums/gts' is named 'size'"),
        ({"tasks": ("terms:fold=1",)}, "'fold' is no option of task 'terms/gts'; it has a flag of its own"),
        ({"sparsity": ("1.0",)}, r"sparsity 1.0 lies outside \[0, 1\)"),
        ({"sparsity": ("4:2",)}, "sparsity '4:2' keeps 4 of every 2; N must be below M"),
        ({"sparsity": ("2:x",)}, "sparsity '2:x' is no N:M pattern"),
        ({"folds": "3"}, "--folds 3: task 'sums/gts' has folds 0 to 2"),
        ({"data_dir": "nowhere/at/all"}, "there is no data directory 'nowhere/at/all'"),
        ({"recipe": ("epochs=1,steps=2",)}, "both epochs and steps"),
        ({"recipe": ("lr=fast",)}, "field 'lr' of --recipe is 'fast'; it should be a valid number"),
        ({"recipe": ("lrr=0.1",)}, "no field of --recipe is named 'lrr'; did you mean 'lr'"),
    ],
)
def test_a_wrong_word_is_told(said: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        grid(**said)
    assert len(str(caught.value).splitlines()) <= 3


def test_cells_of_a_task_are_bound_to_what_it_reads_once() -> None:
    calls = list[Part]()

    class Counted(Toy):
        card: ClassVar[TaskCard] = card("counted")

        def data(self, part: Part) -> Sequence[Any]:
            calls.append(part)
            return super().data(part)

    cells = list(grid(with_tasks(Counted), tasks=("counted",), sparsity=("smc",)).cells())
    resolver = Resolver()
    chains = [resolver.resolve(cell) for cell in cells]
    assert calls == ["train"]
    assert {chain.examples for chain in chains} == {52}
    assert len({chain.start for chain in chains}) == 1
    assert len({chain.digest for chain in chains}) == len(cells) == 11


def test_what_cannot_be_bound_fails_alone_and_says_why() -> None:
    registry = with_tasks(Terms, Unread, Faulty)
    squares = Resolver().resolve_all(grid(registry, tasks=("all",)).cells())
    assert [bool(square.chain) for square in squares] == [True, True, False, False, False, False]
    records = [square.record for square in squares[2:]]
    assert [record.task for record in records] == ["unread", "unread", "faulty", "faulty"]
    assert {record.status for record in records} == {"failed"}
    assert records[0].reason == "train.csv, line 3: no number"
    assert "Faulty failed: KeyError: 'no such key' (test_grid.py:" in records[2].reason
    assert isinstance(squares[4].error, PluginError)


def test_a_target_that_a_method_refuses_is_skipped_by_name() -> None:
    squares = Resolver().resolve_all(grid(tasks=("terms",), method=("all",), sparsity=("2:4",)).cells())
    told = {square.cell.method.card.name: square.record for square in squares if not square.chain}
    assert list(told) == ["lth"]
    assert (told["lth"].status, told["lth"].target.pattern) == ("skipped", "2:4")
    assert "method 'lth' cannot make pattern '2:4'" in told["lth"].reason


def test_where_nothing_can_run_the_order_is_wrong() -> None:
    with pytest.raises(UsageError, match=r"^train.csv, line 3: no number$"):
        Resolver().resolve_all(grid(with_tasks(Unread), tasks=("unread",)).cells())


def test_where_nothing_runs_for_a_plugins_fault_the_cells_failed() -> None:
    squares = Resolver().resolve_all(grid(with_tasks(Faulty), tasks=("faulty",)).cells())
    assert {square.record.status for square in squares} == {"failed"}


def test_a_plan_that_breaks_is_told_with_its_method() -> None:
    registry = Registry((), {"stopgap": Stopgap, "dense": Dense}, {"terms/gts": Terms})
    squares = Resolver().resolve_all(grid(registry, tasks=("terms",), method=("stopgap",)).cells())
    assert [bool(square.chain) for square in squares] == [True, False]
    assert "Stopgap failed: ZeroDivisionError" in squares[1].record.reason


def test_a_grid_file_says_what_flags_say(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        'tasks = ["sums", "terms/gts"]\nmethod = ["lth:share=0.1", "dense"]\nsparsity = [0.5, "2:4", 0]\n'
        'seeds = [5]\nfolds = [0, 2]\nlimit = 4\nprotocol = "paper"\n'
        'data-dir = "synthetic"\nno-dense = true\nquiet = true\njson = "out.json"\n'
        '[recipe]\nepochs = 0.5\nbetas = [0.9, 0.98]\n[model]\nmaths = "scratch"\n'
    )
    assert configured({}, str(file)) == RunConfig(
        tasks=("sums", "terms/gts"),
        method=("lth:share=0.1", "dense"),
        sparsity=("0.5", "2:4", "0"),
        seeds="5,",
        folds="0,2,",
        limit=4,
        protocol="paper",
        dense=False,
        quiet=True,
        json="out.json",
        recipe=("epochs=0.5", "betas=[0.9, 0.98]"),
        model=("maths=scratch",),
    )
    made = Grid.of(configured({"seeds": "2", "sparsity": ["0.8"], "limit": "9"}, str(file)), REGISTRY)
    assert made.seeds == (0, 1)
    assert [target.sparsity for target in made.targets] == [0.8]
    assert {(task.limit, task.recipe.betas, task.backbone) for task in made.tasks} == {
        (9, (0.9, 0.98), "scratch")
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('sparsitty = "smc"', r"no key of grid .*mine.toml is named 'sparsitty'; did you mean 'sparsity'"),
        ("tasks = [", "mine.toml is no TOML: "),
        ("limit = 0", r"key 'limit' of grid .*mine.toml is 0; it should be greater than or equal to 1"),
        (
            'protocol = "papper"',
            r"key 'protocol' of grid .*mine.toml is 'papper'; it should be 'sound' or 'paper'",
        ),
        ("quiet = 3", r"key 'quiet' of grid .*mine.toml is 3"),
    ],
)
def test_a_wrong_grid_file_is_told_with_its_name(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(UsageError, match=told):
        configured({}, str(tmp_path / "mine.toml"))


def test_a_missing_grid_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read grid .*none.toml: No such file"):
        configured({}, str(tmp_path / "none.toml"))
    with pytest.raises(UnknownName, match="no grid is named 'smcbench'; did you mean 'smc-bench'"):
        configured({}, "smcbench")


def test_the_shipped_grid_is_the_papers_table() -> None:
    config = configured({}, "smc-bench")
    assert (config.protocol, config.sparsity, config.data_dir) == ("paper", ("smc",), "published")
    assert list(config.method) == [kind.card.name for kind in SMC_BENCH_METHODS]
    tasks = [kind.card.name for kind, _ in chosen_tasks(config.tasks, load())]
    assert len(tasks) == 17 and [name for name in load().tasks if name not in tasks] == [
        "hp-s/tm",
        "hp-s2c2/tm",
        "hp-s2c5/tm",
    ]


def test_a_folder_of_the_environment_goes_before_sizes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMC_EVAL_DATA", "from-the-environment")
    assert configured({}, "smc-bench").data_dir == "from-the-environment"
    assert configured({"data_dir": "said"}, "smc-bench").data_dir == "said"


def test_the_data_folder_is_the_flags_then_the_files_then_the_environments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.toml").write_text('data_dir = "from-the-file"')
    mine = str(tmp_path / "mine.toml")
    assert configured({}).data_dir == "synthetic"
    monkeypatch.setenv("SMC_EVAL_DATA", "from-the-environment")
    assert configured({}).data_dir == "from-the-environment"
    assert configured({}, mine).data_dir == "from-the-file"
    assert configured({"data_dir": "said"}, mine).data_dir == "said"
