"""Folded proteins: the proteins of a HotProtein split, each with the backbone of its structure file.

Structures lie beside the split, in the folder `d2_clean` (`d1_clean` of HP-S²C2) or `structures`:

    NAME/unrelaxed_model_1_ptm.pdb        HotProtein's own, predicted by AlphaFold 2
    AF-NAME-F1-model_v4.cif               the AlphaFold database; the highest version is read
    NAME.cif, NAME.pdb                    any other

Each can be `.gz`. The first layout that has a file is taken, for each protein.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from smc_eval.errors import DataError
from smc_eval.files.checksum import combined_sha256
from smc_eval.tasks.folder import DATA_DIR_HINT, content_sha256
from smc_eval.tasks.protein.example import Protein
from smc_eval.tasks.protein.hotprotein import Release
from smc_eval_structures.backbone_file import UNKNOWN, Backbone, read_backbone

OFFICIAL = "unrelaxed_model_1_ptm.pdb"
"""HotProtein's name of a structure, in a folder of the protein's name."""

OTHER_PLACE = "structures"

ENDINGS = (".cif", ".pdb", ".mmcif", ".ent")

PREDICTED = re.compile(r"AF-(?P<name>.+)-F1-model_v(?P<version>\d+)(\.cif|\.pdb)(\.gz)?")
"""A file of the AlphaFold database."""

AMBIGUOUS: Mapping[str, str] = {"B": "DNB", "Z": "EQZ"}
"""Letters of a sequence that stand for one of several residues."""


@dataclass(frozen=True)
class FoldedProtein(Protein):
    """A protein with its backbone."""

    backbone: Backbone


def place_names(release: Release) -> tuple[str, str]:
    """Possible names of the folder of structures of a release, beside its split."""
    return f"{release.split.partition('_')[0]}_clean", OTHER_PLACE


def structure_files(folder: Path, release: Release, names: Sequence[str]) -> dict[str, Path]:
    """The structure file of each protein, found under a data folder.

    Raises:
        DataError: there is no folder of structures, or a protein has no file.
    """
    places = [
        place
        for parent in release.places
        for name in place_names(release)
        if (place := folder / parent / name).is_dir()
    ]
    if not places:
        wanted = folder / release.places[0] / place_names(release)[0]
        raise DataError(
            f"the data folder {str(folder)!r} has no structures: wanted {wanted / 'NAME' / OFFICIAL}, or "
            f"AF-NAME-F1-model_v4.cif or NAME.pdb in {wanted}\n{DATA_DIR_HINT}"
        )
    found = _found(places[0], names)
    if missing := [name for name in names if name not in found]:
        raise DataError(
            f"{places[0]} has no structure of {missing[0]!r}; {len(missing)} of the split's {len(names)} "
            f"proteins are missing: wanted {missing[0]}/{OFFICIAL}, AF-{missing[0]}-F1-model_v4.cif or "
            f"{missing[0]}.pdb"
        )
    return found


def folded(protein: Protein, path: Path, chain: str | None) -> FoldedProtein:
    """A protein with the backbone of a file, which must have the residues of its sequence.

    Raises:
        DataError: the file cannot be read, or has other residues than the sequence.
    """
    backbone = read_backbone(path, chain)
    named, read = protein.sequence, backbone.sequence
    if len(named) != len(read):
        raise DataError(
            f"{path}, chain {backbone.chain} has {len(read)} residues, and the sequence of {protein.name!r} "
            f"has {len(named)}; wanted a structure of the whole sequence"
        )
    for place, (letter, found) in enumerate(zip(named, read, strict=True), 1):
        if UNKNOWN not in (letter, found) and found not in AMBIGUOUS.get(letter, letter):
            raise DataError(
                f"{path}, chain {backbone.chain}: residue {place} is {found}, and {letter} in the sequence "
                f"of {protein.name!r}; wanted a structure of that sequence"
            )
    return FoldedProtein(protein.name, protein.sequence, protein.answer, backbone)


def files_digest(paths: Iterable[Path]) -> str:
    """SHA-256 over the uncompressed content of files in this order; a file that stays is read once.

    Raises:
        DataError: a file cannot be read.
    """
    digests = []
    for path in paths:
        try:
            stat = path.stat()
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror}") from None
        digests.append(_sha256_once(path, stat.st_size, stat.st_mtime_ns))
    return combined_sha256(digests)


@lru_cache(maxsize=1 << 14)
def _sha256_once(path: Path, size: int, changed: int) -> str:
    del size, changed
    return content_sha256(path)


def _found(place: Path, names: Sequence[str]) -> dict[str, Path]:
    """The file of each protein that has one."""
    try:
        entries = {path.name for path in place.iterdir()}
    except OSError as error:
        raise DataError(f"cannot list {place}: {error.strerror}; {DATA_DIR_HINT}") from None
    predicted = _predicted(entries)
    found = dict[str, Path]()
    for name in names:
        official = (place / name / OFFICIAL, place / name / f"{OFFICIAL}.gz") if name in entries else ()
        plain = [f"{name}{ending}{packed}" for ending in ENDINGS for packed in ("", ".gz")]
        others = [place / file for file in (predicted.get(name), *plain) if file in entries]
        if path := next((path for path in (*official, *others) if path.is_file()), None):
            found[name] = path
    return found


def _predicted(entries: Iterable[str]) -> dict[str, str]:
    """The file of the AlphaFold database of each protein: of the highest version, mmCIF before PDB."""
    files = dict[str, tuple[int, str]]()
    for file in sorted(entries, reverse=True):  # so that .cif comes last and stays
        if match := PREDICTED.fullmatch(file):
            version = int(match["version"])
            if version >= files.get(match["name"], (0, ""))[0]:
                files[match["name"]] = version, file
    return {name: file for name, (_, file) in files.items()}
