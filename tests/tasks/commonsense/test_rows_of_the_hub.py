"""Rows of the hub and the official files give the same data."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from smc_eval.errors import DataError
from smc_eval.experiment.config import configured
from smc_eval.experiment.grid import Grid
from smc_eval.registry import registry
from smc_eval.tasks.arithmetic.datasets import MawpsGts
from smc_eval.tasks.commonsense.csqa import Csqa
from smc_eval.tasks.commonsense.race import Race, RaceHigh, RaceMiddle
from smc_eval.tasks.commonsense.winogrande import WinoGrande
from smc_eval.tasks.hub import PARQUET
from smc_eval.tasks.protein.datasets import HpS2C2, Meltome

COMMIT = "a" * 40

Rows = Sequence[Mapping[str, Any]]
Cached = Callable[[str, Mapping[str, Rows]], None]


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cached:
    """Writes rows to the local cache of the hub, by `CONFIG/SPLIT`, in the places that its client uses."""
    from datasets import Dataset

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))

    def write(name: str, splits: Mapping[str, Rows]) -> None:
        place = tmp_path / "cache" / f"datasets--{name.replace('/', '--')}"
        (place / "refs" / PARQUET).parent.mkdir(parents=True, exist_ok=True)
        (place / "refs" / PARQUET).write_text(COMMIT)
        for split, rows in splits.items():
            folder = place / "snapshots" / COMMIT / split
            folder.mkdir(parents=True)
            Dataset.from_list([dict(row) for row in rows]).to_parquet(folder / "0000.parquet")

    return write


def write_lines(path: Path, rows: Rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def flat(number: int, **changes: Any) -> dict[str, Any]:
    """A row of CommonsenseQA on the hub."""
    return {
        "id": str(number),
        "question": f"Where is {number}?",
        "question_concept": "it",
        "choices": {"label": list("ABCDE"), "text": [f"place {number} {label}" for label in "ABCDE"]},
        "answerKey": "ABCDE"[number % 5],
        **changes,
    }


def nested(row: Mapping[str, Any]) -> dict[str, Any]:
    """The same row in the official files."""
    choices = [{"label": l, "text": t} for l, t in zip(*row["choices"].values(), strict=True)]  # noqa: E741
    question = {"question_concept": "it", "choices": choices, "stem": row["question"]}
    return {"answerKey": row["answerKey"], "id": row["id"], "question": question}


def test_commonsenseqa_on_the_hub_is_the_same(cached: Cached, tmp_path: Path) -> None:
    train, dev = [flat(n) for n in range(7)], [flat(n) for n in range(7, 11)]
    cached("tau/commonsense_qa", {"default/train": train, "default/validation": dev})
    write_lines(tmp_path / "commonsenseqa" / "train_rand_split.jsonl", [nested(row) for row in train])
    write_lines(tmp_path / "commonsenseqa" / "dev_rand_split.jsonl", [nested(row) for row in dev])
    hub, files = Csqa(folder="hub"), Csqa(folder=str(tmp_path))
    assert hub.data("train") == files.data("train")
    assert hub.data("test") == files.data("test")
    assert [len(hub.replace(limit=2).data(part)) for part in ("train", "test")] == [2, 2]
    (source,) = hub.sources()
    assert (source.name, source.digest) == ("hub:tau/commonsense_qa/default", COMMIT)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answerKey": ""}, "no 'answerKey'"),
        ({"choices": {"label": list("ABCD"), "text": ["x"] * 5}}, "4 labels of choices, 5 texts"),
        ({"choices": {"label": list("ABCDD"), "text": ["x"] * 5}}, "two choices are labelled 'D'"),
        ({"question": " "}, "'stem' is empty"),
    ],
)
def test_an_invalid_row_is_reported_by_number(cached: Cached, changes: dict[str, Any], message: str) -> None:
    cached("tau/commonsense_qa", {"default/train": [flat(0), flat(1, **changes)]})
    with pytest.raises(DataError) as caught:
        Csqa(folder="hub").data("train")
    assert str(caught.value).startswith("hub:tau/commonsense_qa/default, train, row 2: ")
    assert message in str(caught.value)


def sentence(number: int) -> dict[str, str]:
    text = f"Ann thanked Bea {number} times because _ had helped."
    return {"sentence": text, "option1": "Ann", "option2": "Bea", "answer": "12"[number % 2]}


def test_winogrande_on_the_hub_is_the_same_in_every_size(cached: Cached, tmp_path: Path) -> None:
    dev = [sentence(n) for n in range(3)]
    for count, size in enumerate(("xs", "xl"), 4):
        train = [sentence(n) for n in range(count)]
        config = f"winogrande_{size}"
        cached("allenai/winogrande", {f"{config}/train": train, f"{config}/validation": dev})
        write_lines(
            tmp_path / "winogrande_1.1" / f"train_{size}.jsonl", [{"qID": "q", **one} for one in train]
        )
        write_lines(tmp_path / "winogrande_1.1" / "dev.jsonl", [{"qID": "q", **one} for one in dev])
        hub, files = WinoGrande(folder="hub", size=size), WinoGrande(folder=str(tmp_path), size=size)
        assert hub.data("train") == files.data("train")
        assert hub.data("test") == files.data("test")
        assert len(hub.data("train")) == count
        assert hub.sources()[0].name == f"hub:allenai/winogrande/{config}"


def race_rows(level: str, part: str) -> list[dict[str, Any]]:
    """Two articles of RACE on the hub, the first with two questions."""
    return [
        {
            "example_id": f"{level}{article}.txt",
            "article": f"The {part}  of {level}\n {article}.",
            "answer": "ABCD"[question],
            "question": f"What is _ in {part} {question}?" if question else "What?",
            "options": [f"{level} {letter}" for letter in "abc"] + [""],
        }
        for article, questions in ((1, 2), (2, 1))
        for question in range(questions)
    ]


def test_race_on_the_hub_is_the_same_for_each_level(cached: Cached, tmp_path: Path) -> None:
    for level in ("middle", "high"):
        cached(
            "ehovy/race",
            {f"{level}/{split}": race_rows(level, split) for split in ("train", "validation", "test")},
        )
        for part, split in (("train", "train"), ("dev", "validation"), ("test", "test")):
            rows = race_rows(level, split)
            for number in (1, 2):
                own = [row for row in rows if row["example_id"] == f"{level}{number}.txt"]
                article = {
                    "article": own[0]["article"],
                    "questions": [row["question"] for row in own],
                    "options": [row["options"] for row in own],
                    "answers": [row["answer"] for row in own],
                }
                write_lines(tmp_path / "RACE" / part / level / f"{number}.txt", [article])
    for kind in (Race, RaceMiddle, RaceHigh):
        hub, files = kind(folder="hub"), kind(folder=str(tmp_path))
        assert hub.data("train") == files.data("train")
        assert hub.data("test") == files.data("test")
    assert [len(RaceHigh(folder="hub").data(part)) for part in ("train", "test")] == [6, 3]
    assert RaceHigh(folder="hub").data("test")[0].choices[0] == ("What? high a", "The test of high 1.")
    middle, high = RaceMiddle(folder="hub"), RaceHigh(folder="hub")
    assert middle.sources() == high.sources() == middle.trained_as().sources()
    assert middle.sources()[0].name == "hub:ehovy/race/middle+high"


def test_missing_files_of_the_cache_are_reported_with_a_remedy(cached: Cached) -> None:
    cached("ehovy/race", {"middle/train": race_rows("middle", "train")})
    with pytest.raises(DataError, match="HF_HUB_OFFLINE is set") as caught:
        RaceMiddle(folder="hub").sources()
    assert "hf download" in str(caught.value)


@pytest.mark.parametrize(
    ("task", "files"),
    [
        (MawpsGts(fold=0), "cv_mawps/fold0/train.csv"),
        (HpS2C2(fold=0), "hotprotein/s2c2"),
        (Meltome(), "meltome"),
    ],
)
def test_a_task_without_data_on_the_hub_is_reported_with_its_files(
    task: Any, files: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hub").mkdir()  # `hub` always means the hub; this folder is ./hub
    for read in (task.replace(folder="hub").sources, lambda: task.replace(folder="hub").data("test")):
        with pytest.raises(DataError, match=f"^the hub has no official copy of {files}; wanted a folder"):
            read()


def test_the_environment_variable_can_name_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMC_EVAL_DATA", "hub")
    config = configured({"tasks": ("csqa",), "model": ("tiny",), "method": ("omp-after",)})
    assert [task.folder for task in Grid.of(config, registry()).tasks] == ["hub"]
