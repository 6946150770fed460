"""The verb `doctor`: what it reports, what stops runs, and what it keeps to itself."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
import time
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError, URLError

import pytest
from packaging.specifiers import SpecifierSet

import smc_eval
from smc_eval.cli import grid_run
from smc_eval.cli.diagnosis import devices, diagnosis, hub, machine, packages
from smc_eval.cli.diagnosis.diagnosis import DIAGNOSIS_SCHEMA
from smc_eval.cli.diagnosis.packages import NeededPackage, read_needs

EMPTY_PLUGIN = "from smc_eval import hookimpl\n@hookimpl\ndef smc_eval_tasks():\n    return []\n"
KEYS: dict[str, Any] = {
    "python": {"version", "implementation", "platform"},
    "torch": {
        "version", "build", "threads", "blas", "processor", "deterministic_algorithms", "cudnn_benchmark",
        "cudnn_deterministic", "matmul_precision", "cpus", "usable_cpus",
    },
    "devices": {"device", "name", "memory_bytes", "error"},
    "memory": {"total_bytes", "available_bytes", "limit_bytes"},
    "hub": {"address", "offline", "reachable", "cache", "cached_repositories"},
    "plugins": {
        "package", "version", "name", "status", "reason",
        "methods", "tasks", "kinds", "optimizers", "trackers",
    },
    "store": {"folder", "exists", "writable", "free_bytes"},
    "extras": {"page", "slurm", "ray", "trackers"},
}  # fmt: skip
"""The keys of each section of the JSON, in schema 1."""


def report(invoke: Any, *words: object) -> dict[str, Any]:
    """The JSON, whose exit code fits its verdict."""
    ended = invoke("doctor", "--json", *words)
    content: dict[str, Any] = json.loads(ended.stdout)
    assert ended.exit_code == (0 if content["usable"] else 1)
    assert content["usable"] == (not content["problems"])
    return content


def only_problem(content: dict[str, Any]) -> dict[str, str]:
    (problem,) = content["problems"]
    assert problem.keys() == {"fault", "remedy"} and all(problem.values())
    return dict(problem)


def test_the_keys_of_the_json_are_those_of_its_schema(invoke) -> None:
    content = report(invoke)
    assert DIAGNOSIS_SCHEMA == content["schema"] == 1
    assert list(content) == [
        *("schema", "smc_eval", "usable", "problems", "notes", "python", "packages", "torch", "devices"),
        *("memory", "hub", "plugins", "store", "extras", "environment"),
    ]
    for name, keys in KEYS.items():
        section = content[name]
        assert set(section[0] if isinstance(section, list) else section) == keys, name


def test_the_values_are_those_of_this_machine(invoke) -> None:
    import torch
    import transformers

    content = report(invoke)
    assert content["smc_eval"] == smc_eval.__version__ and content["usable"]
    assert content["packages"]["transformers"] == {"version": transformers.__version__, "needs": ">=5.23"}
    assert content["torch"]["version"] == torch.__version__ and content["torch"]["threads"] == 1
    assert content["devices"][0] == {"device": "cpu", "name": "CPU", "memory_bytes": None, "error": None}
    assert content["environment"]["OMP_NUM_THREADS"] == content["environment"]["HF_HUB_OFFLINE"] == "1"
    assert content["plugins"][0]["package"] == "toys" and content["plugins"][0]["tasks"] == 5
    assert content["store"].items() >= {"folder": "smc-eval-runs", "exists": False, "writable": True}.items()
    assert content["memory"]["total_bytes"] > 10**8 and content["store"]["free_bytes"] > 0


def test_it_fits_on_one_screen(invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    ended = invoke("doctor")
    lines = ended.stdout.splitlines()
    assert ended.exit_code == 0 and lines[-1] == "ready to run"
    assert len(lines) <= 24 and max(map(len, lines)) <= 100
    heads = ("python", "packages", "torch", "devices", "memory", "hub", "plugins", "store", "extras")
    words = [line.split() for line in lines]
    found = [own[1] for own in words if own and own[0] in {"ok", "note"}]  # a CUDA build may see no GPU
    assert found[: len(heads)] == list(heads)


def test_nothing_is_made_by_looking(invoke, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    report(invoke, "--output", "some/store")
    assert [path for path in tmp_path.rglob("*") if path not in before and path.suffix != ".pyc"
            and path.name != "__pycache__"] == []  # fmt: skip


# What makes runs impossible


def test_a_broken_plugin_is_named_with_its_remedy(invoke, install) -> None:
    install("torn", "raise RuntimeError('torn apart')\n")
    problem = only_problem(report(invoke))
    assert "plugin 'torn' of torn 3.1 cannot be imported: RuntimeError: torn apart" in problem["fault"]
    assert problem["remedy"] == "repair or update torn, or remove it: pip uninstall torn"
    shown = invoke("doctor")
    assert shown.exit_code == 1 and shown.stdout.splitlines()[-1] == "not usable"
    assert "WRONG  plugins" in shown.stdout and "problem: plugin 'torn'" in shown.stdout


def test_a_store_that_cannot_be_written_is_named(invoke, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    content = report(invoke, "--output", tmp_path / "file")
    assert "cannot write to --output" in only_problem(content)["fault"]
    assert not content["store"]["writable"]


class FullDisk(io.BytesIO):
    """A file on a disk without room."""

    def write(self, content: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_named_and_stops_a_run_before_it_begins(
    invoke, refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid_run.tempfile, "TemporaryFile", lambda **_: FullDisk())
    fault = "cannot write to --output 'smc-eval-runs': No space left on device; choose another folder"
    assert only_problem(report(invoke))["fault"] == fault
    run = invoke("--model", "tiny", "--tasks", "sums", "--method", "omp-after", "--sparsity", "0.5")
    assert refused(run) == f"error: {fault}\n"


def test_little_room_is_a_note(invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9))
    content = report(invoke)
    assert content["usable"] and content["store"]["free_bytes"] == 10**9
    room = [note for note in content["notes"] if "torch" not in note]  # its build may see no GPU
    assert room == ["only 1 GB are free for the store; --keep results needs the least"]


def test_a_store_of_another_release_is_named(invoke, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "layout").write_text("1\n")
    assert "has layout '1' of another release" in only_problem(report(invoke, "--output", "old"))["fault"]


def test_a_data_folder_that_is_missing_is_named(invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMC_EVAL_DATA", "nowhere")
    assert only_problem(report(invoke)) == {
        "fault": "SMC_EVAL_DATA names 'nowhere', which is no folder",
        "remedy": "set it to a data folder, or unset it: unset SMC_EVAL_DATA",
    }


def test_a_package_that_is_missing_or_old_is_named(invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["no-such-package>=1.5", "torch>=99.1", "numpy>=2", "ray>=2; extra == 'ray'"]
    monkeypatch.setattr(packages, "requires", lambda _: lines)
    content = report(invoke)
    first, second = content["problems"]
    assert first == {
        "fault": "the package no-such-package is not installed",
        "remedy": "install it: pip install 'no-such-package>=1.5'",
    }
    assert second["fault"].endswith("and smc-eval needs >=99.1")
    assert content["packages"].keys() == {"no-such-package", "torch", "numpy"}


def test_torch_that_cannot_be_imported_is_named(invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "smc_eval.engine.torch_facts", None)
    content = report(invoke)
    assert only_problem(content)["fault"].startswith("torch cannot be imported: ")
    assert content["torch"] is None and content["devices"] == []


def test_a_device_that_cannot_compute_is_named(invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    from smc_eval.engine import torch_facts

    rows = [
        {"device": "cpu", "name": "CPU", "memory_bytes": None, "error": None},
        {"device": "cuda:0", "name": "Old", "memory_bytes": 2 * 10**9, "error": "RuntimeError: no kernel"},
    ]
    monkeypatch.setattr(torch_facts, "torch_devices", lambda: rows)
    assert only_problem(report(invoke)) == {
        "fault": "cuda:0 (Old) cannot compute: RuntimeError: no kernel",
        "remedy": "run without it, by --device cpu; or install a build of torch that fits its driver",
    }
    assert "cpu, cuda:0 Old 2 GB" in invoke("doctor").stdout


def test_the_product_on_a_device_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from smc_eval.engine.torch_facts import device_error

    assert device_error("cpu") is None
    monkeypatch.setattr(torch, "arange", lambda *_, **__: torch.ones(4))
    assert device_error("cpu") == "[[0, 1], [2, 3]] squared is [[2.0, 2.0], [2.0, 2.0]]"
    monkeypatch.undo()
    assert "RuntimeError" in str(device_error("cuda:99")) or "AssertionError" in str(device_error("cuda:99"))


# The hub never decides


def answers(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub.request, "urlopen", answer)


def raises(error: BaseException) -> Any:
    def answer(*_: object, **__: object) -> None:
        raise error

    return answer


@pytest.mark.parametrize(
    ("error", "reachable"),
    [
        (HTTPError("x", 503, "busy", None, None), True),  # type: ignore[arg-type]
        (URLError("no route"), False),
        (RuntimeError("blocked"), False),
    ],
)
def test_a_hub_that_cannot_be_reached_is_a_note(
    invoke, monkeypatch: pytest.MonkeyPatch, error: Exception, *, reachable: bool
) -> None:
    answers(monkeypatch, raises(error))
    content = report(invoke)
    assert content["usable"] and content["hub"]["reachable"] is reachable
    assert any("cannot be reached" in note for note in content["notes"]) is not reachable


def test_a_silent_hub_takes_no_longer_than_its_time(invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, lambda *_, **__: time.sleep(60))
    monkeypatch.setattr(hub, "TIMEOUT", 0.05)
    began = time.monotonic()
    assert hub.answer_time("https://example.org") is None
    assert time.monotonic() - began < 5


def test_nothing_is_asked_when_the_hub_is_switched_off(invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    assert constants.HF_HUB_OFFLINE  # as all tests have it
    asked: list[object] = []
    monkeypatch.setattr(hub.request, "urlopen", lambda *words, **_: asked.append(words))
    content = report(invoke)
    assert asked == [] and content["hub"]["reachable"] is None and content["hub"]["offline"]
    assert "switched off by HF_HUB_OFFLINE" in invoke("doctor").stdout


# What it keeps to itself


def test_the_home_folder_and_the_name_of_the_user_are_not_shown(
    invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "people" / "ada.l"
    home.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("HF_HOME", f"{home}/hf")
    monkeypatch.setenv("SMC_EVAL_DATA", "/scratch/ada.l/data")
    content = report(invoke, "--output", home / "runs")
    assert content["store"]["folder"] == "~/runs" and content["environment"]["HF_HOME"] == "~/hf"
    assert content["environment"]["SMC_EVAL_DATA"] == "/scratch/USER/data"
    assert "ada.l" not in json.dumps(content)
    assert "ada.l" not in invoke("doctor", "--output", home / "runs").stdout


def test_the_password_of_an_address_is_not_shown(invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://ada:secret@mirror.example:8443/hub?token=secret")
    content = report(invoke)
    assert content["environment"]["HF_ENDPOINT"] == "https://mirror.example:8443/hub"
    assert "secret" not in json.dumps(content)
    assert machine.address_without_user("https://[bad") == "unreadable"


def test_a_plugin_that_prints_does_not_break_the_json(invoke, install) -> None:
    install(
        "loud", "print('hello')\nfrom smc_eval import hookimpl\n@hookimpl\ndef smc_eval_tasks(): return []\n"
    )
    assert report(invoke)["usable"]


# Parts


@pytest.mark.parametrize(
    ("line", "extra", "needed"),
    [
        ("torch>=2.6", "", {"torch": ">=2.6"}),
        ("sacrebleu[ja]>=2.5.1", "", {"sacrebleu": ">=2.5.1"}),
        ("jinja2>=3.1.6; extra == 'page'", "", {}),
        ("jinja2>=3.1.6; extra == 'page'", "page", {"jinja2": ">=3.1.6"}),
        ("jinja2>=3.1.6; extra == 'page'", "ray", {}),
        ("tox", "page", {}),
        ("tox", "", {"tox": ""}),
        ("tomli>=2; python_version < '3'", "", {}),
        ("smc-eval[page,slurm]; extra == 'test'", "test", {}),
    ],
)
def test_a_line_of_metadata_is_read(line: str, extra: str, needed: dict[str, str]) -> None:
    assert {one.name: str(one.versions) for one in read_needs([line], extra)} == needed


@pytest.mark.parametrize(
    ("installed", "is_met"),
    [("2.13.0+cpu", True), ("2.6", True), ("2.5.9", False), ("2.6.0rc1", False), ("2.14.0.dev1", True),
     ("new", False), (None, False)],
)  # fmt: skip
def test_versions_are_compared_as_pip_does(installed: str | None, is_met, monkeypatch) -> None:
    monkeypatch.setattr(packages, "installed_version", lambda _: installed)
    assert NeededPackage("torch", SpecifierSet(">=2.6")).is_met == is_met


def test_the_requirements_of_this_release_are_all_read(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = {one.name: str(one.versions) for one in read_needs(project["dependencies"])}
    assert len(found) == len(project["dependencies"]) and all(found.values())
    assert {
        "torch",
        "transformers",
        "datasets",
        "sacrebleu",
        "pluggy",
        "rich",
        "pydantic",
        "numpy",
    } <= found.keys()
    assert packages.EXTRAS.keys() <= project["optional-dependencies"].keys()


def test_an_extra_that_the_installation_does_not_know_is_not_called_complete(
    invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "requires", lambda _: ["numpy>=2", "rich>=14; extra == 'page'"])
    extras = report(invoke)["extras"]
    assert extras["page"]["missing"] == [] and extras["ray"]["missing"] is None
    assert "ray is not installed" in invoke("doctor").stdout


def test_a_cuda_build_without_a_gpu_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    from smc_eval.engine import torch_facts

    facts = {**torch_facts.torch_facts(), "build": "cuda 12.8"}
    monkeypatch.setattr(torch_facts, "torch_facts", lambda: facts)
    section = devices.torch_sections()["torch"]
    assert section.notes == ("torch is built for cuda 12.8, and sees no GPU: runs use the CPU",)
