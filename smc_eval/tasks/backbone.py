"""Backbones: the checkpoint that `--model` names, found and checked before anything is loaded."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smc_eval.errors import ModelError, PluginError
from smc_eval.exported.manifest import Manifest
from smc_eval.files.json_text import parse_json
from smc_eval.files.user_path import is_folder, user_path
from smc_eval.kind import Checkpoint, ModelKind, WrongKind, form_of, reason_against
from smc_eval.task import Source
from smc_eval.tasks import checkpoint_files as files
from smc_eval.tasks import hub
from smc_eval.tasks.checkpoint_config import check_fields, is_masked_head, refuse_nameless
from smc_eval.tasks.load_errors import offline_error, readable_errors
from smc_eval.tasks.remote_code import no_remote_code, refuse_remote_code
from smc_eval.tasks.vocabulary import tokens_in

if TYPE_CHECKING:
    from torch import nn

PACKAGE = "pkg:"

REFUSALS = {
    "HFValidationError": "is neither a folder nor a hub id such as roberta-base",
    "GatedRepoError": "is gated; accept its terms on the hub and log in with: hf auth login",
    "RepositoryNotFoundError": "is not on the hub, or it is private; check the name",
    "RemoteEntryNotFoundError": "has no config.json on the hub, so it is not a transformers model",
}
"""What an error of the hub says of a model, by the error's class."""

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class Backbone(Checkpoint):
    """A checkpoint with the kind of the task that takes it."""

    kind: ModelKind

    @property
    def source(self) -> Source:
        """The model with its digest: the commit on the hub, or SHA-256 over the files of a folder.

        Raises:
            ModelError: a file of the folder is missing or cannot be read, or its weights lack their scale.
        """
        if self.commit:
            return Source("model", self.name, self.commit)
        folder = Path(self.location)
        files.refuse_unreadable(files.weight_files(folder, self.config, self.name), self.name)
        return Source("model", self.name, files.folder_digest(folder, self.config, self.name))

    def load(self) -> nn.Module:
        """The pretrained net in fp32.

        Raises:
            ModelError: the checkpoint is broken, of another kind, or runs code of its own.
        """
        with no_remote_code(self.name), readable_errors(self, "cannot be loaded"):
            return self.kind.load(self)

    def load_tokenizer(self) -> Any:
        """What turns the task's examples into the net's inputs; None if the kind needs nothing.

        Raises:
            ModelError: it is missing, broken, of another kind, or runs code of its own.
        """
        with no_remote_code(self.name), readable_errors(self, "has no tokenizer that can be loaded"):
            return self.kind.load_tokenizer(self)


def find_backbone(model_name: str, *kinds: ModelKind) -> Backbone:
    """Find a checkpoint of one of these kinds by its name: a folder, `pkg:NAME`, or a hub id.

    A hub id in the local cache is taken from there, without asking for a newer commit. Imports no torch.

    Raises:
        ModelError: the checkpoint does not exist, cannot be reached, runs code of its own, is of another
            kind, or is of two of these kinds.
        PluginError: the name is `tiny` or `scratch`.
    """
    if form_of(model_name):
        raise PluginError(
            f"{model_name!r} is no checkpoint that can be found; build it by kind.build({model_name!r})"
        )
    folder, commit = _locate(model_name)
    files.refuse_adapters(folder, model_name)
    _refuse_state_dict(folder, model_name)
    config = _config(folder, model_name)
    files.refuse_packed(config, model_name)
    check_fields(config, model_name)
    refuse_nameless(config, model_name)
    refuse_remote_code(folder, config, model_name)
    kind = kind_of(model_name, config, tokens_in(folder), kinds)
    return Backbone(model_name, model_name if commit else str(folder), commit, config, kind)


def _refuse_state_dict(folder: Path, model_name: str) -> None:
    """Refuse an exported folder without a model of transformers.

    Raises:
        ModelError: it is one.
    """
    manifest = Manifest.read(folder)
    if manifest and manifest.form == "state dict":
        raise ModelError(
            f"the folder {model_name!r} was exported from {manifest.label} as a state dict, because its net "
            f"is no model of transformers; only that task may read it: --tasks {manifest.tasks}"
        )


def kind_of(
    model_name: str, config: Mapping[str, Any], tokens: Collection[str] | None, kinds: Sequence[ModelKind]
) -> ModelKind:
    """The one of these kinds that a checkpoint is of.

    Raises:
        WrongKind: it is of none of them, or of several.
    """
    reasons = {kind: reason_against(kind, config, tokens) for kind in kinds}
    fitting = [kind for kind, reason in reasons.items() if not reason]
    if not fitting:
        first = kinds[0]
        raise first.wrong(model_name, reasons[first])
    if len(fitting) > 1:
        names = " and ".join(f"{kind.card.name} ({kind.identity})" for kind in fitting)
        raise WrongKind(
            f"the model {model_name!r} is of {len(fitting)} kinds that this task takes: {names}; "
            "it cannot tell which to load, so give another model, or repair the kind that claims too much"
        )
    return fitting[0]


def config_of(model_name: str) -> Mapping[str, Any]:
    """The config of a checkpoint of any kind.

    Raises:
        ModelError: the checkpoint does not exist or cannot be reached.
    """
    return _config(_locate(model_name)[0], model_name)


def folder_of(model_name: str) -> tuple[Path, str | None]:
    """The folder of a checkpoint, and its commit if it is from the hub: then with the files fetched so far.

    Raises:
        ModelError: the checkpoint does not exist or cannot be reached.
    """
    return _locate(model_name)


def available_offline(model_name: str) -> bool:
    """Whether a model can be read without the hub: it is a folder, a package, or in the local cache."""
    if (
        model_name.startswith(PACKAGE)
        or is_folder(user_path(model_name))
        or not _HUB_ID.fullmatch(model_name)
    ):
        return True  # or it is an error that needs no hub
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return isinstance(try_to_load_from_cache(model_name, "config.json"), str)
    except HFValidationError:
        return True


def fills_masks(backbone: Backbone) -> bool:
    """Whether the config names a head for masked words."""
    return any(is_masked_head(head) for head in backbone.config.get("architectures") or ())


def encoder_weights(model_name: str, model: nn.Module) -> list[str]:
    """Names of the weights in a net's part `encoder`, which are pretrained; none for `tiny`."""
    if model_name == "tiny":
        return []
    return [name for name, _ in model.named_parameters() if name.startswith("encoder.")]


def _locate(model_name: str) -> tuple[Path, str | None]:
    """The folder of a checkpoint, and its commit if it is from the hub."""
    if model_name.startswith(PACKAGE):
        return _in_package(model_name), None
    if is_folder(user_path(model_name)):
        return user_path(model_name), None
    if _HUB_ID.fullmatch(model_name) and not model_name.startswith("."):
        folder = _from_hub(model_name)
        return folder, folder.name
    raise ModelError(
        f"there is no model folder {model_name!r}; give a folder with a config.json, pkg:NAME, or a hub id"
    )


def _in_package(model_name: str) -> Path:
    """The topmost folder of an installed package that holds a model's config.json."""
    name = model_name.removeprefix(PACKAGE)
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    roots = [Path(root) for root in (spec.submodule_search_locations or ())] if spec else []
    if not roots:
        raise ModelError(
            f"no installed Python package is named {name!r}; install the package of {model_name!r}"
        )
    configs = sorted(
        (path for root in roots for path in root.rglob("config.json")), key=lambda p: (len(p.parts), p)
    )
    for path in configs:
        if "model_type" in _config(path.parent, model_name):
            return path.parent
    raise ModelError(f"the package {name!r} holds no folder with a model's config.json")


def _from_hub(model_name: str) -> Path:
    """The snapshot of a hub id in the local cache; its config is fetched if it is missing."""
    snapshot = _snapshot_or_error(model_name)
    if isinstance(snapshot, ModelError):
        raise ModelError(str(snapshot))
    return snapshot


@cache
def _snapshot_or_error(model_name: str) -> Path | ModelError:
    """The snapshot or the error, looked up once a process: an unreachable hub costs time only once."""
    try:
        return _fetch_snapshot(model_name)
    except ModelError as error:
        return error


def _fetch_snapshot(model_name: str) -> Path:
    from huggingface_hub import errors, hf_hub_download, logging, try_to_load_from_cache

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # hides its warnings about retries
    try:
        cached = try_to_load_from_cache(model_name, "config.json")
        if isinstance(cached, str):
            return Path(cached).parent
        if not hub.hub_reachable():
            raise offline_error(model_name)
        return Path(hf_hub_download(model_name, "config.json")).parent
    except tuple(getattr(errors, name) for name in REFUSALS) as error:
        reason = next(REFUSALS[kind.__name__] for kind in type(error).mro() if kind.__name__ in REFUSALS)
        raise ModelError(f"the model {model_name!r} {reason}") from None
    except (OSError, errors.OfflineModeIsEnabled, errors.HfHubHTTPError):  # LocalEntryNotFoundError is one
        raise offline_error(model_name) from None


def _config(folder: Path, model_name: str) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = parse_json(path.read_bytes())
    except FileNotFoundError:
        raise ModelError(
            f"the model folder {model_name!r} has no config.json; wanted a folder that save_pretrained wrote"
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} of model {model_name!r} cannot be read: {error}") from None
    if not isinstance(config, dict):
        raise ModelError(f"{path} of model {model_name!r} holds no JSON object")
    return config
