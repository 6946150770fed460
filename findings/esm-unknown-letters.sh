#!/bin/sh
# What the two tokenizers of ESM-2 do with letters that its alphabet lacks.
#
# 2026-11-30; Python 3.11, transformers 5.23.0, fair-esm 2.0.0, torch 2.13.0 (CPU).
#
# FASTA files mark masked regions by small letters, and J stands for leucine or isoleucine. ESM's alphabet has neither. One would expect <unk> for each:
#
#   1. transformers gives one <unk> for a whole run: a protein in small letters is one token, whatever its length.
#   2. Later residues move: token i is no longer residue i, so labels for each residue, contact maps and the pooled mean are those of another sequence.
#      No Python warning is given, and ids and attention mask still have equal lengths.
#   3. fair-esm, whose weights these are, ends with a KeyError instead.
#
# So sequences need capitals, and X for J, before they are tokenized. The script ends with an error if this changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 transformers==5.23.0 fair-esm==2.0.0
cd "$folder"
HF_HUB_OFFLINE=1 venv/bin/python - <<'PYTHON'
import pathlib
import warnings

import esm
from transformers import EsmTokenizer

alphabet = esm.data.Alphabet.from_architecture("ESM-1b")  # that of ESM-2, too
pathlib.Path("vocab.txt").write_text("\n".join(alphabet.all_toks))
tokenizer = EsmTokenizer("vocab.txt")
converter = alphabet.get_batch_converter()


def original(sequence):
    try:
        return converter([("protein", sequence)])[2][0].tolist()
    except KeyError as error:
        return repr(error)


found = {}
warnings.simplefilter("error")
for sequence in ("MKVLG", "MKJVLG", "MKJJVLG", "MKvlgMKG", "mkvlg", "mkvlg" * 60):
    ids, mask = (tokenizer(sequence)[name] for name in ("input_ids", "attention_mask"))
    assert len(ids) == len(mask)
    found[sequence] = ids, original(sequence)
    print(f"{sequence[:12]:12} of {len(sequence):3} letters: {len(ids) - 2:3} tokens {ids[:10]}, fair-esm {str(found[sequence][1])[:40]}")

unknown = tokenizer.unk_token_id
assert found["MKVLG"][0] == found["MKVLG"][1]
assert len(found["MKJVLG"][0]) - 2 == 6
assert len(found["MKJJVLG"][0]) - 2 == 6
assert found["MKvlgMKG"][0].count(unknown) == 1
assert found["mkvlg" * 60][0] == [tokenizer.cls_token_id, unknown, tokenizer.eos_token_id]
assert all(isinstance(ids, str) for sequence, (_, ids) in found.items() if sequence != "MKVLG")
PYTHON
