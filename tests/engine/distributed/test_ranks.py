"""Several ranks carry out one cell as one would, and end together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from typer.testing import CliRunner

from smc_eval.cli import app
from smc_eval.engine import runner
from smc_eval.engine.batches import Batches, own_passes
from smc_eval.engine.device import Device
from smc_eval.engine.distributed.ranks import BUCKET, buckets
from smc_eval.engine.progress import Silent
from smc_eval.engine.run_options import RunOptions
from smc_eval.engine.runner import run_cells
from smc_eval.errors import UsageError
from smc_eval.recipe import Recipe
from smc_eval.store.record import Record
from smc_eval.store.store import Store
from smc_eval.testing import Example, Toy, assert_equal, without_time

SCRIPT = Path(__file__).with_name("ranked.py")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
CELLS = (
    *("dense", "snip", "rigl", "gmp", "obert", "lth"),
    *("grasp", "synflow", "wanda", "sparsegpt", "movement", "tokens", "best", "tuned"),
)

pytestmark = pytest.mark.timeout(900)  # two processes that import torch, where others work too


def launched(folder: Path, *words: str, ranks: int = 2) -> subprocess.CompletedProcess[str]:
    """The script on so many ranks: what is wrong there, and the cells."""
    launcher = TORCHRUN if ranks > 1 else (sys.executable,)
    command = [*launcher, str(SCRIPT), str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


def records(folder: Path) -> dict[str, Record]:
    return Store(folder).records.latest()


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The same cells carried out by one rank, and by two."""
    folders = {ranks: tmp_path_factory.mktemp("ranks") for ranks in (1, 2)}
    for ranks, folder in folders.items():
        ran = launched(folder, "whole", *CELLS, ranks=ranks)
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.split() == ["ok"] * len(CELLS)  # the first rank alone speaks
    return folders


@pytest.fixture(params=range(len(CELLS)), ids=CELLS)
def pair(request: pytest.FixtureRequest, stores: dict[int, Path]) -> list[Record]:
    """The records of one cell, by one rank and by two."""
    digest = list(records(stores[1]))[request.param]
    return [records(folder)[digest] for folder in stores.values()]


def test_ranks_change_no_digest_and_write_each_record_once(stores: dict[int, Path]) -> None:
    alone, both = (records(folder) for folder in stores.values())
    assert list(alone) == list(both)
    assert len((stores[2] / "results.jsonl").read_text(encoding="utf-8").splitlines()) == len(CELLS)


def test_two_ranks_end_with_the_masks_of_one(pair: list[Record], stores: dict[int, Path]) -> None:
    one, two = (Store(stores[n]).masks.load(pair[0].digest) for n in (1, 2))
    assert one is not None and two is not None and one.keys() == two.keys()
    assert (len(one) > 0) == (pair[0].target.sparsity > 0)
    assert all(torch.equal(mask, two[name]) for name, mask in one.items())


def test_two_ranks_end_with_the_weights_of_one(pair: list[Record], stores: dict[int, Path]) -> None:
    moved, other = (result.certificate.moved for result in pair)
    assert other["tensors"].keys() == moved["tensors"].keys()
    for name, far in moved["tensors"].items():
        assert other["tensors"][name] == pytest.approx(far, rel=1e-3)


def test_two_ranks_count_as_one_does(pair: list[Record]) -> None:
    one, two = (without_time(result)["cost"] for result in pair)
    flops, others = one.pop("flops"), two.pop("flops")
    assert one == two
    for of, found in flops.items():
        assert others[of] == pytest.approx(found, rel=0.15)  # another padding, where lengths differ
    assert [result.versions["ranks"] for result in pair] == [1, 2]


def test_nets_lie_close_to_each_other(stores: dict[int, Path]) -> None:
    one, two = (Store(folder) for folder in stores.values())
    assert one.nets() == two.nets() != set()
    for digest in one.nets():
        first, second = one.load(digest), two.load(digest)
        assert first is not None and second is not None
        for name, tensor in first[0].items():
            torch.testing.assert_close(second[0][name], tensor, rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cells that go wrong on the second rank, and one after them whose net draws by lot."""
    folder = tmp_path_factory.mktemp("troubled")
    ran = launched(folder, "whole", "Moon", "Crooked", "Short", "drawn")
    assert ran.returncode == 0, ran.stderr
    return folder


@pytest.fixture
def troubled(store: Path) -> dict[str, Record]:
    """Their records."""
    return dict(zip(("Moon", "Crooked", "Short", "drawn"), records(store).values(), strict=True))


def test_an_error_on_one_rank_fails_its_cell_alone_with_its_reason(troubled: dict[str, Record]) -> None:
    assert troubled["Moon"].status == "failed"
    reason, _, log = troubled["Moon"].reason.partition("\nfull story in ")
    assert reason == "RuntimeError: the moon is full"
    assert "on rank 1:" in Path(log).read_text(encoding="utf-8")
    assert troubled["drawn"].sound


def test_ranks_whose_masks_differ_stop_the_cell_and_name_the_tensor(troubled: dict[str, Record]) -> None:
    assert troubled["Crooked"].status == "failed"
    assert troubled["Crooked"].reason.startswith(
        "rank 1 has other masks than rank 0, first of 'down.weight'; "
    )


def test_a_rank_short_of_memory_has_all_try_again_with_smaller_passes(troubled: dict[str, Record]) -> None:
    assert troubled["Short"].sound and troubled["Short"].cost.parts == 2


def test_a_killed_rank_ends_the_other_with_a_reason_and_nothing_is_lost(tmp_path: Path, store: Path) -> None:
    ran = launched(tmp_path, "kill", "drawn")
    assert ran.returncode != 0 and ran.stdout == ""
    assert "another of 2 ranks has ended" in ran.stderr or "the launcher ends this rank" in ran.stderr
    assert "issue the same command again to go on" in ran.stderr
    assert records(tmp_path) == {}
    assert [path.name for path in tmp_path.rglob(".*")] == []
    assert len(list((tmp_path / "partial").iterdir())) == 1
    again = launched(tmp_path, "whole", "drawn")
    assert again.returncode == 0, again.stderr
    ((digest, found),) = records(tmp_path).items()
    assert without_time(found) == without_time(records(store)[digest])
    (net,) = Store(tmp_path).nets()
    resumed, whole = (Store(folder).load(net) for folder in (tmp_path, store))
    assert resumed is not None and whole is not None
    assert_equal([resumed[0]], [whole[0]])


def test_a_rank_that_fails_where_no_other_does_ends_all_and_says_why(tmp_path: Path) -> None:
    ran = launched(tmp_path, "alone", "dense")
    assert ran.returncode != 0 and ran.stdout == ""
    assert "rank 1 of 2 failed: no other rank has seen it" in ran.stderr
    assert records(tmp_path) == {}


LINE = ("--model", "tiny", "--tasks", "mawps/gts", "--folds", "0", "--method", "omp-after", "--limit", "20")


def test_the_command_line_speaks_with_one_voice(tmp_path: Path) -> None:
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
    )
    assert process.stderr is not None
    told = list[str]()
    for line in process.stderr:
        told.append(line)
        if "steps/s" in line:  # under way
            break
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, rest = process.communicate(timeout=300)
    assert process.returncode != 0
    told.append(rest)
    assert "".join(told).count("issue the same command again to go on") == 1
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    assert records(tmp_path) == {}


def test_ranks_and_jobs_do_not_go_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="--jobs 3 carries out several cells at once, and 2 ranks"):
        run_cells([], RunOptions(tmp_path, device="cpu", jobs=3))
    said = CliRunner().invoke(app, ["work", "--tasks", "all", "--output", str(tmp_path / "new")])
    assert said.exit_code == 2 and "work carries out several cells at once" in said.stderr
    assert not (tmp_path / "new").exists()


def test_one_device_is_not_for_many_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(UsageError, match="--device cuda:1 is one device, and there are 2 ranks"):
        Device("cuda:1")


def test_what_is_no_run_the_first_rank_does_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    first = CliRunner().invoke(app, ["list"], env={"RANK": "0"})
    second = CliRunner().invoke(app, ["list"], env={"RANK": "1"})
    assert "csqa" in first.stdout and second.exit_code == 0 and second.stdout == ""


def test_an_error_that_the_first_rank_has_not_is_told_by_the_rank_that_has(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.modules["smc_eval.cli.app"], "RANK_GRACE", 0.0)
    monkeypatch.setattr(sys, "__stderr__", sys.stderr)
    said = CliRunner().invoke(app, ["--tasks", "nosuch"], env={"WORLD_SIZE": "2", "RANK": "1"})
    assert said.exit_code == 2
    assert "error: on rank 1: no task or group is named 'nosuch'" in capfd.readouterr().err


def test_ranks_that_mean_other_cells_compute_nothing(tmp_path: Path) -> None:
    device: Any = SimpleNamespace(ranks=SimpleNamespace(gather=lambda mine: [mine, ["others"]]))
    with pytest.raises(UsageError, match="rank 1 means other cells by the same words than rank 0"):
        runner._joined([], Store(tmp_path), device, Silent())


def test_gradients_are_added_up_and_what_norms_track_is_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.ModuleDict({"norm": nn.BatchNorm1d(2), "idle": nn.Linear(2, 2)})
    model["norm"](torch.tensor([[1.0, 2.0], [3.0, 6.0]])).square().sum().backward()
    tracked, slope = model["norm"].running_mean.clone(), model["norm"].bias.grad.clone()
    ranks = Device("cpu", threads=1).ranks
    ranks.size = 2
    monkeypatch.setattr(ranks, "add", lambda tensors: [tensor.mul_(2) for tensor in tensors])  # a twin's
    assert ranks.reduce(model, 0.25) == 0.5
    torch.testing.assert_close(model["norm"].bias.grad, 2 * slope)
    torch.testing.assert_close(model["norm"].running_mean, tracked)
    assert model["idle"].weight.grad is None


def some(rank: int, ranks: int) -> Any:
    return SimpleNamespace(rank=rank, size=ranks)


@given(st.lists(st.lists(st.integers(), min_size=1, max_size=9), max_size=9), st.integers(1, 5))
def test_every_example_is_dealt_to_one_rank_in_a_pass_of_its_own(parts: list[list[int]], ranks: int) -> None:
    parts = [[10 * number + place for place in range(len(part))] for number, part in enumerate(parts)]
    hands = [list(own_passes(parts, some(rank, ranks))) for rank in range(ranks)]
    assert sorted(i for hand in hands for own, _ in hand for i in own) == [i for part in parts for i in part]
    assert all(own and set(own) <= set(parts[number]) for hand in hands for own, number in hand)
    passes = [len(hand) for hand in hands]
    assert not parts or passes[0] == max(passes) > 0  # the first rank is never idle


class Weighed(Toy):
    """Examples weigh unlike, and are their own batch."""

    def terms(self, example: Example) -> int:
        return 1 + sum(example[0]) % 7

    def collate(self, examples: Sequence[Example]) -> Any:
        return list(examples)


@given(st.integers(1, 4), st.integers(0, 5), st.integers(1, 3), st.sampled_from([None, 2]))
def test_an_example_has_the_same_share_of_a_step_however_the_step_is_cut(
    ranks: int, step: int, parts: int, tokens: int | None
) -> None:
    recipe = Recipe(steps=1, batch_size=4, accumulation=2, tokens=tokens)

    def shares(batches: Batches) -> dict[Example, float]:
        found = dict[Example, float]()
        for batch, share in batches.step(step):
            terms = {example: batches.task.terms(example) for example in batch}
            found |= {example: share * own / sum(terms.values()) for example, own in terms.items()}
        return found

    task, device = Weighed(), Device("cpu", threads=1)
    whole, cut = shares(Batches(task, recipe, "a", device)), Batches(task, recipe, "a", device, parts)
    found = dict[Example, float]()
    for rank in range(ranks):
        device.ranks.rank, device.ranks.size = rank, ranks
        found |= shares(cut)
    assert found == pytest.approx(whole) and sum(whole.values()) == pytest.approx(1)


def test_tensors_are_sent_together_in_order_and_by_their_kind() -> None:
    small, large = torch.zeros(3), torch.empty(BUCKET // 4)
    parts = list(buckets([small, small, large, small, small.bool(), small.bool()]))
    assert [len(part) for part in parts] == [2, 1, 1, 2]
    assert list(buckets([])) == []


def test_other_ranks_draw_by_themselves_unless_they_are_to_draw_alike() -> None:
    device, drawn = Device("cpu", threads=1), list[float]()
    for rank in (0, 1):
        device.ranks.rank = rank
        for alike in (False, True):
            device.seed("a", alike=alike)
            drawn.append(float(torch.rand(())))
    assert drawn[0] == drawn[1] == drawn[3] != drawn[2]
