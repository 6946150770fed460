"""CommonsenseQA in real, synthetic and broken files."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from smc_eval.capabilities import chance
from smc_eval.errors import DataError
from smc_eval.tasks.commonsense.csqa import Csqa, fewer_choices
from smc_eval.tasks.commonsense.question import Question


def row(**changes: Any) -> dict[str, Any]:
    labelled = [{"label": label, "text": f"place {label}"} for label in "ABCDE"]
    return {"answerKey": "B", "id": "0", "question": {"stem": "Where?", "choices": labelled}, **changes}


def row_of(*parts: Any, **changes: Any) -> dict[str, Any]:
    return row(question={"stem": "Where?", "choices": list(parts), **changes})


def choices(*labels: str) -> list[dict[str, str]]:
    return [{"label": label, "text": f"place {label}"} for label in labels]


def write_rows(folder: Path, *rows: Any, name: str = "dev_rand_split.jsonl") -> Path:
    path = folder / "commonsenseqa" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in rows))
    return path


def test_a_question_is_read_as_pairs_with_its_choices(tmp_path: Path) -> None:
    write_rows(tmp_path, row(), "", row(answerKey="E"))
    first, second = Csqa(folder=str(tmp_path)).data("test")
    assert first == Question(tuple(("Q: Where?", f"A: place {label}") for label in "ABCDE"), 1)
    assert second.answer == 4


def test_choices_keep_the_order_of_the_file(tmp_path: Path) -> None:
    write_rows(tmp_path, row_of(*choices("C", "A", "B", "E", "D")))
    (one,) = Csqa(folder=str(tmp_path)).data("test")
    assert [choice for _, choice in one.choices][one.answer] == "A: place B"
    assert one.answer == 2


def test_fewer_choices_are_the_right_one_and_some_wrong_ones_in_their_order(tmp_path: Path) -> None:
    write_rows(tmp_path, *(row(answerKey="ABCDE"[n % 5], id=str(n)) for n in range(10)))
    whole = Csqa(folder=str(tmp_path)).data("test")
    for more, fewer in zip(whole, Csqa(folder=str(tmp_path), choices=2).data("test"), strict=True):
        assert len(fewer.choices) == 2
        assert fewer.choices[fewer.answer] == more.choices[more.answer]
        places = [more.choices.index(choice) for choice in fewer.choices]
        assert places == sorted(places)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_the_choices_of_an_easier_question_are_among_those_of_a_harder_one(count: int) -> None:
    for answer in range(5):
        question = Question(tuple(("Q", letter) for letter in "ABCDE"), answer)
        fewer, more = (set(fewer_choices(question, n).choices) for n in (count, count + 1))
        assert fewer < more


def test_equal_texts_are_counted_as_choices_of_their_own() -> None:
    question = Question((("Q", "a"), ("Q", "a"), ("Q", "a")), 1)
    assert fewer_choices(question, 2) in (Question((("Q", "a"),) * 2, 0), Question((("Q", "a"),) * 2, 1))


def test_the_choices_set_what_a_guess_scores_and_leave_the_digest_of_all_five_as_it_was() -> None:
    assert [chance(Csqa(choices=count)) for count in (2, 3, 4, 5)] == pytest.approx([50, 100 / 3, 25, 20])
    assert "choices" not in str(Csqa().canonical())
    assert Csqa(choices=5).digest() == Csqa().digest() != Csqa(choices=4).digest()


def test_plain_and_gz_files_give_the_same_data_and_digest(tmp_path: Path) -> None:
    tasks = []
    for packed in (False, True):
        folder = tmp_path / str(packed)
        folder.mkdir()
        for name in ("train_rand_split.jsonl", "dev_rand_split.jsonl"):
            path = write_rows(folder, row(), name=name)
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
    (row_of(*choices(*"ABCDE"), stem=" "), "'stem' is empty"),
    (row_of(*choices(*"ABCDE"), stem=7), "'stem' is 7; wanted text"),
    (row_of(*choices(*"ABCD")), "no choice is labelled E; wanted A, B, C, D, E"),
    (row_of(*choices(*"ABCDD")), "two choices are labelled 'D'"),
    (row_of(*choices(*"ABCDEA")), "two choices are labelled 'A'"),
    (row_of(*choices(*"ABCD1")), "a choice is labelled '1'; wanted A, B, C, D, E"),
    (row_of(*choices(*"ABCD"), {"label": "E"}), "a choice is {'label': 'E'}; wanted an object with label"),
    (row_of(*choices(*"ABCD"), {"label": "E", "text": ""}), "'text' is empty"),
    (row_of(*choices(*"ABCD"), {"label": "E", "text": None}), "'text' is None; wanted text"),
    (row_of(*choices(*"ABCD"), {"label": "E", "text": "\ud800"}), "'text' holds half a character"),
    (row_of(*choices(*"ABCD"), {"label": {}, "text": "x"}), "a choice is labelled {}"),
    (row(question={"stem": "Where?", "choices": "ABCDE"}), "'choices' is 'ABCDE'; wanted a list"),
    ("[1, 2]", "the content is [1, 2]; wanted a JSON object"),
    ("{", "not valid JSON: Expecting property name"),
    ('{"answerKey": 1' + "1" * 5000 + "}", "cannot read the JSON: a number has too many digits"),
    ("[" * 100_000, "cannot read the JSON: it is nested too deeply"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "message"), BROKEN, ids=[message[:40] for _, message in BROKEN])
def test_an_invalid_row_is_reported_with_file_and_line(tmp_path: Path, wrong: Any, message: str) -> None:
    path = write_rows(tmp_path, row(), wrong)
    with pytest.raises(DataError) as caught:
        Csqa(folder=str(tmp_path)).data("test")
    assert str(caught.value).startswith(f"{path}, line 2: ")
    assert message in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty; wanted one JSON object a line"),
        (b"\n\n", "the file is empty"),
        ('{"stem": "é"}'.encode("latin-1"), "line 1: byte 0xe9 is not UTF-8"),
    ],
)
def test_a_file_without_questions_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = write_rows(tmp_path)
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        Csqa(folder=str(tmp_path)).data("test")
    assert str(path) in str(caught.value) and message in str(caught.value)


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
    assert most / len(test) < 0.25  # the most frequent label is no good guess
