"""Synthetic HotProtein and Meltome: the residues of a sequence decide its temperature. Four file layouts."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from smc_eval.tasks.synthetic.draws import Draws

PROTEIN_FOLDS = 10

HOT, COLD = "EIKLRVWY", "ACDFGHMNPQST"
"""Residues that mean heat, and residues that mean cold: together the twenty amino acids."""

DEGREES = (2.0, 7.5, 15.0, 25.0, 37.0, 39.0, 55.0, 65.0, 70.0, 75.0, 80.0, 85.0, 92.0, 98.0)

TWO_CLASSES, FIVE_CLASSES = (75.0,), (10.0, 30.0, 50.0, 75.0)
"""Lower limits of the classes after the first. Those of two classes are official, those of five invented."""


@dataclass(frozen=True)
class SyntheticProtein:
    """An invented protein."""

    name: str
    sequence: str
    celsius: float


def hp_s() -> Mapping[str, bytes]:
    """One split as pickles, with one FASTA file of all proteins."""
    proteins = _proteins("hp-s", 100)
    split = (proteins[20:], proteins[:20])
    return {
        "hotprotein/s/S_target.pkl": _pickle(split),
        "hotprotein/s/S_target_classification.pkl": _pickle(split, FIVE_CLASSES),
        "hotprotein/s/S_target.fasta": "".join(map(_fasta, proteins)).encode(),
    }


def hp_s2c2() -> Mapping[str, bytes]:
    """Ten folds as pickles, with an archive of one FASTA file for each protein."""
    proteins = _proteins("hp-s2c2", 100)
    files = {"hotprotein/s2c2/d1_fasta_clean.tar": _tar("d1_fasta_clean", proteins)}
    for fold in range(PROTEIN_FOLDS):
        test = proteins[fold::PROTEIN_FOLDS]
        split = ([protein for protein in proteins if protein not in test], test)
        files[f"hotprotein/s2c2/d1_{fold}.pkl"] = _pickle(split)
        files[f"hotprotein/s2c2/d1_{fold}_classification.pkl"] = _pickle(split, TWO_CLASSES)
    return files


def hp_s2c5() -> Mapping[str, bytes]:
    """Ten folds as a CSV of all proteins and a JSON file of the folds."""
    proteins = _proteins("hp-s2c5", 100)
    rows = [
        f"{protein.name},{protein.sequence},{protein.celsius},{bisect_right(FIVE_CLASSES, protein.celsius)}\n"
        for protein in proteins
    ]
    folds = {
        str(fold): {"test": [protein.name for protein in proteins[fold::PROTEIN_FOLDS]]}
        for fold in range(PROTEIN_FOLDS)
    }
    return {
        "hotprotein/s2c5/hp_s2c5.csv": "".join(["name,sequence,temperature,label\n", *rows]).encode(),
        "hotprotein/s2c5/hp_s2c5_folds.json": json.dumps(folds).encode(),
    }


def meltome() -> Mapping[str, bytes]:
    """One split as a CSV of FLIP. Every tenth row is marked for validation."""
    rows = ["sequence,target,set,validation\n"]
    for at, protein in enumerate(_proteins("meltome", 100)):
        marked = "True" if at % 10 == 1 else ""
        rows.append(f"{protein.sequence},{protein.celsius},{'train' if at % 5 else 'test'},{marked}\n")
    return {"meltome/mixed_split.csv": "".join(rows).encode()}


def _proteins(seed: str, count: int) -> list[SyntheticProtein]:
    """Proteins of 24 to 32 residues, with more of `HOT` the higher the temperature; all equally often."""
    draws = Draws(seed)
    degrees = draws.shuffled([DEGREES[at % len(DEGREES)] for at in range(count)])
    return [_protein(f"{seed.replace('-', '').upper()}{at:03}", degrees[at], draws) for at in range(count)]


def _protein(name: str, celsius: float, draws: Draws) -> SyntheticProtein:
    sequence = "M" + "".join(
        draws.pick(HOT if draws.between(1, 100) <= 2 + 0.95 * celsius else COLD)
        for _ in range(draws.between(24, 32) - 1)
    )
    return SyntheticProtein(name, sequence, celsius)


def _pickle(
    split: tuple[Sequence[SyntheticProtein], Sequence[SyntheticProtein]], bins: Sequence[float] = ()
) -> bytes:
    """The official dict of four lists, with temperatures or, if there are bins, with classes."""
    lists: dict[str, list[str] | list[float]] = {}
    for part, proteins in zip(("train", "test"), split, strict=True):
        lists[f"{part}_names"] = [protein.name for protein in proteins]
        lists[f"{part}_labels"] = [
            bisect_right(bins, protein.celsius) if bins else protein.celsius for protein in proteins
        ]
    return pickle.dumps(lists, protocol=2)


def _fasta(protein: SyntheticProtein) -> str:
    return f">tr|{protein.name}|{protein.name}_TWIN Made up OS=Nowhere OX=0\n{protein.sequence}\n"


def _tar(folder: str, proteins: Sequence[SyntheticProtein]) -> bytes:
    """An archive without times and owners, so that it is the same everywhere."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for protein in proteins:
            content = _fasta(protein).encode()
            member = tarfile.TarInfo(f"{folder}/{protein.name}.fasta")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()
