"""Synthetic structures: the same on every machine, ideal, and in the official layouts."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest
from smc_eval_structures.synthetic import (
    ANGLES,
    BONDS,
    HELIX,
    STRAND,
    WOBBLE,
    backbone,
    synthetic_structures,
    torsions_for,
)

from smc_eval.tasks.folder import content_digest
from smc_eval.tasks.protein.example import Protein

DIGESTS = {
    "hotprotein/s2c5": ("73797dbc9cf7b89aff530ccd5db339468e320c389928b5823a4640c4251ff216", 313),
    "hotprotein/s2c2": ("f83bb18b90883ac4590c2687fbdb50ede9b496c5831e174630892d5d08ddfbb8", 321),
}


@pytest.mark.parametrize("name", DIGESTS)
def test_synthetic_structures_are_the_same_byte_for_byte_on_every_machine(name: str) -> None:
    folder = synthetic_structures(name)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    assert (content_digest(paths), len(paths)) == DIGESTS[name]


def test_they_lie_as_the_official_ones_do() -> None:
    five, two = (synthetic_structures(f"hotprotein/{name}") / "hotprotein" for name in ("s2c5", "s2c2"))
    assert (five / "s2c5/d2_clean/HPS2C5000/unrelaxed_model_1_ptm.pdb").is_file()
    assert (two / "s2c2/d1_clean/AF-HPS2C2000-F1-model_v4.cif").is_file()


@pytest.mark.parametrize("pair", [HELIX, STRAND])
def test_bonds_and_angles_are_ideal(pair: tuple[float, float]) -> None:
    atoms = backbone([pair] * 5)
    bonds = [math.dist(first, second) for first, second in pairwise(atoms)]
    wanted = [BONDS["N-CA"], BONDS["CA-C"], BONDS["C-N"]] * 5
    assert bonds == pytest.approx(wanted[:-1])
    angles = []
    for a, b, c in zip(atoms, atoms[1:], atoms[2:], strict=False):
        x, y, z = math.dist(a, b), math.dist(b, c), math.dist(a, c)
        angles.append(math.degrees(math.acos((x * x + y * y - z * z) / (2 * x * y))))
    wanted = [ANGLES["N-CA-C"], ANGLES["CA-C-N"], ANGLES["C-N-CA"]] * 5
    assert angles == pytest.approx(wanted[:-2])


def test_a_helix_rises_by_one_and_a_half_angstrom_a_residue_and_a_strand_by_more_than_three() -> None:
    for pair, low, high in ((HELIX, 1.4, 1.6), (STRAND, 3.1, 3.6)):
        ca = backbone([pair] * 37)[1::3]
        assert low < math.dist(ca[0], ca[36]) / 36 < high  # ten turns of a helix


def test_the_hottest_protein_is_helix_and_the_coldest_strand() -> None:
    for celsius, (phi, psi) in ((105.0, HELIX), (-3.0, STRAND)):
        for one in torsions_for(Protein("x", "A" * 30, celsius)):
            assert abs(one[0] - phi) <= WOBBLE and abs(one[1] - psi) <= WOBBLE


def test_another_cache_gets_the_same_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = synthetic_structures("hotprotein/s2c5")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    after = synthetic_structures("hotprotein/s2c5")
    assert after != before and after.name == before.name
