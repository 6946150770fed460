"""The verb plan: stages, sums and notices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from smc_eval.planning.resolve import Resolver

TERMS = ("--model", "tiny", "--tasks", "terms", "--method", "omp-after", "--sparsity", "0.5")


def test_a_plan_shows_the_tree_of_stages_and_the_steps_to_run(invoke) -> None:
    words = ("--model", "tiny", "--tasks", "maths", "--method", "omp-after,random-after", "--sparsity", "0.5")
    ended = invoke("plan", *words)
    assert ended.exit_code == 0, ended.output
    shown = ended.stdout.splitlines()
    assert shown[0] == "sums/gts · tiny, fold 0, seed 0  and 1 more with other folds or seeds"
    assert shown[1:4] == [
        "└── train 2 steps  [to do]  → dense",
        "    ├── prune by magnitude to 0.5, train 2 steps  [to do]  → omp-after 0.5",
        "    └── prune by random saliency to 0.5, train 2 steps  [to do]  → random-after 0.5",
    ]
    assert shown[-4:] == [
        "9 cells, 0 of them scored; 15 stages, 15 to do",
        "18 optimizer steps to run, of 18 in all stages; 30 without sharing",
        "3 shared nets stay in the store; their size is known once the store has one",
        (
            "hours unknown: nothing has been trained here yet for sums/gts with tiny and 1 more; "
            "give --rates or --flops"
        ),
    ]
    assert not Path("smc-eval-runs").exists()


def test_an_interrupted_plan_promises_nothing(invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Resolver, "resolve_all", interrupted)
    ended = invoke("plan", *TERMS)
    assert (ended.exit_code, ended.stderr) == (130, "interrupted\n")


def test_only_a_fork_indents_the_tree(invoke) -> None:
    assert invoke(*TERMS, "--quiet").exit_code == 0
    shown = invoke("plan", "--tasks", "terms", "--method", "lth", "--sparsity", "smc,0.5").stdout.splitlines()
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


def test_after_a_run_the_plan_has_nothing_to_run(invoke) -> None:
    assert invoke(*TERMS, "--quiet").exit_code == 0
    totals = json.loads(invoke("plan", *TERMS, "--json").stdout)["totals"]
    assert (totals["steps_to_run"], totals["cells_scored"], totals["seconds_to_run"]) == (0, 2, 0.0)
    more = json.loads(invoke("plan", *TERMS, "--seeds", "2", "--json").stdout)["totals"]
    assert (more["steps_to_run"], more["steps_shared"]) == (4, 8)
    assert more["seconds_to_run"] > 0
    assert "[done]" in invoke("plan", *TERMS).stdout


def test_a_plan_has_the_bytes_of_its_shared_nets(invoke) -> None:
    words = ("plan", *TERMS, "--json")
    assert json.loads(invoke(*words).stdout)["bytes_kept"] is None
    assert invoke(*TERMS, "--quiet").exit_code == 0
    (net,) = Path("smc-eval-runs/nets").iterdir()
    content = json.loads(invoke(*words).stdout)
    assert content["nets_kept"] == 1
    assert content["bytes_kept"] == sum(file.stat().st_size for file in net.iterdir())


KEPT = (
    "task 'terms/gts' keeps its published model 'tiny': this task does not build 'scratch'; it accepts: tiny"
)
NOTICES = {
    "warnings": (
        "--limit 9 keeps only 9 examples of each part; these are no results, and every record says so",
    ),
    "kept_models": (KEPT,),
    "left_out": (),
    "unresolved": ("2 cells cannot run (broken dense 0 seed 0, …): train.csv, line 3: no number",),
}
NOTICED = (
    "--model",
    "maths=scratch",
    "--tasks",
    "maths,broken",
    "--folds",
    "0",
    "--method",
    "omp-after",
    "--limit",
    "9",
)
SEARCHED = ("--tasks", "terms", "--method", "omp-after,from-checkpoint", "--find", "s@95:within=0.5,runs=1")
NOT_SEARCHED = "method 'from-checkpoint' takes custom masks, and is not searched"


def without_time(text: str) -> list[str]:
    """The notices among the lines of a run's error stream, without the elapsed time."""
    lines = [line.removeprefix("0:00:00 ") for line in text.splitlines()]
    return [line for line in lines if line.startswith(("warning:", "note:")) or "cannot run" in line]


@pytest.mark.parametrize(
    ("words", "notices"),
    [
        ((*NOTICED, "--sparsity", "0.5"), NOTICES),
        (SEARCHED, {"warnings": (), "kept_models": (), "left_out": (NOT_SEARCHED,), "unresolved": ()}),
    ],
)
def test_plan_and_run_print_the_same_notices(
    invoke, words: tuple[str, ...], notices: dict[str, tuple[str, ...]]
) -> None:
    lines = [
        *(f"warning: {line}" for line in (*notices["warnings"], *notices["kept_models"])),
        *(f"note: {line}" for line in notices["left_out"]),
        *notices["unresolved"],
    ]
    planned = invoke("plan", *words)
    assert planned.exit_code == 0 and planned.stdout.splitlines()[-len(lines) :] == lines
    assert invoke("plan", *words, "--quiet").stdout.splitlines()[-len(lines) :] == lines
    content: dict[str, Any] = json.loads(invoke("plan", *words, "--json").stdout)
    assert {name: tuple(content[name]) for name in notices} == notices
    assert without_time(invoke("run", *words).stderr) == lines


@pytest.mark.parametrize("words", [("run", *TERMS), TERMS, ("run", *SEARCHED)])
@pytest.mark.parametrize("more", [(), ("--quiet",)])
def test_a_dry_run_prints_what_plan_prints_and_writes_nothing(
    invoke, words: tuple[str, ...], more: tuple[str, ...]
) -> None:
    planned = invoke("plan", *(word for word in words if word != "run"), *more)
    dry = invoke(*words, *more, "--dry-run")
    assert planned.stdout.splitlines()  # something to compare
    assert (dry.exit_code, dry.stdout, dry.stderr) == (planned.exit_code, planned.stdout, planned.stderr)
    assert not Path("smc-eval-runs").exists()


def test_a_dry_run_prints_the_plan_as_json_and_refuses_a_file_for_it(invoke) -> None:
    planned = json.loads(invoke("plan", *TERMS, "--json").stdout)
    assert json.loads(invoke(*TERMS, "--dry-run", "--json", "-").stdout) == planned
    refused = invoke(*TERMS, "--dry-run", "--json", "plan.json")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr == (
        "error: --dry-run writes no file, and --json names 'plan.json'; take --json -\n"
    )
    assert not Path("plan.json").exists()


def test_a_dry_run_fails_as_plan_fails(invoke) -> None:
    words = ("--model", "tiny", "--tasks", "no-such-task")
    planned, dry = invoke("plan", *words), invoke(*words, "--dry-run")
    assert planned.exit_code == dry.exit_code == 2
    assert dry.stderr == planned.stderr != ""
