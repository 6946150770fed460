"""CommonsenseQA as it stands in its files, real, synthetic and broken."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from smc_eval.errors import DataError
from smc_eval.tasks.commonsense.csqa import Csqa
from smc_eval.tasks.commonsense.question import Question


def row(**changes: Any) -> dict[str, Any]:
    labelled = [{"label": label, "text": f"place {label}"} for label in "ABCDE"]
    return {"answerKey": "B", "id": "0", "question": {"stem": "Where?", "choices": labelled}, **changes}


def asked(*choices: Any, **changes: Any) -> dict[str, Any]:
    return row(question={"stem": "Where?", "choices": list(choices), **changes})


def five(*labels: str) -> list[dict[str, str]]:
    return [{"label": label, "text": f"place {label}"} for label in labels]


def laid(folder: Path, *rows: Any, name: str = "dev_rand_split.jsonl") -> Path:
    path = folder / "commonsenseqa" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in rows))
    return path


def test_a_question_is_read_with_every_choice_beside_it(tmp_path: Path) -> None:
    laid(tmp_path, row(), "", row(answerKey="E"))
    first, second = Csqa(folder=str(tmp_path)).data("test")
    assert first == Question(tuple(("Q: Where?", f"A: place {label}") for label in "ABCDE"), 1)
    assert second.answer == 4


def test_choices_keep_the_files_order(tmp_path: Path) -> None:
    laid(tmp_path, asked(*five("C", "A", "B", "E", "D")))
    (one,) = Csqa(folder=str(tmp_path)).data("test")
    assert [choice for _, choice in one.choices][one.answer] == "A: place B"
    assert one.answer == 2


def test_plain_and_gz_are_read_alike_and_have_one_digest(tmp_path: Path) -> None:
    tasks = []
    for packed in (False, True):
        folder = tmp_path / str(packed)
        folder.mkdir()
        for name in ("train_rand_split.jsonl", "dev_rand_split.jsonl"):
            path = laid(folder, row(), name=name)
            if packed:
                path.with_name(f"{name}.gz").write_bytes(gzip.compress(path.read_bytes()))
                path.unlink()
        tasks.append(Csqa(folder=str(folder)))
    assert tasks[0].data("train") == tasks[1].data("train")
    assert tasks[0].sources()[0].digest == tasks[1].sources()[0].digest


BROKEN = [
    (row(answerKey="F"), "'answerKey' is 'F'; wanted one of A, B, C, D, E"),
    (row(answerKey=["A"]), "'answerKey' is ['A']; wanted one of"),
    (row(answerKey=""), "no 'answerKey', as in the official test file; wanted one of A, B, C, D, E"),
    ({"id": "0", "question": row()["question"]}, "no 'answerKey', as in the official test file"),
    (row(question="Where?"), "'question' is 'Where?'; wanted a JSON object"),
    ({"answerKey": "A", "id": "0"}, "no 'question'; found 'answerKey, id'"),
    (asked(*five(*"ABCDE"), stem=" "), "'stem' is empty"),
    (asked(*five(*"ABCDE"), stem=7), "'stem' is 7; wanted text"),
    (asked(*five(*"ABCD")), "no choice is labelled E; wanted A, B, C, D, E"),
    (asked(*five(*"ABCDD")), "two choices are labelled 'D'"),
    (asked(*five(*"ABCDEA")), "two choices are labelled 'A'"),
    (asked(*five(*"ABCD1")), "a choice is labelled '1'; wanted A, B, C, D, E"),
    (asked(*five(*"ABCD"), {"label": "E"}), "a choice is {'label': 'E'}; wanted an object with label"),
    (asked(*five(*"ABCD"), {"label": "E", "text": ""}), "'text' is empty"),
    (asked(*five(*"ABCD"), {"label": "E", "text": None}), "'text' is None; wanted text"),
    (asked(*five(*"ABCD"), {"label": "E", "text": "\ud800"}), "'text' holds half a character"),
    (asked(*five(*"ABCD"), {"label": {}, "text": "x"}), "a choice is labelled {}"),
    (row(question={"stem": "Where?", "choices": "ABCDE"}), "'choices' is 'ABCDE'; wanted a list"),
    ("[1, 2]", "it is [1, 2]; wanted a JSON object"),
    ("{", "no JSON: Expecting property name"),
    ('{"answerKey": 1' + "1" * 5000 + "}", "no JSON that could be read: it holds a number too long"),
    ("[" * 100_000, "no JSON that could be read: it is nested too deeply"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "said"), BROKEN, ids=[said[:40] for _, said in BROKEN])
def test_a_row_that_makes_no_sense_is_named_by_file_and_line(tmp_path: Path, wrong: Any, said: str) -> None:
    path = laid(tmp_path, row(), wrong)
    with pytest.raises(DataError) as caught:
        Csqa(folder=str(tmp_path)).data("test")
    assert str(caught.value).startswith(f"{path}, line 2: ")
    assert said in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty; wanted one JSON object a line"),
        (b"\n\n", "the file is empty"),
        ('{"stem": "é"}'.encode("latin-1"), "line 1: byte 0xe9 is not UTF-8"),
    ],
)
def test_a_file_that_is_no_set_of_questions_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = laid(tmp_path)
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        Csqa(folder=str(tmp_path)).data("test")
    assert str(path) in str(caught.value) and said in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no commonsenseqa/train_rand_split.jsonl or "):
        Csqa(folder=str(tmp_path)).sources()


def test_the_recipe_is_the_published_one() -> None:
    recipe = Csqa().recipe
    assert (recipe.optimizer, recipe.lr, recipe.betas, recipe.eps) == ("adamw", 1e-5, (0.9, 0.98), 1e-6)
    assert (recipe.steps, recipe.batch_size, recipe.weight_decay, recipe.clip) == (3000, 16, 0.01, None)
    assert recipe.rate(149, 9741) == 1.0 and recipe.rate(74, 9741) == 0.5
    assert recipe.rate(1575, 9741) == pytest.approx(0.5) and recipe.rate(2999, 9741) < 1e-3


def test_a_score_counts_right_choices(tmp_path: Path) -> None:
    examples = Csqa().data("test")[:4]
    answers = [one.answer for one in examples]
    score = Csqa().score([*answers[:3], (answers[3] + 1) % 5], examples)
    assert (score.metric, score.value, score.n, score.signature) == (
        "accuracy (%)", 75.0, 4, "accuracy|by:ranking",
    )  # fmt: skip


def test_real_files_are_read(data_dir: Path) -> None:
    task = Csqa(folder=str(data_dir))
    train, test = task.data("train"), task.data("test")
    assert (len(train), len(test)) == (8520, 1221)
    assert {len(one.choices) for one in train} == {5}
    assert test[0].choices[2] == (
        "Q: John needed his watched fixed. Where might he take it?",
        "A: jewellers",
    )
    assert test[0].answer == 2
    most = Counter(one.answer for one in test).most_common(1)[0][1]
    assert most / len(test) < 0.25  # no label is a way to guess
