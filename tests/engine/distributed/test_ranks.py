"""Several ranks compute the same cell as one, and end together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from smc_eval.store.record import Record
from smc_eval.store.store import Store
from smc_eval.testing import assert_equal, without_time

SCRIPT = Path(__file__).with_name("ranked.py")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
CELLS = (
    *("dense", "snip", "rigl", "gmp", "obert", "lth"),
    *("grasp", "synflow", "wanda", "sparsegpt", "movement", "tokens", "best", "tuned"),
    *("deep-wanda", "deep-sparsegpt"),
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),  # two processes that import torch, on a busy machine
]


def launched(folder: Path, *words: str, ranks: int = 2) -> subprocess.CompletedProcess[str]:
    """The program on so many ranks: how rank 1 fails, and the names of the cells."""
    launcher = TORCHRUN if ranks > 1 else (sys.executable,)
    command = [*launcher, str(SCRIPT), str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


def records(folder: Path) -> dict[str, Record]:
    return Store(folder).records.latest()


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The same cells on one rank, and on two."""
    folders = {ranks: tmp_path_factory.mktemp("ranks") for ranks in (1, 2)}
    for ranks, folder in folders.items():
        ran = launched(folder, "whole", *CELLS, ranks=ranks)
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.split() == ["ok"] * len(CELLS)  # only rank 0 prints
    return folders


@pytest.fixture(params=range(len(CELLS)), ids=CELLS)
def pair(request: pytest.FixtureRequest, stores: dict[int, Path]) -> list[Record]:
    """The records of one cell, on one rank and on two."""
    digest = list(records(stores[1]))[request.param]
    return [records(folder)[digest] for folder in stores.values()]


def test_ranks_change_no_digest_and_write_each_record_once(stores: dict[int, Path]) -> None:
    alone, both = (records(folder) for folder in stores.values())
    assert list(alone) == list(both)
    assert len((stores[2] / "results.jsonl").read_text(encoding="utf-8").splitlines()) == len(CELLS)


def test_two_ranks_give_the_masks_of_one(pair: list[Record], stores: dict[int, Path]) -> None:
    one, two = (Store(stores[n]).masks.load(pair[0].digest) for n in (1, 2))
    assert one is not None and two is not None and one.keys() == two.keys()
    assert (len(one) > 0) == (pair[0].target.sparsity > 0)
    assert all(torch.equal(mask, two[name]) for name, mask in one.items())


def test_two_ranks_give_the_weights_of_one(pair: list[Record], stores: dict[int, Path]) -> None:
    one, two = (record.certificate.moved for record in pair if record.certificate)
    assert two.tensors.keys() == one.tensors.keys()
    for name, change in one.tensors.items():
        assert two.tensors[name] == pytest.approx(change, rel=1e-3)


def test_two_ranks_have_the_cost_of_one(pair: list[Record]) -> None:
    one, two = (without_time(record).cost for record in pair)
    assert one is not None and two is not None
    assert replace(one, flops=two.flops) == two
    for activity, counts in asdict(one.flops).items():
        # padding differs, if lengths differ
        assert asdict(two.flops)[activity] == pytest.approx(counts, rel=0.15)
    assert [record.versions["ranks"] for record in pair] == [1, 2]


def test_stored_nets_are_close_to_each_other(stores: dict[int, Path]) -> None:
    one, two = (Store(folder) for folder in stores.values())
    assert one.nets() == two.nets() != set()
    for digest in one.nets():
        first, second = one.load(digest), two.load(digest)
        assert first is not None and second is not None
        for name, tensor in first[0].items():
            torch.testing.assert_close(second[0][name], tensor, rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cells that fail on rank 1, and then a cell with dropout."""
    folder = tmp_path_factory.mktemp("troubled")
    ran = launched(folder, "whole", "Moon", "Crooked", "Short", "drawn")
    assert ran.returncode == 0, ran.stderr
    return folder


@pytest.fixture
def failing(store: Path) -> dict[str, Record]:
    """The records of these cells."""
    return dict(zip(("Moon", "Crooked", "Short", "drawn"), records(store).values(), strict=True))


def test_an_error_on_one_rank_fails_only_its_cell_with_the_reason(failing: dict[str, Record]) -> None:
    assert failing["Moon"].status == "failed"
    reason, _, log = failing["Moon"].reason.partition("; the traceback is in ")
    assert reason.startswith("RuntimeError: the moon is full\nin a cell of task ")
    assert "on rank 1:" in Path(log).read_text(encoding="utf-8")
    assert failing["drawn"].sound


def test_ranks_whose_masks_differ_stop_the_cell_and_name_the_tensor(failing: dict[str, Record]) -> None:
    assert failing["Crooked"].status == "failed"
    assert failing["Crooked"].reason.startswith(
        "rank 1 has other masks than rank 0, first of 'down.weight'; "
    )


def test_if_one_rank_runs_out_of_memory_all_try_again_with_smaller_passes(failing: dict[str, Record]) -> None:
    assert failing["Short"].sound and failing["Short"].cost.parts == 2


def test_a_killed_rank_ends_the_other_with_a_reason_and_loses_nothing(tmp_path: Path, store: Path) -> None:
    ran = launched(tmp_path, "kill", "drawn")
    assert ran.returncode != 0 and ran.stdout == ""
    assert "another of 2 ranks has ended" in ran.stderr or "the launcher ends this rank" in ran.stderr
    assert "run the same command again to continue" in ran.stderr
    assert records(tmp_path) == {}
    assert [path.name for path in tmp_path.rglob(".*")] == []
    assert len(list((tmp_path / "partial").iterdir())) == 1
    again = launched(tmp_path, "whole", "drawn")
    assert again.returncode == 0, again.stderr
    ((digest, record),) = records(tmp_path).items()
    assert without_time(record) == without_time(records(store)[digest])
    (net,) = Store(tmp_path).nets()
    resumed, whole = (Store(folder).load(net) for folder in (tmp_path, store))
    assert resumed is not None and whole is not None
    assert_equal([resumed[0]], [whole[0]])


def test_a_rank_that_fails_alone_ends_all_with_the_reason(tmp_path: Path) -> None:
    ran = launched(tmp_path, "alone", "dense")
    assert ran.returncode != 0 and ran.stdout == ""
    assert "rank 1 of 2 failed: no other rank has seen it" in ran.stderr
    assert records(tmp_path) == {}


LINE = ("--model", "tiny", "--tasks", "mawps/gts", "--folds", "0", "--method", "omp-after", "--limit", "20")


def test_the_command_line_prints_on_one_rank(tmp_path: Path) -> None:
    words = ("--sparsity", "0.5", "--recipe", "epochs=1", "--device", "cpu", "--output", str(tmp_path))
    command = [*TORCHRUN, "-m", "smc_eval", *LINE, *words]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("cells: 2 ok") == 1
    assert ran.stderr.count("warning: --limit 20") == 1
    assert {result.versions["ranks"] for result in records(tmp_path).values()} == {2}


def test_control_c_ends_all_ranks(tmp_path: Path) -> None:
    words = ("--recipe", "steps=1000000", "--device", "cpu", "--output", str(tmp_path))
    process = subprocess.Popen(
        [*TORCHRUN, "-m", "smc_eval", *LINE, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  no threads yet
    )
    assert process.stderr is not None
    lines = list[str]()
    for line in process.stderr:
        lines.append(line)
        if "steps/s" in line:  # it trains
            break
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, rest = process.communicate(timeout=300)
    assert process.returncode != 0
    lines.append(rest)
    assert "".join(lines).count("run the same command again to continue") == 1
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    assert records(tmp_path) == {}
