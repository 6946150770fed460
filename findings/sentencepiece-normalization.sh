#!/bin/sh
# What transformers and tokenizers do to text before a SentencePiece vocabulary sees it.
#
# 2026-11-29; Python 3.11, transformers 5.23.0, tokenizers 0.23.3, sentencepiece 0.2.3, protobuf 7.36.2.
#
# A SentencePiece model holds a normalization beside its pieces. Its own library applies it:
#
#   1. MBartTokenizer sets its backend's normalizer to None. Full-width signs, ligatures and decomposed accents
#      become <unk>, and vanish when ids are decoded: `你好，世界！１２３` comes back as `你好世界`. So a net is trained
#      and scored on other text than it was pretrained on. save_pretrained then writes a tokenizer.json without
#      the normalization, and it is lost for good.
#   2. `normalizers.Precompiled`, which MBart50, NLLB and XLM-R keep, applies the first rule that fits the start
#      of a cluster to the whole cluster. Letters with two decomposed marks lose one: `được` becomes `đươc`.
#
# The script ends with an error if either changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q transformers==5.23.0 tokenizers==0.23.3 sentencepiece==0.2.3 protobuf==7.36.2
cd "$folder"
HF_HUB_OFFLINE=1 venv/bin/python - <<'PYTHON'
import io
import json
import pathlib
import unicodedata

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import normalizers
from transformers import AutoTokenizer

written = io.BytesIO()
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(["你好,世界!123 office", "được tự do và bình đẳng"] * 20),
    model_writer=written,
    vocab_size=60,
    hard_vocab_limit=False,
    character_coverage=1.0,
    normalization_rule_name="nmt_nfkc",  # mBART's
    minloglevel=2,
)
model = written.getvalue()
folder = pathlib.Path("mbart")
folder.mkdir()
(folder / "sentencepiece.bpe.model").write_bytes(model)
(folder / "config.json").write_text(json.dumps({"model_type": "mbart"}))
(folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "MBartTokenizer"}))

oracle = sentencepiece.SentencePieceProcessor(model_proto=model)
tokenizer = AutoTokenizer.from_pretrained(folder)
for text in ("你好，世界！１２３", "oﬃce"):
    own = oracle.decode(oracle.encode(text))
    theirs = tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True)
    print(f"{text}   sentencepiece: {own}   MBartTokenizer: {theirs}")
    assert own == unicodedata.normalize("NFKC", text) != theirs
assert tokenizer.backend_tokenizer.normalizer is None
tokenizer.save_pretrained("saved")
assert json.loads(pathlib.Path("saved/tokenizer.json").read_text(encoding="utf-8"))["normalizer"] is None

table = sentencepiece_model_pb2.ModelProto.FromString(model).normalizer_spec.precompiled_charsmap
text = unicodedata.normalize("NFD", "được tự do và bình đẳng")
own = oracle.normalize(text).replace("▁", " ").strip()
theirs = normalizers.Precompiled(table).normalize_str(text)
print(f"decomposed text   sentencepiece: {own}   tokenizers: {theirs}")
assert own == "được tự do và bình đẳng" != theirs
PYTHON
