"""The manifest of an exported folder, `smc_eval.json`: what its files are, and the record of its cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from smc_eval.errors import ModelError
from smc_eval.files.checksum import file_sha256_once
from smc_eval.files.json_text import parse_json
from smc_eval.files.user_path import is_file, user_path

MANIFEST = "smc_eval.json"
"""Name of the manifest in an exported folder."""
MANIFEST_SCHEMA = 1
"""Version of its JSON."""

MODEL_FILE = "model.safetensors"
"""The model of transformers, in its own names, as transformers reads it."""
PACKED_FILE = "packed.safetensors"
"""The same in an archive format, which transformers does not read."""
HEAD_FILE = "head.safetensors"
"""The tensors of the task's net outside of that model."""
NET_FILE = "net.safetensors"
"""All tensors of a net that is no model of transformers."""
MASKS_FILE = "masks.safetensors"
"""The masks as bits; archive formats have them beside the values instead."""

FolderForm = Literal["model", "state dict"]
"""`model`: a folder of transformers, with the task's head beside it. `state dict`: tensors of another net."""
WeightFormat = Literal["dense", "bitmask", "csr"]


@dataclass(frozen=True)
class Manifest:
    """What an exported folder holds."""

    folder: Path
    form: FolderForm
    format: WeightFormat
    task: str
    """Identity of the task that the net was trained for."""
    tasks: str
    """The task with its options, as `--tasks` takes it."""
    prefix: str
    """Name of the model inside the task's net, as `encoder`; empty where it is the net itself."""
    built: str | None
    """`tiny` or `scratch` where the net began without a checkpoint, else None."""
    facts: Mapping[str, Any]
    """What the outputs of the head mean beyond the task's name, such as the symbols of equations."""
    files: Mapping[str, str]
    """SHA-256 of each file with tensors, by name."""
    record: Mapping[str, Any] = field(repr=False)
    """The record of the cell, with its certificate."""
    weights: str = ""
    """How the net was found: kept by the run, or computed again."""
    not_trained: Mapping[str, str] = field(default_factory=dict)
    """Tensors that belong to the model's class and not to the net, and where their values are from."""

    @property
    def head(self) -> str | None:
        """The file of the tensors outside of the model; None where there are none."""
        return next((name for name in (HEAD_FILE, NET_FILE) if name in self.files), None)

    @property
    def label(self) -> str:
        """The cell in words: `omp-after of csqa`."""
        return f"{self.record.get('method')} of {self.tasks}"

    def to_json(self) -> dict[str, Any]:
        """The manifest as plain JSON values."""
        plain = {name: value for name, value in vars(self).items() if name != "folder"}
        return {"schema": MANIFEST_SCHEMA, **plain}

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """The manifest of a folder; None where it has none.

        Raises:
            ModelError: it is broken, or another release wrote it.
        """
        path = folder / MANIFEST
        if not is_file(path):
            return None
        try:
            plain = parse_json(path.read_bytes())
            schema = plain.pop("schema")
            if schema != MANIFEST_SCHEMA:
                raise ModelError(
                    f"{path} has schema {schema!r} of another release of smc-eval, this one has "
                    f"{MANIFEST_SCHEMA}; export the net again, or use the release that wrote it"
                )
            made = cls(folder, **plain)
            whole = made._has_types()
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            whole = False
        if not whole:
            raise ModelError(
                f"{path} is not as smc-eval export writes it; export the net again, or delete the file to "
                "use the folder as an ordinary checkpoint"
            )
        return made

    def _has_types(self) -> bool:
        """Whether every value has the type that it is written with."""
        texts = (self.task, self.tasks, self.prefix, self.weights, self.built or "", *self.files.values())
        mappings = (self.facts, self.files, self.record, self.not_trained)
        return (
            all(isinstance(mapping, dict) for mapping in mappings)
            and all(isinstance(text, str) for text in texts)
            and self.form in get_args(FolderForm)
            and self.format in get_args(WeightFormat)
        )

    def refuse_altered(self) -> None:
        """Refuse a folder with a file of tensors that is missing, or is not the one that was exported.

        Raises:
            ModelError: there is one; it is named.
        """
        for name, wanted in self.files.items():
            path = self.folder / name
            try:
                same = file_sha256_once(path) == wanted
            except OSError as error:
                raise ModelError(f"cannot read {path}, which {MANIFEST} names: {error.strerror}") from None
            if not same:
                raise ModelError(
                    f"{path} is not the file that was exported, by its checksum in {MANIFEST}; export the "
                    f"net again, or delete {MANIFEST} to use the folder as an ordinary checkpoint"
                )


def manifest_of(model_name: str) -> Manifest | None:
    """The manifest of the folder that `--model` names; None for all other models.

    Raises:
        ModelError: it is broken.
    """
    return Manifest.read(user_path(model_name))


def exported_digest(model_name: str) -> str:
    """SHA-256 of the manifest of an exported folder, which has those of its tensors.

    Raises:
        ModelError: there is none.
    """
    path = user_path(model_name) / MANIFEST
    try:
        return file_sha256_once(path)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from None


def built_form(model_name: str) -> str | None:
    """`tiny` or `scratch` for a net of this form, also where it was exported; None for checkpoints.

    Raises:
        ModelError: the manifest of the folder is broken.
    """
    if model_name in {"tiny", "scratch"}:
        return model_name
    manifest = manifest_of(model_name)
    return manifest.built if manifest else None
