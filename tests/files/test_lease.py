"""Leases: one holder at a time, whatever processes or clocks do. Drafts: only those of dead writers go."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from smc_eval.errors import LeaseLost
from smc_eval.files import atomic, lease
from smc_eval.files.atomic import Owner, draft_path, sweep_drafts
from smc_eval.files.lease import Leases

ELSEWHERE = Owner("twin", "another-boot.1", os.getpid(), "k1")
"""A holder on another machine, with the process number of this one."""


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
    """An owner whose process ran on this kernel and has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    me = Owner.new()
    return Owner(me.host, me.kernel, process.pid, "k0")


def test_a_lease_has_one_holder_and_then_the_next(folder: Path) -> None:
    first = Leases(folder).take("a")
    assert first is not None
    assert Leases(folder).take("a") is None
    other = Leases(folder).take("b")
    assert other is not None
    assert Leases(folder).active() == {"a", "b"}
    first.release()
    second = Leases(folder).take("a")
    assert second is not None
    second.release()
    other.release()
    assert list(folder.iterdir()) == []


def test_of_many_threads_that_take_a_lease_at_once_one_gets_it(folder: Path) -> None:
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


def test_a_dead_process_of_this_kernel_holds_no_lease(folder: Path) -> None:
    held_by(folder, "a", dead_here())
    assert Leases(folder).take("a") is not None


def test_of_many_threads_that_take_over_from_a_dead_process_one_does(folder: Path) -> None:
    dead = dead_here()
    for round_ in range(20):
        held_by(folder, str(round_), dead)
        start, taken = threading.Barrier(6), list[object]()

        def take(name: str = str(round_), start: Any = start, taken: list[object] = taken) -> None:
            start.wait()
            taken.append(Leases(folder).take(name))

        threads = [threading.Thread(target=take) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(lease is not None for lease in taken) == 1


@pytest.mark.usefixtures("quick")
def test_a_lease_that_is_not_renewed_runs_out(folder: Path) -> None:
    held_by(folder, "a", ELSEWHERE)
    leases, began = Leases(folder), time.monotonic()
    with leases.held("a"):
        assert time.monotonic() - began > 0.3


@pytest.mark.usefixtures("quick")
def test_a_lease_that_is_old_by_the_servers_clock_runs_out_after_two_renewals(folder: Path) -> None:
    held_by(folder, "a", ELSEWHERE, age=3600)
    leases = Leases(folder)
    assert leases.take("a") is None  # a clock may have jumped: first watch whether it is renewed
    time.sleep(0.15)
    assert leases.take("a") is not None


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("jump", [-7200.0, 7200.0])
def test_a_running_owner_keeps_its_lease_when_clocks_jump(
    folder: Path, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    own = Leases(folder).take("a")
    assert own is not None
    others = Leases(folder)
    monkeypatch.setattr(lease, "server_time", lambda folder: time.time() + jump)
    until = time.monotonic() + 0.8
    while time.monotonic() < until:
        assert others.take("a") is None
        time.sleep(0.02)
    own.check()
    own.release()


@pytest.mark.usefixtures("quick")
def test_a_lease_renewed_by_a_clock_that_ran_ahead_runs_out_too(folder: Path) -> None:
    held_by(folder, "a", ELSEWHERE, age=-7200)
    leases, began = Leases(folder), time.monotonic()
    with leases.held("a"):
        assert time.monotonic() - began < 10


def test_two_hosts_with_one_name_are_two_hosts(folder: Path) -> None:
    dead = dead_here()
    held_by(folder, "a", Owner(dead.host, "another-boot.1", dead.pid, "k2"))
    assert Leases(folder).take("a") is None


def test_a_stalled_owner_finds_out_that_it_lost_its_lease(folder: Path) -> None:
    own = Leases(folder).take("a")
    assert own is not None
    own.check()
    own.path.rename(own.path.with_name(str(ELSEWHERE)))  # as another process takes over
    with pytest.raises(LeaseLost, match="another took over"):
        own.check()
    own.release()
    assert [path.name for path in (folder / "a").iterdir()] == [str(ELSEWHERE)]


def test_a_hidden_file_of_a_file_server_is_no_owner(folder: Path) -> None:
    (folder / "a").mkdir()
    (folder / "a" / ".nfs0001").touch()
    assert Leases(folder).active() == set()


def test_drafts_of_dead_writers_are_swept_and_all_other_files_stay(folder: Path) -> None:
    dead, own, far = folder / f".x~{dead_here()}", draft_path(folder / "x"), folder / f".x~{ELSEWHERE}"
    foreign = folder / ".git"
    foreign.mkdir()
    os.utime(foreign, (0, 0))
    for path in (dead, own, far):
        path.mkdir()
        (path / "part").write_text("")
    sweep_drafts(folder)
    assert sorted(folder.iterdir()) == sorted([own, far, foreign])
    os.utime(far, (0, time.time() - atomic.STALE - 60))
    sweep_drafts(folder)
    assert sorted(folder.iterdir()) == sorted([own, foreign])


def test_an_owner_is_read_as_it_was_written() -> None:
    owner = Owner.new()
    assert Owner.read(str(owner)) == owner
    assert not owner.exited
    assert Owner.read("DS_Store") is None
