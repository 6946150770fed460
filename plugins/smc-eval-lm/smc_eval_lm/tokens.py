"""Tokens of a text, and the bytes that they stand for."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from smc_eval.errors import ModelError
from smc_eval.tasks.backbone import Backbone, find_backbone
from smc_eval_lm.model_kind import CausalLanguageModel


@dataclass(frozen=True)
class Tokens:
    """The tokens of a text, in order."""

    ids: Sequence[int]
    ends: Sequence[int]
    """Bytes of UTF-8 from the start of the text to the end of each token."""

    def bytes_of(self, start: int, stop: int) -> int:
        """Bytes of the tokens from `start` to before `stop`."""
        return self.ends[stop - 1] - (self.ends[start - 1] if start else 0)


def checkpoint_of(model_name: str) -> Backbone:
    """The causal language model that `--model` names.

    Raises:
        ModelError: it does not exist, or is of another kind.
    """
    return find_backbone(model_name, CausalLanguageModel())


@lru_cache(maxsize=4)
def loaded_tokenizer(model_name: str) -> Any:
    """The tokenizer of a checkpoint, made once a process.

    Raises:
        ModelError: it is missing or broken, or has more tokens than the model.
    """
    return checkpoint_of(model_name).load_tokenizer()


def encoded(tokenizer: Any, text: str, *, special: bool = True) -> Tokens:
    """The tokens of a text, by default with those that the tokenizer puts around it."""
    found = tokenizer(text, return_offsets_mapping=True, add_special_tokens=special, verbose=False)
    before = _bytes_before(text)
    ends, last = array("q"), 0
    for _, stop in found["offset_mapping"]:
        last = max(last, before[stop])  # a token around the text ends where it begins
        ends.append(last)
    return Tokens(array("q", found["input_ids"]), ends)


def packed(tokenizer: Any, pieces: Sequence[str], model_name: str) -> Tokens:
    """The tokens of several documents, one after the other; each ends with the token that ends a text.

    That token counts as the line end that it stands for: one byte.

    Raises:
        ModelError: the tokenizer has no such token.
    """
    end = tokenizer.eos_token_id
    if end is None:
        raise ModelError(
            f"the tokenizer of {model_name!r} has no token that ends a text, which stands between documents; "
            "take the text as one document: documents=whole"
        )
    ids, ends = array("q"), array("q")
    for piece in pieces:
        own, start = encoded(tokenizer, piece), ends[-1] if ends else 0
        ids.extend(own.ids)
        ends.extend(start + byte for byte in own.ends)
        if ids[-1] != end:
            ids.append(end)
            ends.append(start + len(piece.encode()) + 1)
    return Tokens(ids, ends)


def check_ids(tokens: Tokens, rows: int | None, model_name: str) -> None:
    """Refuse tokens that the model has no embedding of.

    Raises:
        ModelError: there is one.
    """
    if rows is not None and len(tokens.ids) and (largest := max(tokens.ids)) >= rows:
        raise ModelError(
            f"the tokenizer of {model_name!r} gives token {largest}, and its model has {rows} tokens; "
            "they do not belong to the same checkpoint"
        )


def _bytes_before(text: str) -> Sequence[int]:
    """Bytes of UTF-8 before each character, and before the end."""
    import numpy as np

    if text.isascii():
        return range(len(text) + 1)
    code = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    sizes = 1 + (code > 0x7F).astype(np.int64) + (code > 0x7FF) + (code > 0xFFFF)
    total: list[int] = np.concatenate([[0], np.cumsum(sizes)]).tolist()
    return total
