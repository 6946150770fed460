"""Synthetic parallel text: the same on every machine, word for word, and without leaks."""

from __future__ import annotations

from pathlib import Path

import pytest

from smc_eval.tasks.folder import content_digest
from smc_eval.tasks.synthetic import synthetic_folder
from smc_eval.tasks.synthetic.parallel_text import LETTERS, multiway
from smc_eval.tasks.translation.translation import FiveToFive, TenToTen, Translation, TwoToTwo


def test_synthetic_data_is_the_same_byte_for_byte_on_every_machine(tmp_path: Path) -> None:
    paths = sorted(path for path in synthetic_folder("translation", tmp_path).rglob("*") if path.is_file())
    digest = "8caeae974774118ef9ca3ed7efe46ac5041a4dacc2063bf48c1cefb33cf7f1aa"
    assert (len(paths), content_digest(paths)) == (33, digest)


@pytest.mark.parametrize("kind", [TwoToTwo, FiveToFive, TenToTen])
def test_the_sizes_of_each_direction_and_no_test_sentence_in_training(kind: type[Translation]) -> None:
    task = kind()
    train, test = task.data("train"), task.data("test")
    count = len(task.directions)
    assert (len(train), len(test)) == (64 * count, 12 * count)
    sources = {task.content(one) for one in train}
    targets = {(str(one.direction), one.target) for one in train}
    assert len(sources) == len(train)
    for one in test:
        assert task.content(one) not in sources  # nor the two English ones that are wrong on purpose
        if one.direction.source == "en":
            assert (str(one.direction), one.target) not in targets


def test_no_word_of_a_language_is_there_for_two_meanings() -> None:
    files = multiway()
    for code in LETTERS:
        lines = files[f"translation/synthetic/train.{code}"].decode().splitlines()
        roles = [{line.split(" ")[role] for line in lines} for role in range(4)]
        assert [len(words) for words in roles] == [4] * 4
        assert len(set.union(*roles)) == 16
