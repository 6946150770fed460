"""Synthetic HotProtein and Meltome: sequences whose residues decide their melting point, in four layouts."""

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
"""Residues that stand for heat and for cold; all twenty together."""

DEGREES = (2.0, 7.5, 15.0, 25.0, 37.0, 39.0, 55.0, 65.0, 70.0, 75.0, 80.0, 85.0, 92.0, 98.0)

TWO, FIVE = (75.0,), (10.0, 30.0, 50.0, 75.0)
"""Where classes begin. The two are the official ones; the five are made up, as none are published."""


@dataclass(frozen=True)
class SyntheticProtein:
    """A protein of nowhere."""

    name: str
    sequence: str
    celsius: float


def s() -> Mapping[str, bytes]:
    """One split as pickles, beside one FASTA file of all."""
    proteins = _proteins("hp-s", 100)
    split = (proteins[20:], proteins[:20])
    return {
        "hotprotein/s/S_target.pkl": _pickle(split),
        "hotprotein/s/S_target_classification.pkl": _pickle(split, FIVE),
        "hotprotein/s/S_target.fasta": "".join(map(_fasta, proteins)).encode(),
    }


def s2c2() -> Mapping[str, bytes]:
    """Ten folds as pickles, beside an archive of one FASTA file a protein."""
    proteins = _proteins("hp-s2c2", 100)
    files = {"hotprotein/s2c2/d1_fasta_clean.tar": _tar("d1_fasta_clean", proteins)}
    for fold in range(PROTEIN_FOLDS):
        tested = proteins[fold::PROTEIN_FOLDS]
        split = ([protein for protein in proteins if protein not in tested], tested)
        files[f"hotprotein/s2c2/d1_{fold}.pkl"] = _pickle(split)
        files[f"hotprotein/s2c2/d1_{fold}_classification.pkl"] = _pickle(split, TWO)
    return files


def s2c5() -> Mapping[str, bytes]:
    """Ten folds as a CSV of all proteins and JSON."""
    proteins = _proteins("hp-s2c5", 100)
    rows = [
        f"{one.name},{one.sequence},{one.celsius},{bisect_right(FIVE, one.celsius)}\n" for one in proteins
    ]
    folds = {
        str(fold): {"test": [one.name for one in proteins[fold::PROTEIN_FOLDS]]}
        for fold in range(PROTEIN_FOLDS)
    }
    return {
        "hotprotein/s2c5/hp_s2c5.csv": "".join(["name,sequence,temperature,label\n", *rows]).encode(),
        "hotprotein/s2c5/hp_s2c5_folds.json": json.dumps(folds).encode(),
    }


def meltome() -> Mapping[str, bytes]:
    """One split as FLIP's CSV; every tenth of its training rows is marked for validation."""
    rows = ["sequence,target,set,validation\n"]
    for at, one in enumerate(_proteins("meltome", 100)):
        marked = "True" if at % 10 == 1 else ""
        rows.append(f"{one.sequence},{one.celsius},{'train' if at % 5 else 'test'},{marked}\n")
    return {"meltome/mixed_split.csv": "".join(rows).encode()}


def _proteins(seed: str, count: int) -> list[SyntheticProtein]:
    """Proteins of 24 to 32 residues, the hotter the more of `HOT`; each temperature comes up alike."""
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
    """The official dict of four lists, of temperatures, or of classes where there are bins."""
    lists: dict[str, list[str] | list[float]] = {}
    for part, proteins in zip(("train", "test"), split, strict=True):
        lists[f"{part}_names"] = [one.name for one in proteins]
        lists[f"{part}_labels"] = [
            bisect_right(bins, one.celsius) if bins else one.celsius for one in proteins
        ]
    return pickle.dumps(lists, protocol=2)


def _fasta(one: SyntheticProtein) -> str:
    return f">tr|{one.name}|{one.name}_TWIN Made up OS=Nowhere OX=0\n{one.sequence}\n"


def _tar(folder: str, proteins: Sequence[SyntheticProtein]) -> bytes:
    """An archive without times or owners, and so the same everywhere."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for one in proteins:
            content = _fasta(one).encode()
            member = tarfile.TarInfo(f"{folder}/{one.name}.fasta")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return whole.getvalue()
