"""Synthetic HotProtein and Meltome: residues decide classes and temperatures. Four file layouts.

Classes: the more of the residues `HOT` a protein has, the hotter it is. Chance decides each residue, so even
a net that knows the rule errs. The ceiling is the accuracy of the most probable class, given the number of
hot residues: 75 % on HP-S, 90 % on HP-S²C2, 84 % on HP-S²C5.

Temperatures, of other proteins: all have the same composition, and only the places of their residues count.
A protein has 8 residues E and 8 residues A, and the number of E in its first half decides its temperature.
So a net that does not know where a residue stands knows nothing, and only the layers of the encoder tell it.
One protein of twenty has the temperature of another level on purpose, in training and in testing. The
ceiling is Spearman's rho of the rule: 0.94 on HP-S and Meltome, 0.91 on HP-S²C2, 0.92 on HP-S²C5.

No sequence stands twice in a set.
"""

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


EARLY, LATE, NEUTRAL = "E", "A", "S"
"""Residues of the proteins with temperatures. Each half has one neutral residue, so that no two are equal."""

HALF = 8
"""Residues in each half besides the neutral one, and residues of each kind."""

DEGREES_BY_EARLY = {0: 5.0, 2: 20.0, 4: 40.0, 6: 60.0, 8: 85.0}
"""Temperature by the number of `EARLY` in the first half."""

WRONG_PROTEIN_EVERY = 20
"""Of so many proteins with temperatures in a row, one has the temperature of another level."""


@dataclass(frozen=True)
class SyntheticProtein:
    """An invented protein."""

    name: str
    sequence: str
    celsius: float


def hp_s() -> Mapping[str, bytes]:
    """One split as pickles, with one FASTA file of all proteins: 80 + 20 with classes, 180 + 100 in °C."""
    graded, ordered = _proteins("hp-s", 100), _ordered("hp-s", 280)
    return {
        "hotprotein/s/S_target.pkl": _pickle((ordered[100:], ordered[:100])),
        "hotprotein/s/S_target_classification.pkl": _pickle((graded[20:], graded[:20]), FIVE_CLASSES),
        "hotprotein/s/S_target.fasta": "".join(map(_fasta, graded + ordered)).encode(),
    }


def hp_s2c2() -> Mapping[str, bytes]:
    """Ten folds as pickles, with an archive of one FASTA file for each protein."""
    graded, ordered = _proteins("hp-s2c2", 100), _ordered("hp-s2c2", 200)
    files = {"hotprotein/s2c2/d1_fasta_clean.tar": _tar("d1_fasta_clean", graded + ordered)}
    for fold in range(PROTEIN_FOLDS):
        files[f"hotprotein/s2c2/d1_{fold}.pkl"] = _pickle(_fold(ordered, fold))
        files[f"hotprotein/s2c2/d1_{fold}_classification.pkl"] = _pickle(_fold(graded, fold), TWO_CLASSES)
    return files


def hp_s2c5() -> Mapping[str, bytes]:
    """Ten folds: classes as a CSV with folds in JSON, temperatures as pickles with one FASTA file."""
    graded, ordered = _proteins("hp-s2c5", 100), _ordered("hp-s2c5", 200)
    rows = [
        f"{protein.name},{protein.sequence},{protein.celsius},{bisect_right(FIVE_CLASSES, protein.celsius)}\n"
        for protein in graded
    ]
    folds = {
        str(fold): {"test": [protein.name for protein in graded[fold::PROTEIN_FOLDS]]}
        for fold in range(PROTEIN_FOLDS)
    }
    pickles = {
        f"hotprotein/s2c5/d2_{fold}.pkl": _pickle(_fold(ordered, fold)) for fold in range(PROTEIN_FOLDS)
    }
    return {
        "hotprotein/s2c5/hp_s2c5.csv": "".join(["name,sequence,temperature,label\n", *rows]).encode(),
        "hotprotein/s2c5/hp_s2c5_folds.json": json.dumps(folds).encode(),
        "hotprotein/s2c5/d2_fasta_clean.fasta": "".join(map(_fasta, ordered)).encode(),
        **pickles,
    }


def meltome() -> Mapping[str, bytes]:
    """One split as a CSV of FLIP: 100 test rows, then 180 training rows, a tenth marked for validation."""
    rows = ["sequence,target,set,validation\n"]
    for at, protein in enumerate(_ordered("meltome", 280)):
        part, marked = ("test", "") if at < 100 else ("train", "True" if at % 10 == 1 else "")
        rows.append(f"{protein.sequence},{protein.celsius},{part},{marked}\n")
    return {"meltome/mixed_split.csv": "".join(rows).encode()}


def _fold(
    proteins: Sequence[SyntheticProtein], fold: int
) -> tuple[list[SyntheticProtein], Sequence[SyntheticProtein]]:
    """The training part and the test part of a fold."""
    test = proteins[fold::PROTEIN_FOLDS]
    return [protein for protein in proteins if protein not in test], test


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


def _ordered(seed: str, count: int) -> list[SyntheticProtein]:
    """Different proteins of one composition; the order of residues decides their temperature."""
    draws, degrees = Draws(f"{seed}, version 2"), list(DEGREES_BY_EARLY.values())
    proteins = dict[str, SyntheticProtein]()
    for at, level in enumerate(draws.shuffled([at % len(DEGREES_BY_EARLY) for at in range(count)])):
        while (sequence := _sequence(list(DEGREES_BY_EARLY)[level], draws)) in proteins:
            pass
        # no two wrong ones have the same place in their row, so that each fold tests one
        wrong = at % WRONG_PROTEIN_EVERY == at // WRONG_PROTEIN_EVERY
        celsius = degrees[(level + len(degrees) // 2) % len(degrees)] if wrong else degrees[level]
        proteins[sequence] = SyntheticProtein(f"{seed.replace('-', '').upper()}T{at:03}", sequence, celsius)
    return list(proteins.values())


def _sequence(early: int, draws: Draws) -> str:
    """A sequence with so many `EARLY` in its first half, and the rest of them in the second."""
    halves = (EARLY * early + LATE * (HALF - early), LATE * early + EARLY * (HALF - early))
    return "".join(letter for half in halves for letter in draws.shuffled(half + NEUTRAL))


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
