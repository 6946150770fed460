#!/bin/sh
# What gemmi reads where a coordinate of a PDB file is damaged.
#
# 2026-11-29; Python 3.11, gemmi 0.7.5.
#
# A PDB file has a coordinate in fixed columns. Where they hold no number (asterisks of an overflow, blanks, letters), one would expect
# an error. gemmi reads 0.0 and goes on, so the atom lies in the origin, and a net that reads the structure gets a
# protein of another shape. Who reads PDB files by gemmi must check these columns.
#
# The script ends with an error if this changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q gemmi==0.7.5
"$folder/venv/bin/python" - <<'PYTHON'
import gemmi

line = "ATOM      2  CA  GLY A   1      28.000   2.000   3.000  1.00  0.00           C  "
for x in ("  28.000", "********", "        ", "  xx.xxx"):
    structure = gemmi.read_pdb_string(line.replace("  28.000", x) + "\nEND\n")
    read = structure[0]["A"][0][0].pos.x
    print(f"columns {x!r}: read as {read}")
    assert read == (28.0 if x == "  28.000" else 0.0)
PYTHON
