"""Checkpoint files: which files of a folder decide its net, their digest, and faults that they show.

Nothing here loads a tensor. What only the net can show is in `load_report`.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from smc_eval.errors import ModelError
from smc_eval.exported.manifest import PACKED_FILE
from smc_eval.files.checksum import combined_sha256, file_sha256_once
from smc_eval.tasks.foreign_tensors import refuse_foreign

WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    PACKED_FILE,
)
"""Files that hold the weights, or name the files that do. The first that exists is read, as by
transformers. The last is an archive format of smc-eval."""

EXPLICIT_WEIGHTS = "transformers_weights"
"""Field of a config.json that names another file of weights."""

INDEX = ".index.json"

NEVER_READ = (
    *(".md", ".rst", ".pdf", ".html", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".csv", ".tsv", ".log"),
    *(".py", ".ipynb", ".sh", ".yaml", ".yml", ".zip", ".gz", ".tar", ".lock", ".sav", ".pkl", ".pickle"),
    *(".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".ot", ".onnx", ".gguf", ".npz"),
)
"""Endings of files that decide nothing: documents, programs, and files of tensors that nothing names,
such as those of an optimizer."""

PAPERS = ("LICENSE", "LICENCE", "NOTICE", "README", "CHANGELOG", "AUTHORS")
"""Files without an ending that decide nothing."""

ADAPTER = re.compile(r"(^|_)adapters?(_|\.|$)")
"""A part of the name of an adapter's file, such as adapter_config.json or pytorch_adapter.bin."""

ADAPTER_ENDINGS = (".json", ".safetensors", ".bin", ".pt")

PACKED_FIELDS = ("quantization_config", "compression_config", "sparsity_config", "quantization")
"""Fields of a config.json that describe how weights are packed."""

UNSCALED = (
    "BOOL", "I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F4"
)  # fmt: skip
"""Types, by their names in safetensors, that stand for weights only together with a scale."""


def deciding_files(folder: Path, config: Mapping[str, Any], model_name: str) -> list[Path]:
    """The files that decide which net and which tokenizer a folder holds, in a fixed order.

    They are the config, the files of weights that are read, with their index and in any subfolder, and
    every other file of the folder that is not known to decide nothing.

    Raises:
        ModelError: a file of weights is missing, or the folder cannot be read.
    """
    weights = weight_files(folder, config, model_name)
    # beside pickled weights every file of their ending counts, as in earlier releases: digests stay
    also = ".bin" if weights[-1].suffix == ".bin" else None
    try:
        others = [
            path
            for path in folder.iterdir()
            if path.is_file() and (path.suffix == also or not decides_nothing(path))
        ]
    except OSError as error:
        raise ModelError(f"cannot read the model folder {str(folder)!r}: {error.strerror}") from None
    return sorted({*weights, *others})


def weight_files(folder: Path, config: Mapping[str, Any], model_name: str) -> list[Path]:
    """The files that hold the weights, in order, behind their index if there is one.

    Raises:
        ModelError: there are none, or the index is wrong.
    """
    named = config.get(EXPLICIT_WEIGHTS)
    names = (_inside(str(named), "config.json", model_name),) if named else WEIGHT_FILES
    first = next((folder / name for name in names if (folder / name).is_file()), None)
    if first is None:
        raise ModelError(
            f"the model {model_name!r} cannot be loaded: its folder has no {' or '.join(names)}\n"
            "give a complete checkpoint, as save_pretrained writes it"
        )
    if not first.name.endswith(INDEX):
        return [first]
    shards = [folder / name for name in shard_names(first, model_name)]
    if missing := next((path for path in shards if not path.is_file()), None):
        raise ModelError(
            f"the model {model_name!r} cannot be loaded: {first.name} names "
            f"{missing.relative_to(folder).as_posix()}, which does not exist\n"
            "give a complete checkpoint, as save_pretrained writes it"
        )
    return [first, *shards]


def shard_names(index: Path, model_name: str) -> list[str]:
    """The names of the files that an index names, relative to its folder, in order.

    Raises:
        ModelError: the index is not one, or names a file outside of its folder.
    """
    try:
        places = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        names = sorted({str(place) for place in places})
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        names = []
    if not names:
        raise ModelError(
            f"the model {model_name!r} cannot be loaded: its {index.name} names no files; "
            "it must have a weight_map"
        )
    return [_inside(name, index.name, model_name) for name in names]


def _inside(name: str, where: str, model_name: str) -> str:
    """The name of a file, if it lies in the folder of the model or below it."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ModelError(
            f"the model {model_name!r} cannot be loaded: its {where} names {name!r}, a file outside of its "
            "folder; put the file there"
        )
    return name


def folder_digest(folder: Path, config: Mapping[str, Any], model_name: str) -> str:
    """SHA-256 over the names and contents of all `deciding_files`.

    Raises:
        ModelError: a file is missing or cannot be read.
    """
    parts = list[str]()
    for path in deciding_files(folder, config, model_name):
        try:
            content = file_sha256_once(path)
        except OSError as error:
            raise ModelError(f"cannot read {path} of model {model_name!r}: {error.strerror}") from None
        name = path.relative_to(folder).as_posix()
        parts += [hashlib.sha256(name.encode()).hexdigest(), content]
    return combined_sha256(parts)


def refuse_adapters(folder: Path, model_name: str) -> None:
    """Refuse a folder with an adapter, which changes the net only if some package is installed.

    Raises:
        ModelError: there is one; it is named.
    """
    names = sorted(path.name for path in folder.glob("*") if path.suffix in ADAPTER_ENDINGS)
    if found := next((name for name in names if ADAPTER.search(Path(name).stem + ".")), None):
        raise ModelError(
            f"the model folder {model_name!r} holds an adapter, {found!r}, which would be ignored; "
            "merge it into the weights and save them (peft: merge_and_unload), or remove its files"
        )


def refuse_packed(config: Mapping[str, Any], model_name: str) -> None:
    """Refuse a checkpoint whose config says that its weights are packed or quantised.

    Raises:
        ModelError: it does; the format is named.
    """
    parts = [("", config), *((f"{name}.", part) for name, part in config.items() if isinstance(part, dict))]
    for where, part in parts:
        for name in PACKED_FIELDS:
            if value := part.get(name):
                raise ModelError(
                    f"the model {model_name!r} is packed or quantised: its config.json has {where}{name} "
                    f"({packed_format(value)}); give its plain weights in fp32, fp16 or bf16, decompressed "
                    "by the library that packed them, without this field"
                )


def packed_format(value: object) -> str:
    """The formats that such a field names, as `compressed-tensors, sparse-bitmask`."""
    words = dict.fromkeys(_format_words(value))
    return ", ".join(words) or "no format named"


def refuse_unreadable(weights: list[Path], model_name: str) -> None:
    """Refuse what headers of safetensors show: tensors of other programs, and weights without their scale.

    Raises:
        ModelError: there are some; the first is named.
    """
    types = {name: dtype for path in weights for name, dtype in tensor_types(path).items()}
    refuse_foreign(types, model_name)
    for name, dtype in types.items():
        if dtype in UNSCALED and is_parameter_name(name):
            raise unscaled(model_name, name, dtype)


def unscaled(model_name: str, name: str, dtype: str) -> ModelError:
    """The error for a weight of a type that needs a scale."""
    return ModelError(
        f"the tensor {name!r} of model {model_name!r} holds values of type {dtype}; without a scale they are "
        "no weights; give the weights in fp32, fp16 or bf16"
    )


def is_parameter_name(name: str) -> bool:
    """Whether a name is that of a parameter by its last part; buffers such as position ids are integers."""
    return name.rpartition(".")[2] in {"weight", "bias", "gamma", "beta"}


def tensor_types(path: Path) -> dict[str, str]:
    """The type of each tensor in a safetensors file, from its header alone.

    Empty for other files, and for broken ones: loading them will raise an error.
    """
    if path.suffix != ".safetensors":
        return {}
    try:
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            if size > path.stat().st_size:
                return {}
            header = json.loads(file.read(size))
        return {name: str(entry["dtype"]) for name, entry in header.items() if name != "__metadata__"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
        return {}


def decides_nothing(path: Path) -> bool:
    """Whether a file has no part in which net and which tokenizer a folder holds."""
    return path.name.startswith(".") or path.suffix in NEVER_READ or path.name.upper() in PAPERS


def _format_words(value: object) -> Iterator[str]:
    """The values of the fields that name a method or a format, at any depth."""
    if not isinstance(value, dict):
        yield str(value)[:60]
        return
    for name in ("quant_method", "format"):
        if isinstance(value.get(name), str):
            yield value[name]
    for part in value.values():
        if isinstance(part, dict):
            yield from _format_words(part)
