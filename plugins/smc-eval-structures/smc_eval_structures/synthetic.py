"""Synthetic structures: ideal helices and strands, more helices the higher the temperature.

They are the backbones of smc-eval's own synthetic HotProtein sets. HP-S²C5 has PDB files as HotProtein has
them, HP-S²C2 mmCIF files as the AlphaFold database has them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

from smc_eval.tasks.protein import hotprotein
from smc_eval.tasks.protein.example import Protein
from smc_eval.tasks.synthetic import synthetic_folder
from smc_eval.tasks.synthetic.draws import Draws
from smc_eval.tasks.synthetic.folders import written_folder
from smc_eval_structures.folded import OFFICIAL, place_names

Point = tuple[float, float, float]

HELIX, STRAND = (-57.0, -47.0), (-120.0, 130.0)
"""phi and psi in degrees, of an alpha helix and of a beta strand."""

SEGMENT = 4
"""Residues between two draws of helix or strand."""

WOBBLE = 6
"""Largest difference of a torsion from the ideal one, in degrees: no two proteins are the same."""

BONDS = {"N-CA": 1.458, "CA-C": 1.525, "C-N": 1.329}
"""Lengths in Å. Engh & Huber (1991), as the next."""

ANGLES = {"N-CA-C": 111.0, "CA-C-N": 117.2, "C-N-CA": 121.7}
"""Angles in degrees."""

THREE = {
    "A": "ALA", "C": "CYS", "D": "ASP", "E": "GLU", "F": "PHE", "G": "GLY", "H": "HIS", "I": "ILE",
    "K": "LYS", "L": "LEU", "M": "MET", "N": "ASN", "P": "PRO", "Q": "GLN", "R": "ARG", "S": "SER",
    "T": "THR", "V": "VAL", "W": "TRP", "Y": "TYR",
}  # fmt: skip
"""Names of the residues of synthetic proteins."""

CELSIUS = {2: (40.0, 90.0), 5: (5.0, 20.0, 40.0, 60.0, 90.0)}
"""A temperature of each class, by the number of classes."""

RELEASES: Mapping[str, hotprotein.Release] = {
    "hotprotein/s2c2": hotprotein.HP_S2C2,
    "hotprotein/s2c5": hotprotein.HP_S2C5,
}


def synthetic_structures(data_set: str) -> Path:
    """A data folder with a synthetic HotProtein set and its structures.

    Raises:
        DataError: no folder can be written.
    """
    return written_folder(_files(data_set), f"{data_set} with structures")


@cache
def _files(data_set: str) -> Mapping[str, bytes]:
    """The files of the set itself, and a structure of each of its proteins."""
    release, folder = RELEASES[data_set], synthetic_folder(data_set)
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted((folder / data_set).rglob("*"))
        if path.is_file()
    }
    place = f"{data_set}/{place_names(release)[0]}"
    for protein in sorted(_proteins(folder, release), key=lambda each: each.name):
        atoms = backbone(torsions_for(protein))
        if release is hotprotein.HP_S2C5:
            files[f"{place}/{protein.name}/{OFFICIAL}"] = pdb_text(protein.sequence, atoms).encode()
        else:
            files[f"{place}/AF-{protein.name}-F1-model_v4.cif"] = mmcif_text(protein.sequence, atoms).encode()
    return files


def _proteins(folder: Path, release: hotprotein.Release) -> Iterator[Protein]:
    """The proteins with temperatures, and those with classes: these with a temperature of their class."""
    for part in hotprotein.find_release(folder, release, 0, "temperature").parts():
        yield from part
    for part in hotprotein.find_release(folder, release, 0, "label").parts():
        for protein in part:
            yield replace(protein, answer=CELSIUS[release.classes][int(protein.answer)])


def torsions_for(protein: Protein) -> list[tuple[float, float]]:
    """Torsions phi and psi of each residue: the hotter, the more segments are helix."""
    draws = Draws(f"structure of {protein.name}")
    pairs = list[tuple[float, float]]()
    while len(pairs) < len(protein.sequence):
        hot = draws.between(1, 100) <= 2 + 0.95 * protein.answer
        phi, psi = HELIX if hot else STRAND
        pairs += [
            (phi + draws.between(-WOBBLE, WOBBLE), psi + draws.between(-WOBBLE, WOBBLE))
            for _ in range(SEGMENT)
        ]
    return pairs[: len(protein.sequence)]


def backbone(torsions: Sequence[tuple[float, float]]) -> list[Point]:
    """N, CA and C of a chain with these phi and psi, all peptide bonds trans, one atom after the other."""
    angle = math.radians(ANGLES["N-CA-C"])
    atoms: list[Point] = [
        (0.0, 0.0, 0.0),
        (BONDS["N-CA"], 0.0, 0.0),
        (BONDS["N-CA"] - BONDS["CA-C"] * math.cos(angle), BONDS["CA-C"] * math.sin(angle), 0.0),
    ]
    for (_, psi), (phi, _) in pairwise(torsions):
        atoms.append(next_atom(atoms, BONDS["C-N"], ANGLES["CA-C-N"], psi))
        atoms.append(next_atom(atoms, BONDS["N-CA"], ANGLES["C-N-CA"], 180.0))
        atoms.append(next_atom(atoms, BONDS["CA-C"], ANGLES["N-CA-C"], phi))
    return atoms


def next_atom(atoms: Sequence[Point], bond: float, angle: float, torsion: float) -> Point:
    """The place of an atom behind three others, by its bond, angle and torsion. Parsons et al. (2005)."""
    first, second, third = atoms[-3:]
    along = _unit(_minus(third, second))
    normal = _unit(_cross(_minus(second, first), along))
    across = _cross(normal, along)
    a, t = math.radians(angle), math.radians(torsion)
    steps = (-bond * math.cos(a), bond * math.sin(a) * math.cos(t), bond * math.sin(a) * math.sin(t))
    x, y, z = (
        third[axis] + steps[0] * along[axis] + steps[1] * across[axis] + steps[2] * normal[axis]
        for axis in range(3)
    )
    return x, y, z


def pdb_text(sequence: str, atoms: Sequence[Point], chain: str = "A") -> str:
    """A PDB file of one chain."""
    lines = [
        f"ATOM  {serial:5d}  {atom:<3s} {residue} {chain}{number:4d}    "
        f"{x:8.3f}{y:8.3f}{z:8.3f}{1:6.2f}{0:6.2f}          {atom[0]:>2s}  "
        for serial, number, residue, atom, (x, y, z) in _rows(sequence, atoms)
    ]
    last = f"TER   {len(atoms) + 1:5d}      {THREE[sequence[-1]]} {chain}{len(sequence):4d}"
    return "\n".join([*lines, last.ljust(80), "END".ljust(80), ""])


def mmcif_text(sequence: str, atoms: Sequence[Point], chain: str = "A") -> str:
    """An mmCIF file of one chain, with its sequence."""
    columns = (
        *("group_PDB", "id", "type_symbol", "label_atom_id", "label_alt_id", "label_comp_id"),
        *("label_asym_id", "label_entity_id", "label_seq_id", "pdbx_PDB_ins_code"),
        *("Cartn_x", "Cartn_y", "Cartn_z", "occupancy", "B_iso_or_equiv"),
        *("auth_seq_id", "auth_asym_id", "pdbx_PDB_model_num"),
    )
    polymer = [f"1 {number} {THREE[letter]} n" for number, letter in enumerate(sequence, 1)]
    rows = [
        f"ATOM {serial} {atom[0]} {atom} . {residue} {chain} 1 {number} ? {x:.3f} {y:.3f} {z:.3f} 1.0 0.0 "
        f"{number} {chain} 1"
        for serial, number, residue, atom, (x, y, z) in _rows(sequence, atoms)
    ]
    return "\n".join(
        [
            *("data_SYNTHETIC", "#", "loop_", "_entity.id", "_entity.type", "1 polymer", "#"),
            *("loop_", "_entity_poly.entity_id", "_entity_poly.type", "1 polypeptide(L)", "#"),
            *("loop_", "_entity_poly_seq.entity_id", "_entity_poly_seq.num"),
            *("_entity_poly_seq.mon_id", "_entity_poly_seq.hetero", *polymer, "#", "loop_"),
            *(f"_atom_site.{column}" for column in columns),
            *(*rows, "#", ""),
        ]
    )


def _rows(sequence: str, atoms: Sequence[Point]) -> Iterator[tuple[int, int, str, str, Point]]:
    """Serial number, residue number, residue, atom and place of each atom."""
    for at, point in enumerate(atoms):
        yield at + 1, at // 3 + 1, THREE[sequence[at // 3]], ("N", "CA", "C")[at % 3], point


def _minus(first: Point, second: Point) -> Point:
    return first[0] - second[0], first[1] - second[1], first[2] - second[2]


def _cross(a: Point, b: Point) -> Point:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def _unit(vector: Point) -> Point:
    size = math.sqrt(sum(x * x for x in vector))
    return vector[0] / size, vector[1] / size, vector[2] / size
