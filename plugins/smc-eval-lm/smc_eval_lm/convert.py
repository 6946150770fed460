"""Converter of a GGUF file to a folder that `--model` can name: its quantization is undone once.

A GGUF file is the form of llama.cpp: tensors, most of them quantized, a config and a vocabulary. transformers
reads it with the package `gguf`. Nothing of the file is run.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
from pathlib import Path
from typing import Any

from smc_eval.errors import ModelError, first_line

MAGIC = b"GGUF"
"""The first bytes of each such file."""

PRECISIONS = ("float32", "bfloat16", "float16")


def convert(file: Path, folder: Path, precision: str = "float32") -> int:
    """Write the causal language model of a GGUF file, with its tokenizer, to a new folder.

    Returns its number of parameters.

    Raises:
        ModelError: the file is none, holds another kind of model, or a package is missing; or the folder
            exists and is not empty.
    """
    _check(file, folder)
    model, tokenizer = _loaded(file, precision)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".converting-") as place:
        whole = Path(place) / folder.name
        model.save_pretrained(whole)
        tokenizer.save_pretrained(whole)
        if folder.exists():
            folder.rmdir()
        whole.rename(folder)
    return sum(weight.numel() for weight in model.parameters())


def _check(file: Path, folder: Path) -> None:
    """Refuse what can be seen before anything is loaded."""
    if not file.is_file():
        raise ModelError(f"cannot read {file}: there is no such file")
    with file.open("rb") as stream:
        if (found := stream.read(len(MAGIC))) != MAGIC:
            raise ModelError(f"{file} begins with {found!r}; wanted a GGUF file, which begins with {MAGIC!r}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ModelError(f"{folder} exists; name a new folder for the converted model")
    if importlib.util.find_spec("gguf") is None:
        raise ModelError("the package gguf, which reads such files, is not installed: pip install gguf")


def _loaded(file: Path, precision: str) -> tuple[Any, Any]:
    """The model and the tokenizer of a GGUF file."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    given = {"gguf_file": file.name, "trust_remote_code": False}
    dtype = getattr(torch, precision)
    try:
        model = AutoModelForCausalLM.from_pretrained(str(file.parent), dtype=dtype, **_unpacked(), **given)
        tokenizer = AutoTokenizer.from_pretrained(str(file.parent), **given)
        model = _plain(model)
    except Exception as error:  # the loader raises whatever a broken file makes of it
        raise ModelError(
            f"transformers cannot read {file}: {type(error).__name__}: {first_line(error)}; "
            "wanted a causal language model of an architecture that its GGUF loader knows"
        ) from error
    if len(tokenizer) > (rows := model.get_input_embeddings().weight.shape[0]):
        raise ModelError(f"the vocabulary of {file} has {len(tokenizer)} tokens, its model {rows}")
    return model, tokenizer


def _unpacked() -> dict[str, Any]:
    """What tells transformers to undo the quantization. Older releases always do."""
    import transformers

    config = getattr(transformers, "GgufConfig", None)
    return {"quantization_config": config(dequantize=True)} if config else {}


def _plain(model: Any) -> Any:
    """The same model without the mark of a quantized one, which transformers does not save."""
    config = type(model.config).from_dict(
        {name: value for name, value in model.config.to_dict().items() if name != "quantization_config"}
    )
    plain = type(model)(config).to(model.dtype)
    plain.load_state_dict(model.state_dict())
    plain.generation_config = model.generation_config
    return plain


def main() -> None:
    """The command `smc-eval-convert-gguf FILE FOLDER`, also `python -m smc_eval_lm.convert`."""
    parser = argparse.ArgumentParser(
        prog="smc-eval-convert-gguf",
        description="Write the model of a GGUF file to a folder for --model, with its quantization undone.",
    )
    parser.add_argument("file", type=Path, help="a GGUF file")
    parser.add_argument("folder", type=Path, help="a new folder")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="of the stored tensors")
    words = parser.parse_args()
    try:
        parameters = convert(words.file, words.folder, words.precision)
    except (ModelError, OSError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    parser.exit(0, f"{words.folder}: {parameters:,} parameters\n")


if __name__ == "__main__":
    main()
