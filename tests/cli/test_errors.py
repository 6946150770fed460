"""Wrong command lines: one to three lines on the error stream, exit code 2, and nothing runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from smc_eval.engine.executors import select, slurm
from smc_eval.errors import counted
from smc_eval.planning.resolve import _joined

TERMS = ("--model", "tiny", "--tasks", "terms", "--method", "omp-after", "--sparsity", "0.5")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--tasks", "term"), "no task or group is named 'term'; did you mean 'terms'"),
        (
            ("--method", "omp"),
            "named 'omp'; did you mean 'omp-after', 'omp-before' or 'omp-rigl'? see smc-eval",
        ),
        (("--method", "opm-after"), "no method is named 'opm-after'; did you mean 'omp-after'"),
        (("--method", "lth:shar=0.1"), "no option of method 'lth' is named 'shar'; did you mean 'share'"),
        (("--method", "lth:share=big"), "'share' of method 'lth' is 'big'"),
        (("--ablate", "shufle"), "no ablation is named 'shufle'; did you mean 'shuffle'"),
        (("--method", "from-checkpoint:path=no/such"), "there is no checkpoint no/such; give a folder"),
        (("--sparsity", "1"), "sparsity 1 lies outside [0, 1)"),
        (("--sparsity", "-0.5"), "sparsity -0.5 lies outside [0, 1)"),
        (("--sparsity", "4:4"), "sparsity '4:4' keeps 4 of every 4"),
        (("--sparsity", "2:"), "sparsity '2:' is not an N:M pattern"),
        (
            ("--distribution", "even"),
            "--distribution is 'even'; it should be 'global'",
        ),
        (("--spread", "erk"), "--spread"),
        (("--include", "re:("), "--include: 're:(' is not a valid regular expression"),
        (("--exclude", "*.a", "--exclude", "re:["), "--exclude: 're:[' is not a valid regular expression"),
        (("--seeds", "many"), "--seeds 'many' cannot be read"),
        (("--model", "tinny"), "no model is named 'tinny'; did you mean 'tiny'? known: scratch, tiny"),
        (("--folds", "3"), "--folds 3: task 'terms/gts' has no folds, only one split; leave out --folds"),
        (("--folds", "some"), "--folds 'some' cannot be read"),
        (
            ("--limit", "0"),
            "--limit is '0'; it should be greater than or equal to 1",
        ),
        (("--threads", "two"), "--threads is 'two'"),
        (("--jobs", "0"), "--jobs is '0'"),
        (("--keep", "all"), "--keep is 'all'"),
        (("--format", "html"), "--format is 'html'"),
        (
            ("--protocol", "loud"),
            "--protocol is 'loud'; it should be 'sound' or 'paper'",
        ),
        (("--match", "time"), "no budget of --match is named 'time'; known: flops, steps"),
        (("--match", "steps=-1"), "'factor' of --match steps=-1 is '-1'"),
        (("--find", "95"), "--find '95' cannot be read; write s@95"),
        (("--find", "s@95"), "--find searches for the sparsity, --sparsity 0.5 sets it; leave out one"),
        (("--recipe", "epoch=1"), "no field of --recipe is named 'epoch'; did you mean 'epochs'"),
        (("--data-dir", "no/such/place"), "there is no data directory 'no/such/place'"),
        (("--data-dir", "a-file"), "'a-file' is a file, no data directory"),
        (("--grid", "no-such.toml"), "cannot read grid no-such.toml"),
        (("--model", "sums=nothing/here"), "no task of 'sums' accepts this model"),
        (("--json", "no/such/place/out.json"), "cannot write no/such/place/out.json: there is no folder"),
        (("--json", "."), "cannot write .: it is a folder"),
        (("--output", "a-file/runs"), "cannot write to --output 'a-file/runs'"),
        (("--device", "cuda:77"), "cuda"),
        (("--executor", "slrum"), "no executor is named 'slrum'; did you mean 'slurm'"),
        (("--executor", "local:4"), "--executor 'local:4'"),
        (("--executor", "slurm:time=soon"), "--executor slurm: time=soon"),
        (("--executor", "slurm"), "--executor slurm: "),
        (("--modle", "tiny"), "--modle"),
        (("stray",), "unexpected extra argument"),
    ],
)
def test_a_wrong_value_is_refused_before_anything_runs(
    invoke, refused, words: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("a-file").write_text("")
    monkeypatch.setattr(slurm.shutil, "which", lambda _: None)
    assert message in refused(invoke(*TERMS, "--quiet", *words))
    assert not list(Path().glob("**/results.jsonl"))


@pytest.mark.parametrize("name", ["ray", "slurm"])
def test_an_executor_that_is_not_installed_is_refused_with_the_package_to_install(
    invoke, refused, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(select, "find_spec", lambda _: None)
    message = refused(invoke(*TERMS, "--quiet", "--executor", name))
    assert f"--executor {name} needs {select.PACKAGES[name]}: pip install 'smc-eval[{name}]'" in message


@pytest.mark.parametrize(
    ("words", "verb"),
    [
        (("show",), "smc-eval show"),
        (("data", "fetch", "terms"), "smc-eval data fetch"),
        (("compare", "a"), "smc-eval compare"),
        (("--modle", "tiny"), "smc-eval run"),
        (("plan", "--modle", "tiny"), "smc-eval plan"),
    ],
)
def test_a_command_line_that_cannot_be_parsed_names_the_help_of_its_verb(
    refused, invoke, words: tuple[str, ...], verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SMC_EVAL_DATA", raising=False)
    assert refused(invoke(*words)).splitlines()[-1] == f"see {verb} --help"


def test_all_reasons_are_printed_where_no_cell_can_run(invoke, refused) -> None:
    message = refused(invoke("--model", "tiny", "--tasks", "broken,lines/a", "--quiet"))
    assert message == ("error: train.csv, line 3: no number\nalso: there is no synthetic/lines.txt\n")


def test_a_list_of_reasons_is_at_most_three_lines() -> None:
    assert _joined(["a\nwhat to do"]) == "a\nwhat to do"
    assert _joined(["a\nwhat to do", "b\nwhat to do"]) == "a\nalso: b"
    assert _joined(["a", "b", "c"]) == "a\nalso: b\nalso: c"
    hint = "shown if you run one task at a time"
    assert _joined(["a", "b", "c", "d"]) == f"a\nalso: b\nalso: c; and 1 more reason, {hint}"
    assert _joined(["a", "b", "c", "d", "e"]) == f"a\nalso: b\nalso: c; and 2 more reasons, {hint}"


@pytest.mark.parametrize(
    "words",
    [
        ("work", "--output", "new/runs"),
        ("work", "--tasks", "nosuch", "--output", "new/runs"),
        ("--model", "tiny", "--tasks", "broken", "--output", "new/runs"),
        (*TERMS, "--executor", "nosuch", "--output", "new/runs"),
    ],
)
def test_a_refused_run_leaves_no_folder(invoke, refused, words: tuple[str, ...]) -> None:
    refused(invoke(*words))
    assert not Path("new").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_made_is_refused_before_anything_runs(invoke, refused) -> None:
    Path("locked").mkdir(mode=0o500)
    assert "cannot write to --output 'locked/runs'" in refused(invoke(*TERMS, "--output", "locked/runs"))


def test_ctrl_c_while_the_program_is_imported_prints_one_line() -> None:
    source = """
import builtins, sys
real = builtins.__import__
def interrupted(name, *rest):
    if name == "typer":
        raise KeyboardInterrupt
    return real(name, *rest)
builtins.__import__ = interrupted
from smc_eval.cli import main
main()
"""
    ended = subprocess.run([sys.executable, "-c", source], check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "interrupted\n")


@pytest.mark.parametrize(
    ("number", "noun", "text"), [(0, "cell", "0 cells"), (1, "cell", "1 cell"), (2, "match", "2 matches")]
)
def test_a_noun_is_in_the_plural_unless_there_is_one(number: int, noun: str, text: str) -> None:
    assert counted(number, noun) == text


def test_an_unknown_verb_is_refused_with_the_nearest(invoke, refused) -> None:
    assert "Did you mean 'plan'" in refused(invoke("plann"))


def test_the_error_of_a_wrong_grid_file_names_the_file(invoke, refused) -> None:
    Path("mine.toml").write_text('method = "lth"\ntask = "terms"\n')
    assert "no key of grid mine.toml is named 'task'; did you mean 'tasks'" in refused(
        invoke("--grid", "mine.toml")
    )


def test_flags_take_precedence_over_a_grid_file(invoke) -> None:
    Path("mine.toml").write_text(
        'tasks = "terms"\nmethod = "omp-before"\nsparsity = [0.5, 0.8]\nquiet = true\nablate = ["reinit"]\n'
    )
    ended = invoke("--grid", "mine.toml", "--sparsity", "0.25", "--json", "-")
    results = json.loads(ended.stdout)["results"]
    assert [r["target"]["sparsity"] for r in results] == [0.0, 0.25, 0.25]
    assert [r["method"] for r in results] == ["dense", "omp-before", "omp-before+reinit"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full here")
def test_a_full_disk_is_an_error_after_the_table(invoke) -> None:
    ended = invoke(*TERMS, "--quiet", "--json", "/dev/full")
    assert (ended.exit_code, ended.stderr) == (2, "error: cannot write /dev/full: No space left on device\n")
    assert "omp-after" in ended.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full here")
@pytest.mark.parametrize("words", [("--help",), ("list",), ("show", "lth")])
def test_a_standard_output_that_cannot_be_written_is_an_error(words: tuple[str, ...]) -> None:
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
