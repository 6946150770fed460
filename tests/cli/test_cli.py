"""The command line as users meet it: what it prints, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import EntryPoint, distributions
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from smc_eval import registry
from smc_eval.cli import app
from smc_eval.engine.executors import select, slurm
from smc_eval.methods import smc_eval_methods
from smc_eval.store.record import failed_record
from smc_eval.store.records import RecordsFile
from smc_eval.store.store import Store

TOYS = '''
from typing import ClassVar
from smc_eval import DataError, Recipe, TaskCard, hookimpl
from smc_eval.methods import smc_eval_methods
from smc_eval.testing import PrunedToy, Toy

class Sums(Toy):
    """Which token came twice, in two folds."""
    card: ClassVar[TaskCard] = TaskCard(
        name="sums/gts", summary="toy sums", source="none", metric="accuracy (%)",
        groups=("sums", "maths"), folds=2, accepts=("scratch", "tiny"), published="scratch",
        licence="none needed",
    )
    tiny = {"steps": 2}
    recipe: Recipe = Recipe(steps=3, batch_size=8, lr=0.01)

class Terms(Toy):
    card: ClassVar[TaskCard] = TaskCard(
        name="terms/gts", summary="toy terms", source="none", metric="accuracy (%)",
        groups=("terms", "maths"),
        accepts=("tiny",), published="tiny",
    )
    recipe: Recipe = Recipe(steps=2, batch_size=8, lr=0.01)

class Pruned(PrunedToy):
    card: ClassVar[TaskCard] = TaskCard(
        name="pruned", summary="toy on a pruned net", source="none", metric="accuracy (%)",
        accepts=("tiny",), published="tiny",
    )
    recipe: Recipe = Recipe(steps=2, batch_size=8, lr=0.01)

class Broken(Toy):
    card: ClassVar[TaskCard] = TaskCard(
        name="broken", summary="toy", source="none", metric="accuracy (%)",
        accepts=("tiny",), published="tiny",
    )

    def data(self, part):
        raise DataError("train.csv, line 3: no number")

@hookimpl
def smc_eval_tasks():
    return [Sums, Terms, Broken, Pruned]
'''

Say = Callable[..., Any]


def install(folder: Path, name: str, source: str) -> None:
    module = f"{name.replace('-', '_')}_{folder.name.replace('-', '_')}"
    (folder / f"{module}.py").write_text(source)
    info = folder / f"{name.replace('-', '_')}-3.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 3.1\n")
    (info / "entry_points.txt").write_text(f"[smc_eval]\n{name} = {module}\n")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An environment in which nothing but toys is installed, and a folder to work in."""
    folder = tmp_path / f"shop-{tmp_path.name}"
    folder.mkdir()
    install(folder, "toys", TOYS)
    monkeypatch.syspath_prepend(folder)

    def installed() -> list[EntryPoint]:
        return [point for found in distributions(path=[str(folder)]) for point in found.entry_points]

    monkeypatch.setattr(registry, "installed", installed)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    known = set(sys.modules)
    yield folder
    for module in set(sys.modules) - known:
        if folder.name.replace("-", "_") in module:
            del sys.modules[module]


@pytest.fixture
def say(shop: Path) -> Say:
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


def refused(ended: Any) -> str:
    """What was said of a wrong command line: on the error stream, in one to three lines, code 2."""
    assert ended.exit_code == 2, ended.output
    assert ended.stdout == ""
    assert 1 <= len(ended.stderr.strip().splitlines()) <= 3, ended.stderr
    assert ended.stderr.startswith("error: ")
    return str(ended.stderr)


TERMS = ("--model", "tiny", "--tasks", "terms", "--method", "omp-after", "--sparsity", "0.5")


def test_bare_flags_mean_run_and_the_same_command_again_finds_all_done(say: Say) -> None:
    ended = say(*TERMS, "--json", "out.json")
    assert ended.exit_code == 0, ended.output
    assert "terms/gts" in ended.stdout
    assert "omp-after" in ended.stdout
    first = json.loads(Path("out.json").read_text())
    assert first["schema"] == 1
    assert [(r["task"], r["method"], r["status"]) for r in first["results"]] == [
        ("terms/gts", "dense", "ok"),
        ("terms/gts", "omp-after", "ok"),
    ]
    again = say("run", *TERMS, "--json", "-", "--quiet")
    assert json.loads(again.stdout) == first


def test_json_on_the_standard_output_stands_alone(say: Say) -> None:
    ended = say(*TERMS, "--no-dense", "--json", "-")
    assert ended.exit_code == 0, ended.output
    assert [r["method"] for r in json.loads(ended.stdout)["results"]] == ["omp-after"]
    assert "warning" not in ended.stderr


@pytest.mark.parametrize("format", ["markdown", "csv", "latex", "json"])
def test_every_format_names_the_row(say: Say, format: str) -> None:  # noqa: A002
    ended = say(*TERMS, "--format", format, "--quiet")
    assert ended.exit_code == 0, ended.output
    assert "omp-after" in ended.stdout
    assert say("report", "smc-eval-runs", "--format", format).stdout == ended.stdout


def test_quiet_says_nothing_beside_the_results(say: Say) -> None:
    assert say(*TERMS, "--quiet").stderr == ""


def test_what_fails_fails_alone_and_stands_in_its_place(say: Say) -> None:
    ended = say(
        "--model",
        "tiny",
        "--tasks",
        "broken,terms",
        "--method",
        "omp-after",
        "--sparsity",
        "0.5",
        "--json",
        "-",
    )
    assert ended.exit_code == 1, ended.output
    assert [(r["task"], r["status"], r["reason"]) for r in json.loads(ended.stdout)["results"]] == [
        ("broken", "failed", "train.csv, line 3: no number"),
        ("broken", "failed", "train.csv, line 3: no number"),
        ("terms/gts", "ok", ""),
        ("terms/gts", "ok", ""),
    ]


def test_where_nothing_can_run_the_command_is_wrong(say: Say) -> None:
    assert "train.csv, line 3: no number" in refused(say("--tasks", "broken", "--method", "omp-after"))


def test_a_refused_target_is_skipped_and_no_failure(say: Say) -> None:
    ended = say(*TERMS, "--method", "lth", "--sparsity", "2:4", "--json", "-")
    assert ended.exit_code == 0, ended.output
    told = {r["method"]: (r["status"], r["reason"]) for r in json.loads(ended.stdout)["results"]}
    assert told["omp-after"][0] == "ok"
    assert told["lth"] == ("skipped", "method 'lth' cannot make pattern '2:4'; it makes: free")


def test_a_limit_is_warned_of_loudly_and_marked(say: Say) -> None:
    ended = say(*TERMS, "--limit", "9", "--json", "-")
    assert "warning: --limit 9 keeps only 9 examples" in ended.stderr
    assert {r["data"]["limited"] for r in json.loads(ended.stdout)["results"]} == {9}


def test_a_reason_is_told_once_however_many_cells_it_stops(say: Say) -> None:
    ended = say(
        "--model", "tiny", "--tasks", "broken,terms", "--method", "omp-after", "--sparsity", "0.5,0.8"
    )
    assert ended.stderr.count("line 3: no number") == 1
    assert "3 cells cannot run (broken dense 0 seed 0, …)" in ended.stderr


def test_a_task_that_keeps_its_published_model_is_named(say: Say) -> None:
    ended = say("--model", "scratch", "--tasks", "maths", "--folds", "1", "--json", "-")
    assert "note: task 'terms/gts' keeps its published model 'tiny'" in ended.stderr
    assert {(r["task"], r["model"], r["fold"]) for r in json.loads(ended.stdout)["results"]} == {
        ("sums/gts", "scratch", 1),
        ("terms/gts", "tiny", None),
    }


def test_an_interruption_says_how_to_go_on(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    from smc_eval.engine import runner

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run_cells", interrupted)
    ended = say(*TERMS, "--quiet")
    assert ended.exit_code == 130
    assert "issue the same command again to go on" in ended.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process alone")
def test_ctrl_c_in_the_middle_of_training_ends_with_130_and_no_traceback(training: Any) -> None:
    words = "--model tiny --tasks mawps/gts --folds 0 --method dense --recipe steps=100000 --threads 1"
    process = training(words, "train 100000 steps")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1].startswith("interrupted; what is finished is kept")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--tasks", "term"), "no task or group is named 'term'; did you mean 'terms'"),
        (("--method", "opm-after"), "no method is named 'opm-after'; did you mean 'omp-after'"),
        (("--method", "lth:shar=0.1"), "no option of method 'lth' is named 'shar'; did you mean 'share'"),
        (("--method", "lth:share=big"), "'share' of method 'lth' is 'big'"),
        (("--ablate", "shufle"), "no ablation is named 'shufle'; did you mean 'shuffle'"),
        (("--method", "from-checkpoint:path=no/such"), "there is no checkpoint no/such; give a folder"),
        (("--sparsity", "1"), "sparsity 1 lies outside [0, 1)"),
        (("--sparsity", "-0.5"), "sparsity -0.5 lies outside [0, 1)"),
        (("--sparsity", "4:4"), "sparsity '4:4' keeps 4 of every 4"),
        (("--sparsity", "2:"), "sparsity '2:' is no N:M pattern"),
        (("--spread", "even"), "flag 'spread' of the command line is 'even'; it should be 'global'"),
        (("--seeds", "many"), "--seeds 'many' cannot be read"),
        (("--folds", "some"), "--folds 'some' cannot be read"),
        (
            ("--limit", "0"),
            "flag 'limit' of the command line is '0'; it should be greater than or equal to 1",
        ),
        (("--threads", "two"), "flag 'threads' of the command line is 'two'"),
        (("--format", "html"), "flag 'format' of the command line is 'html'"),
        (
            ("--protocol", "loud"),
            "flag 'protocol' of the command line is 'loud'; it should be 'sound' or 'paper'",
        ),
        (("--match", "time"), "no budget to --match is named 'time'; known: flops, steps"),
        (("--match", "steps=-1"), "'factor' of --match steps=-1 is '-1'"),
        (("--find", "95"), "--find '95' cannot be read; write s@95"),
        (("--find", "s@95"), "--find looks for the sparsity that --sparsity 0.5 gives; leave out one"),
        (("--recipe", "epoch=1"), "no field of --recipe is named 'epoch'; did you mean 'epochs'"),
        (("--data-dir", "no/such/place"), "there is no data directory 'no/such/place'"),
        (("--data-dir", "a-file"), "'a-file' is a file, no data directory"),
        (("--grid", "no-such.toml"), "cannot read grid no-such.toml"),
        (("--model", "sums=nothing/here"), "can serve no task of 'sums'"),
        (("--json", "no/such/place/out.json"), "cannot write no/such/place/out.json: there is no folder"),
        (("--json", "."), "cannot write .: it is a folder"),
        (("--output", "a-file/runs"), "cannot write to --output 'a-file/runs'"),
        (("--device", "cuda:77"), "cuda"),
        (("--executor", "slrum"), "no executor is named 'slrum'; did you mean 'slurm'"),
        (("--executor", "local:4"), "--executor 'local:4': local takes nothing behind its name"),
        (("--executor", "slurm:time=soon"), "--executor slurm: time=soon is no time limit"),
        (("--executor", "slurm"), "--executor slurm: there is no sbatch here"),
        (("--modle", "tiny"), "--modle"),
        (("stray",), "unexpected extra argument"),
    ],
)
def test_a_wrong_word_ends_with_two_before_anything_runs(
    say: Say, words: tuple[str, ...], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("a-file").write_text("")
    monkeypatch.setattr(slurm.shutil, "which", lambda _: None)
    assert told in refused(say(*TERMS, "--quiet", *words))
    assert not list(Path().glob("**/results.jsonl"))


@pytest.mark.parametrize("name", ["ray", "slurm"])
def test_an_engine_that_is_not_installed_says_what_to_install(
    say: Say, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(select, "find_spec", lambda _: None)
    told = refused(say(*TERMS, "--quiet", "--executor", name))
    assert f"--executor {name} needs {select.PACKAGES[name]}: pip install 'smc-eval[{name}]'" in told


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full here")
def test_a_full_disk_is_told_and_hides_no_table(say: Say) -> None:
    ended = say(*TERMS, "--quiet", "--json", "/dev/full")
    assert (ended.exit_code, ended.stderr) == (2, "error: cannot write /dev/full: No space left on device\n")
    assert "omp-after" in ended.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full here")
@pytest.mark.parametrize("words", [("--help",), ("list",), ("show", "lth")])
def test_a_standard_output_that_cannot_be_written_is_told(words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "smc_eval", *words],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert ended.returncode == 2
    assert ended.stderr == "error: cannot write the standard output: No space left on device\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--no-dense",), "--find measures against the dense net; leave out --no-dense"),
        (("--format", "csv"), "--find is shown as table or json, not as csv"),
        (("--method", "dense"), "--find has no method to search: name one"),
        (
            ("--method", "from-checkpoint"),
            "--find has no method to search: method 'from-checkpoint' takes masks that are given",
        ),
    ],
)
def test_a_search_that_cannot_be_is_refused(say: Say, words: tuple[str, ...], told: str) -> None:
    method = () if "--method" in words else ("--method", "omp-after")
    assert told in refused(say("--tasks", "terms", "--find", "s@95", *method, *words))
    assert not list(Path().glob("**/results.jsonl"))


def test_an_unknown_verb_is_told_with_the_nearest(say: Say) -> None:
    assert "Did you mean 'plan'" in refused(say("plann"))


def test_a_wrong_grid_file_is_told_with_its_name(say: Say) -> None:
    Path("mine.toml").write_text('method = "lth"\ntask = "terms"\n')
    assert "no key of grid mine.toml is named 'task'; did you mean 'tasks'" in refused(
        say("--grid", "mine.toml")
    )


def test_flags_beside_a_grid_file_win(say: Say) -> None:
    Path("mine.toml").write_text(
        'tasks = "terms"\nmethod = "omp-after"\nsparsity = [0.5, 0.8]\nquiet = true\n'
    )
    ended = say("--grid", "mine.toml", "--sparsity", "0.25", "--json", "-")
    assert [r["target"]["sparsity"] for r in json.loads(ended.stdout)["results"]] == [0.0, 0.25]


def test_every_method_that_prunes_runs_ablated_beside_itself(say: Say) -> None:
    ended = say(*TERMS, "--ablate", "shuffle,random", "--ablate", "invert", "--quiet")
    assert ended.exit_code == 0, ended.output
    for row in ("omp-after+shuffle", "omp-after+random", "omp-after+invert"):
        assert row in ended.stdout
    records = json.loads(say("report", "smc-eval-runs", "--json", "-").stdout)["results"]
    assert [r["method"] for r in records] == [
        "dense", "omp-after", "omp-after+shuffle", "omp-after+random", "omp-after+invert"
    ]  # fmt: skip
    kept = {
        json.dumps(r["certificate"]["tensors"])
        for r in records
        if r["method"] not in ("dense", "omp-after+invert")
    }
    assert len(kept) == 1
    assert len({r["certificate"].get("mask_digest") for r in records}) == 5


def test_an_ablation_of_a_grid_file_is_one_of_the_flag(say: Say) -> None:
    Path("mine.toml").write_text(
        'tasks = "terms"\nmethod = "omp-before"\nsparsity = 0.5\nquiet = true\nablate = ["reinit"]\n'
    )
    ended = say("--grid", "mine.toml", "--json", "-")
    methods = [r["method"] for r in json.loads(ended.stdout)["results"]]
    assert methods == ["dense", "omp-before", "omp-before+reinit"]


def test_given_masks_stand_in_the_column_of_what_they_reach(say: Say) -> None:
    ended = say("--tasks", "pruned", "--method", "from-checkpoint,omp-after", "--sparsity", "0.25", "--quiet")
    assert ended.exit_code == 0, ended.output
    head, _, given, after, *_ = ended.stdout.splitlines()
    assert head.split() == ["task", "method", "dense", "0.25", "0.501"]
    assert given.split()[1] == "from-checkpoint" and given.split()[3] == "–"
    assert after.split()[0] == "omp-after" and after.split()[3] == "–"


def test_given_masks_of_a_net_without_zeros_fail_alone(say: Say) -> None:
    ended = say(*TERMS, "--method", "from-checkpoint", "--quiet", "--json", "-")
    assert ended.exit_code == 1
    told = {r["method"]: (r["status"], r["reason"]) for r in json.loads(ended.stdout)["results"]}
    assert told["omp-after"][0] == "ok" and told["from-checkpoint"][0] == "failed"
    assert told["from-checkpoint"][1].startswith("the given weights prune nothing in scope")


def test_a_plan_shows_the_trie_and_what_is_still_to_pay(say: Say) -> None:
    words = ("--model", "tiny", "--tasks", "maths", "--method", "omp-after,random-after", "--sparsity", "0.5")
    ended = say("plan", *words)
    assert ended.exit_code == 0, ended.output
    shown = ended.stdout.splitlines()
    assert shown[0] == "sums/gts · tiny, fold 0, seed 0  and 1 alike: other folds, seeds"
    assert shown[1:4] == [
        "└── train 2 steps  [to do]  → dense",
        "    ├── prune by magnitude to 0.5, train 2 steps  [to do]  → omp-after 0.5",
        "    └── prune by chance to 0.5, train 2 steps  [to do]  → random-after 0.5",
    ]
    assert shown[-4:] == [
        "9 cells, 0 of them scored; 15 stages, 15 to do",
        "18 optimizer steps to pay, of 18 in all stages; without sharing there would be 30",
        "3 nets kept where stages are shared; how large is known once the store holds one",
        "unknown rate: this store has seen no training of some task and model that is to be paid",
    ]
    assert not Path("smc-eval-runs").exists()


def test_only_a_fork_indents_a_plan(say: Say) -> None:
    assert say(*TERMS, "--quiet").exit_code == 0
    shown = say("plan", "--tasks", "terms", "--method", "lth", "--sparsity", "smc,0.5").stdout.splitlines()
    again = "rewind weights to 'start', train 2 steps  [to do]  → lth"
    assert shown[1:7] == [
        "├── train 2 steps  [done]  → dense (scored)",
        f"├── then prune by magnitude to 0.2, {again} 0.2",
        f"├── then prune by magnitude to 0.36, {again} 0.36",
        f"└── then prune by magnitude to 0.488, {again} 0.488",
        f"    ├── prune by magnitude to 0.5904, {again} 0.5904",
        f"    ├── then prune by magnitude to 0.6723, {again} 0.6723",
    ]
    assert shown[12] == f"    └── prune by magnitude to 0.5, {again} 0.5"


def test_a_plan_after_the_run_owes_nothing(say: Say) -> None:
    assert say(*TERMS, "--quiet").exit_code == 0
    totals = json.loads(say("plan", *TERMS, "--json").stdout)["totals"]
    assert (totals["steps_to_pay"], totals["cells_scored"], totals["seconds_to_pay"]) == (0, 2, 0.0)
    more = json.loads(say("plan", *TERMS, "--seeds", "2", "--json").stdout)["totals"]
    assert (more["steps_to_pay"], more["steps_shared"]) == (4, 8)
    assert more["seconds_to_pay"] > 0
    assert "[done]" in say("plan", *TERMS).stdout


def test_every_row_of_a_matched_run_trains_as_long(say: Say) -> None:
    words = ("--tasks", "terms", "--method", "omp-after,lth,snip:batches=1", "--sparsity", "0.2")
    words = (*words, "--recipe", "steps=8", "--match", "steps")
    planned = json.loads(say("plan", *words, "--json").stdout)
    assert (planned["totals"]["steps_naive"], planned["match"]) == (4 * 8, "steps")
    assert "every chain is held to match steps" in say("plan", *words).stdout.splitlines()
    ended = say(*words, "--quiet")
    assert ended.exit_code == 0, ended.output
    assert "match steps: what a cell trains along its whole chain" in ended.stdout
    records = json.loads(say("report", "smc-eval-runs", "--json", "-").stdout)["results"]
    assert [(r["method"], r["cost"]["steps"], r["match"].get("measure")) for r in records] == [
        ("dense", 8, None), ("omp-after", 8, "steps"), ("lth", 8, "steps"), ("snip:batches=1", 8, "steps")
    ]  # fmt: skip


FIND = ("--tasks", "terms", "--method", "omp-after,from-checkpoint", "--find", "s@95:within=0.2,runs=3")


def test_a_search_shows_where_it_ended_and_goes_on_where_it_was_left(say: Say) -> None:
    ended = say(*FIND, "--seeds", "2", "--json", "out.json")
    assert ended.exit_code == 0, ended.output
    head, _, row, *_ = ended.stdout.splitlines()
    assert head.split() == ["task", "model", "method", "s@95", "bracket", "dense", "tried", "cells"]
    assert row.split()[:3] == ["terms/gts", "tiny", "omp-after"]
    assert "note: method 'from-checkpoint' takes masks that are given, and is not searched" in ended.stderr
    told = json.loads(Path("out.json").read_text())
    (found,) = told["found"]
    assert found["tried"][0]["sparsity"] == 0.9025
    assert (found["cells"], len(told["results"])) == (2 * len(found["tried"]), 2 + found["cells"])
    book = Path("smc-eval-runs/results.jsonl").read_bytes()
    again = say(*FIND, "--seeds", "2", "--quiet", "--format", "json")
    assert json.loads(again.stdout) == told
    assert Path("smc-eval-runs/results.jsonl").read_bytes() == book


def test_a_plan_of_a_search_says_how_many_cells_it_takes_at_most(say: Say) -> None:
    shown = say("plan", *FIND, "--seeds", "2").stdout.splitlines()
    assert [line.split("→")[-1].strip() for line in shown[1:3]] == ["dense", "omp-after 0.9025"]
    assert shown[3] == ("find s@95 begins with these cells and takes 8 at most: up to 3 sparsities a search")
    assert json.loads(say("plan", *FIND, "--seeds", "2", "--json").stdout)["find_cells_at_most"] == 8


def test_a_plan_tells_what_cannot_run(say: Say) -> None:
    ended = say("plan", "--tasks", "broken,terms", "--method", "omp-after", "--sparsity", "0.5")
    assert ended.exit_code == 0
    assert "2 cells cannot run (broken dense 0 seed 0, …): train.csv, line 3: no number" in ended.stdout


def test_the_list_names_everything(say: Say) -> None:
    shown = say("list").stdout
    for name in ("sums/gts", "terms/gts", "lth", "omp-after", "random-before", "toys"):
        assert name in shown
    assert "omp-after" not in say("list", "tasks").stdout
    shelves = json.loads(say("list", "--json").stdout)
    shipped = len(smc_eval_methods())
    assert {name: len(rows) for name, rows in shelves.items()} == {
        "tasks": 4,
        "methods": shipped,
        "protocols": 2,
        "plugins": 1,
    }
    assert shelves["tasks"][0] | {"source": ""} == {
        "name": "sums/gts", "summary": "toy sums", "source": "", "groups": ["sums", "maths"], "chance": 0.0,
        "metric": "accuracy (%)", "folds": 2, "accepts": ["scratch", "tiny"], "published": "scratch",
        "licence": "none needed", "distribution": "toys",
    }  # fmt: skip


def test_a_list_that_nobody_keeps_is_told(say: Say) -> None:
    assert "no list is named 'task'; did you mean 'tasks'" in refused(say("list", "task"))


def test_a_method_shows_its_card_its_options_and_its_plan(say: Say) -> None:
    shown = " ".join(say("show", "lth").stdout.split())
    for line in (
        "lth (method): iterative magnitude pruning",
        "share float = 0.2 Share of the survivors that each round drops.",
        "1. train by the task's recipe",
        "prune by magnitude to 0.5",
        "rewind weights to 'start'",
    ):
        assert line in shown


def test_a_task_shows_its_card_and_its_recipe(say: Say) -> None:
    shown = say("show", "sums/gts").stdout
    for line in ("toy sums", "scratch, tiny", "none needed", "in two folds", "steps=3", "tiny: steps=2"):
        assert line in shown
    assert "stands for: sums/gts, terms/gts" in say("show", "maths").stdout
    assert "no method, task, group or protocol is named 'lht'; did you mean 'lth'" in refused(
        say("show", "lht")
    )


def test_a_protocol_shows_all_that_is_other_under_it(say: Say) -> None:
    shown = " ".join(say("show", "paper").stdout.split())
    for line in (
        "scope all-2d",
        "decoupled False",
        "keep best",
        "gmp every=1000, events=4",
        "snip batches=1",
    ):
        assert line in shown
    assert "batches" not in say("show", "sound").stdout
    assert [line.split()[:2] for line in say("list", "protocols").stdout.splitlines()[1:]] == [
        ["sound", "body"],
        ["paper", "all-2d"],
    ]


def test_a_plan_tells_hours_by_given_rates(say: Say) -> None:
    words = ("plan", "--model", "tiny", "--tasks", "maths", "--method", "omp-after", "--sparsity", "0.5")
    Path("rates.toml").write_text("[[rate]]\nseconds = 600.0\n\n[[rate]]\ntask = 'terms'\nseconds = 1800.0\n")
    shown = say(*words, "--quiet", "--rates", "rates.toml").stdout.splitlines()
    table = [line.split() for line in shown[2:4]]
    # two folds of 2 + 2 steps; as alone each pays its dense one too
    assert table[0] == ["sums/gts", "tiny", "4", "8", "12", "?", "1.33", "2"]
    assert table[1] == ["terms/gts", "tiny", "2", "4", "6", "?", "2", "3"]
    assert shown[-1] == "about 3.3 h of training to pay on a device of the given rate, 5.0 h without sharing"
    assert len(shown) == 9  # no stages
    prices = json.loads(say(*words, "--rates", "rates.toml", "--json").stdout)["prices"]
    assert [price["seconds"] for price in prices] == [4800.0, 7200.0]


def test_a_plan_with_nothing_to_pay_needs_no_rate(say: Say) -> None:
    assert say(*TERMS, "--quiet").exit_code == 0
    shown = say("plan", *TERMS, "--flops", "1e12").stdout.splitlines()
    assert shown[-1] == "about 0 s of training to pay on a device of the given rate"


def test_a_plan_in_operations_needs_a_model_of_known_size(say: Say) -> None:
    ended = say("plan", "--model", "tiny", "--tasks", "terms", "--method", "omp-after", "--flops", "1e12")
    assert ended.stdout.splitlines()[-1].startswith("unknown rate: what was given tells nothing of some task")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[[rates]]\nseconds = 1", "no key of rates r.toml is named 'rates'; did you mean 'rate'?"),
        ("rate = 3", "'rate' of rates r.toml is no list of tables; begin each with [[rate]]"),
        ("[[rate]]\ntask = 'term'\nseconds = 1", "no task or group of rates r.toml is named 'term'"),
        ("[[rate]]\nsecond = 1", "no key of rate 1 of r.toml is named 'second'; did you mean 'seconds'?"),
        ("[[rate]]\nseconds = 1\nflops = 2", "rate 1 of r.toml: give a rate either seconds or flops"),
        ("[[rate]]\nseconds = -1", "key 'seconds' of rate 1 of r.toml is -1"),
        ("[[rate]", "rates r.toml is no TOML"),
    ],
)
def test_wrong_rates_are_told(say: Say, content: str, told: str) -> None:
    Path("r.toml").write_text(content)
    assert told in refused(say("plan", *TERMS, "--rates", "r.toml"))
    assert "cannot read rates none.toml: No such file" in refused(say("plan", *TERMS, "--rates", "none.toml"))


def test_a_broken_plugin_stops_the_program_and_stands_in_the_list(say: Say, shop: Path) -> None:
    install(shop, "bad-apple", "import nowhere_to_be_found")
    for words in (TERMS, ("list",), ("show", "lth"), ("plan", *TERMS)):
        assert "plugin 'bad-apple' of bad-apple 3.1 cannot be imported" in refused(say(*words))
    ended = say("list", "plugins")
    assert ended.exit_code == 0
    apple, toys = ended.stdout.splitlines()[1:]
    assert apple.split()[:4] == ["bad-apple", "3.1", "bad-apple", "BROKEN"]
    assert toys.split()[:4] == ["toys", "3.1", "toys", "ok"]


def test_a_used_name_stops_the_program(say: Say, shop: Path) -> None:
    install(shop, "copycat", "from smc_eval.methods import smc_eval_methods")
    told = refused(say(*TERMS))
    assert "plugin 'toys' of toys 3.1 takes a used name: two methods are named 'dense'" in told


@pytest.mark.parametrize("words", [("nowhere",), (".",)])
def test_a_report_needs_records(say: Say, words: tuple[str, ...]) -> None:
    assert f"{words[0]!r} holds no results.jsonl" in refused(say("report", *words))


def test_a_report_joins_folders(say: Say) -> None:
    say(*TERMS, "--quiet", "--output", "one")
    say(*TERMS, "--quiet", "--output", "two", "--seeds", "1,")
    records = json.loads(say("report", "one", "two", "--json", "-").stdout)["results"]
    assert sorted((r["method"], r["seed"]) for r in records) == [
        ("dense", 0), ("dense", 1), ("omp-after", 0), ("omp-after", 1)
    ]  # fmt: skip


def test_the_version_is_told(say: Say) -> None:
    import smc_eval

    assert say("--version").stdout == f"smc-eval {smc_eval.__version__}\n"


@pytest.mark.parametrize("words", [("--help",), ("list",)])
def test_the_door_opens_fast(words: tuple[str, ...]) -> None:
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "smc_eval", *words], check=True, capture_output=True)
    assert time.monotonic() - began < 5  # a tenth of that on an idle machine; torch alone takes longer


def test_stored_predictions_are_scored_again(say: Say, tmp_path: Path) -> None:
    store = tmp_path / "store"
    assert say(*TERMS, "--output", store).exit_code == 0
    assert say("score", store).stdout == "scored 2 again: 0 changed, 2 as before\n"
    book = RecordsFile(store)
    (record, _) = book.latest().values()
    assert record.score is not None
    wrong = replace(record, score={**record.score, "value": 1.25})
    book.add(wrong)
    dry = say("score", store, "--dry-run").stdout
    assert (
        f"1.25 → {record.score['value']:.6g}" in dry and "1 changed, 1 as before; nothing was written" in dry
    )
    assert RecordsFile(store).latest()[record.digest].score == wrong.score
    assert "1 changed, 1 as before" in say("score", store).stdout
    assert RecordsFile(store).latest()[record.digest].score == record.score


def test_what_cannot_be_scored_again_is_named_and_left(say: Say, tmp_path: Path) -> None:
    store = tmp_path / "store"
    assert say(*TERMS, "--output", store).exit_code == 0
    before = (store / "results.jsonl").read_bytes()
    for kept in (store / "predictions").iterdir():
        kept.write_bytes(b"broken")
    ended = say("score", store)
    assert ended.exit_code == 1
    assert "and 1 more: its answers are missing or broken in" in ended.stderr
    assert (store / "results.jsonl").read_bytes() == before


def test_work_joins_what_run_or_work_ordered_and_says_what_is_done(say: Say) -> None:
    assert "nothing was ordered in 'smc-eval-runs' to join" in refused(say("work", "--quiet"))
    assert say(*TERMS, "--quiet").exit_code == 0
    records = say("report", "smc-eval-runs", "--json", "-").stdout
    ended = say("work", "--quiet", "--device", "cpu", "--json", "-")
    assert (ended.exit_code, ended.stdout) == (0, records)


def test_work_orders_what_its_flags_say_and_others_join_it(say: Say) -> None:
    for ended in (say("work", *TERMS, "--quiet"), say("work", "--quiet")):
        assert ended.exit_code == 0, ended.output
        assert "omp-after" in ended.stdout


def test_who_joins_leaves_alone_what_failed_and_who_orders_tries_it_again(say: Say) -> None:
    assert say("work", *TERMS, "--quiet").exit_code == 0
    store = Store(Path("smc-eval-runs"))
    (digest,) = (d for d, record in store.records.latest().items() if record.method == "omp-after")
    store.records.add(failed_record(store.records.latest()[digest], "the moon was full"))
    ended = say("work", "--quiet")
    assert ended.exit_code == 1 and "1 cells failed; order the grid again" in ended.stderr
    assert say("work", *TERMS, "--quiet").exit_code == 0


def test_work_refuses_a_machine_that_means_other_cells_by_the_same_words(say: Say) -> None:
    assert say(*TERMS, "--quiet").exit_code == 0
    path = Path("smc-eval-runs/grid.json")
    grid = json.loads(path.read_text())
    (digest, label), *rest = grid["cells"].items()
    path.write_text(json.dumps(grid | {"cells": {digest[::-1]: label, **dict(rest)}}))
    told = refused(say("work", "--quiet"))
    assert "1 of 2 cells are others here" in told and "(first: terms/gts dense 0 seed 0)" in told
    path.write_text(json.dumps(grid | {"release": "0.0.1"}))
    assert "release '0.0.1' of smc-eval ordered the grid" in refused(say("work", "--quiet"))
    path.write_text("{")
    assert "order the grid again" in refused(say("work", "--quiet"))


def test_a_store_is_listed_verified_and_pruned(say: Say) -> None:
    assert say(*TERMS, "--quiet").exit_code == 0
    ended = say("store", "smc-eval-runs", "--verify")
    assert ended.exit_code == 0, ended.output
    lines = ended.stdout.splitlines()
    assert lines[0].split()[:2] == ["nets", "1"] and lines[0].endswith("where stages are shared")
    assert lines[-2:] == ["at work: nobody", "all is whole"]
    (net,) = Path("smc-eval-runs/nets").iterdir()
    weights = net / "net.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    harmed = say("store", "smc-eval-runs", "--verify")
    assert harmed.exit_code == 1 and f"broken: nets/{net.name} is cut short or altered" in harmed.stdout
    table = say("report", "smc-eval-runs").stdout
    pruned = say("store", "smc-eval-runs", "--prune", "--results-only")
    assert pruned.stdout.startswith("deleted 1 files and nets, ")
    assert not list(Path("smc-eval-runs/nets").iterdir())
    assert say("report", "smc-eval-runs").stdout == table
    assert say("store", "smc-eval-runs", "--verify").exit_code == 0


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (("--older", "1h"), "bc"),
        (("--size", "3.5KB"), "bc"),
        (("--size", "1GB"), "abc"),
        (("--older", "2m"), "c"),
    ],
)
def test_pruning_goes_by_age_or_size_the_oldest_first(say: Say, words: tuple[str, ...], left: str) -> None:
    Store(Path("s")).open()
    for name, age in (("a", 7200), ("b", 600), ("c", 0)):
        path = Path("s/partial") / name
        path.write_bytes(bytes(1500))
        os.utime(path, (time.time() - age,) * 2)
    ended = say("store", "s", "--prune", *words)
    assert ended.exit_code == 0, ended.output
    assert "".join(sorted(path.name for path in Path("s/partial").iterdir())) == left


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--prune",), "--prune goes with one of --older, --size, --results-only"),
        (("--older", "1h"), "--prune goes with one of"),
        (("--prune", "--older", "soon"), "--older 'soon' cannot be read"),
        (("--prune", "--size", "5"), "--size '5' cannot be read"),
        ((), "is no store"),
    ],
)
def test_a_store_is_not_pruned_on_a_doubtful_word(say: Say, words: tuple[str, ...], told: str) -> None:
    assert told in refused(say("store", ".", *words))


def test_a_store_in_which_somebody_works_is_not_pruned(say: Say) -> None:
    from smc_eval.engine.progress import Silent

    store, prune = Store(Path("s")), ("store", "s", "--prune", "--results-only")
    store.open()
    with store.lock("d", Silent()):
        assert f"(process {os.getpid()}) is at work in 's'" in refused(say(*prune))
    assert say(*prune).exit_code == 0


def test_jobs_and_what_is_kept_are_flags(say: Say) -> None:
    assert "flag 'jobs' of the command line is '0'" in refused(say(*TERMS, "--jobs", "0"))
    assert "flag 'keep' of the command line is 'all'" in refused(say(*TERMS, "--keep", "all"))
    assert say(*TERMS, "--quiet", "--keep", "results").exit_code == 0
    assert not list(Path("smc-eval-runs/nets").iterdir())


def test_a_plan_says_what_its_nets_need_on_disk(say: Say) -> None:
    words = ("plan", *TERMS, "--json")
    assert json.loads(say(*words).stdout)["bytes_kept"] is None
    assert say(*TERMS, "--quiet").exit_code == 0
    (net,) = Path("smc-eval-runs/nets").iterdir()
    told = json.loads(say(*words).stdout)
    assert told["nets_kept"] == 1
    assert told["bytes_kept"] == sum(file.stat().st_size for file in net.iterdir())
