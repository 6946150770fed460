"""The verb run: its output, its records, and how it ends."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from smc_eval.store.store import Store

TERMS = ("--model", "tiny", "--tasks", "terms", "--method", "omp-after", "--sparsity", "0.5")


def results(text: str) -> list[dict[str, Any]]:
    """The records of a JSON output."""
    content: list[dict[str, Any]] = json.loads(text)["results"]
    return content


def test_bare_flags_mean_run_and_the_same_command_again_finds_all_cells_done(invoke) -> None:
    ended = invoke(*TERMS, "--json", "out.json")
    assert ended.exit_code == 0, ended.output
    assert "terms/gts" in ended.stdout
    assert "omp-after" in ended.stdout
    first = json.loads(Path("out.json").read_text())
    assert first["schema"] == 2
    assert [(r["task"], r["method"], r["status"]) for r in first["results"]] == [
        ("terms/gts", "dense", "ok"),
        ("terms/gts", "omp-after", "ok"),
    ]
    again = invoke("run", *TERMS, "--json", "-", "--quiet")
    assert json.loads(again.stdout) == first


def test_json_on_the_standard_output_comes_alone(invoke) -> None:
    ended = invoke(*TERMS, "--no-dense", "--json", "-")
    assert ended.exit_code == 0, ended.output
    assert [r["method"] for r in results(ended.stdout)] == ["omp-after"]
    assert "warning" not in ended.stderr


@pytest.mark.parametrize("form", ["markdown", "csv", "latex", "json"])
def test_every_format_has_the_row(invoke, form: str) -> None:
    ended = invoke(*TERMS, "--format", form, "--quiet")
    assert ended.exit_code == 0, ended.output
    assert "omp-after" in ended.stdout
    assert invoke("report", "smc-eval-runs", "--format", form).stdout == ended.stdout


def test_quiet_prints_only_the_results(invoke) -> None:
    assert invoke(*TERMS, "--quiet").stderr == ""


def test_a_failed_cell_keeps_its_place_and_the_others_run(invoke) -> None:
    words = ("--model", "tiny", "--tasks", "broken,terms", "--method", "omp-after", "--sparsity", "0.5")
    ended = invoke(*words, "--json", "-")
    assert ended.exit_code == 1, ended.output
    assert [(r["task"], r["status"], r["reason"]) for r in results(ended.stdout)] == [
        ("broken", "failed", "train.csv, line 3: no number"),
        ("broken", "failed", "train.csv, line 3: no number"),
        ("terms/gts", "ok", ""),
        ("terms/gts", "ok", ""),
    ]


def test_if_no_cell_can_run_the_command_is_refused(invoke, refused) -> None:
    assert "train.csv, line 3: no number" in refused(invoke("--tasks", "broken", "--method", "omp-after"))


def test_a_refused_target_is_skipped_and_is_no_failure(invoke) -> None:
    ended = invoke(*TERMS, "--method", "lth", "--sparsity", "2:4", "--json", "-")
    assert ended.exit_code == 0, ended.output
    outcomes = {r["method"]: (r["status"], r["reason"]) for r in results(ended.stdout)}
    assert outcomes["omp-after"][0] == "ok"
    assert outcomes["lth"] == (
        "skipped",
        "method 'lth' does not support pattern '2:4'; it supports: free, heads, neurons",
    )


def test_a_limit_is_in_a_warning_and_in_every_record(invoke) -> None:
    ended = invoke(*TERMS, "--limit", "9", "--json", "-", "--quiet")
    assert "warning: --limit 9 keeps only 9 examples" in ended.stderr
    assert {r["data"]["limited"] for r in results(ended.stdout)} == {9}


def test_a_reason_is_printed_once_for_all_cells_that_it_stops(invoke) -> None:
    ended = invoke(
        "--model", "tiny", "--tasks", "broken,terms", "--method", "omp-after", "--sparsity", "0.5,0.8"
    )
    assert ended.stderr.count("line 3: no number") == 1
    assert "3 cells cannot run (broken dense 0 seed 0, …)" in ended.stderr


def test_a_task_that_keeps_its_published_model_is_named(invoke) -> None:
    ended = invoke("--model", "scratch", "--tasks", "maths", "--folds", "1", "--json", "-")
    reason = "this task does not build 'scratch'; it accepts: tiny"
    line = f"task 'terms/gts' keeps its published model 'tiny': {reason}"
    assert f"warning: {line}" in ended.stderr.splitlines()
    assert {(r["task"], r["model"], r["fold"]) for r in results(ended.stdout)} == {
        ("sums/gts", "scratch", 1),
        ("terms/gts", "tiny", None),
    }
    assert {(r["task"], *r.get("refused_models", ())) for r in results(ended.stdout)} == {
        ("sums/gts",),
        ("terms/gts", reason),
    }
    quiet = invoke("--model", "scratch", "--tasks", "maths", "--folds", "1", "--quiet")
    assert quiet.stderr.splitlines() == [f"warning: {line}"] and line in quiet.stdout.splitlines()
    assert line in invoke("report", "smc-eval-runs").stdout.splitlines()
    assert f"warning: {line}" in invoke("plan", "--model", "scratch", "--tasks", "maths", "--quiet").stdout


def test_a_kept_model_is_told_of_the_run_that_names_another_and_of_no_other(invoke) -> None:
    words = ("--tasks", "maths", "--folds", "1", "--quiet", "--json", "-")
    plain = results(invoke(*words).stdout)
    named = results(invoke(*words, "--model", "scratch").stdout)
    again = results(invoke(*words).stdout)
    assert plain == again
    assert [r.pop("refused_models", None) for r in named] == [
        None,
        ["this task does not build 'scratch'; it accepts: tiny"],
    ]
    assert named == plain  # the same cells, from the store


def test_a_task_that_is_named_alone_never_gets_another_model(invoke, refused) -> None:
    message = refused(invoke("--model", "scratch", "--tasks", "sums,terms/gts"))
    reason = "this task does not build 'scratch'; it accepts: tiny"
    assert message.splitlines() == [
        f"error: task 'terms/gts' cannot run with --model scratch: {reason}",
        "leave the task out, or give it a model of its own: --model terms/gts=MODEL",
    ]
    ended = invoke("--model", "scratch", "--model", "terms/gts=tiny", "--tasks", "sums,terms/gts", "--quiet")
    assert ended.exit_code == 0, ended.output


def test_a_model_that_no_task_can_use_is_refused(invoke, refused) -> None:
    message = refused(invoke("--model", "tiny", "--model", "scratch", "--tasks", "terms"))
    assert "no task to run can use --model scratch; task 'terms/gts': this task does not build" in message


def test_include_prunes_only_the_named_tensors(invoke) -> None:
    words = (*TERMS, "--quiet", "--json", "-")
    whole = results(invoke(*words).stdout)
    chosen = results(invoke(*words, "--include", "down", "--include", "re:.*weight_hh").stdout)
    rest = results(invoke(*words, "--exclude", "down", "--exclude", "re:.*weight_hh").stdout)
    names = [set(records[1]["certificate"]["tensors"]) for records in (whole, chosen, rest)]
    assert names[1] == {"down.weight", "encoder.weight_hh_l0"}
    assert names[2] == names[0] - names[1] and names[1] < names[0]
    for records in (chosen, rest):
        assert records[1]["certificate"]["ok"]
        assert records[1]["sparsity"]["scope"] == pytest.approx(0.5, abs=0.01)
        assert records[0] == whole[0]  # the dense net ignores patterns
    assert chosen[1]["target"]["include"] == ["down", "re:.*weight_hh"]
    assert rest[1]["target"]["exclude"] == ["down", "re:.*weight_hh"]
    assert not {"include", "exclude"} & whole[1]["target"].keys()
    assert len({records[1]["digest"] for records in (whole, chosen, rest)}) == 3


def test_the_footer_and_a_facet_have_the_patterns(invoke) -> None:
    ended = invoke(*TERMS, "--quiet", "--include", "down")
    assert ended.exit_code == 0, ended.output
    assert "include down" in ended.stdout
    invoke(*TERMS, "--quiet")
    table = invoke("report", "smc-eval-runs").stdout
    assert "omp-after (include=down)" in table


def test_a_pattern_that_matches_no_tensor_fails_the_cell_and_is_named(invoke) -> None:
    ended = invoke(*TERMS, "--include", "*.nothing", "--quiet", "--json", "-")
    assert ended.exit_code == 1
    dense, pruned = results(ended.stdout)
    assert dense["status"] == "ok" and pruned["status"] == "failed"
    assert pruned["reason"].startswith("--include '*.nothing' matches no tensor in scope 'body' of ToyNet")


def test_every_method_that_prunes_also_runs_ablated(invoke) -> None:
    ended = invoke(*TERMS, "--ablate", "shuffle,random", "--ablate", "invert", "--quiet")
    assert ended.exit_code == 0, ended.output
    for row in ("omp-after+shuffle", "omp-after+random", "omp-after+invert"):
        assert row in ended.stdout
    records = results(invoke("report", "smc-eval-runs", "--json", "-").stdout)
    assert [r["method"] for r in records] == [
        "dense", "omp-after", "omp-after+shuffle", "omp-after+random", "omp-after+invert"
    ]  # fmt: skip
    layers = {
        json.dumps(r["certificate"]["tensors"])
        for r in records
        if r["method"] not in ("dense", "omp-after+invert")
    }
    assert len(layers) == 1
    assert len({r["certificate"].get("mask_digest") for r in records}) == 5


def test_custom_masks_are_in_the_column_of_their_sparsity(invoke) -> None:
    ended = invoke(
        "--tasks", "pruned", "--method", "from-checkpoint,omp-after", "--sparsity", "0.25", "--quiet"
    )
    assert ended.exit_code == 0, ended.output
    head, _, custom, after, *_ = ended.stdout.splitlines()
    assert head.split() == ["task", "method", "dense", "0.25", "0.501"]
    assert custom.split()[1] == "from-checkpoint" and custom.split()[3] == "–"
    assert after.split()[0] == "omp-after" and after.split()[3] == "–"


def test_custom_masks_from_a_net_without_zeros_fail_only_their_cell(invoke) -> None:
    ended = invoke(*TERMS, "--method", "from-checkpoint", "--quiet", "--json", "-")
    assert ended.exit_code == 1
    outcomes = {r["method"]: (r["status"], r["reason"]) for r in results(ended.stdout)}
    assert outcomes["omp-after"][0] == "ok" and outcomes["from-checkpoint"][0] == "failed"
    assert "prune nothing in scope" in outcomes["from-checkpoint"][1]


def test_every_row_of_a_matched_run_trains_for_the_same_steps(invoke) -> None:
    words = ("--tasks", "terms", "--method", "omp-after,lth,snip:batches=1", "--sparsity", "0.2")
    words = (*words, "--recipe", "steps=8", "--match", "steps")
    planned = json.loads(invoke("plan", *words, "--json").stdout)
    assert (planned["totals"]["steps_without_sharing"], planned["match"]) == (4 * 8, "steps")
    assert (
        "every chain has the training budget of --match steps" in invoke("plan", *words).stdout.splitlines()
    )
    ended = invoke(*words, "--quiet")
    assert ended.exit_code == 0, ended.output
    assert "match steps" in ended.stdout
    records = results(invoke("report", "smc-eval-runs", "--json", "-").stdout)
    assert [(r["method"], r["cost"]["steps"], r["match"].get("measure")) for r in records] == [
        ("dense", 8, None), ("omp-after", 8, "steps"), ("lth", 8, "steps"), ("snip:batches=1", 8, "steps")
    ]  # fmt: skip


def test_keep_results_leaves_no_nets_in_the_store(invoke) -> None:
    assert invoke(*TERMS, "--quiet", "--keep", "results").exit_code == 0
    assert not list(Path("smc-eval-runs/nets").iterdir())


def test_an_interruption_prints_how_to_go_on(invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    from smc_eval.engine import runner

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run_cells", interrupted)
    ended = invoke(*TERMS, "--quiet")
    assert ended.exit_code == 130
    assert "run the same command again to continue" in ended.stderr


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_ends_a_training_with_a_checkpoint_and_one_line(
    training: Any, tmp_path: Path, name: str, code: int, jobs: int
) -> None:
    words = "--model tiny --tasks mawps/gts --folds 0 --method dense --recipe steps=100000 --threads 1"
    process = training(f"{words} --jobs {jobs}", "train 100000 steps")
    process.send_signal(signal.Signals[name])
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, "")
    assert err.splitlines()[-1].startswith("interrupted; finished work is kept")
    assert "Traceback" not in err
    (checkpoint,) = (tmp_path / "partial").glob("[!.]*")
    saved = Store(tmp_path).load_partial(checkpoint.name)
    assert saved is not None and saved["step"] > 0
