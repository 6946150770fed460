"""Perplexity: the score equals a plain loop over the text, whatever the windows."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from checkpoints import save_net
from smc_eval_lm.perplexity import Perplexity
from smc_eval_lm.texts import read_text
from smc_eval_lm.tokens import Tokens
from smc_eval_lm.training import LanguageModelling
from smc_eval_lm.windows import Window, check_length, scored_windows, training_windows

from smc_eval.engine.device import Device
from smc_eval.engine.predict import predict
from smc_eval.errors import DataError, ModelError, UsageError
from smc_eval.methods.omp import MagnitudeAfter
from smc_eval.statistics.sample import Sample
from smc_eval.target import Target
from smc_eval.testing.cell_runs import chain_of

TEXT = "Grüße, said the miller; “the river — naïve and slow — rises at noon”. It rose. " * 12


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_net("llama", tmp_path_factory.mktemp("llama"))


@pytest.fixture
def own_text(tmp_path: Path) -> Path:
    (tmp_path / "own.txt").write_text(TEXT, encoding="utf-8")
    (tmp_path / "lines.txt").write_text(
        "the first document\n\n the second one \nthe third\n" * 20, encoding="utf-8"
    )
    return tmp_path


@pytest.fixture
def task(llama: Path, own_text: Path) -> Perplexity:
    return Perplexity(
        backbone=str(llama),
        folder=str(own_text),
        text="own.txt",
        train_text="own.txt",
        window=24,
        train_window=24,
    )


def scored(task: Perplexity):
    examples, model = task.data("test"), task.model().eval()
    predicted = predict(task, model, examples, task.recipe, Device("cpu", threads=1))
    return task.score(predicted, examples), predicted


@torch.no_grad()
def loop(task: Perplexity, stride: int) -> tuple[float, int]:
    """-log p of each token given those before it in its window, and their number. Each token counts once."""
    model, tokenizer = task.model().eval(), task.tokenizer
    ids = tokenizer(TEXT)["input_ids"]
    total, done = 0.0, set()
    for start in range(0, len(ids) - 24 + 1, stride):
        window = ids[start : start + 24]
        logs = model(torch.tensor([window])).logits[0].double().log_softmax(-1)
        for place in range(1, 24):
            if start + place not in done:
                total -= float(logs[place - 1, window[place]])
                done.add(start + place)
    return total, len(done)


@pytest.mark.parametrize("stride", [None, 24, 23, 10, 1])
def test_the_score_is_that_of_a_plain_loop(task: Perplexity, stride: int | None) -> None:
    score, _ = scored(task.replace(stride=stride))
    total, count = loop(task, stride or 24)
    assert score.value == pytest.approx(math.exp(total / count), rel=1e-5)
    assert sum(row[1] for row in score.items.rows) == count


def test_overlapping_windows_score_each_token_but_the_first_once() -> None:
    tokens = Tokens(list(range(100)), list(range(1, 101)))
    for stride in (1, 3, 7, 9):
        windows = list(scored_windows(tokens, 10, stride, None))
        found = [token for window in windows for token in window.ids[window.first :]]
        assert found == list(range(1, found[-1] + 1))
        assert found[-1] >= 100 - stride
        assert sum(window.bytes for window in windows) == len(found)
    found = [
        token for window in scored_windows(tokens, 10, None, 777) for token in window.ids[window.first :]
    ]
    assert found == list(range(99))  # a window of 10 has 9 tokens of the text
    assert list(scored_windows(tokens, 4, None, None))[:2] == [
        Window((0, 1, 2, 3), 1, 3),
        Window((4, 5, 6, 7), 1, 3),
    ]


def test_training_windows_follow_each_other_without_padding() -> None:
    texts = [Tokens(list(range(10)), list(range(10))), Tokens([20, 21], [1, 2])]
    assert [window.ids for window in training_windows(texts, 4, None)] == [(0, 1, 2, 3), (4, 5, 6, 7)]
    assert [window.ids for window in training_windows(texts, 3, 5)] == [
        (5, 0, 1),
        (5, 2, 3),
        (5, 4, 5),
        (5, 6, 7),
        (5, 8, 9),
        (5, 20, 21),
    ]


def test_bytes_are_those_of_utf_8(task: Perplexity) -> None:
    whole = task.replace(stride=1)
    score, predicted = scored(whole)
    size = sum(window.bytes for window in whole.data("test"))
    ids = task.tokenizer(TEXT)["input_ids"]
    first = len(task.tokenizer.decode(ids[1:2]).encode())  # after the token that begins the text
    assert size == len(TEXT.encode()) and first > 0
    assert score.also["bits per byte"] == pytest.approx(sum(predicted) / size / math.log(2))
    by_byte, _ = scored(whole.replace(per="byte"))
    assert by_byte.value == pytest.approx(score.also["per byte"], rel=1e-9)
    assert by_byte.also["per token"] == pytest.approx(score.value, rel=1e-9)
    assert by_byte.signature != score.signature and "|per:byte|" in by_byte.signature


def test_items_give_the_score_back(task: Perplexity) -> None:
    import numpy as np

    score, _ = scored(task)
    sample = Sample(score.items.kind, np.array([score.items.rows]), np.zeros(score.n, int), np.ones(1), (0,))
    assert sample.value() == pytest.approx(score.value, rel=1e-12)
    assert abs(sample.parts_SN().sum()) < 1e-6 * score.value


def test_documents_in_lines_are_packed_with_an_end_after_each(task: Perplexity) -> None:
    lines = task.replace(text="lines.txt", documents="lines", windows=1, window=24)
    (window,) = lines.data("test")
    end = lines.tokenizer.eos_token_id
    ids = lines.tokenizer("the first document")["input_ids"]
    assert window.ids[: len(ids) + 1] == (*ids, end)
    assert window.ids.count(end) >= 1


def test_a_window_may_begin_with_the_token_that_begins_a_text(task: Perplexity) -> None:
    begun = task.replace(bos="windows")
    assert {window.ids[0] for window in begun.data("test")} == {begun.tokenizer.bos_token_id}
    assert all(window.first == 1 and window.scored == 23 for window in begun.data("test"))


def test_nets_are_shared_by_tasks_that_are_scored_on_other_texts(task: Perplexity) -> None:
    other = task.replace(text="lines.txt", window=12, per="byte")
    first, second = (chain_of(MagnitudeAfter(), Target(sparsity=0.5), each) for each in (task, other))
    assert task.trained_as() == other.trained_as() and type(task.trained_as()) is LanguageModelling
    assert first.start == second.start and first.links[-1].digest == second.links[-1].digest
    assert first.digest != second.digest
    moved = task.replace(train_text="lines.txt", documents="lines")
    assert chain_of(MagnitudeAfter(), Target(sparsity=0.5), moved).start != first.start


def test_the_same_task_on_a_changed_text_is_another_result(task: Perplexity, own_text: Path) -> None:
    (own_text / "copy.txt").write_text(TEXT, encoding="utf-8")
    copied = task.replace(text="copy.txt", train_text="own.txt")
    before = chain_of(MagnitudeAfter(), Target(sparsity=0.5), copied)
    (own_text / "copy.txt").write_text(TEXT + "More.", encoding="utf-8")
    after = chain_of(MagnitudeAfter(), Target(sparsity=0.5), copied)
    assert before.start == after.start and before.digest != after.digest


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"window": 3000}, ModelError, "window=3000 is longer than the 64 positions of the model"),
        ({"train_window": 65}, ModelError, "give train_window=64 or less"),
        ({"stride": 30}, UsageError, "stride=30 is longer than the 24 tokens"),
        (
            {"text": "short.txt"},
            DataError,
            r"has 5 tokens, and a window takes 24 of them; give a longer text, or window=5 or less",
        ),
        ({"text": "blank.txt"}, DataError, "the text 'blank.txt' is empty"),
        ({"text": "absent.txt"}, DataError, "text=absent.txt: the data folder"),
        ({"text": "../own.txt"}, DataError, "is no path inside the data folder"),
    ],
)
def test_what_cannot_be_scored_is_refused_with_the_numbers(
    task: Perplexity, own_text: Path, fields, error, message
) -> None:
    (own_text / "short.txt").write_text("abcd")
    (own_text / "blank.txt").write_text(" \n\n")
    asked, part = task.replace(**fields), "train" if "train_window" in fields else "test"
    with pytest.raises(error, match=message):
        _ = (asked.sources(), asked.data(part))


@pytest.mark.parametrize(("count", "found"), [(0, "0 tokens"), (1, "1 token")])
def test_a_text_in_which_nothing_can_be_predicted_is_refused(count: int, found: str) -> None:
    with pytest.raises(DataError, match=f"has {found}, so there is none to be predicted"):
        check_length("a.txt", [Tokens([7] * count, [1] * count)], 8, None, "window")


def test_a_tokenizer_of_another_vocabulary_is_refused(task: Perplexity, llama: Path, tmp_path: Path) -> None:
    import json
    import shutil

    other = tmp_path / "other"
    shutil.copytree(llama, other)
    tokens = json.loads((other / "tokenizer.json").read_text())
    size = len(tokens["model"]["vocab"])
    tokens["model"]["vocab"] |= {f"word{number}": size + number for number in range(9)}
    (other / "tokenizer.json").write_text(json.dumps(tokens))
    with pytest.raises(ModelError, match="they do not belong to the same checkpoint"):
        task.replace(backbone=str(other)).data("test")


def test_c4_is_read_as_published() -> None:
    train, test = (read_text("synthetic", "c4", part, "whole") for part in ("train", "test"))
    assert train.apart and len(train.pieces) == 60
    assert not test.apart and len(test.pieces) == 1
    wiki = read_text("synthetic", "wikitext-2", "test", "whole")
    assert "\n\n = " not in wiki.pieces[0][:2] and " \n\n\n\n" in wiki.pieces[0]
