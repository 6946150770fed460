"""The four tasks: official layouts, what is refused, training, every method, and what is in scope."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from published import checkpoint
from smc_eval_structures.convert import convert
from smc_eval_structures.folded import OFFICIAL
from smc_eval_structures.synthetic import pdb_text, synthetic_structures
from smc_eval_structures.tasks import (
    STRUCTURE_TASKS,
    HpS2C2Structure,
    HpS2C5Structure,
    HpS2C5StructureTm,
    Structures,
)

from smc_eval import DataError, ModelError, UsageError, registry
from smc_eval.cli.plan import forward_flops
from smc_eval.experiment.config import RunConfig
from smc_eval.experiment.model_choice import ModelChoice
from smc_eval.planning.resolve import assume_task
from smc_eval.sparse.scope import in_scope
from smc_eval.tasks.protein import hotprotein
from smc_eval.testing import TaskContract, chain_of, check_measurements, run_chain, targets_for

TINY = HpS2C5Structure().recipe.model_copy(update=dict(HpS2C5Structure.tiny))


class TestHpS2C5Structure(TaskContract):
    task = HpS2C5Structure(fold=0, recipe=TINY)


class TestHpS2C5StructureTm(TaskContract):
    task = HpS2C5StructureTm(fold=0, recipe=TINY)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the synthetic data of HP-S²C5, to be damaged."""
    shutil.copytree(synthetic_structures("hotprotein/s2c5"), tmp_path / "data")
    return tmp_path / "data"


def task(folder: Path, **fields: object) -> Structures:
    return HpS2C5Structure.model_validate({"fold": 0, "folder": str(folder), **fields})


def test_the_tasks_are_named_grouped_and_folded_and_registered_once_installed() -> None:
    assert [
        (kind.card.name, kind.card.folds, kind.card.metric, kind.card.chance) for kind in STRUCTURE_TASKS
    ] == [
        ("hp-s2c5/structure", 10, "accuracy (%)", 20),
        ("hp-s2c2/structure", 10, "accuracy (%)", 50),
        ("hp-s2c5/structure/tm", 10, "Spearman's rho", 0),
        ("hp-s2c2/structure/tm", 10, "Spearman's rho", 0),
    ]
    installed = registry.load_registry().checked()
    assert list(installed.named_tasks("structures")) == list(STRUCTURE_TASKS)
    assert "structure-encoder" in installed.kinds


@pytest.mark.parametrize("kind", STRUCTURE_TASKS, ids=lambda kind: kind.card.name)
def test_every_task_reads_its_synthetic_proteins_with_their_backbones(kind: type[Structures]) -> None:
    one = kind(fold=3)
    train, test = one.data("train"), one.data("test")
    wanted = (180, 20) if one.card.name.endswith("/tm") else (90, 10)
    assert (len(train), len(test)) == wanted
    assert len({one.content(protein) for protein in (*train, *test)}) == sum(wanted)
    for protein in (*train, *test):
        assert protein.backbone.sequence == protein.sequence
        assert np.isfinite(protein.backbone.atoms_L33).all()


def test_hotter_synthetic_proteins_have_more_helix() -> None:
    proteins = HpS2C5StructureTm(fold=0).data("train")
    ends = [
        np.linalg.norm(p.backbone.atoms_L33[-1, 1] - p.backbone.atoms_L33[0, 1]) / len(p.sequence)
        for p in proteins
    ]
    assert np.corrcoef(ends, [protein.answer for protein in proteins])[0, 1] < -0.7  # strands are long


def test_each_official_layout_is_found_plain_and_packed(folder: Path) -> None:
    wanted = [protein.backbone.atoms_L33 for protein in task(folder).data("test")]
    digest = task(folder).sources()[0].digest
    names = [protein.name for protein in task(folder).data("test")]
    place = folder / "hotprotein/s2c5/d2_clean"
    first, second, third, *_ = names
    (place / first / OFFICIAL).rename(place / f"AF-{first}-F1-model_v4.pdb")
    (place / f"AF-{first}-F1-model_v3.cif").write_text("an older one, which is not read")
    (place / second / OFFICIAL).rename(place / f"{second}.pdb")
    content = (place / third / OFFICIAL).read_bytes()
    (place / third / f"{OFFICIAL}.gz").write_bytes(gzip.compress(content))
    (place / third / OFFICIAL).unlink()
    for protein, atoms_L33 in zip(task(folder).data("test"), wanted, strict=True):
        np.testing.assert_array_equal(protein.backbone.atoms_L33, atoms_L33)
    assert task(folder).sources()[0].digest == digest
    place.rename(place.with_name("structures"))
    assert task(folder).sources()[0].digest == digest


def test_another_structure_is_other_data(folder: Path) -> None:
    before = task(folder).sources()[0].digest
    protein = task(folder).data("test")[0]
    path = folder / "hotprotein/s2c5/d2_clean" / protein.name / OFFICIAL
    path.write_text(path.read_text() + "REMARK\n")
    assert task(folder).sources()[0].digest != before


def test_a_structure_that_does_not_fit_its_sequence_is_refused(folder: Path) -> None:
    protein = task(folder).data("test")[0]
    path = folder / "hotprotein/s2c5/d2_clean" / protein.name / OFFICIAL
    atoms = [tuple(map(float, point)) for point in protein.backbone.atoms_L33.reshape(-1, 3)]
    shorter = len(protein.sequence) - 1
    path.write_text(pdb_text(protein.sequence[:-1], atoms[:-3]))
    with pytest.raises(DataError, match=rf"{OFFICIAL}, chain A has {shorter} residues, and the sequence of"):
        task(folder).data("test")
    other = "W" if protein.sequence[4] != "W" else "Y"
    path.write_text(pdb_text(protein.sequence[:4] + other + protein.sequence[5:], atoms))
    with pytest.raises(DataError, match=f"residue 5 is {other}, and {protein.sequence[4]} in the sequence"):
        task(folder).data("test")
    path.unlink()
    with pytest.raises(DataError, match=f"has no structure of '{protein.name}'; 1 of the split's 100"):
        task(folder).sources()


def test_a_chain_that_does_not_exist_and_missing_structures_are_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="has no protein chain 'B'; it has A"):
        task(folder, chain="B").data("test")
    shutil.rmtree(folder / "hotprotein/s2c5/d2_clean")
    with pytest.raises(DataError, match="has no structures: wanted .*d2_clean/NAME/unrelaxed_model_1_ptm"):
        task(folder).sources()
    with pytest.raises(DataError, match="the hub has no official copy"):
        task(folder).replace(folder="hub").sources()


def test_the_published_encoder_is_asked_for_with_its_address() -> None:
    with pytest.raises(ModelError, match="fetch https://dl.fbaipublicfiles.com/.*smc-eval-convert-esm-if1"):
        HpS2C5Structure(fold=0, backbone=HpS2C5Structure.card.published).sources()


def test_a_converted_checkpoint_is_trained_with_a_learning_rate_of_its_own(tmp_path: Path) -> None:
    content, encoder = checkpoint()
    torch.save(content, tmp_path / "it.pt")
    convert(tmp_path / "it.pt", tmp_path / "model")
    one = HpS2C2Structure(fold=0, backbone=str(tmp_path / "model"))
    model = one.model()
    names = dict(model.named_parameters()).keys()
    head = {name for name in names if name.startswith("head.")}
    assert set(one.backbone_weights(model)) == names - head and len(head) == 6
    assert torch.equal(model.state_dict()["encoder.token"], encoder.token)
    assert [source.role for source in one.sources()] == ["data", "model"]


def test_scope_body_holds_every_matrix_but_the_output_and_the_paper_those_of_the_transformer() -> None:
    one = HpS2C5Structure(fold=0)
    model = one.model()
    body = set(in_scope(model, "body", one.exclude(model)))
    matrices = {name for name, weight in model.named_parameters() if weight.ndim == 2}
    assert body == matrices - {"head.out.weight"}
    paper = matrices - set(one.exclude_in_paper(model))
    parts = ("query", "key", "value", "out", "up", "down")
    assert paper == {f"encoder.layers.{n}.{part}.weight" for n in range(2) for part in parts}


def test_the_net_of_a_mean_over_residues_reads_no_begin_and_no_end() -> None:
    one = HpS2C5Structure(fold=0)
    model, batch = one.model().eval(), one.collate(one.data("train")[:2])
    with torch.no_grad():
        states = model.encoder(batch.atoms_NL33, batch.present_NL, batch.real_NL)
        length = len(one.data("train")[0].sequence)
        wanted = model.head(states[0, 1 : 1 + length].mean(0))
        torch.testing.assert_close(model(batch)[0], wanted, atol=1e-5, rtol=1e-5)
    assert (model.head.hidden.out_features, model.head.out.out_features) == (128, 5)


def test_activations_can_be_recomputed_and_gradients_stay_the_same() -> None:
    one = HpS2C5Structure(fold=0)
    model, batch = one.model(), one.collate(one.data("train")[:3])
    slopes = []
    for recomputed in (False, True):
        model.zero_grad()
        if recomputed:
            model.encoder.activation_checkpointing_enable({"use_reentrant": False})
        one.loss(model, batch).backward()
        slopes.append([weight.grad.clone() for weight in model.parameters()])
    assert all(torch.equal(first, second) for first, second in zip(*slopes, strict=True))
    model.encoder.activation_checkpointing_disable()
    assert model.encoder.recomputing is None


def test_truncated_proteins_are_read_from_their_first_residue_on() -> None:
    one = HpS2C5Structure(fold=0, truncate=7)
    batch = one.collate(one.data("train")[:3])
    assert batch.atoms_NL33.shape == (3, 9, 3, 3)
    assert one.length(one.data("train")[0]) == 9


def test_a_text_model_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        '{"model_type": "roberta", "architectures": ["RobertaForMaskedLM"]}'
    )
    config = RunConfig(tasks=("hp-s2c5/structure",), model=(str(tmp_path),), method=("dense",))
    with pytest.raises(
        UsageError, match="of the type 'roberta', which reads no .* takes a structure encoder"
    ):
        ModelChoice.of(config, registry.load_registry(), [HpS2C5Structure])


METHODS = {
    name: method for name, method in registry.load_registry().methods.items() if method.card.when != "custom"
}


LONG = {"synflow", "obert", "grasp"}
"""They make many passes over the net."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in LONG else ()) for name in METHODS]
)
def test_every_method_prunes_it_exactly(tmp_path: Path, name: str) -> None:
    method = METHODS[name]()
    recipe = HpS2C5Structure().recipe.model_copy(
        update={"epochs": None, "steps": 6, "warmup": 0, "batch_size": 4}
    )
    one = HpS2C5Structure(fold=0, limit=12, recipe=recipe)
    record, _, masks = run_chain(chain_of(method, targets_for(method)[0], one), tmp_path)
    assert record.status == "ok" and record.certificate is not None and record.certificate.ok
    assert not masks or sum(int(mask.sum()) for mask in masks.values()) == record.certificate.expected
    check_measurements(record)


def test_plans_take_published_sizes_without_weights_and_guess_no_operations(tmp_path: Path) -> None:
    one = HpS2C5Structure(fold=0, backbone=HpS2C5Structure.card.published, folder="published")
    data = assume_task(one)
    assert data.examples == 936
    assert "not in the local cache" in data.assumptions[0]
    torch.save(checkpoint()[0], tmp_path / "it.pt")
    convert(tmp_path / "it.pt", tmp_path / "model")
    assert forward_flops(one.replace(backbone=str(tmp_path / "model"))) is None  # most are those of edges


def test_the_files_of_both_forms_are_named_with_their_addresses() -> None:
    files = HpS2C5Structure().data_files()
    assert [file.path for file in files] == ["hotprotein/s2c5/", "hotprotein/s2c5/d2_clean/"]
    assert "alphafold.ebi.ac.uk/files/AF-NAME-F1-model_v4.cif" in files[1].note
    assert OFFICIAL in files[1].note and hotprotein.HP_S2C5.table in files[0].note
