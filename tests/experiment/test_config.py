"""Run configurations: flags, then a grid file, then the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from smc_eval.errors import UnknownName, UsageError
from smc_eval.experiment.config import RunConfig, configured
from smc_eval.experiment.grid import Grid, chosen_tasks
from smc_eval.methods import SMC_BENCH_METHODS
from smc_eval.registry import load_registry


def test_a_grid_file_has_the_same_keys_as_the_flags(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        'tasks = ["mawps", "svamp/gts"]\nmethod = ["lth:share=0.1", "dense"]\nsparsity = [0.5, "2:4", 0]\n'
        'seeds = [5]\nfolds = [0, 2]\nlimit = 4\nprotocol = "paper"\ninclude = "*.query"\n'
        'exclude = ["re:.*[0-9],x", "a"]\ndistribution = "erk"\n'
        'data-dir = "synthetic"\nno-dense = true\nquiet = true\njson = "out.json"\n'
        '[recipe]\nepochs = 0.5\nbetas = [0.9, 0.98]\n[model]\narithmetic = "scratch"\n'
    )
    assert configured({}, str(file)) == RunConfig(
        tasks=("mawps", "svamp/gts"),
        method=("lth:share=0.1", "dense"),
        sparsity=("0.5", "2:4", "0"),
        seeds="5,",
        folds="0,2,",
        limit=4,
        protocol="paper",
        include=("*.query",),
        exclude=("re:.*[0-9],x", "a"),
        distribution="erk",
        dense=False,
        quiet=True,
        json="out.json",
        recipe=("epochs=0.5", "betas=[0.9, 0.98]"),
        model=("arithmetic=scratch",),
    )


def test_flags_take_precedence_over_a_grid_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        'tasks = ["mawps"]\nmethod = "lth"\nsparsity = [0.5]\nseeds = [5]\nfolds = [0]\nlimit = 4\n'
        '[recipe]\nepochs = 0.5\nbetas = [0.9, 0.98]\n[model]\narithmetic = "scratch"\n'
    )
    grid = Grid.of(configured({"seeds": "2", "sparsity": ["0.8"], "limit": "9"}, str(file)), load_registry())
    assert grid.seeds == (0, 1)
    assert [target.sparsity for target in grid.targets] == [0.8]
    assert {(task.limit, task.recipe.betas, task.backbone) for task in grid.tasks} == {
        (9, (0.9, 0.98), "scratch")
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('sparsitty = "smc"', r"no key of grid .*mine.toml is named 'sparsitty'; did you mean 'sparsity'"),
        ('spread = "erk"', r"no key of grid .*mine.toml is named 'spread'"),
        ("tasks = [", "mine.toml is not a valid TOML file: "),
        ("limit = 0", r"key 'limit' of grid .*mine.toml is 0; it should be greater than or equal to 1"),
        (
            'protocol = "papper"',
            r"key 'protocol' of grid .*mine.toml is 'papper'; it should be 'sound' or 'paper'",
        ),
        ("quiet = 3", r"key 'quiet' of grid .*mine.toml is 3"),
    ],
)
def test_the_error_of_a_wrong_grid_file_names_the_file(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(UsageError, match=message):
        configured({}, str(tmp_path / "mine.toml"))


def test_a_missing_grid_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read grid .*none.toml: No such file"):
        configured({}, str(tmp_path / "none.toml"))
    with pytest.raises(UnknownName, match="no grid is named 'smcbench'; did you mean 'smc-bench'"):
        configured({}, "smcbench")


def test_the_built_in_grid_is_the_table_of_the_paper() -> None:
    config = configured({}, "smc-bench")
    assert (config.protocol, config.sparsity, config.data_dir) == ("paper", ("smc",), "published")
    assert list(config.method) == [kind.card.name for kind in SMC_BENCH_METHODS]
    tasks = [kind.card.name for kind, _ in chosen_tasks(config.tasks, load_registry())]
    assert len(tasks) == 17 and [name for name in load_registry().tasks if name not in tasks] == [
        "hp-s/tm",
        "hp-s2c2/tm",
        "hp-s2c5/tm",
    ]


def test_a_data_folder_of_the_environment_replaces_published_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMC_EVAL_DATA", "from-the-environment")
    assert configured({}, "smc-bench").data_dir == "from-the-environment"
    assert configured({"data_dir": "from-the-flag"}, "smc-bench").data_dir == "from-the-flag"


def test_the_data_folder_is_that_of_the_flag_then_the_file_then_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.toml").write_text('data_dir = "from-the-file"')
    mine = str(tmp_path / "mine.toml")
    assert configured({}).data_dir == "synthetic"
    monkeypatch.setenv("SMC_EVAL_DATA", "from-the-environment")
    assert configured({}).data_dir == "from-the-environment"
    assert configured({}, mine).data_dir == "from-the-file"
    assert configured({"data_dir": "from-the-flag"}, mine).data_dir == "from-the-flag"
