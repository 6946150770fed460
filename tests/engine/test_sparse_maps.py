"""Cells with `--kernels sparse`: the same masks and checks as with dense kernels, equal from run to run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from smc_eval.card import MethodCard
from smc_eval.engine import sparse_maps
from smc_eval.engine.device import Device
from smc_eval.engine.run_options import RunOptions
from smc_eval.engine.runner import run_cells
from smc_eval.engine.sparse_maps import SparseMaps
from smc_eval.errors import SparsityError, UsageError
from smc_eval.experiment import cell as cell_module
from smc_eval.experiment.cell import Chain, chain
from smc_eval.method import Method
from smc_eval.methods.dense import Dense
from smc_eval.methods.gmp import Gmp
from smc_eval.methods.omp import Magnitude, MagnitudeAfter, MagnitudeBefore
from smc_eval.methods.rigl import MagnitudeRigL
from smc_eval.methods.sr_ste import SrSte
from smc_eval.methods.top_kast import TopKast
from smc_eval.recipe import Recipe
from smc_eval.reporting.footnotes import footnotes
from smc_eval.reporting.table import table_of
from smc_eval.sparse.kernels import served
from smc_eval.sparse.kernels.choice import Choice, KernelQuestion
from smc_eval.sparse.kernels.packed import PACKED
from smc_eval.sparse.kernels.switch import Switch
from smc_eval.sparse.net import Net
from smc_eval.stages import Prune, Stage, Train
from smc_eval.store.record import Record, SparseKernels
from smc_eval.store.store import Store
from smc_eval.target import Target
from smc_eval.testing import Toy, chain_of, run_chain
from smc_eval.testing.cell_runs import Interrupting, Interruption, without_time
from smc_eval.testing.toy import UnitToy
from smc_eval.updater import StepView, Updater

TARGET = Target(sparsity=0.8)


@pytest.fixture(autouse=True)
def every_map_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FEWEST_WEIGHTS", "FEWEST_OPERATIONS"):
        monkeypatch.setattr(served, name, 1)
    monkeypatch.setattr(served, "MOST_DENSITY", 1.0)
    monkeypatch.setattr(sparse_maps, "FEWEST_PASSES", 1)
    monkeypatch.setattr(sparse_maps, "measured_choice", lambda _: Choice("tiles", "tiles"))


def sparse_chain(method: Method, target: Target = TARGET, task: Toy | None = None) -> Chain:
    dense = chain_of(method, target, task or UnitToy())
    return chain(dense.cell.model_copy(update={"kernels": "sparse"}), dense.sources, dense.examples)


def served_names(record: Record) -> SparseKernels:
    assert record.kernels is not None
    return record.kernels


def test_training_and_prediction_run_sparse_and_end_close_to_dense(tmp_path: Path) -> None:
    method = MagnitudeAfter()
    dense, dense_net, dense_masks = run_chain(chain_of(method, TARGET, UnitToy()), tmp_path / "dense")
    sparse, net, masks = run_chain(sparse_chain(method), tmp_path / "sparse")
    assert dense.kernels is None and "kernels" not in dense.to_json()
    assert sparse.kernels == SparseKernels(maps=6, trained=6, predicted=6)
    assert dense_masks.keys() == masks.keys()
    for name, mask in masks.items():
        assert torch.equal(mask, dense_masks[name])
        assert not net[name][~mask].any()
    for name in net.keys() - {"key.bias"}:  # its gradient is rounding alone: attention does not see it
        weight = net[name]
        assert (weight - dense_net[name]).norm() <= 1e-4 * dense_net[name].norm(), name
    assert sparse.cost is not None and dense.cost is not None
    assert sparse.cost.flops == dense.cost.flops  # the one pass that predicts is measured and sparse
    assert sparse.certificate is not None and dense.certificate is not None
    assert sparse.certificate.ok and sparse.certificate.tensors == dense.certificate.tensors
    assert sparse.certificate.mask_digest == dense.certificate.mask_digest


def test_prediction_runs_sparse_where_it_has_several_passes(tmp_path: Path) -> None:
    task = UnitToy(recipe=Recipe(steps=4, batch_size=8, eval_batch_size=4))
    record, *_ = run_chain(sparse_chain(MagnitudeAfter(), task=task), tmp_path)
    assert record.kernels == SparseKernels(maps=6, trained=6, predicted=6)


def test_two_runs_are_equal_to_the_bit(tmp_path: Path) -> None:
    (first, one, _), (second, two, _) = (
        run_chain(sparse_chain(MagnitudeRigL()), tmp_path / name) for name in "ab"
    )
    assert without_time(first) == without_time(second)
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    "method", [MagnitudeAfter(), MagnitudeRigL(every=2), Gmp()], ids=lambda method: method.card.name
)
def test_a_resumed_run_is_equal_to_an_uninterrupted_one(
    method: Method, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparse_maps, "SETTLED", 1)
    whole, net, masks = run_chain(sparse_chain(method), tmp_path / "whole")
    with pytest.raises(Interruption):
        run_chain(sparse_chain(method), tmp_path / "cut", Interrupting(9), checkpoint_seconds=0)
    with pytest.raises(Interruption):
        run_chain(sparse_chain(method), tmp_path / "cut", Interrupting(2), checkpoint_seconds=0)
    resumed, again, masks_again = run_chain(sparse_chain(method), tmp_path / "cut")
    assert without_time(resumed) == without_time(whole)
    assert served_names(whole).trained == 6
    assert all(torch.equal(net[name], again[name]) for name in net)
    assert all(torch.equal(masks[name], masks_again[name]) for name in masks)


def test_choices_of_a_store_are_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[KernelQuestion] = []

    def measured(question: KernelQuestion) -> Choice:
        asked.append(question)
        return Choice("tiles", "tiles")

    monkeypatch.setattr(sparse_maps, "measured_choice", measured)
    run_chain(sparse_chain(MagnitudeAfter()), tmp_path)
    count = len(asked)
    assert count == len(set(asked)) > 0
    choices = Store(tmp_path).kernel_choices
    assert len(list(choices.folder.iterdir())) == count
    assert all(choices.is_whole(path.name.partition(".")[0]) for path in choices.folder.iterdir())
    Store(tmp_path).forget(sparse_chain(MagnitudeAfter()).links[-1].digest)
    run_chain(sparse_chain(MagnitudeAfter()), tmp_path)
    assert len(asked) == count


def test_the_start_and_trainings_without_masks_keep_their_digests() -> None:
    dense, sparse = chain_of(MagnitudeAfter(), TARGET, UnitToy()), sparse_chain(MagnitudeAfter())
    assert dense.start == sparse.start
    same = [ours.digest == theirs.digest for ours, theirs in zip(sparse.links, dense.links, strict=True)]
    assert same == [True, True, False]  # train, prune, train again
    assert sparse.digest != dense.digest
    ours, theirs = sparse_chain(Gmp()), chain_of(Gmp(), TARGET, UnitToy())
    assert ours.links[0].digest != theirs.links[0].digest  # its updater makes masks


def test_a_sparse_and_a_dense_record_are_two_rows_and_the_footer_says_which(tmp_path: Path) -> None:
    dense, *_ = run_chain(chain_of(MagnitudeAfter(), TARGET, UnitToy()), tmp_path)
    sparse, *_ = run_chain(sparse_chain(MagnitudeAfter()), tmp_path)
    table = table_of([dense, sparse])
    assert len(table.rows) == 2
    (line,) = (line for line in footnotes(table).settings if line.startswith("kernels sparse"))
    assert line.startswith("kernels sparse: of 6 masked matrices of all cells, 6 ran sparse in training")
    assert Record.from_json(sparse.to_json()) == sparse
    assert not any("kernels" in line for line in footnotes(table_of([dense])).settings)


@pytest.mark.parametrize("method", [SrSte(), TopKast()], ids=lambda method: method.card.name)
def test_updaters_that_need_gradients_of_pruned_weights_train_dense(method: Method, tmp_path: Path) -> None:
    target = (
        Target(sparsity=0.5, pattern="2:4", distribution="uniform") if isinstance(method, SrSte) else TARGET
    )
    _, dense_net, _ = run_chain(chain_of(method, target, UnitToy()), tmp_path / "dense")
    record, net, _ = run_chain(sparse_chain(method, target), tmp_path / "sparse")
    assert served_names(record).trained == 0
    (note,) = record.notes
    assert note.startswith("kernels sparse: training with smc-eval:") and "stays dense" in note
    assert all(torch.equal(net[name], dense_net[name]) for name in net)


class Reads(Updater):
    """Reads gradients, and says otherwise."""

    what: str

    def init(self, weights: Any, masks: Any) -> dict[str, Tensor]:
        return {}

    def update(self, view: StepView, state: dict[str, Tensor]) -> dict[str, Tensor]:
        if view.step == 3 and self.what == "all":
            _ = view.grads
        elif view.step == 3:
            view.gradients_within({name: mask | (self.what == "more") for name, mask in view.masks.items()})
        return state

    def dense_gradient_steps(self, steps: int) -> range:
        return range(0)


class Reading(Method):
    """Prunes, then reads."""

    card: ClassVar[MethodCard] = MethodCard(
        name="reading", summary="reads", source="none", when="during", patterns=("free",)
    )
    what: str

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Prune(by=Magnitude(), to=target)
        yield Train(updater=Reads(what=self.what))


@pytest.mark.parametrize(("what", "promise"), [("all", "dense_gradient_steps"), ("more", "gradient_density")])
def test_an_updater_that_breaks_its_promise_never_sees_a_wrong_gradient(
    what: str, promise: str, tmp_path: Path
) -> None:
    with pytest.raises(SparsityError, match=rf"at step 3, and its `{promise}` does not say so"):
        run_chain(sparse_chain(Reading(what=what)), tmp_path)


def test_an_updater_may_read_the_gradients_of_unpruned_weights(tmp_path: Path) -> None:
    record, *_ = run_chain(sparse_chain(Reading(what="own")), tmp_path)
    assert served_names(record).trained == 6 and not record.notes


def test_masks_that_change_stay_dense_until_they_have_settled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparse_maps, "SETTLED", 1000)
    record, *_ = run_chain(sparse_chain(Gmp()), tmp_path)
    assert served_names(record).trained == 0


def test_half_precision_is_dense_with_a_note(tmp_path: Path) -> None:
    task = UnitToy(recipe=Recipe(steps=4, batch_size=8, precision="bf16"))
    record, *_ = run_chain(sparse_chain(MagnitudeAfter(), task=task), tmp_path)
    assert served_names(record) == SparseKernels(6, 0, 0)
    assert record.notes == (
        "kernels sparse: all maps stay dense in bf16: sparse kernels on a CPU are for fp32",
    )


def test_tied_weights_are_dense_with_a_note(tmp_path: Path) -> None:
    target = Target(sparsity=0.8, scope="all-2d")
    record, *_ = run_chain(sparse_chain(MagnitudeAfter(), target), tmp_path)
    assert served_names(record).maps == 7 and served_names(record).trained == 6
    assert record.notes == ("kernels sparse: words.weight stays dense: tied",)


@pytest.mark.parametrize(
    ("kind", "precision", "use", "why"),
    [
        ("cpu", "fp32", "training", ""),
        ("cuda", "bf16", "prediction", ""),
        ("cuda", "fp32", "prediction", "in fp32 on a GPU: 2:4 products are for bf16 and fp16"),
        ("cuda", "bf16", "training", "in training on a GPU: 2:4 products are for prediction"),
        ("mps", "fp32", "prediction", "on device mps: sparse kernels are for a CPU or a CUDA GPU"),
    ],
)
def test_the_device_and_the_precision_decide_what_may_be_sparse(
    tmp_path: Path, kind: str, precision: Any, use: str, why: str
) -> None:
    device: Any = SimpleNamespace(torch_device=torch.device(kind))
    maps = SparseMaps(Net(UnitToy().model(), ()), Store(tmp_path), device)
    assert maps.why_dense(precision, training=use == "training") == why


def test_several_ranks_are_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="--kernels sparse is for one process, and there are 2 ranks"):
        run_cells([sparse_chain(MagnitudeAfter())], RunOptions(tmp_path / "store"))
    assert not (tmp_path / "store").exists()


def test_the_dense_net_keeps_its_digest() -> None:
    sparse = sparse_chain(Dense(), Target())
    assert sparse.links[-1].digest == chain_of(Dense(), Target(), UnitToy()).links[-1].digest


@pytest.mark.parametrize(
    "choice",
    [
        {"predicting": "numba", "training": "dense"},  # is not installed
        {"training": "tiles"},
        {"predicting": "dense", "training": "dense", "tuning": "dense"},
        {"predicting": 1, "training": "dense"},
    ],
)
def test_a_sealed_choice_that_no_question_allows_is_measured_again(
    choice: dict[str, str], tmp_path: Path
) -> None:
    maps = SparseMaps(Net(UnitToy().model(), ()), Store(tmp_path), Device("cpu"))
    maps.store.open()
    asked = KernelQuestion(8, 8, False, 64, 0.1, ("tiles",), "float32", 1, "2", "p")
    maps.store.kernel_choices.save(asdict(asked), choice)
    assert maps._choose(asked) == Choice("tiles", "tiles")
    assert maps.store.kernel_choices.load(asdict(asked)) == {"predicting": "tiles", "training": "tiles"}


def test_a_broken_file_of_a_choice_is_measured_again(tmp_path: Path) -> None:
    maps = SparseMaps(Net(UnitToy().model(), ()), Store(tmp_path), Device("cpu"))
    maps.store.open()
    asked = KernelQuestion(8, 8, False, 64, 0.1, ("tiles",), "float32", 1, "2", "p")
    assert maps._choose(asked) == Choice("tiles", "tiles")
    (path,) = maps.store.kernel_choices.folder.iterdir()
    path.write_bytes(path.read_bytes()[:-5])
    assert not maps.store.kernel_choices.is_whole(path.name.partition(".")[0])
    assert maps._choose(asked) == Choice("tiles", "tiles")
    assert maps.store.kernel_choices.is_whole(path.name.partition(".")[0])
    assert maps._choose(replace(asked, threads=2)) == Choice("tiles", "tiles")
    assert len(list(maps.store.kernel_choices.folder.iterdir())) == 2


def test_another_version_of_the_kernels_is_another_cell_even_if_nothing_trains_after_the_masks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one_shot = UnitToy(recipe=UnitToy().recipe.model_copy(update={"steps": 0}))
    before = sparse_chain(MagnitudeAfter(), task=one_shot).digest
    unmasked = sparse_chain(Dense(), Target(), one_shot).digest
    monkeypatch.setattr(cell_module, "SPARSE_KERNELS_VERSION", 99)
    assert sparse_chain(MagnitudeAfter(), task=one_shot).digest != before
    assert sparse_chain(Dense(), Target(), one_shot).digest == unmasked


def test_the_record_names_the_numba_of_every_process_that_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparse_maps, "SPARSE_KERNELS", ("tiles", "numba"))
    versions = iter(["0.63.1", "0.64.0"])
    monkeypatch.setattr(sparse_maps, "version", lambda _: next(versions, "0.64.0"))
    record = run_chain(sparse_chain(MagnitudeAfter()), tmp_path)[0]
    assert record.versions["numba"] == "0.63.1, 0.64.0"


def test_a_prediction_ends_with_nothing_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forgotten: list[int] = []
    monkeypatch.setattr(Switch, "forget", lambda _: forgotten.append(1))
    run_chain(sparse_chain(MagnitudeBefore()), tmp_path)
    assert forgotten == [1]


def test_a_question_of_a_gpu_is_measured_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    asked: list[tuple[KernelQuestion, torch.device]] = []

    def measured(question: KernelQuestion, device: torch.device) -> Choice:
        asked.append((question, device))
        return Choice(predicting=PACKED)

    monkeypatch.setattr(sparse_maps, "measured_packing", measured)
    device: Any = SimpleNamespace(torch_device=gpu)
    store = Store(tmp_path / "store")
    store.open()
    maps = SparseMaps(Net(UnitToy().model(), ()), store, device)
    question = KernelQuestion(32, 64, False, 8, 0.5, (PACKED,), "bfloat16", 1, "2.13", "a GPU")
    assert maps._choose(question) == maps._choose(question) == Choice(predicting=PACKED)
    assert asked == [(question, gpu)]
    assert maps.all_versions(["numba 0.1"]) == ["numba 0.1"]  # numba computes nothing on a GPU
