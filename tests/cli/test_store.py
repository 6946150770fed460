"""The verb store: list, verify and clean up the files of a store."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from smc_eval.store.store import Store

TERMS = ("--model", "tiny", "--tasks", "terms", "--method", "omp-after", "--sparsity", "0.5")


def test_a_store_is_listed_verified_and_pruned(invoke) -> None:
    assert invoke(*TERMS, "--quiet").exit_code == 0
    ended = invoke("store", "smc-eval-runs", "--verify")
    assert ended.exit_code == 0, ended.output
    lines = ended.stdout.splitlines()
    assert lines[0].split()[:2] == ["nets", "1"] and lines[0].endswith("nets that several cells share")
    assert len({line.index(line.split()[2]) for line in lines[:6] if line.split()[1] == "0"}) == 1  # aligned
    assert lines[-2:] == ["processes: none", "all files are complete"]
    (net,) = Path("smc-eval-runs/nets").iterdir()
    weights = net / "net.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    verified = invoke("store", "smc-eval-runs", "--verify")
    assert verified.exit_code == 1 and f"broken: nets/{net.name} is cut short or altered" in verified.stdout
    table = invoke("report", "smc-eval-runs").stdout
    pruned = invoke("store", "smc-eval-runs", "--prune", "--results-only")
    assert pruned.stdout.startswith("deleted 1 item, ")
    assert not list(Path("smc-eval-runs/nets").iterdir())
    assert invoke("report", "smc-eval-runs").stdout == table
    assert invoke("store", "smc-eval-runs", "--verify").exit_code == 0


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (("--older", "1h"), "bc"),
        (("--size", "3.5KB"), "bc"),
        (("--size", "1GB"), "abc"),
        (("--older", "2m"), "c"),
    ],
)
def test_the_oldest_files_are_pruned_first(invoke, words: tuple[str, ...], left: str) -> None:
    Store(Path("s")).open()
    for name, age in (("a", 7200), ("b", 600), ("c", 0)):
        path = Path("s/partial") / name
        path.write_bytes(bytes(1500))
        os.utime(path, (time.time() - age,) * 2)
    ended = invoke("store", "s", "--prune", *words)
    assert ended.exit_code == 0, ended.output
    assert "".join(sorted(path.name for path in Path("s/partial").iterdir())) == left


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--prune",), "--prune needs one of --older, --size, --results-only"),
        (("--older", "1h"), "--prune needs one of"),
        (("--prune", "--older", "soon"), "--older 'soon' cannot be read"),
        (("--prune", "--size", "5"), "--size '5' cannot be read"),
        ((), "is not a store"),
    ],
)
def test_a_wrong_option_is_refused(invoke, refused, words: tuple[str, ...], message: str) -> None:
    assert message in refused(invoke("store", ".", *words))


def test_a_store_with_a_running_process_is_not_pruned(invoke, refused) -> None:
    store, prune = Store(Path("s")), ("store", "s", "--prune", "--results-only")
    store.open()
    with store.lock("d", print):
        assert f"(process {os.getpid()}) works in 's'" in refused(invoke(*prune))
        assert f"(process {os.getpid()})" in invoke("store", "s").stdout.splitlines()[-1]
    assert invoke(*prune).exit_code == 0
