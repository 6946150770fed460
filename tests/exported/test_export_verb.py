"""The verb export: what it finds, refuses and leaves behind."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from smc_eval.engine.cell_run import CellRun
from smc_eval.engine.export import folder as export_folder
from smc_eval.engine.export import model_files
from smc_eval.exported.packed_tensors import read_packed
from smc_eval.store.records import RecordsFile
from smc_eval.store.store import Store

Invoke = Callable[..., Any]


def refused(ended: Any) -> str:
    assert ended.exit_code == 2, ended.output
    assert 1 <= len(ended.stderr.strip().splitlines()) <= 3, ended.stderr
    return str(ended.stderr)


def state(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors") | load_file(folder / "head.safetensors")


def test_a_net_that_was_not_kept_is_computed_again_bit_for_bit(invoke: Invoke, store: Path) -> None:
    before = {path.name for path in (store / "nets").iterdir()}
    for name in ("one", "two"):
        ended = invoke("export", store, "omp-before@0.5", "--to", name)
        assert ended.exit_code == 0, ended.output
        assert "net: computed again; weights and masks are those of the record" in ended.stdout
    one, two = state(Path("one")), state(Path("two"))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    assert {path.name for path in (store / "nets").iterdir()} == before
    manifest = json.loads(Path("one/smc_eval.json").read_text())
    (record,) = (r for r in RecordsFile(store).latest().values() if r.target.sparsity == 0.5)
    assert manifest["record"] == json.loads(json.dumps(record.to_json()))
    assert not [path.name for path in Path().iterdir() if path.name.startswith(".")]


def test_masks_that_differ_from_the_record_are_an_error_and_nothing_is_written(
    invoke: Invoke, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = CellRun.run_stages

    def other(run: CellRun) -> Any:
        net = whole(run)
        masks = {name: mask.clone() for name, mask in net.masks.items()}
        next(iter(masks.values())).view(-1)[:8].logical_not_()
        net.set_masks(masks)
        return net

    monkeypatch.setattr(CellRun, "run_stages", other)
    message = refused(invoke("export", store, "omp-before@0.5", "--to", "out", "--quiet"))
    assert "the masks differ from those of the record" in message and "nothing was written" in message
    assert "torch 2" in message and "threads" in message
    assert list(Path().iterdir()) == []


def test_weights_that_differ_under_equal_masks_are_named(
    invoke: Invoke, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = CellRun.run_stages

    def other(run: CellRun) -> Any:
        net = whole(run)
        with torch.no_grad():
            next(iter(net.parameters.values())).mul_(1.5)
        return net

    monkeypatch.setattr(CellRun, "run_stages", other)
    ended = invoke("export", store, "omp-before@0.5", "--to", "out", "--quiet")
    assert ended.exit_code == 0
    assert "net: computed again; the masks are those of the record, the weights differ" in ended.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("lth@0.5",), "no method with certified records is named 'lth'"),
        (("omp-before@0.7",), "'omp-before' has no sparsity '0.7'; write one of 0.5, 0.9"),
        (("omp-before",), "'omp-before' is 2 cells: csqa omp-before 0.5 seed 0; csqa omp-before 0.9 seed 0"),
        (("omp-before@0.5", "--seed", "3"), "no seed of a certified record is named '3'"),
        (("omp-before@0.5", "--task", "csq"), "did you mean 'csqa'?"),
        (("omp-before@0.5", "--where", "scope=all-2d"), "no scope of a certified record is named 'all-2d'"),
        (("omp-before@0.5", "--format", "zip"), "known: bitmask, csr, dense"),
        (("omp-before@0.5", "--to", "no/where"), "there is no folder 'no'"),
        (("omp-before@0.5", "--data-dir", "nowhere"), "there is no data directory 'nowhere'"),
    ],
)
def test_what_names_no_single_cell_is_refused(
    invoke: Invoke, store: Path, words: tuple[str, ...], message: str
) -> None:
    place = () if "--to" in words else ("--to", "out")
    assert message in refused(invoke("export", store, *words, *place))
    assert list(Path().iterdir()) == []


def test_a_folder_or_a_file_that_exists_is_refused(invoke: Invoke, store: Path) -> None:
    Path("there").mkdir()
    Path("file").write_text("kept")
    for name in ("there", "file"):
        assert "exists" in refused(invoke("export", store, "omp-before@0.5", "--to", name))
    assert Path("file").read_text() == "kept" and list(Path("there").iterdir()) == []
    assert "holds no results.jsonl" in refused(invoke("export", "there", "omp-before@0.5", "--to", "out"))


def test_another_cell_than_that_of_the_record_is_refused(
    invoke: Invoke, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from smc_eval.tasks.commonsense.csqa import Csqa

    monkeypatch.setattr(Csqa, "version", 99)
    message = refused(invoke("export", store, "omp-before@0.5", "--to", "out"))
    assert "smc-eval or a plugin have changed since" in message


def test_a_disk_that_is_full_leaves_nothing(
    invoke: Invoke, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    written = export_folder.write_model

    def limited(*words: Any) -> Any:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            return written(*words)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    monkeypatch.setattr(export_folder, "write_model", limited)
    message = refused(invoke("export", store, "omp-before@0.5", "--to", "out", "--quiet"))
    assert "cannot write 'out'" in message and "nothing was left there" in message
    assert list(Path().iterdir()) == []


def test_a_killed_export_leaves_no_folder_and_the_next_one_sweeps_its_draft(
    invoke: Invoke, store: Path
) -> None:
    code = (
        "import os, sys\n"
        "from smc_eval.engine.export import folder\n"
        "folder.model_card = lambda *_: os.kill(os.getpid(), 9)\n"
        "from smc_eval.cli import main\n"
        "main()\n"
    )
    words = ["export", str(store), "omp-before@0.5", "--to", "out", "--quiet"]
    ended = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL
    (draft,) = Path().iterdir()
    assert draft.name.startswith(".out~")
    assert invoke(*words).exit_code == 0
    assert [path.name for path in Path().iterdir()] == ["out"]


@pytest.mark.slow
def test_the_last_nets_of_all_cells_are_kept_on_request_and_no_others(invoke: Invoke) -> None:
    words = ("--model", "tiny", "--tasks", "csqa", "--limit", "16", "--recipe", "steps=2", "--quiet")
    methods = ("--method", "omp-after,snip", "--sparsity", "0.5,0.9", "--keep", "final", "--output", "s")
    assert invoke(*words, *methods).exit_code == 0
    assert len(list(Path("s/nets").iterdir())) == 5  # four pruned nets and the dense one, no net between
    for cell in ("omp-after@0.9", "snip@0.5", "dense"):
        ended = invoke("export", "s", cell, "--to", cell.replace("@", "-"), "--quiet")
        assert ended.exit_code == 0 and "net: kept by the run" in ended.stdout, ended.output
    assert len(list(Path("s/nets").iterdir())) == 5
    assert not Path("dense/masks.safetensors").exists()
    assert invoke("store", "s", "--verify").exit_code == 0


@pytest.mark.slow
@pytest.mark.parametrize("form", ["bitmask", "csr"])
def test_an_archive_holds_the_same_net_and_only_smc_eval_reads_it(
    invoke: Invoke, store: Path, form: str
) -> None:
    import transformers

    assert invoke("export", store, "omp-before@0.9", "--to", "dense", "--quiet").exit_code == 0
    ended = invoke("export", store, "omp-before@0.9", "--to", "packed", "--format", form, "--quiet")
    assert ended.exit_code == 0, ended.output
    assert "bitmask, 32-bit values 13.1%" in ended.stdout and "bitmask, 16-bit values 16.3%" in ended.stdout
    assert not list(Path("packed").glob("model*")) and not Path("packed/masks.safetensors").exists()
    with pytest.raises(OSError, match="no file named"):
        transformers.AutoModel.from_pretrained("packed", local_files_only=True)
    for dense, packed in (("model", "packed"), ("head", "head")):
        one = load_file(f"dense/{dense}.safetensors")
        two = read_packed(Path(f"packed/{packed}.safetensors"))
        assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    words = (
        "--tasks",
        "csqa",
        "--limit",
        "16",
        "--recipe",
        "steps=0",
        "--quiet",
        "--no-dense",
        "--output",
        "s",
    )
    assert invoke("--model", "packed", "--method", "from-checkpoint", *words).exit_code == 0
    (again,) = RecordsFile(Path("s")).latest().values()
    (first,) = (r for r in RecordsFile(store).latest().values() if r.target.sparsity == 0.9)
    assert again.score == first.score and again.target.sparsity == pytest.approx(0.9, abs=1e-5)


@pytest.mark.slow
def test_a_large_model_is_written_in_several_files(
    invoke: Invoke, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    assert invoke("export", store, "omp-before@0.5", "--to", "one", "--quiet").exit_code == 0
    monkeypatch.setattr(model_files, "SHARD_SIZE", "600KB")
    assert invoke("export", store, "omp-before@0.5", "--to", "many", "--quiet").exit_code == 0
    assert len(list(Path("many").glob("model-0000*.safetensors"))) > 1
    assert "model.safetensors.index.json" in json.loads(Path("many/smc_eval.json").read_text())["files"]
    whole = load_file("one/model.safetensors")
    loaded = transformers.AutoModel.from_pretrained("many", local_files_only=True).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in whole.items())
    words = ("--to", "packed", "--format", "bitmask", "--quiet")
    assert invoke("export", store, "omp-before@0.5", *words).exit_code == 0
    assert not list(Path("packed").glob("model*"))
    packed = read_packed(Path("packed/packed.safetensors"))
    assert packed.keys() == whole.keys()
    assert all(torch.equal(packed[name], tensor) for name, tensor in whole.items())
    assert invoke("verify-sparsity", "packed").exit_code == 0


def test_a_file_that_was_altered_is_refused_when_the_folder_is_a_model(invoke: Invoke, store: Path) -> None:
    assert invoke("export", store, "omp-before@0.5", "--to", "out", "--quiet").exit_code == 0
    head = Path("out/head.safetensors")
    head.write_bytes(head.read_bytes()[:-1] + b"!")
    words = ("--tasks", "csqa", "--limit", "16", "--recipe", "steps=0", "--quiet", "--output", "s")
    ended = invoke("--model", "out", "--method", "dense", *words)
    assert ended.exit_code == 1
    (record,) = RecordsFile(Path("s")).latest().values()
    assert "head.safetensors is not the file that was exported" in record.reason
    Path("out/smc_eval.json").write_text('{"schema": 1}')
    assert "is not as smc-eval export writes it" in refused(
        invoke("--model", "out", "--method", "dense", *words)
    )


def test_the_card_names_what_a_reader_must_know_and_its_commands_run(invoke: Invoke, store: Path) -> None:
    assert invoke("export", store, "omp-before@0.5", "--to", "out", "--quiet").exit_code == 0
    card = Path("out/README.md").read_text()
    for words in (
        "# omp-before at 0.5 on csqa",
        "| sparsity of the scope | 0.5 (139264 of 278528 weights remain) |",
        "| sparsity of all matrices | ",
        "| sparsity of all parameters | ",
        "95 % interval",
        "| protocol | sound; scope body; distribution global |",
        "| certificate | holds |",
    ):
        assert words in card, words
    run, again = (line for line in card.splitlines() if line.startswith("smc-eval "))
    ended = invoke(*shlex.split(run)[1:], "--output", "r", "--quiet")
    assert ended.exit_code == 0
    (made,) = RecordsFile(Path("r")).latest()
    assert made in RecordsFile(store).latest()
    assert again.startswith("smc-eval --model DIR --tasks csqa --method from-checkpoint --recipe steps=0")


def test_a_record_without_a_certificate_that_holds_is_not_exported(
    invoke: Invoke, store: Path, tmp_path: Path
) -> None:
    records = RecordsFile(tmp_path / "bad")
    Store(tmp_path / "bad").open()
    for record in RecordsFile(store).latest().values():
        assert record.certificate is not None
        records.add(replace(record, certificate=replace(record.certificate, ok=False, failed=("x",))))
    message = refused(invoke("export", "bad", "omp-before@0.5", "--to", "out"))
    assert "none of 2 records is done and certified" in message
    assert os.listdir() == ["bad"]  # noqa: PTH208  the fixture's folder
