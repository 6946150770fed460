"""Sharded nets: ranks that hold rows of a net get the results of one rank with the whole net."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from smc_eval.store.record import Record
from smc_eval.store.store import Store
from smc_eval.testing import assert_equal, without_time

SCRIPT = Path(__file__).with_name("sharded.py")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
CELLS = (
    *("dense", "before", "after", "pattern", "gmp", "snip", "rigl", "lth", "random", "set", "movement"),
    *("ac-dc", "top-kast", "sr-ste", "mest"),
    *("uphill", "tokens", "best", "csqa", "recomputed", "winogrande", "protein", "degrees"),
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),  # two processes that import torch, on a busy machine
]


def launched(folder: Path, how: str, *words: str) -> subprocess.CompletedProcess[str]:
    """The program on one rank, or on two if it shards: how it runs, and the names of the cells."""
    launcher = TORCHRUN if how.startswith("shard") else (sys.executable,)
    command = [*launcher, str(SCRIPT), str(folder), how, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)


def records(folder: Path) -> dict[str, Record]:
    return Store(folder).records.latest()


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same cells on one rank, and on two that hold half of the rows each."""
    folders = {how: tmp_path_factory.mktemp(how) for how in ("whole", "shard")}
    for how, folder in folders.items():
        ran = launched(folder, how, *CELLS)
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.split() == ["ok"] * len(CELLS)
    return folders


@pytest.fixture(params=range(len(CELLS)), ids=CELLS)
def pair(request: pytest.FixtureRequest, stores: dict[str, Path]) -> list[Record]:
    """The records of one cell, on one rank and on two."""
    digest = list(records(stores["whole"]))[request.param]
    return [records(folder)[digest] for folder in stores.values()]


def test_masks_equal_those_of_one_rank(pair: list[Record], stores: dict[str, Path]) -> None:
    one, two = (Store(folder).masks.load(pair[0].digest) for folder in stores.values())
    assert one is not None and two is not None and one.keys() == two.keys()
    assert (len(one) > 0) == (pair[0].target.sparsity > 0)
    assert all(torch.equal(mask, two[name]) for name, mask in one.items())


def test_certificates_equal_those_of_one_rank(pair: list[Record]) -> None:
    one, two = (record.certificate for record in pair)
    assert one is not None and two is not None and one.ok
    assert replace(one, moved=two.moved) == two
    for name, change in one.moved.tensors.items():
        assert two.moved.tensors[name] == pytest.approx(change, rel=1e-3)


def test_costs_equal_those_of_one_rank(pair: list[Record]) -> None:
    one, two = (without_time(record).cost for record in pair)
    assert one is not None and two is not None
    assert replace(one, flops=two.flops) == two
    for activity, counts in asdict(one.flops).items():
        # padding differs, if lengths differ
        assert asdict(two.flops)[activity] == pytest.approx(counts, rel=0.15)
    assert [result.versions.get("sharded") for result in pair] == [None, True]


def test_stored_nets_have_the_same_form(stores: dict[str, Path]) -> None:
    one, two = (Store(folder) for folder in stores.values())
    assert one.nets() == two.nets() != set()
    for digest in one.nets():
        first, second = one.load(digest), two.load(digest)
        assert first is not None and second is not None
        assert first[0].keys() == second[0].keys() and first[1].keys() == second[1].keys()
        for name, tensor in first[0].items():
            # one bias for all choices changes no probability: its gradient is rounding, scaled up by Adam
            tolerance = 1e-2 if name == "out.bias" else 1e-4
            torch.testing.assert_close(second[0][name], tensor, rtol=1e-3, atol=tolerance)


@pytest.mark.parametrize("task", ["Questions", "Blanks", "HpS2C2"])
def test_a_rank_holds_half_of_weights_masks_and_optimizer(task: str, stores: dict[str, Path]) -> None:
    (whole,) = stores["whole"].glob(f"held-{task}-*.json")
    parts = stores["shard"].glob(f"held-{task}-*.json")
    alone = json.loads(whole.read_text(encoding="utf-8"))
    both = [json.loads(path.read_text(encoding="utf-8")) for path in parts]
    assert len(both) == 2
    for held in both:
        assert {what: size / alone[what] for what, size in held.items()} == pytest.approx(
            {"weights": 0.5, "masks": 0.5, "optimizer": 0.5}, rel=0.01
        )
    for what in ("weights", "masks"):
        assert sum(held[what] for held in both) == alone[what]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the checkpoint of two ranks, of which one was killed."""
    folder = tmp_path_factory.mktemp("killed")
    ran = launched(folder, "shard-kill", "gmp")
    assert ran.returncode != 0 and ran.stdout == ""
    assert "run the same command again to continue" in ran.stderr
    assert records(folder) == {} and len(list((folder / "partial").iterdir())) == 1
    return folder


def test_a_resumed_training_equals_an_undisturbed_one(
    killed: Path, stores: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(killed, tmp_path / "resumed")
    again = launched(folder, "shard", "gmp")
    assert again.returncode == 0, again.stderr
    ((digest, record),) = records(folder).items()
    assert without_time(record) == without_time(records(stores["shard"])[digest])
    (net,) = Store(folder).nets()
    resumed, whole = (Store(path).load(net) for path in (folder, stores["shard"]))
    assert resumed is not None and whole is not None
    assert_equal([resumed[0]], [whole[0]])


@pytest.mark.parametrize(("first", "second"), [("shard", "whole"), ("whole", "shard")])
def test_a_run_can_continue_with_or_without_shards(
    first: str, second: str, stores: dict[str, Path], tmp_path: Path
) -> None:
    assert launched(tmp_path, f"{first}-kill", "gmp").returncode != 0
    assert records(tmp_path) == {} and len(list((tmp_path / "partial").iterdir())) == 1
    again = launched(tmp_path, second, "gmp")
    assert again.returncode == 0, again.stderr
    ((digest, record),) = records(tmp_path).items()
    assert record.certificate.mask_digest == records(stores["whole"])[digest].certificate.mask_digest
    assert record.versions.get("sharded", False) == (second == "shard") and record.cost.steps == 12


def test_an_error_on_all_ranks_fails_only_its_cell(tmp_path: Path) -> None:
    ran = launched(tmp_path, "shard", "Failing", "drawn", "bf16")
    assert ran.returncode == 0, ran.stderr
    failed, drawn, half = records(tmp_path).values()
    assert failed.reason.startswith("RuntimeError: the sun has set") and drawn.sound and half.sound


def test_an_error_on_one_rank_ends_all_with_the_reason(tmp_path: Path) -> None:
    ran = launched(tmp_path, "shard", "Moon")
    assert ran.returncode != 0 and ran.stdout == ""
    assert "rank 1 of 2 failed: the moon is full" in ran.stderr
    assert records(tmp_path) == {}


def test_the_command_line_shards(tmp_path: Path) -> None:
    words = ("--tasks", "csqa", "--model", "tiny", "--method", "omp-before", "--sparsity", "0.5")
    more = ("--recipe", "epochs=1", "--limit", "20", "--device", "cpu", "--output", str(tmp_path), "--shard")
    command = [*TORCHRUN, "-m", "smc_eval", *words, *more]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("cells: 2 ok") == 1
    assert "FSDP" not in ran.stderr
    assert {result.versions["sharded"] for result in records(tmp_path).values()} == {True}
