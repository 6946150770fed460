"""What `--model` says: where a checkpoint lies, what exactly it holds, and how it is loaded."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smc_eval.errors import ModelError
from smc_eval.task import Source

if TYPE_CHECKING:
    from torch import nn

PACKAGE = "pkg:"
WEIGHTS = (".safetensors", ".bin", ".json", ".txt", ".model")
"""Endings of files that decide what a folder's model and tokenizer are."""


@dataclass(frozen=True)
class Backbone:
    """A checkpoint that can be read: a folder, and the name users know it by."""

    name: str
    folder: Path

    def source(self) -> Source:
        """The checkpoint as a source: a hub's commit, or SHA-256 over a folder's files."""
        if self.folder.parent.name == "snapshots":  # the hub's cache: files never change under a commit
            return Source("model", self.name, self.folder.name)
        return Source("model", self.name, _folder_digest(self.folder))

    @property
    def config(self) -> dict[str, Any]:
        """The content of its `config.json`.

        Raises:
            ModelError: the file is missing or no JSON.
        """
        path = self.folder / "config.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ModelError(
                f"model {self.name!r}: {self.folder} holds no config.json; give the folder of a checkpoint "
                "as `save_pretrained` writes it"
            ) from None
        except (OSError, ValueError) as error:
            raise ModelError(f"model {self.name!r}: {path} cannot be read: {error}") from None
        if not isinstance(found, dict):
            raise ModelError(f"model {self.name!r}: {path} holds no JSON object")
        return found


def text_encoder(word: str) -> Backbone:
    """The encoder that a word of the command line means; nothing is loaded yet.

    Raises:
        ModelError: there is no such checkpoint here, or it is no text encoder.
    """
    found = _located(word)
    config = found.config
    kinds = [str(kind) for kind in config.get("architectures") or []]
    if config.get("is_encoder_decoder"):
        raise ModelError(f"model {word!r} is an encoder-decoder ({', '.join(kinds)}); this task reads a text encoder")
    if config.get("is_decoder") or any(kind.endswith(("ForCausalLM", "LMHeadModel")) for kind in kinds):
        raise ModelError(f"model {word!r} is a decoder ({', '.join(kinds)}); this task reads a text encoder")
    if not config.get("vocab_size"):
        raise ModelError(f"model {word!r} ({config.get('model_type')}) reads no text: its config has no vocab_size")
    return found


def load_encoder(backbone: Backbone) -> nn.Module:
    """The encoder with its pretrained weights, without a pooler.

    Raises:
        ModelError: the weights are missing, cut short or of another shape.
    """
    from transformers import AutoModel, logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        model, report = AutoModel.from_pretrained(
            backbone.folder, local_files_only=True, output_loading_info=True
        )
    except Exception as error:  # safetensors, pickle and transformers each have their own
        raise ModelError(f"model {backbone.name!r}: its weights cannot be loaded: {_told(error)}") from error
    if lacking := sorted(name for name in report["missing_keys"] if not name.startswith("pooler.")):
        raise ModelError(f"model {backbone.name!r}: its weights lack {lacking[0]!r} and {len(lacking) - 1} more")
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # never used here, and so nothing to count or prune
    loaded: nn.Module = model
    return loaded


def load_tokenizer(backbone: Backbone) -> Any:
    """The tokenizer beside the weights.

    Raises:
        ModelError: there is none, or it cannot tell which token a character went to.
    """
    from transformers import AutoTokenizer, logging

    logging.set_verbosity_error()
    try:
        tokenizer = AutoTokenizer.from_pretrained(backbone.folder, local_files_only=True)
    except Exception as error:
        raise ModelError(f"model {backbone.name!r}: it has no tokenizer that loads: {_told(error)}") from error
    if not tokenizer.is_fast:
        raise ModelError(f"model {backbone.name!r}: its tokenizer does not say where words end up; a fast one does")
    if tokenizer.pad_token_id is None:
        raise ModelError(f"model {backbone.name!r}: its tokenizer has no pad token, which batches need")
    return tokenizer


def _located(word: str) -> Backbone:
    """The folder of a checkpoint: in a package, on disk, or in the hub's cache."""
    if word.startswith(PACKAGE):
        return Backbone(word, _in_package(word.removeprefix(PACKAGE)))
    if Path(word).is_dir():
        return Backbone(word, Path(word))
    if word.startswith((".", "/", "~")) or word.count("/") > 1:
        raise ModelError(f"there is no model folder {word!r}")
    return Backbone(word, _in_cache(word))


def _in_package(name: str) -> Path:
    """The shallowest folder with a config.json inside an installed package; nothing of it is imported."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(f"model 'pkg:{name}': no package {name!r} is installed")
    configs = [path for place in spec.submodule_search_locations for path in Path(place).rglob("config.json")]
    models = [path for path in configs if '"model_type"' in path.read_text(encoding="utf-8", errors="replace")]
    if not models:
        raise ModelError(f"model 'pkg:{name}': the package holds no folder with a model's config.json")
    return min(models, key=lambda path: (len(path.parts), path)).parent


def _in_cache(name: str) -> Path:
    """The hub's snapshot of a model in the local cache; fetched first where the hub can be reached."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    offline = constants.HF_HUB_OFFLINE
    try:
        try:
            found = snapshot_download(name, local_files_only=True)
        except LocalEntryNotFoundError:
            found = snapshot_download(name, allow_patterns=[f"*{ending}" for ending in WEIGHTS])
    except HFValidationError:
        raise ModelError(f"model {name!r} is no folder here and no name a hub could have") from None
    except Exception as error:  # every transport has its own errors
        why = "HF_HUB_OFFLINE is set" if offline else f"the hub does not answer ({_told(error)})"
        raise ModelError(
            f"model {name!r} is not in the local cache, and {why}; one of three things helps:\n"
            f"go online once, copy a cache that holds it to {constants.HF_HUB_CACHE} (or set HF_HOME),\n"
            f"or give a folder that holds the checkpoint, as in --model ./{name.rsplit('/', maxsplit=1)[-1]}"
        ) from None
    return Path(found)


@cache
def _folder_digest(folder: Path) -> str:
    """SHA-256 over names and bytes of a checkpoint's files."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.suffix in WEIGHTS):
        total.update(path.name.encode())
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def _told(error: BaseException) -> str:
    """The first line of an error, cut to a line's length."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
