"""Synthetic proteins: the same on every machine, in the official layouts, and learnable from residues."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import pytest

from smc_eval.tasks.folder import content_digest
from smc_eval.tasks.protein import hotprotein, meltome
from smc_eval.tasks.protein.spearman import spearman
from smc_eval.tasks.synthetic import synthetic_folder
from smc_eval.tasks.synthetic.proteins import COLD, HOT


@pytest.mark.parametrize(
    ("name", "digest", "files"),
    [
        ("hotprotein/s", "947b8718c99b6c23d159311acb3e2d7b798e4879c7e1b643ce66ff6de3db3a8d", 3),
        ("hotprotein/s2c2", "ba275f153da52d20edeb9e232daca674e07a8d4ee8950aee5f46a773a2339d81", 21),
        ("hotprotein/s2c5", "788dd076cb1357353b11b48b1f316e84b519f61b7368bf714e8a93c05eefa718", 2),
        ("meltome", "e7bbd8107c9fa85a3e9b7037abe72990fd0d05f0450c13bd683d6c766617fa93", 1),
    ],
)
def test_synthetic_data_is_the_same_byte_for_byte_on_every_machine(
    tmp_path: Path, name: str, digest: str, files: int
) -> None:
    folder = synthetic_folder(name, tmp_path)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    assert (len(paths), content_digest(paths)) == (files, digest)


def test_each_protein_is_tested_in_one_fold(tmp_path: Path) -> None:
    for name, release in (("hotprotein/s2c2", hotprotein.HP_S2C2), ("hotprotein/s2c5", hotprotein.HP_S2C5)):
        tested: list[str] = []
        for fold in range(10):
            train, test = hotprotein.find_release(
                synthetic_folder(name, tmp_path), release, fold, "label"
            ).parts()
            assert (len(train), len(test)) == (90, 10)
            tested += [one.name for one in test]
        assert len(set(tested)) == 100


def test_the_share_of_hot_residues_predicts_the_temperature(tmp_path: Path) -> None:
    assert len(HOT + COLD) == len(set(HOT + COLD)) == 20
    train, test = meltome.find_flip(synthetic_folder("meltome", tmp_path), "mixed_split").parts()
    shares = [fmean(letter in HOT for letter in one.sequence) for one in train + test]
    assert spearman(shares, [one.answer for one in train + test]) > 0.9
