"""Ranks that hold rows of a net alone come to what one rank that holds it whole does."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
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
from smc_eval.engine.batches import accompanying_passes, own_passes
from smc_eval.engine.distributed import shards
from smc_eval.engine.distributed.shardable import refuse_unshardable, unshardable_parts
from smc_eval.engine.distributed.shards import layers, own, shard
from smc_eval.engine.run_options import RunOptions
from smc_eval.engine.runner import run_cells
from smc_eval.errors import SparsityError, UsageError
from smc_eval.experiment.cell import Chain
from smc_eval.method import Method
from smc_eval.methods.gmp_tuned import TunedGmp
from smc_eval.methods.grasp import Grasp
from smc_eval.methods.obert import OptimalBertSurgeon
from smc_eval.methods.omp import MagnitudeBefore
from smc_eval.methods.sparsegpt import SparseGPT
from smc_eval.methods.synflow import SynFlow
from smc_eval.methods.wanda import Wanda
from smc_eval.registry import load
from smc_eval.store.record import Record
from smc_eval.store.store import Store
from smc_eval.target import Target
from smc_eval.testing import Toy, ToyNet, assert_equal, chain_of, without_time

SCRIPT = Path(__file__).with_name("sharded.py")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
CELLS = (
    *("dense", "before", "after", "pattern", "gmp", "snip", "rigl", "lth", "random", "set", "movement"),
    *("tokens", "best", "csqa", "anew", "winogrande", "protein", "degrees"),
)

pytestmark = pytest.mark.timeout(900)  # two processes that import torch, where others work too


def launched(folder: Path, how: str, *words: str) -> subprocess.CompletedProcess[str]:
    """The script on one rank, or on two where it shards: what is wrong there, and the cells."""
    launcher = TORCHRUN if how.startswith("shard") else (sys.executable,)
    command = [*launcher, str(SCRIPT), str(folder), how, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)


def records(folder: Path) -> dict[str, Record]:
    return Store(folder).records.latest()


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same cells carried out by one rank, and by two that hold half the rows each."""
    folders = {how: tmp_path_factory.mktemp(how) for how in ("whole", "shard")}
    for how, folder in folders.items():
        ran = launched(folder, how, *CELLS)
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.split() == ["ok"] * len(CELLS)
    return folders


@pytest.fixture(params=range(len(CELLS)), ids=CELLS)
def pair(request: pytest.FixtureRequest, stores: dict[str, Path]) -> list[Record]:
    """The records of one cell, by one rank and by two."""
    digest = list(records(stores["whole"]))[request.param]
    return [records(folder)[digest] for folder in stores.values()]


def test_masks_are_those_of_one_rank_to_the_bit(pair: list[Record], stores: dict[str, Path]) -> None:
    one, two = (Store(folder).masks.load(pair[0].digest) for folder in stores.values())
    assert one is not None and two is not None and one.keys() == two.keys()
    assert (len(one) > 0) == (pair[0].target.sparsity > 0)
    assert all(torch.equal(mask, two[name]) for name, mask in one.items())


def test_certificates_are_those_of_one_rank(pair: list[Record]) -> None:
    one, two = (dict(result.certificate) for result in pair)
    moved, other = one.pop("moved"), two.pop("moved")
    assert one == two and one["ok"]
    for name, far in moved["tensors"].items():
        assert other["tensors"][name] == pytest.approx(far, rel=1e-3)


def test_costs_are_those_of_one_rank(pair: list[Record]) -> None:
    one, two = (without_time(result)["cost"] for result in pair)
    flops, others = one.pop("flops"), two.pop("flops")
    assert one == two
    for of, found in flops.items():
        assert others[of] == pytest.approx(found, rel=0.15)  # another padding, where lengths differ
    assert [result.versions.get("sharded") for result in pair] == [None, True]


def test_stored_nets_are_of_one_form(stores: dict[str, Path]) -> None:
    one, two = (Store(folder) for folder in stores.values())
    assert one.nets() == two.nets() != set()
    for digest in one.nets():
        first, second = one.load(digest), two.load(digest)
        assert first is not None and second is not None
        assert first[0].keys() == second[0].keys() and first[1].keys() == second[1].keys()
        for name, tensor in first[0].items():
            # one bias for all choices changes no probability: its gradient is rounding, which Adam scales up
            loose = 1e-2 if name == "out.bias" else 1e-4
            torch.testing.assert_close(second[0][name], tensor, rtol=1e-3, atol=loose)


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
    """A store in which two ranks left a checkpoint when one was killed."""
    folder = tmp_path_factory.mktemp("killed")
    ran = launched(folder, "shard-kill", "gmp")
    assert ran.returncode != 0 and ran.stdout == ""
    assert "issue the same command again to go on" in ran.stderr
    assert records(folder) == {} and len(list((folder / "partial").iterdir())) == 1
    return folder


def test_a_training_that_was_stopped_goes_on_as_if_it_never_was(
    killed: Path, stores: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(killed, tmp_path / "on")
    again = launched(folder, "shard", "gmp")
    assert again.returncode == 0, again.stderr
    ((digest, found),) = records(folder).items()
    assert without_time(found) == without_time(records(stores["shard"])[digest])
    (net,) = Store(folder).nets()
    resumed, whole = (Store(one).load(net) for one in (folder, stores["shard"]))
    assert resumed is not None and whole is not None
    assert_equal([resumed[0]], [whole[0]])


@pytest.mark.parametrize(("began", "ends"), [("shard", "whole"), ("whole", "shard")])
def test_what_was_begun_by_rows_ends_whole_and_the_other_way_round(
    began: str, ends: str, stores: dict[str, Path], tmp_path: Path
) -> None:
    assert launched(tmp_path, f"{began}-kill", "gmp").returncode != 0
    assert records(tmp_path) == {} and len(list((tmp_path / "partial").iterdir())) == 1
    again = launched(tmp_path, ends, "gmp")
    assert again.returncode == 0, again.stderr
    ((digest, found),) = records(tmp_path).items()
    assert found.certificate.mask_digest == records(stores["whole"])[digest].certificate.mask_digest
    assert found.versions.get("sharded", False) == (ends == "shard") and found.cost.steps == 12


def test_an_error_on_all_ranks_fails_its_cell_alone(tmp_path: Path) -> None:
    ran = launched(tmp_path, "shard", "Failing", "drawn", "bf16")
    assert ran.returncode == 0, ran.stderr
    failed, drawn, half = records(tmp_path).values()
    assert failed.reason.startswith("RuntimeError: the sun has set") and drawn.sound and half.sound


def test_an_error_on_one_rank_ends_all_and_says_why(tmp_path: Path) -> None:
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


def test_a_torch_that_is_too_old_is_refused_by_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "FSDPModule", object)
    with pytest.raises(UsageError, match=f"with torch {re.escape(torch.__version__)}; install a newer one"):
        shards.check_torch()


def test_one_rank_has_nobody_to_share_with(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--shard shares a net out among several ranks, and there is one"):
        run_cells([], RunOptions(tmp_path, device="cpu", shard=True))


@pytest.mark.parametrize(
    "method", [OptimalBertSurgeon(), SparseGPT(), Wanda(), SynFlow(), Grasp()], ids=lambda m: m.card.name
)
def test_what_decides_from_whole_tensors_is_refused_by_name(method: Method) -> None:
    chain = chain_of(method, Target(sparsity=0.5).with_distribution(method.card.distribution))
    with pytest.raises(UsageError, match=f"toy {method.card.name}.* decides masks from whole"):
        refuse_unshardable([chain])


def test_the_table_of_methods_in_the_manual_is_what_is_accepted() -> None:
    manual = Path(__file__).parents[3] / "docs" / "ranks.md"
    (line,) = re.findall(r"^\| methods \| (.*) \| (.*) \|$", manual.read_text(encoding="utf-8"), re.MULTILINE)
    accepted, refused = (set(re.findall("`([a-z-]+)`", cell)) for cell in line)
    found = {
        name: not list(unshardable_parts(chain_of(kind(), target(kind))))
        for name, kind in load().checked().methods.items()
    }
    found.pop("hello", None)  # a plugin, where it is installed
    assert {name for name, fit in found.items() if fit} == accepted
    assert {name for name, fit in found.items() if not fit} == refused


def target(kind: type[Method]) -> Target:
    """One that a method takes."""
    dense = kind.card.when in {"none", "custom"}
    return Target() if dense else Target(sparsity=0.5).with_distribution(kind.card.distribution)


class Parted(Toy):
    """A task that reaches into its net."""

    only_calls_model = False


HALF = Target(sparsity=0.5)


@pytest.mark.parametrize(
    ("chain", "why"),
    [
        (chain_of(TunedGmp(), HALF), "learns from another net"),
        (chain_of(MagnitudeBefore(), HALF, Parted()), "task 'toy' uses parts of its net"),
        (
            chain_of(MagnitudeBefore(), Target(sparsity=0.5, distribution="lamp")),
            "spread 'lamp' needs whole tensors",
        ),
        (
            chain_of(
                MagnitudeBefore(), HALF, Toy(recipe=Toy().recipe.model_copy(update={"precision": "fp16"}))
            ),
            "precision fp16",
        ),
    ],
)
def test_so_is_what_else_needs_more_than_rows(chain: Chain, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        refuse_unshardable([chain])


def test_what_is_refused_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="learns from another net"):
        run_cells([chain_of(TunedGmp(), HALF)], RunOptions(tmp_path / "new", device="cpu", shard=True))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("rows", [0, 1, 2, 5, 6, 7])
@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_rows_are_dealt_as_torch_deals_them(rows: int, ranks: int) -> None:
    whole = torch.arange(rows * 2).view(rows, 2)
    parts = [own(whole, rank, ranks) for rank in range(ranks)]
    dealt = list(torch.chunk(whole, ranks)) if rows else []
    assert torch.equal(torch.cat(parts), whole)
    assert [len(part) for part in parts] == [*map(len, dealt), *[0] * (ranks - len(dealt))]


@given(st.lists(st.lists(st.integers(), min_size=1, max_size=9), max_size=9), st.integers(2, 5))
def test_all_ranks_make_the_same_number_of_passes(parts: list[list[int]], ranks: int) -> None:
    some: list[Any] = [SimpleNamespace(rank=rank, size=ranks, sharded=True) for rank in range(ranks)]
    made = [[*(own for own, _ in own_passes(parts, one)), *accompanying_passes(parts, one)] for one in some]
    assert {len(passes) for passes in made} == {len(made[0])}
    assert all(passes and all(passes) for passes in made) == (len(parts) > 0)
    assert not any(
        list(accompanying_passes(parts, SimpleNamespace(**{**vars(one), "sharded": False}))) for one in some
    )


class Stacked(nn.Module):
    """Two stacks, one inside the other's layers; the second of the first shares a weight with the head."""

    def __init__(self) -> None:
        super().__init__()
        inner = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
        self.stack = nn.ModuleList([nn.Sequential(inner), nn.Sequential(nn.Linear(3, 3))])
        self.head = nn.Linear(3, 3)
        self.head.weight = self.stack[1][0].weight
        self.mixed = nn.ModuleList([nn.Linear(3, 3), nn.Dropout()])


def test_layers_are_those_of_the_outermost_stacks_that_share_nothing() -> None:
    net = Stacked()
    assert layers(net) == [net.stack[0]]
    assert layers(ToyNet()) == []


def test_a_scalar_has_no_rows() -> None:
    net = nn.Module()
    net.scale = nn.Parameter(torch.tensor(1.0))
    with pytest.raises(SparsityError, match="'scale' is a scalar and has no rows to share out"):
        shard(net, None)  # type: ignore[arg-type]


def test_the_flag_is_explained() -> None:
    assert "--shard" in CliRunner().invoke(app, ["run", "--help"]).stdout
