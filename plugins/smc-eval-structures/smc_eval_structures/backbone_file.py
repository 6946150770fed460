"""Backbone files: N, CA and C of one protein chain, from PDB and mmCIF, plain or `.gz`.

- Models: the first one of the file is read.
- Chains: the one that is named, by the name that the PDB shows (`auth_asym_id`), or else the only one.
- Sequence: that of the file (SEQRES, `_entity_poly_seq`), where residues without coordinates have a place; of
  a file without it, the residues that it holds, in its order. Insertion codes make residues of their own.
- Alternatives: of one residue the conformer with most backbone atoms, then with the highest occupancy, then
  the first one; of two residues in one place likewise.
- A residue that lacks one of the three atoms is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from smc_eval.errors import DataError
from smc_eval.tasks.folder import open_file

if TYPE_CHECKING:
    import gemmi
    import numpy as np
    from numpy.typing import NDArray

ATOMS = ("N", "CA", "C")

PDB_ENDINGS, MMCIF_ENDINGS = (".pdb", ".ent"), (".cif", ".mmcif")

COORDINATES = (slice(30, 38), slice(38, 46), slice(46, 54))
"""Columns of x, y and z in a line of a PDB file."""

FARTHEST = 1e6
"""No coordinate is as large, in Å. Larger ones stand for places that are not known."""

UNKNOWN = "X"

SHOWN = 8
"""Names in an error message, at most."""


@dataclass(frozen=True, eq=False)
class Backbone:
    """The backbone of one chain."""

    chain: str
    sequence: str
    """One letter a residue, also of missing ones; X where there is none."""
    atoms_L33: NDArray[np.float32]
    """N, CA and C of each residue in Å; NaN in residues that are missing."""


class Conformer(NamedTuple):
    """One alternative of a residue."""

    name: str
    """Three letters."""
    atoms: tuple[gemmi.Atom | None, ...]

    @property
    def rank(self) -> tuple[int, float]:
        """How many of its atoms exist, and the sum of their occupancies."""
        found = [atom for atom in self.atoms if atom]
        return len(found), sum(atom.occ for atom in found)


def read_backbone(path: Path, chain: str | None = None) -> Backbone:
    """The backbone of a chain; without a name, of the only protein chain of the file.

    Raises:
        DataError: the file cannot be read, is malformed, has no such chain or no backbone; the message names
            the file and, for a line that is wrong, the line.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    return _read_once(path, chain, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=1 << 13)
def _read_once(path: Path, chain: str | None, size: int, changed: int) -> Backbone:
    """A file is read once in a process, as long as it does not change."""
    del size, changed
    with open_file(path) as stream:
        text = stream.read().decode("utf-8-sig", errors="replace")
    where, kind = str(path), path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if kind.lower() in PDB_ENDINGS:
        structure = _pdb(text, where)
    elif kind.lower() in MMCIF_ENDINGS:
        structure = _mmcif(text, where)
    else:
        raise DataError(f"{where} is neither PDB nor mmCIF by its name; wanted .pdb or .cif, plain or .gz")
    return _backbone(structure, chain, where)


def _pdb(text: str, where: str) -> gemmi.Structure:
    """The structure of a PDB file, whose coordinates are numbers: the parser takes others as 0."""
    import gemmi

    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(("ATOM", "HETATM")) and line[12:16].strip() in ATOMS:
            for columns in COORDINATES:
                if not _is_place(line[columns].strip()):
                    raise DataError(
                        f"{where}, line {number}: {line[columns]!r} is no coordinate; wanted Å in columns "
                        f"{columns.start + 1} to {columns.stop}"
                    )
    structure = gemmi.read_pdb_string(text)
    _set_up(structure, where)
    structure.assign_label_seq_id()
    return structure


def _mmcif(text: str, where: str) -> gemmi.Structure:
    """The structure of the first block of an mmCIF file that has atoms."""
    import gemmi

    try:
        document = gemmi.cif.read_string(text)
    except ValueError as error:
        raise DataError(f"{where}{_line_of(str(error))}") from None
    for block in document:
        table = block.find("_atom_site.", ["label_atom_id", "Cartn_x", "Cartn_y", "Cartn_z"])
        if not len(table):
            continue
        for row, (atom, *coordinates) in enumerate(table):
            if gemmi.cif.as_string(atom) in ATOMS and (
                wrong := [value for value in coordinates if not _is_place(value)]
            ):
                line = _line_of_row(text, row, len(table))
                raise DataError(
                    f"{where}, {line}: {wrong[0]!r} is no coordinate; wanted Å in Cartn_x, y and z"
                )
        structure = gemmi.make_structure_from_block(block)
        _set_up(structure, where)
        return structure
    raise DataError(f"{where} has no atoms (_atom_site with label_atom_id and Cartn_x, y, z)")


def _set_up(structure: gemmi.Structure, where: str) -> None:
    """Join the parts of each chain, and tell polymers from ligands and water."""
    if not len(structure) or not structure[0].count_atom_sites():
        raise DataError(f"{where} has no atoms; wanted a protein structure in PDB or mmCIF")
    structure.merge_chain_parts()
    structure.setup_entities()


def _backbone(structure: gemmi.Structure, chain: str | None, where: str) -> Backbone:
    """The backbone of a chain of the first model."""
    import gemmi

    peptides = (gemmi.PolymerType.PeptideL, gemmi.PolymerType.PeptideD)
    polymers = {part.name: part.get_polymer() for part in structure[0]}
    proteins = {
        name: polymer
        for name, polymer in polymers.items()
        if len(polymer) and polymer.check_polymer_type() in peptides
    }
    if chain is not None and chain not in proteins:
        raise DataError(f"{where} has no protein chain {chain!r}; it has {_listed(proteins)}")
    if not proteins:
        raise DataError(f"{where} has no protein chain, so no backbone; wanted residues with N, CA and C")
    if chain is None and len(proteins) > 1:
        raise DataError(
            f"{where} has {len(proteins)} protein chains: {_listed(proteins)}; name one of them: "
            f"chain={next(iter(proteins))}"
        )
    name = chain if chain is not None else next(iter(proteins))
    # a chain without a name has no entity: gemmi gives None, which its types do not say
    stated = getattr(structure.get_entity_of(proteins[name]), "full_sequence", [])
    full = [gemmi.Entity.first_mon(names) for names in stated]
    return _placed(name, list(_residues(proteins[name], name, where)), full, f"{where}, chain {name}")


def _residues(
    polymer: Iterable[gemmi.Residue], chain: str, where: str
) -> Iterator[tuple[int | None, Conformer]]:
    """The place of each residue in the sequence, from 1, and its best conformer."""
    seen = set[str]()
    for number, group in groupby(polymer, lambda residue: str(residue.seqid)):
        if number in seen:
            raise DataError(f"{where}: chain {chain} has a residue {number} in two places; wanted it once")
        seen.add(number)
        residues = list(group)
        conformers = [best for residue in residues for best in _conformers(residue, chain, where)]
        yield residues[0].label_seq, max(conformers, key=lambda conformer: conformer.rank)


def _conformers(residue: gemmi.Residue, chain: str, where: str) -> Iterator[Conformer]:
    """The alternatives of a residue in the order of the file."""
    atoms = [atom for atom in residue if atom.name in ATOMS]
    labels = list(dict.fromkeys(atom.altloc for atom in atoms if atom.altloc != "\0")) or ["\0"]
    names = [(atom.name, atom.altloc) for atom in atoms]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DataError(
            f"{where}: residue {residue.seqid} ({residue.name}) of chain {chain} has two atoms {twice[0]} of "
            "one conformer; wanted one"
        )
    for label in labels:
        fitting = {atom.name: atom for atom in atoms if atom.altloc in ("\0", label)}
        yield Conformer(residue.name, tuple(fitting.get(name) for name in ATOMS))


def _placed(
    chain: str, residues: Sequence[tuple[int | None, Conformer]], full: Sequence[str], where: str
) -> Backbone:
    """The residues in their places of the full sequence, or one after the other if the file states none."""
    import numpy as np

    letters = [_letter(name) for name in full] or [UNKNOWN] * len(residues)
    atoms_L33 = np.full((len(letters), 3, 3), np.nan, dtype=np.float32)
    for order, (place, conformer) in enumerate(residues):
        at = place - 1 if full and place is not None else order
        if full and (place is None or not 0 <= at < len(letters)):
            raise DataError(
                f"{where}: residue number {order + 1} with coordinates ({conformer.name}) has no place in "
                f"the sequence of {len(full)} residues that the file states"
            )
        letters[at] = _letter(conformer.name)
        if all(conformer.atoms):
            atoms_L33[at] = [atom.pos.tolist() for atom in conformer.atoms if atom]
    if not np.isfinite(atoms_L33).any():
        lone = sum(conformer.atoms[1] is not None for _, conformer in residues)
        found = f"only CA atoms, in {lone} residues" if lone else "no atoms N, CA and C"
        raise DataError(f"{where} has no backbone: {found}; wanted N, CA and C of each residue")
    return Backbone(chain, "".join(letters), atoms_L33)


def _letter(name: str) -> str:
    """One letter of a residue; that of its parent for a modified one."""
    import gemmi

    return gemmi.find_tabulated_residue(name).one_letter_code.upper().strip() or UNKNOWN


def _is_place(text: str) -> bool:
    """Whether it is a coordinate as the parser reads it: mmCIF may give its uncertainty, as in `1.23(4)`."""
    import gemmi

    return abs(gemmi.cif.as_number(text)) < FARTHEST


def _line_of(message: str) -> str:
    """The line and the reason in a message of the mmCIF parser: `string:LINE:COLUMN(BYTE): reason`."""
    place, _, reason = message.partition("): ")
    line = place.split(":")[1:2]
    return f", line {line[0]}: {reason}" if reason and line else f": {message}"


def _line_of_row(text: str, row: int, rows: int) -> str:
    """The line of an atom, if each atom has one of its own; else its number."""
    lines = [at for at, line in enumerate(text.splitlines(), 1) if line.startswith(("ATOM", "HETATM"))]
    return f"line {lines[row]}" if len(lines) == rows else f"atom number {row + 1}"


def _listed(names: Iterable[str]) -> str:
    shown = [name or "one without a name" for name in names]
    return (", ".join(shown[:SHOWN]) + (", …" if len(shown) > SHOWN else "")) or "none"
