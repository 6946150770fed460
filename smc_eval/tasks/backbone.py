"""Backbones: what `--model` means to a task that takes an encoder, and what is told when it cannot be had."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from smc_eval.errors import ModelError
from smc_eval.files.checksum import combined_sha256, file_sha256
from smc_eval.task import Source
from smc_eval.tasks import hub, kinds

READ_ENDINGS = (".json", ".txt", ".model", ".safetensors", ".bin")
"""Endings of the files of a checkpoint folder that a model or its tokenizer is made from."""

PACKAGE = "pkg:"

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class Backbone:
    """A checkpoint that has been found, with its config read; nothing is loaded yet."""

    word: str
    """As the user named it."""
    place: str
    """A folder, or a hub id."""
    commit: str | None
    """Of a hub id; None for a folder."""
    config: Mapping[str, Any]
    kind: kinds.ModelKind

    @property
    def source(self) -> Source:
        """Which model it is: the commit of a hub, or a digest of all that is read from a folder.

        Raises:
            ModelError: a file of the folder cannot be read.
        """
        return Source("model", self.word, self.commit or folder_digest(Path(self.place)))


def find_backbone(word: str, kind: kinds.ModelKind = "text-encoder") -> Backbone:
    """The checkpoint that a word names: a folder, `pkg:NAME`, or a hub id; and of the kind that is wanted.

    A hub id that is in the local cache is taken from there as it is. Imports no torch.

    Raises:
        ModelError: there is no such checkpoint, it cannot be reached, or it is of another kind.
    """
    folder, commit = _placed(word)
    config = _config(folder, word)
    kinds.check_kind(config, kinds.tokens_in(folder), kind, word)
    return Backbone(word, word if commit else str(folder), commit, config, kind)


def config_of(word: str) -> Mapping[str, Any]:
    """The config of the checkpoint that a word names, of whatever kind.

    Raises:
        ModelError: there is no such checkpoint, or it cannot be reached.
    """
    return _config(_placed(word)[0], word)


def available_offline(word: str) -> bool:
    """Whether a model can be read without asking the hub: a folder's, a package's, or one in the cache."""
    if word.startswith(PACKAGE) or Path(word).expanduser().is_dir() or not _HUB_ID.fullmatch(word):
        return True  # or can be told at once to name nothing
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return isinstance(try_to_load_from_cache(word, "config.json"), str)
    except HFValidationError:
        return True


def fills_masks(backbone: Backbone) -> bool:
    """Whether the config tells of a head that fills in masked words."""
    heads = backbone.config.get("architectures") or ()
    return any(str(head).endswith("ForMaskedLM") for head in heads)


def folder_digest(folder: Path) -> str:
    """SHA-256 over all files of a checkpoint folder that are read, names and contents.

    Raises:
        ModelError: a file cannot be read.
    """
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix in READ_ENDINGS and path.is_file())
        if any(path.suffix == ".safetensors" for path in files):
            files = [path for path in files if path.suffix != ".bin"]  # passed over by transformers
        parts = list[str]()
        for path in files:
            stat = path.stat()
            name = hashlib.sha256(path.name.encode()).hexdigest()
            parts += [name, _sha256_once(path, stat.st_size, stat.st_mtime_ns)]
    except OSError as error:
        raise ModelError(f"cannot read the model folder {str(folder)!r}: {error.strerror}") from None
    return combined_sha256(parts)


@lru_cache(maxsize=1024)
def _sha256_once(path: Path, _size: int, _changed: int) -> str:
    """SHA-256 of a file, computed again only if its size or its time of change differ."""
    return file_sha256(path)


def _placed(word: str) -> tuple[Path, str | None]:
    """The folder that a word names, and the commit where it is of a hub."""
    if word.startswith(PACKAGE):
        return _in_package(word), None
    if Path(word).expanduser().is_dir():
        return Path(word).expanduser(), None
    if _HUB_ID.fullmatch(word) and not word.startswith("."):
        folder = _from_hub(word)
        return folder, folder.name
    raise ModelError(
        f"there is no model folder {word!r}; give a folder with a config.json, pkg:NAME, or a hub id"
    )


def _in_package(word: str) -> Path:
    """The folder nearest the top of an installed package whose config.json is a model's."""
    name = word.removeprefix(PACKAGE)
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    roots = [Path(root) for root in (spec.submodule_search_locations or ())] if spec else []
    if not roots:
        raise ModelError(
            f"no installed Python package is named {name!r}; install the one that {word!r} means"
        )
    configs = sorted(
        (path for root in roots for path in root.rglob("config.json")), key=lambda p: (len(p.parts), p)
    )
    for path in configs:
        if "model_type" in _config(path.parent, word):
            return path.parent
    raise ModelError(f"the package {name!r} holds no folder with a model's config.json")


def _from_hub(word: str) -> Path:
    """The snapshot of a hub id in the local cache; its config is fetched where it is not there yet."""
    found = _asked(word)
    if isinstance(found, ModelError):
        raise ModelError(str(found))
    return found


@cache
def _asked(word: str) -> Path | ModelError:
    """As `_from_hub`, once a process: a hub that does not answer is waited for long enough once."""
    try:
        return _fetched(word)
    except ModelError as error:
        return error


def _fetched(word: str) -> Path:
    from huggingface_hub import errors, hf_hub_download, logging, try_to_load_from_cache

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # its retries are no news
    try:
        cached = try_to_load_from_cache(word, "config.json")
        if isinstance(cached, str):
            return Path(cached).parent
        if not hub.hub_answers():
            raise offline(word)
        return Path(hf_hub_download(word, "config.json")).parent
    except errors.HFValidationError:
        raise ModelError(f"{word!r} is neither a folder nor a hub id such as roberta-base") from None
    except errors.GatedRepoError:
        raise ModelError(
            f"the model {word!r} is gated; accept its terms on the hub and log in with: hf auth login"
        ) from None
    except errors.RepositoryNotFoundError:
        raise ModelError(f"the hub has no model {word!r}, or it is private; check the name") from None
    except errors.RemoteEntryNotFoundError:
        raise ModelError(
            f"the hub's {word!r} has no config.json, so it is no model of transformers"
        ) from None
    except (OSError, errors.OfflineModeIsEnabled, errors.HfHubHTTPError):  # LocalEntryNotFoundError is one
        raise offline(word) from None


def offline(word: str) -> ModelError:
    """What is said of a hub id that is not whole here and cannot be fetched."""
    why = (
        "HF_HUB_OFFLINE is set"
        if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0")
        else "no answer from it"
    )
    return ModelError(
        f"the model {word!r} is not whole in the local cache, and the hub cannot be reached ({why})\n"
        f"connect this machine to the hub, or fetch it into the cache beforehand with: hf download {word}\n"
        "or give a local folder: --model DIR"
    )


def _config(folder: Path, word: str) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"the model folder {word!r} has no config.json; wanted a folder that save_pretrained wrote"
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} of model {word!r} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise ModelError(f"{path} of model {word!r} holds no JSON object")
    return found
