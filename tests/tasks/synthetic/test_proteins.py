"""Synthetic proteins: the same on every machine, in the official layouts, and learnable from residues."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import pytest

from smc_eval.task import Task
from smc_eval.tasks.folder import content_digest
from smc_eval.tasks.protein import hotprotein
from smc_eval.tasks.protein.datasets import HpS, HpS2C2, HpS2C2Tm, HpS2C5, HpS2C5Tm, HpSTm, Meltome
from smc_eval.tasks.protein.spearman import spearman
from smc_eval.tasks.synthetic import synthetic_folder
from smc_eval.tasks.synthetic.proteins import COLD, DEGREES_BY_EARLY, HALF, HOT


@pytest.mark.parametrize(
    ("name", "digest", "files"),
    [
        ("hotprotein/s", "ff893504359c9d2e63bac2d81b58bb62cfe097833e3006af66a523d09ddd8584", 3),
        ("hotprotein/s2c2", "03c36af6eca55cdf4ea7a7d97d8b466f7fb08a48bf9a0888791f991c10016179", 21),
        ("hotprotein/s2c5", "de87a11d84ab0e55b914a95ec950638f80ad56df5d3aef819d4c72cba1d53b69", 13),
        ("meltome", "9ca69e00fb2ef3af14a64e2fd5122ee7766f4958a17f1a0487861df638a7b866", 1),
    ],
)
def test_synthetic_data_is_the_same_byte_for_byte_on_every_machine(
    tmp_path: Path, name: str, digest: str, files: int
) -> None:
    folder = synthetic_folder(name, tmp_path)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    assert (len(paths), content_digest(paths)) == (files, digest)


def test_each_protein_is_tested_in_one_fold(tmp_path: Path) -> None:
    answers: tuple[tuple[hotprotein.Answer, int], ...] = (("label", 100), ("temperature", 200))
    for name, release in (("hotprotein/s2c2", hotprotein.HP_S2C2), ("hotprotein/s2c5", hotprotein.HP_S2C5)):
        for answer, count in answers:
            tested: list[str] = []
            for fold in range(10):
                train, test = hotprotein.find_release(
                    synthetic_folder(name, tmp_path), release, fold, answer
                ).parts()
                assert (len(train), len(test)) == (count * 9 // 10, count // 10)
                tested += [one.name for one in test]
            assert len(set(tested)) == count


@pytest.mark.parametrize(("kind", "train", "test"), [(HpS, 80, 20), (HpSTm, 180, 100), (Meltome, 180, 100)])
def test_the_sizes_of_sets_with_one_split(kind: type[Task], train: int, test: int) -> None:
    assert (len(kind().data("train")), len(kind().data("test"))) == (train, test)


def test_the_share_of_hot_residues_predicts_the_class(tmp_path: Path) -> None:
    assert len(HOT + COLD) == len(set(HOT + COLD)) == 20
    train, test = HpS().data("train"), HpS().data("test")
    shares = [fmean(letter in HOT for letter in one.sequence) for one in (*train, *test)]
    assert spearman(shares, [one.answer for one in (*train, *test)]) > 0.9


@pytest.mark.parametrize("kind", [HpSTm, HpS2C2Tm, HpS2C5Tm, Meltome])
def test_proteins_with_temperatures_have_one_composition_so_only_the_order_of_residues_counts(
    kind: type[Task],
) -> None:
    task = kind(fold=0 if kind.card.folds else None)
    every = [*task.data("train"), *task.data("test")]
    assert {"".join(sorted(one.sequence)) for one in every} == {"A" * HALF + "E" * HALF + "SS"}
    assert {one.answer for one in every} == set(DEGREES_BY_EARLY.values())


@pytest.mark.parametrize("kind", [HpS, HpS2C2, HpS2C5, HpSTm, HpS2C2Tm, HpS2C5Tm, Meltome])
def test_no_sequence_is_there_twice(kind: type[Task]) -> None:
    task = kind(fold=0 if kind.card.folds else None)
    every = [one.sequence for part in ("train", "test") for one in task.data(part)]
    assert len(set(every)) == len(every)
