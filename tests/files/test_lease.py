"""Leases: one holder at a time, whoever dies, stalls or wakes up, and whatever the clocks say."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from smc_eval.errors import LeaseLost
from smc_eval.files.atomic import Owner, draft_path, sweep_drafts
from smc_eval.files.lease import Leases
from smc_eval.store import atomic, lease

ELSEWHERE = Owner("synthetic", "another-boot.1", os.getpid(), "k1")
"""A holder on another machine, of the same name and number."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEWAL", 0.05)
    monkeypatch.setattr(lease, "EXPIRY", 0.4)


def held_by(folder: Path, name: str, owner: Owner, age: float = 0.0) -> Path:
    path = folder / name / str(owner)
    path.parent.mkdir()
    path.touch()
    then = time.time() - age
    os.utime(path, (then, then))
    return path


def dead_here() -> Owner:
    """A process of this kernel that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    me = Owner.new()
    return Owner(me.host, me.place, process.pid, "k0")


def test_a_lease_is_held_by_one_and_then_by_the_next(folder: Path) -> None:
    first = Leases(folder).take("a")
    assert first is not None
    assert Leases(folder).take("a") is None
    other = Leases(folder).take("b")
    assert other is not None
    assert Leases(folder).living() == {"a", "b"}
    first.release()
    second = Leases(folder).take("a")
    assert second is not None
    second.release()
    other.release()
    assert list(folder.iterdir()) == []


def test_of_many_who_reach_for_a_lease_at_once_one_gets_it(folder: Path) -> None:
    inside, most, times = [0], [0], [0]
    start = threading.Barrier(8)

    def work() -> None:
        start.wait()
        for _ in range(20):
            with Leases(folder).held("a"):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                times[0] += 1
                time.sleep(0.0005)
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, times) == ([1], [160])


def test_the_dead_of_this_kernel_hold_nothing(folder: Path) -> None:
    held_by(folder, "a", dead_here())
    assert Leases(folder).take("a") is not None


def test_of_many_who_take_over_from_the_dead_one_does(folder: Path) -> None:
    dead = dead_here()
    for round_ in range(20):
        held_by(folder, str(round_), dead)
        start, got = threading.Barrier(6), []

        def reach(name: str = str(round_), start: threading.Barrier = start, got: list[object] = got) -> None:
            start.wait()
            got.append(Leases(folder).take(name))

        threads = [threading.Thread(target=reach) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(one is not None for one in got) == 1


@pytest.mark.usefixtures("quick")
def test_a_lease_that_nobody_renews_runs_out(folder: Path) -> None:
    held_by(folder, "a", ELSEWHERE)
    leases, began = Leases(folder), time.monotonic()
    with leases.held("a"):
        assert time.monotonic() - began > 0.3


@pytest.mark.usefixtures("quick")
def test_a_lease_that_is_old_by_the_servers_clock_runs_out_after_two_beats(folder: Path) -> None:
    held_by(folder, "a", ELSEWHERE, age=3600)
    leases = Leases(folder)
    assert leases.take("a") is None  # a clock may have jumped: first see that nobody renews it
    time.sleep(0.15)
    assert leases.take("a") is not None


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("jump", [-7200.0, 7200.0])
def test_a_living_owner_keeps_its_lease_when_clocks_jump(
    folder: Path, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    mine = Leases(folder).take("a")
    assert mine is not None
    others = Leases(folder)
    monkeypatch.setattr(lease, "server_time", lambda folder: time.time() + jump)
    until = time.monotonic() + 0.8
    while time.monotonic() < until:
        assert others.take("a") is None
        time.sleep(0.02)
    mine.check()
    mine.release()


@pytest.mark.usefixtures("quick")
def test_a_holder_whose_clock_ran_ahead_is_no_holder_for_ever(folder: Path) -> None:
    held_by(folder, "a", ELSEWHERE, age=-7200)
    leases, began = Leases(folder), time.monotonic()
    with leases.held("a"):
        assert time.monotonic() - began < 10


def test_two_hosts_of_one_name_are_not_taken_for_one(folder: Path) -> None:
    gone = dead_here()
    held_by(folder, "a", Owner(gone.host, "another-boot.1", gone.pid, "k2"))
    assert Leases(folder).take("a") is None


def test_a_stalled_owner_that_wakes_up_learns_that_it_lost(folder: Path) -> None:
    mine = Leases(folder).take("a")
    assert mine is not None
    mine.check()
    mine.path.rename(mine.path.with_name(str(ELSEWHERE)))  # what taking over is
    with pytest.raises(LeaseLost, match="another took over"):
        mine.check()
    mine.release()
    assert [path.name for path in (folder / "a").iterdir()] == [str(ELSEWHERE)]


def test_what_a_file_server_hides_is_no_owner(folder: Path) -> None:
    (folder / "a").mkdir()
    (folder / "a" / ".nfs0001").touch()
    assert Leases(folder).living() == set()


def test_what_the_dead_left_is_swept_and_what_the_living_write_is_not(folder: Path) -> None:
    gone, alive, far = folder / f".x~{dead_here()}", draft_path(folder / "x"), folder / f".x~{ELSEWHERE}"
    old, foreign = folder / f".{'0a' * 32}", folder / ".git"
    foreign.mkdir()
    os.utime(foreign, (0, 0))
    for path in (gone, alive, far, old):
        path.mkdir()
        (path / "part").write_text("")
    os.utime(old, (0, 0))
    sweep_drafts(folder)
    assert sorted(folder.iterdir()) == sorted([alive, far, foreign])
    os.utime(far, (0, time.time() - atomic.STALE - 60))
    sweep_drafts(folder)
    assert sorted(folder.iterdir()) == sorted([alive, foreign])


def test_an_owner_is_read_as_it_was_written() -> None:
    owner = Owner.new()
    assert Owner.read(str(owner)) == owner
    assert not owner.gone
    assert Owner.read("DS_Store") is None
