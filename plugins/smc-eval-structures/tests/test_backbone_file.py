"""Backbone files: what PDB and mmCIF say of chains, models, alternatives and missing atoms is obeyed."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from smc_eval_structures.backbone_file import Backbone, read_backbone
from smc_eval_structures.synthetic import HELIX, backbone, mmcif_text, pdb_text

from smc_eval.errors import DataError

CHAIN = backbone([HELIX] * 4)
PLACES_433 = np.array(CHAIN).reshape(4, 3, 3)


def atom(
    serial: int, name: str, residue: str, number: int, x: float, *, chain: str = "A", alt: str = " ",
    code: str = " ", occupancy: float = 1.0, record: str = "ATOM",
) -> str:  # fmt: skip
    """One line of a PDB file, with y = 2 and z = 3."""
    return (
        f"{record:<6s}{serial:5d}  {name:<3s}{alt}{residue} {chain}{number:4d}{code}   "
        f"{x:8.3f}{2:8.3f}{3:8.3f}{occupancy:6.2f}{0:6.2f}           {name[0]}"
    )


def whole(serial: int, residue: str, number: int, x: float, **fields: object) -> list[str]:
    """The three lines of one residue, at x, x + 1 and x + 2."""
    return [
        atom(serial + at, name, residue, number, x + at, **fields) for at, name in enumerate(("N", "CA", "C"))
    ]


def read(tmp_path: Path, lines: list[str], chain: str | None = None, name: str = "x.pdb") -> Backbone:
    path = tmp_path / name
    path.write_text("\n".join([*lines, "END", ""]))
    return read_backbone(path, chain)


@pytest.mark.parametrize(("ending", "write"), [(".pdb", pdb_text), (".cif", mmcif_text)])
@pytest.mark.parametrize("packed", [False, True])
def test_a_chain_is_read_as_it_was_written(tmp_path: Path, ending: str, write, *, packed: bool) -> None:
    content = write("MAGW", CHAIN).encode()
    path = tmp_path / f"protein{ending}{'.gz' if packed else ''}"
    path.write_bytes(gzip.compress(content) if packed else content)
    read = read_backbone(path)
    assert (read.chain, read.sequence) == ("A", "MAGW")
    assert np.abs(read.atoms_L33 - PLACES_433).max() < 6e-4  # three decimals in the file


def test_a_residue_without_one_of_its_three_atoms_is_missing(tmp_path: Path) -> None:
    for lacking in range(3):
        lines = [*whole(1, "GLY", 1, 0.0), *whole(4, "ALA", 2, 5.0), *whole(7, "SER", 3, 9.0)]
        del lines[3 + lacking]
        read_ = read(tmp_path, lines, name=f"{lacking}.pdb")
        assert read_.sequence == "GAS"
        assert np.isnan(read_.atoms_L33).all((1, 2)).tolist() == [False, True, False]


def test_residues_without_coordinates_have_their_place_in_the_sequence_of_the_file(tmp_path: Path) -> None:
    content = mmcif_text("MAGW", CHAIN)
    kept = [line for line in content.splitlines() if " ALA A " not in line]
    path = tmp_path / "gap.cif"
    path.write_text("\n".join([*kept, ""]))
    read_ = read_backbone(path)
    assert read_.sequence == "MAGW"
    assert np.isnan(read_.atoms_L33).all((1, 2)).tolist() == [False, True, False, False]
    seqres = "SEQRES   1 A    4  MET ALA GLY TRP"
    kept = [line for line in pdb_text("MAGW", CHAIN).splitlines() if "ALA A" not in line]
    again = read(tmp_path, [seqres, *kept], name="gap.pdb")
    assert again.sequence == "MAGW"
    np.testing.assert_array_equal(again.atoms_L33, read_.atoms_L33)


def test_a_residue_with_an_insertion_code_follows_the_one_without(tmp_path: Path) -> None:
    lines = [
        *whole(1, "GLY", 52, 0.0),
        *whole(4, "ALA", 52, 5.0, code="A"),
        *whole(7, "SER", 52, 9.0, code="B"),
        *whole(10, "TRP", 53, 12.0),
    ]
    read_ = read(tmp_path, lines)
    assert read_.sequence == "GASW"
    assert read_.atoms_L33[:, 0, 0].tolist() == [0.0, 5.0, 9.0, 12.0]


def test_of_alternatives_the_one_with_the_highest_occupancy_is_read_whole(tmp_path: Path) -> None:
    lines = [
        atom(1, "N", "GLY", 1, 0.0),
        atom(2, "CA", "GLY", 1, 1.0, alt="A", occupancy=0.4),
        atom(3, "CA", "GLY", 1, 7.0, alt="B", occupancy=0.6),
        atom(4, "C", "GLY", 1, 2.0, alt="A", occupancy=0.4),
        atom(5, "C", "GLY", 1, 8.0, alt="B", occupancy=0.6),
        *whole(6, "ALA", 2, 20.0),
    ]
    assert read(tmp_path, lines).atoms_L33[0, :, 0].tolist() == [0.0, 7.0, 8.0]
    equal = [line.replace("  0.40", "  0.50").replace("  0.60", "  0.50") for line in lines]
    assert read(tmp_path, equal, name="equal.pdb").atoms_L33[0, :, 0].tolist() == [0.0, 1.0, 2.0]


def test_a_whole_alternative_comes_before_one_that_lacks_an_atom(tmp_path: Path) -> None:
    lines = [
        *whole(1, "GLY", 1, 0.0, alt="A", occupancy=0.3),
        *whole(4, "GLY", 1, 50.0, alt="B", occupancy=0.7)[:2],
        *whole(7, "ALA", 2, 20.0),
    ]
    assert read(tmp_path, lines).atoms_L33[0, :, 0].tolist() == [0.0, 1.0, 2.0]


def test_of_two_residues_in_one_place_the_more_occupied_is_read(tmp_path: Path) -> None:
    lines = [
        *whole(1, "SER", 1, 0.0, alt="A", occupancy=0.3),
        *whole(4, "THR", 1, 50.0, alt="B", occupancy=0.7),
        *whole(7, "ALA", 2, 20.0),
    ]
    read_ = read(tmp_path, lines)
    assert (read_.sequence, read_.atoms_L33[0, 0, 0]) == ("TA", 50.0)


def test_the_first_model_is_read(tmp_path: Path) -> None:
    models = [["MODEL        1", *whole(1, "GLY", 1, 0.0), *whole(4, "ALA", 2, 5.0), "ENDMDL"]]
    models.append(["MODEL        2", *whole(1, "GLY", 1, 70.0), *whole(4, "ALA", 2, 75.0), "ENDMDL"])
    assert read(tmp_path, [*models[0], *models[1]]).atoms_L33[0, 0, 0] == 0.0


def test_modified_residues_are_read_as_their_parents_and_water_is_not(tmp_path: Path) -> None:
    lines = [
        *whole(1, "GLY", 1, 0.0),
        *whole(4, "MSE", 2, 5.0, record="HETATM"),
        *whole(7, "ALA", 3, 9.0),
        "TER      10      ALA A   3",
        atom(11, "O", "HOH", 4, 30.0, record="HETATM"),
    ]
    assert read(tmp_path, lines).sequence == "GMA"


def two_chains() -> list[str]:
    first = [*whole(1, "GLY", 1, 0.0), *whole(4, "ALA", 2, 5.0), "TER       7      ALA A   2"]
    return [*first, *whole(8, "SER", 1, 30.0, chain="B"), *whole(11, "TRP", 2, 35.0, chain="B")]


def test_a_chain_is_chosen_by_name_and_several_are_never_guessed(tmp_path: Path) -> None:
    assert read(tmp_path, two_chains(), "B").sequence == "SW"
    with pytest.raises(DataError, match=r"x\.pdb has 2 protein chains: A, B; name one of them: chain=A"):
        read(tmp_path, two_chains())
    with pytest.raises(DataError, match=r"x\.pdb has no protein chain 'C'; it has A, B"):
        read(tmp_path, two_chains(), "C")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([atom(at, "CA", "GLY", at, 4.0 * at) for at in range(1, 6)], "only CA atoms, in 5 residues"),
        ([atom(1, "O", "HOH", 1, 0.0, record="HETATM")], "no protein chain, so no backbone"),
        ([], "has no atoms"),
        (["REMARK nothing"], "has no atoms"),
        ([*whole(1, "GLY", 1, 0.0), *whole(4, "GLY", 1, 0.0)], "two atoms N of one conformer"),
        (
            [*whole(1, "GLY", 1, 0.0), *whole(4, "ALA", 2, 5.0), *whole(7, "GLY", 1, 9.0, code=" ")],
            "residue 1",
        ),
    ],
)  # fmt: skip
def test_a_file_without_a_backbone_is_refused_with_what_it_holds(tmp_path: Path, lines, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        read(tmp_path, lines)
    assert "x.pdb" in str(error.value)


def test_a_coordinate_that_is_no_number_is_refused_with_its_line(tmp_path: Path) -> None:
    lines = [*whole(1, "GLY", 1, 0.0), *whole(4, "ALA", 2, 5.0)]
    for wrong in ("  xx.xxx", "********", "        ", "     nan"):
        damaged = [line.replace("   6.000", wrong) for line in lines]
        with pytest.raises(
            DataError, match=r"x\.pdb, line 5: '.*' is no coordinate; wanted Å in columns 31 to 38"
        ):
            read(tmp_path, damaged)
    content = mmcif_text("MAGW", CHAIN)
    at = next(n for n, line in enumerate(content.splitlines(), 1) if line.startswith("ATOM 5 "))
    line = content.splitlines()[at - 1]
    path = tmp_path / "x.cif"
    path.write_text(content.replace(line, line.replace(f"{PLACES_433[1, 1, 0]:.3f}", "?")))
    with pytest.raises(DataError, match=rf"x\.cif, line {at}: '\?' is no coordinate"):
        read_backbone(path)


@pytest.mark.parametrize("value", ["   1_0.0", "   1e308", "99999999", "     inf", "     1,5"])
def test_a_coordinate_that_the_parser_would_read_otherwise_is_refused(tmp_path: Path, value: str) -> None:
    lines = whole(1, "GLY", 1, 0.0)
    lines[1] = lines[1][:38] + value + lines[1][46:]
    with pytest.raises(DataError, match=r"line 2: '.*' is no coordinate; wanted Å in columns 39 to 46"):
        read(tmp_path, lines)


def test_mmcif_may_state_the_uncertainty_of_a_coordinate(tmp_path: Path) -> None:
    (tmp_path / "x.cif").write_text(
        mmcif_text("MAGW", CHAIN).replace(" 1.458 0.000 ", " 1.458(12) 0.000 ", 1)
    )
    assert "(12)" in (tmp_path / "x.cif").read_text()
    assert np.abs(read_backbone(tmp_path / "x.cif").atoms_L33 - PLACES_433).max() < 6e-4


@pytest.mark.parametrize(("ending", "write"), [(".pdb", pdb_text), (".cif", mmcif_text)])
def test_a_byte_order_mark_hides_no_atom(tmp_path: Path, ending: str, write) -> None:
    (tmp_path / f"x{ending}").write_text("\ufeff" + write("MAGW", CHAIN), encoding="utf-8")
    assert np.isfinite(read_backbone(tmp_path / f"x{ending}").atoms_L33).all()


def test_a_chain_without_a_name_is_read(tmp_path: Path) -> None:
    lines = [*whole(1, "GLY", 1, 0.0, chain=" "), *whole(4, "ALA", 2, 5.0, chain=" ")]
    assert (read(tmp_path, lines).chain, read(tmp_path, lines).sequence) == ("", "GA")
    with pytest.raises(DataError, match="has no protein chain 'A'; it has one without a name"):
        read(tmp_path, lines, chain="A")


def test_a_malformed_file_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "x.cif"
    path.write_text(mmcif_text("MAGW", CHAIN).replace("ATOM 5 C CA", "ATOM 5 CA"))
    with pytest.raises(DataError, match=r"x\.cif, line \d+: Wrong number of values in loop _atom_site"):
        read_backbone(path)
    path.write_text("data_x\n_entry.id x\n")
    with pytest.raises(DataError, match=r"x\.cif has no atoms"):
        read_backbone(path)
    (tmp_path / "cut.cif.gz").write_bytes(gzip.compress(b"data_x\n" * 999)[:-20])
    with pytest.raises(DataError, match="truncated"):
        read_backbone(tmp_path / "cut.cif.gz")
    (tmp_path / "x.txt").write_text("")
    with pytest.raises(DataError, match="neither PDB nor mmCIF"):
        read_backbone(tmp_path / "x.txt")
    with pytest.raises(DataError, match=r"cannot read .*nowhere\.pdb"):
        read_backbone(tmp_path / "nowhere.pdb")


def test_pdb_and_mmcif_of_a_real_entry_have_the_same_chains(shipped: Path) -> None:
    for chain, residues, present in (("A", 151, 147), ("D", 140, 140), ("O", 215, 215)):
        old, new = (read_backbone(shipped / f"2gtl{ending}", chain) for ending in (".pdb", ".cif"))
        assert old.sequence == new.sequence and len(old.sequence) == residues
        np.testing.assert_array_equal(old.atoms_L33, new.atoms_L33)
        assert int(np.isfinite(old.atoms_L33).all((1, 2)).sum()) == present
