"""Base files: what an exported folder takes from the checkpoint that `--model` names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from smc_eval.errors import ModelError
from smc_eval.exported.base_checkpoint import BaseCheckpoint
from smc_eval.exported.manifest import MANIFEST, Manifest
from smc_eval.kind import Checkpoint, form_of
from smc_eval.tasks import backbone
from smc_eval.tasks import checkpoint_files as files
from smc_eval.tasks.checkpoint_tensors import read_tensors

if TYPE_CHECKING:
    from torch import Tensor

LICENCES = ("LICENSE", "LICENCE", "NOTICE", "LICENSE.txt", "LICENSE.md", "COPYING")
"""Files with a licence, which go along."""

LEFT_BEHIND = frozenset(
    {
        *(
            "modules.json",
            "config_sentence_transformers.json",
            "sentence_bert_config.json",
            "data_config.json",
        ),
        *("trainer_state.json", "all_results.json", "train_results.json", "eval_results.json"),
    }
)
"""Files of other programs around a checkpoint, which say nothing true of the new net."""

LICENCE_LINE = re.compile(r"^license:\s*[\"']?([\w.+-]+)", re.MULTILINE)
"""The licence in the front matter of a model card."""


def base_of(model_name: str) -> BaseCheckpoint:
    """The checkpoint that a net began with; without files for nets that are built here.

    Raises:
        ModelError: the checkpoint is gone, or cannot be read.
    """
    if form_of(model_name):
        return BaseCheckpoint(model_name)
    folder, commit = backbone.folder_of(model_name)
    manifest = Manifest.read(folder)
    if manifest and manifest.form == "state dict":
        return BaseCheckpoint(model_name)
    config = backbone.config_of(model_name)
    checkpoint = Checkpoint(model_name, model_name if commit else str(folder), commit, config)
    return BaseCheckpoint(
        name=model_name,
        is_hub_id=commit is not None,
        licence=_licence(folder),
        files=_files(folder, config, model_name),
        tensors=lambda: _tensors(checkpoint),
    )


def _files(folder: Path, config: Mapping[str, object], model_name: str) -> tuple[Path, ...]:
    """The files of the tokenizer and of the licence, and settings of generation."""
    try:
        weights = files.weight_files(folder, config, model_name)
    except ModelError:  # of a hub id the weights may lie elsewhere
        weights = []
    left_out = LEFT_BEHIND | {"config.json", MANIFEST, *(path.name for path in weights)}
    kept = {
        path
        for path in folder.iterdir()
        if path.is_file()
        and not files.decides_nothing(path)
        and path.name not in left_out
        and not path.name.endswith(files.INDEX)
    }
    kept |= {folder / name for name in LICENCES if (folder / name).is_file()}
    return tuple(sorted(kept))


def _licence(folder: Path) -> str:
    """The licence that the front matter of the model card names; empty if there is none."""
    try:
        card = (folder / "README.md").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    _, _, rest = card.partition("---\n")
    found = LICENCE_LINE.search(rest.partition("\n---")[0])
    return found[1] if card.startswith("---") and found else ""


def _tensors(checkpoint: Checkpoint) -> Mapping[str, Tensor]:
    return read_tensors(checkpoint)
