"""The normalization of text that a SentencePiece model was trained with, read from a checkpoint's files."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from smc_eval.errors import ModelError
from smc_eval.tasks.backbone import Backbone

Normalize = Callable[[str], str]
"""Maps a text to the text that the pieces of a vocabulary were learned from."""

TOKENIZER_JSON = "tokenizer.json"

NORMALIZER_SPEC, PRECOMPILED_CHARSMAP = 3, 2
"""Numbers of two fields in `sentencepiece_model.proto`: of a model, and of its normalizer. They are written
here, as the module that protoc made of it runs with the protobuf of its own release only."""


def unchanged(text: str) -> str:
    """The text itself: the normalization of a tokenizer without a table of replacements."""
    return text


def file_normalization(backbone: Backbone, tokenizer: Any) -> Normalize:
    """The normalization in the files of a tokenizer, computed by SentencePiece itself.

    Classes of transformers 5 make their backend anew. MBartTokenizer's has no normalizer, so that full-width
    commas and digits, ligatures and decomposed accents become unknown tokens. The backends that keep the
    table apply the first rule that fits a cluster of marks, and so lose marks of decomposed Vietnamese.
    A tokenizer that calls SentencePiece needs nothing.

    Raises:
        ModelError: a file cannot be read.
    """
    if not tokenizer.is_fast:
        return unchanged
    models = [name for name in type(tokenizer).vocab_files_names.values() if name.endswith(".model")]
    for name in (*models, TOKENIZER_JSON):
        if path := _file(backbone, name):
            try:
                model = _bare_model(path) if name == TOKENIZER_JSON else path.read_bytes()
                return _normalizer(model) if model else unchanged
            except (OSError, RuntimeError, ValueError) as error:
                raise ModelError(
                    f"{path} of model {backbone.name!r} cannot be read: {error}; give a complete checkpoint"
                ) from None
    return unchanged


def _bare_model(path: Path) -> bytes:
    """A SentencePiece model with nothing but the table of a `tokenizer.json`; empty if it has none."""
    settings = json.loads(path.read_text(encoding="utf-8"))
    tables = list(_tables(settings.get("normalizer") if isinstance(settings, dict) else None))
    if not tables:
        return b""
    return _field(NORMALIZER_SPEC, _field(PRECOMPILED_CHARSMAP, base64.b64decode(tables[0])))


def _field(number: int, content: bytes) -> bytes:
    """A field of bytes in a protobuf message: number and type, length in groups of seven bits, content."""
    length, rest = bytearray(), len(content)
    while rest > 127:
        length.append(rest & 127 | 128)
        rest >>= 7
    return bytes([number << 3 | 2, *length, rest]) + content


def _tables(settings: object) -> Iterator[str]:
    """The tables of replacements in the settings of a normalizer, which may be a sequence of others."""
    match settings:
        case {"precompiled_charsmap": str(table)}:
            yield table
        case {"normalizers": [*parts]}:
            for part in parts:
                yield from _tables(part)


def _normalizer(model: bytes) -> Normalize:
    """The normalizer of a SentencePiece model; blanks stay blanks, and none is put before a text."""
    from sentencepiece import SentencePieceNormalizer

    normalizer = SentencePieceNormalizer(
        model_proto=model, add_dummy_prefix=False, escape_whitespaces=False, remove_extra_whitespaces=True
    )
    return lambda text: str(normalizer.normalize(text))


def _file(backbone: Backbone, name: str) -> Path | None:
    """A file of a checkpoint: in its folder, or in the hub's local cache, where its tokenizer lies by now."""
    if backbone.commit is None:
        path = Path(backbone.location) / name
        return path if path.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(backbone.location, name, revision=backbone.commit)
    return Path(cached) if isinstance(cached, str) else None
