"""WinoGrande in its files, and the two ways to compare its candidates."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from smc_eval.errors import DataError, ModelError
from smc_eval.tasks.commonsense.pairs import PairBatch
from smc_eval.tasks.commonsense.question import Blank
from smc_eval.tasks.commonsense.ranker import Ranker
from smc_eval.tasks.commonsense.spans import Spans
from smc_eval.tasks.commonsense.winogrande import WINOGRANDE_SIZES, WinoGrande


def row(**changes: Any) -> dict[str, Any]:
    sentence = "Ann thanked Bea because _ had helped."
    return {"qID": "Q-1", "sentence": sentence, "option1": "Ann", "option2": "Bea", "answer": "2", **changes}


def write_rows(folder: Path, *rows: Any, name: str = "dev.jsonl") -> Path:
    path = folder / "winogrande_1.1" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return path


def test_a_sentence_is_split_at_its_blank(tmp_path: Path) -> None:
    write_rows(tmp_path, row())
    (one,) = WinoGrande(folder=str(tmp_path)).data("test")
    assert one == Blank("Ann thanked Bea because ", " had helped.", ("Ann", "Bea"), 1)


def test_ranked_candidates_begin_the_second_text() -> None:
    one = Blank("Ann thanked Bea because ", " had helped.", ("Ann", "Bea"), 1)
    assert one.choices == [
        ("Ann thanked Bea because", "Ann had helped."),
        ("Ann thanked Bea because", "Bea had helped."),
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sentence": "Ann helped."}, "0 blanks `_` in 'Ann helped.'; wanted one"),
        ({"sentence": "_ helped _."}, "2 blanks `_` in '_ helped _.'; wanted one"),
        ({"sentence": ""}, "'sentence' is empty"),
        ({"option1": ""}, "'option1' is empty"),
        ({"option2": None}, "'option2' is None; wanted text"),
        ({"option1": "Bea"}, "both options are 'Bea'; wanted two different ones"),
        ({"answer": ""}, "'answer' is empty, as in the official test file; wanted '1' or '2'"),
        ({"answer": "3"}, "'answer' is '3'; wanted '1' or '2'"),
        ({"answer": 1}, "'answer' is 1; wanted '1' or '2'"),
        ({"answer": ["1"]}, "'answer' is ['1']; wanted '1' or '2'"),
    ],
)
def test_an_invalid_row_is_reported_with_file_and_line(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = write_rows(tmp_path, row(), row(**changes))
    with pytest.raises(DataError) as caught:
        WinoGrande(folder=str(tmp_path)).data("test")
    assert str(caught.value) == f"{path}, line 2: {message}"


@pytest.mark.parametrize("name", ["option2", "answer", "sentence"])
def test_a_missing_field_is_reported(tmp_path: Path, name: str) -> None:
    write_rows(tmp_path, {key: value for key, value in row().items() if key != name})
    with pytest.raises(DataError, match=rf"line 1: no '{name}'; found 'qID"):
        WinoGrande(folder=str(tmp_path)).data("test")


def test_the_size_selects_the_training_file(tmp_path: Path) -> None:
    sizes = [len(WinoGrande(size=size).data("train")) for size in WINOGRANDE_SIZES]
    assert sizes == sorted(set(sizes))
    assert WinoGrande().size == "xl"
    assert len({WinoGrande(size=size).digest() for size in WINOGRANDE_SIZES}) == 5


def test_a_missing_size_is_reported_with_its_file_and_the_existing_sizes(tmp_path: Path) -> None:
    write_rows(tmp_path, row(), name="train_xs.jsonl")
    write_rows(tmp_path, row(), name="train_m.jsonl")
    with pytest.raises(DataError) as caught:
        WinoGrande(folder=str(tmp_path)).sources()
    message = str(caught.value)
    assert "has no winogrande_1.1/train_xl.jsonl or winogrande_1.1/train_xl.jsonl.gz" in message
    assert message.endswith("sizes in this folder: xs, m; take winogrande:size=m")
    with pytest.raises(DataError, match="has no winogrande_1.1/dev.jsonl"):
        WinoGrande(folder=str(tmp_path), size="m").sources()


def test_a_model_without_a_head_for_masked_words_ranks_and_the_signature_shows_it(
    checkpoint: Callable[..., Path],
) -> None:
    plain = str(checkpoint(head=False))
    task = WinoGrande(backbone=plain)
    assert isinstance(task.model(), Ranker)
    assert isinstance(task.collate(task.data("train")[:2]), PairBatch)
    assert task.exclude(task.model()) == ("out.weight",)
    assert task.score([], []).signature == "accuracy|by:ranking|train:xl|ties:wrong"
    with pytest.raises(ModelError, match="names no architecture ForMaskedLM, .*take winogrande:by=ranking"):
        WinoGrande(backbone=plain, by="spans").sources()


def test_a_model_with_such_a_head_scores_spans_unless_by_is_ranking(
    checkpoint: Callable[..., Path],
) -> None:
    whole = str(checkpoint())
    task = WinoGrande(backbone=whole, size="s")
    assert isinstance(task.collate(task.data("train")[:2]), Spans)
    assert task.score([], []).signature == "accuracy|by:spans|train:s|ties:wrong"
    ranking = WinoGrande(backbone=whole, by="ranking")
    batch = ranking.collate(ranking.data("train")[:2])
    assert ranking.loss_and_outputs(ranking.model(), batch)[1].shape == (2, 2)
    assert ranking.score([], []).signature == "accuracy|by:ranking|train:xl|ties:wrong"


def test_a_checkpoint_that_lacks_the_head_of_its_config_is_refused(checkpoint: Callable[..., Path]) -> None:
    folder = checkpoint(head=False)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["RobertaForMaskedLM"]}))
    with pytest.raises(ModelError, match=r"lacks 6 tensors of its net, 'lm_head"):
        WinoGrande(backbone=str(folder)).model()


def test_spans_need_a_mask_token_and_ranking_does_not(checkpoint: Callable[..., Path]) -> None:
    folder = str(checkpoint(mask=False))
    with pytest.raises(ModelError, match="has no mask token"):
        WinoGrande(backbone=folder).model()
    assert isinstance(WinoGrande(backbone=folder, by="ranking").model(), Ranker)


def test_a_tie_is_wrong_unless_ties_count() -> None:
    task = WinoGrande(by="ranking")
    examples = task.data("test")[:3]
    batch = task.collate(examples)
    scores = torch.tensor([[0.5, 0.5], [0.1, 0.2], [0.2, 0.1]])
    predicted = task.predict(lambda _batch: scores, batch)  # type: ignore[arg-type]
    assert predicted == [-1, 1, 0]
    guesses = [-1, examples[1].answer, 1 - examples[2].answer]
    strict, lenient = task.score(guesses, examples), task.replace(ties="count").score(guesses, examples)
    assert strict.value == pytest.approx(100 / 3) and lenient.value == pytest.approx(200 / 3)
    assert lenient.signature == "accuracy|by:ranking|train:xl|ties:count"


def test_the_recipe_is_the_published_one() -> None:
    recipe = WinoGrande().recipe
    assert (recipe.steps, recipe.warmup, recipe.batch_size, recipe.schedule) == (23750, 2375, 32, "linear")
    assert (recipe.optimizer, recipe.lr, recipe.betas, recipe.eps) == ("adamw", 1e-5, (0.9, 0.98), 1e-6)
    assert recipe.weight_decay == 0.01


def test_real_files_are_read(data_dir: Path) -> None:
    task = WinoGrande(folder=str(data_dir), size="xs")
    train, test = task.data("train"), task.data("test")
    assert (len(train), len(test)) == (160, 200)
    assert test[0] == Blank(
        "Sarah was a much better surgeon than Maria so ",
        " always got the easier cases.",
        ("Sarah", "Maria"),
        1,
    )
    batch = task.collate(test)
    assert (batch.masked_N2L.sum(-1) > 0).all()
