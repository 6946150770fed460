"""Cells as tasks of a Ray cluster of several nodes; workers are killed, and a node is lost."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason="needs smc-eval[ray]: tox -e ray")

import ray
from ray.cluster_utils import Cluster

from smc_eval.engine.executors.jobs import WorkerSettings
from smc_eval.engine.executors.ray import Ray
from smc_eval.errors import UsageError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),  # each worker imports torch
    pytest.mark.enable_socket,  # nodes communicate, on this machine
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # ray's own
]


@pytest.fixture
def head(cells: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster without CPUs so far; its nodes can import the module of the cells."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "120")  # a busy machine is slow to start them
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture
def cluster(head: Cluster) -> Cluster:
    """A cluster of two nodes with a CPU each, beside the head."""
    head.add_node(num_cpus=1)
    head.add_node(num_cpus=1)
    return head


def test_tasks_give_the_records_of_one_process_and_report_progress(
    cells: Any, cluster: Cluster, watcher: Any
) -> None:
    cells.run("tasks", executor=f"ray:{cluster.address}", watcher=watcher)
    assert "train" in " ".join(watcher.stages) and "prune to 0.5" in watcher.stages
    cells.assert_undisturbed("tasks")


def test_a_cell_whose_worker_is_killed_is_tried_again_from_its_checkpoint(
    cells: Any, cluster: Cluster, watcher: Any
) -> None:
    cells.file.write_text(str(int(signal.SIGKILL)))
    few = cells.chains[:2]
    dense, after = cells.run("tasks", few, executor=f"ray:{cluster.address}", watcher=watcher)
    assert dense.sound and cells.passes() == after.cost.steps + 2  # the last one, and that of the use
    assert watcher.notes[0] == "its worker died; trying again"
    cells.assert_undisturbed("tasks", few)


def test_a_cell_whose_node_is_lost_continues_from_its_checkpoint_elsewhere(
    cells: Any, head: Cluster, watcher: Any
) -> None:
    cells.file.write_text("wait")
    ray.init(head.address, log_to_driver=False)  # at the head, which is not lost
    nodes = {
        node.all_processes["raylet"][0].process.pid: node
        for node in (head.add_node(num_cpus=1), head.add_node(num_cpus=1))
    }

    def lose() -> None:
        while not cells.waits.exists() or not cells.waits.read_text():
            time.sleep(0.1)
        fields = Path(f"/proc/{cells.waits.read_text()}/stat").read_text().rpartition(")")[2].split()
        head.remove_node(nodes[int(fields[1])], allow_graceful=False)

    thread = threading.Thread(target=lose)
    thread.start()
    few = cells.chains[:2]
    dense, after = cells.run("tasks", few, executor=f"ray:{head.address}", watcher=watcher)
    thread.join()
    assert dense.sound and cells.passes() == after.cost.steps + 2
    assert watcher.notes[0] == "its worker died with its node; trying again"
    cells.assert_undisturbed("tasks", few)


def test_ctrl_c_ends_the_tasks_and_frees_their_leases(cells: Any, sigint: None, cluster: Cluster) -> None:
    cells.file.write_text("wait")

    def interrupt() -> None:
        while not cells.waits.exists():
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        cells.run("tasks", cells.chains[:2], executor=f"ray:{cluster.address}")
    thread.join()
    assert list((cells.folder / "tasks" / "leases").iterdir()) == []
    cells.run("tasks", cells.chains[:2])
    cells.assert_undisturbed("tasks", cells.chains[:2])


def test_a_missing_cluster_and_too_many_threads_are_refused(tmp_path: Path, cluster: Cluster) -> None:
    settings = WorkerSettings(tmp_path, "cpu", 1, frozenset())
    with pytest.raises(UsageError, match="--executor ray:127.0.0.1:1: no cluster answers"):
        Ray(settings, None, address="127.0.0.1:1")
    many = WorkerSettings(tmp_path, "cpu", 64, frozenset())
    with pytest.raises(UsageError, match="--threads 64: no node of the cluster has more than 1 CPUs"):
        Ray(many, None, address=cluster.address)
