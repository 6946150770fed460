"""The six arithmetic tasks: their data, scores and training."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from smc_eval.engine.device import Device
from smc_eval.engine.predict import predict
from smc_eval.errors import DataError, ModelError, UsageError
from smc_eval.sparse.scope import in_scope
from smc_eval.tasks.arithmetic.datasets import (
    ARITHMETIC_TASKS,
    AsdivAGts,
    MawpsGraph2Tree,
    MawpsGts,
    SvampGraph2Tree,
    SvampGts,
)
from smc_eval.tasks.arithmetic.problems import Problem
from smc_eval.tasks.arithmetic.solver import Solver
from smc_eval.tasks.arithmetic.text_readers import make_reader
from smc_eval.tasks.arithmetic.word_problems import WordProblems


def small(kind: type[WordProblems] = MawpsGts, **fields: object) -> WordProblems:
    """A task on synthetic data, small enough for a test."""
    fold = 0 if kind.card.folds else None
    return kind.model_validate({"backbone": "scratch", "fold": fold, "hidden": 16, "embedding": 12, **fields})


def test_the_six_tasks_are_named_and_grouped() -> None:
    assert [kind.card.name for kind in ARITHMETIC_TASKS] == [
        "mawps/gts",
        "mawps/graph2tree",
        "asdiv-a/gts",
        "asdiv-a/graph2tree",
        "svamp/gts",
        "svamp/graph2tree",
    ]
    assert [kind.card.folds for kind in ARITHMETIC_TASKS] == [5, 5, 5, 5, None, None]
    for kind in ARITHMETIC_TASKS:
        assert kind.card.groups == (kind.card.name.split("/")[0], "arithmetic")


@pytest.mark.parametrize(
    ("kind", "batch", "lr", "backbone_lr", "width"),
    [
        (MawpsGts, 4, 1e-3, 8e-6, 512),
        (AsdivAGts, 4, 1e-3, 8e-6, 512),
        (SvampGts, 8, 1e-3, 8e-6, 512),
        (MawpsGraph2Tree, 8, 8e-4, 1e-5, 384),
        (SvampGraph2Tree, 8, 8e-4, 1e-5, 384),
    ],
)
def test_recipes_are_the_published_ones(
    kind: type[WordProblems], batch: int, lr: float, backbone_lr: float, width: int
) -> None:
    task = kind(backbone="scratch")
    recipe = task.recipe
    assert (recipe.batch_size, recipe.lr, recipe.backbone_lr) == (batch, lr, backbone_lr)
    assert (recipe.epochs, recipe.optimizer, recipe.weight_decay) == (50, "adam", 1e-5)
    assert (recipe.schedule, recipe.period, recipe.gamma) == ("step", 20, 0.5)
    assert task.width == width
    assert kind(backbone="tiny").width == 64


def test_the_net_has_the_published_shapes() -> None:
    task = MawpsGts(backbone="scratch", fold=0)
    shapes = {name: tuple(weight.shape) for name, weight in task.model().named_parameters()}
    assert shapes["sequence.weight_ih_l0"] == (2048, 768)
    assert shapes["sequence.weight_ih_l1_reverse"] == (2048, 1024)
    assert shapes["sequence.weight_hh_l1"] == (2048, 512)
    assert shapes["tree.left.value.weight"] == (512, 512)
    assert shapes["tree.right.gate.weight"] == (512, 1024)
    assert shapes["tree.operator.weight"] == (4, 1024)
    assert shapes["tree.attention.join.weight"] == (512, 1024)
    assert shapes["tree.attention.score.weight"] == (1, 512)
    assert shapes["tree.leaf.join.weight"] == (512, 1536)
    assert shapes["tree.leaf.score.weight"] == (1, 512)
    assert "tree.leaf.score.bias" not in shapes
    assert shapes["tree.to_left.value.weight"] == shapes["tree.merge.gate.weight"] == (512, 1792)
    assert shapes["tree.operators.weight"] == (4, 768)
    assert shapes["tree.constants"] == (1, 1, 512)


def test_the_body_excludes_output_layers_and_embeddings() -> None:
    task = small(MawpsGraph2Tree)
    model = task.model()
    scope = in_scope(model, "body", task.exclude(model))
    out = {"tree.operator.weight", "tree.leaf.score.weight", "tree.constants"}
    tables = {"words.table.weight", "tree.operators.weight"}
    matrices = {name for name, weight in model.named_parameters() if weight.ndim >= 2}
    assert set(scope) == matrices - out - tables
    assert set(in_scope(model, "all-2d")) == matrices - {"tree.constants"}


def test_a_score_holds_value_and_equation_accuracy() -> None:
    numbers = (2.0, 3.0)
    problems = [Problem(("NUM", "NUM"), (0, 1), numbers, ("+", "N0", "N1"), ())] * 4
    predicted = [["+", "N0", "N1"], ["*", "N0", "N1"], ["+", "N1", "N0"], ["+", "N0"]]
    score = small().score(predicted, problems)
    assert (score.metric, score.value, score.n) == ("value accuracy (%)", 50.0, 4)
    assert score.also == {"equation_accuracy": 25.0}
    assert score.signature == "value|tol:1e-4|beam:5"


def test_a_question_is_the_same_whatever_its_numbers_and_its_equation_are() -> None:
    first = Problem(("NUM", "pens"), (0,), (2.0,), ("N0",), ())
    other = first._replace(numbers=(3.0,), equation=("+", "N0", "N0"))
    assert small().content(first) == small().content(other) != small().content(first._replace(words=("NUM",)))


def test_real_files_are_read(data_dir: Path) -> None:
    task = MawpsGts(backbone="scratch", folder=str(data_dir), fold=0)
    assert (len(task.data("train")), len(task.data("test"))) == (1537, 384)


def test_a_task_with_folds_needs_a_fold() -> None:
    with pytest.raises(UsageError, match=r"'mawps/gts' has 5 folds; name one"):
        MawpsGts(backbone="scratch").data("train")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cv_mawps/fold3/train.csv"):
        MawpsGts(backbone="scratch", folder=str(tmp_path), fold=3).sources()


def test_a_hub_model_without_a_connection_is_reported_with_three_remedies() -> None:
    with pytest.raises(ModelError) as caught:
        MawpsGts(backbone="org/no-such-model", fold=0).sources()
    message = str(caught.value)
    for remedy in ("connect", "hf download org/no-such-model", "local folder"):
        assert remedy in message


def test_predictions_are_plain_json_and_do_not_depend_on_the_batch() -> None:
    torch.manual_seed(0)
    for kind in (MawpsGts, MawpsGraph2Tree):
        task = small(kind)
        model, examples = task.model(), task.data("test")[:8]
        predicted = [
            predict(
                task, model, examples, task.recipe.model_copy(update={"eval_batch_size": size}), Device("cpu")
            )
            for size in (1, 16)
        ]
        assert predicted[0] == predicted[1] == json.loads(json.dumps(predicted[0]))


@pytest.mark.parametrize(("kind", "hidden", "lr"), [(SvampGts, 64, 5e-3), (SvampGraph2Tree, 32, 1e-2)])
def test_a_net_learns_eight_problems(kind: type[WordProblems], hidden: int, lr: float) -> None:
    torch.manual_seed(0)
    task = small(kind, hidden=hidden, embedding=32, dropout=0.0)
    examples = task.data("train")[:8]
    model = task.model().eval()  # eval mode also turns off the dropout of the graph block
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    for _ in range(160):
        optimizer.zero_grad()
        task.loss(model, task.collate(examples)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    predicted = predict(task, model, examples, task.recipe, Device("cpu"))
    assert task.score(predicted, examples).also["equation_accuracy"] >= 75


def test_scratch_does_not_know_words_of_the_test_part_alone() -> None:
    train = [Problem(("some", "NUM"), (1,), (1.0,), ("N0",), ())]
    test = [Problem(("other", "some", "NUM"), (2,), (1.0,), ("N0",), ())]
    text_reader = make_reader("scratch", train, test)
    assert text_reader.tokenize(test[0].words) == ([2, 3, 1], [0, 1, 2])  # UNK, the first word, NUM


def test_reading_data_needs_no_tensors() -> None:
    code = (
        "import sys; from smc_eval.tasks.arithmetic.datasets import MawpsGts; "
        "task = MawpsGts(fold=0); task.sources(); task.data('train'); "
        "assert not {'torch', 'transformers'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_tiny_model_has_no_pretrained_part() -> None:
    task = small(backbone="tiny")
    model = task.model()
    assert isinstance(model, Solver)
    assert task.backbone_weights(model) == ()
