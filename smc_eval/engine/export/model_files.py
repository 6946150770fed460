"""Model files: the model of transformers inside a task's net, written as transformers writes it."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from smc_eval.errors import StoreError
from smc_eval.exported.base_checkpoint import BaseCheckpoint
from smc_eval.exported.manifest import PACKED_FILE, WeightFormat
from smc_eval.exported.packed_tensors import Packing, metadata, pack_tensors

SHARD_SIZE = "5GB"
"""Largest file of weights; a larger model is written in several."""

REMOVED_PARTS = ("pooler", "contact_head")
"""Parts of a model's class that no task uses, and that loading a checkpoint takes out."""

FROM_BASE, DRAWN = "from the base model", "drawn at random; the base model has none"

SEED = 0
"""Seeds the parts that no checkpoint has, so that each export has the same."""


def model_in(net: nn.Module) -> tuple[str, Any] | None:
    """The name and the module of the one model of transformers in a net; None if there is not exactly one.

    Models inside it are its parts. A class that is not of transformers does not count: nobody else has it.
    """
    from transformers import PreTrainedModel

    found = [(name, part) for name, part in net.named_modules() if isinstance(part, PreTrainedModel)]
    outermost = [
        (name, part)
        for name, part in found
        if not any(name != other and (not other or name.startswith(f"{other}.")) for other, _ in found)
    ]
    if len(outermost) != 1 or not type(outermost[0][1]).__module__.startswith("transformers."):
        return None
    return outermost[0]


def write_model(model: Any, folder: Path, base: BaseCheckpoint, tokenizer: Any) -> dict[str, str]:
    """Write config, weights and tokenizer of a model into a folder, load it again, and compare.

    Parts of its class that the task took out come back, so that the class finds all of its tensors. Returns
    their tensors by name, each with where its values are from.

    Raises:
        StoreError: transformers does not load the same tensors again.
        OSError: a file cannot be written.
    """
    with silenced():
        not_trained = _complete(model, base)
        if model.can_generate():
            _set_generation(model)
        model.save_pretrained(folder, max_shard_size=SHARD_SIZE)
        for path in base.files:
            shutil.copyfile(path, folder / path.name)
        if tokenizer is not None and not base.files:
            tokenizer.save_pretrained(folder)
        _check_loaded(model, folder)
    return not_trained


def pack_model(folder: Path, masks: Mapping[str, Tensor], packing: Packing) -> None:
    """Replace the files of weights in a folder by one packed file.

    Raises:
        StoreError: transformers writes a masked weight under another name, so its mask does not fit.
        OSError: the file cannot be written.
    """
    from safetensors.torch import load_file, save_file

    files = sorted(folder.glob("model*.safetensors"))
    tensors = {name: tensor for path in files for name, tensor in load_file(path).items()}
    if strange := next((name for name in masks if name not in tensors), None):
        raise StoreError(
            f"--format {packing}: transformers writes {strange!r} under another name, so it cannot be "
            "packed; take --format dense"
        )
    shapes = {name: tuple(tensors[name].shape) for name in masks}
    save_file(pack_tensors(tensors, masks, packing), folder / PACKED_FILE, metadata(packing, shapes))
    for path in [*files, *folder.glob("model.safetensors.index.json")]:
        path.unlink()


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], masks: Mapping[str, Tensor], form: WeightFormat
) -> None:
    """Write tensors into one file, dense or packed. No two of them share memory in the file.

    Raises:
        OSError, SafetensorError: it cannot be written.
    """
    from safetensors.torch import save_file

    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    own = {name: mask for name, mask in masks.items() if name in plain}
    if form == "dense":
        save_file(plain, path, {"format": "pt"})
        return
    shapes = {name: tuple(plain[name].shape) for name in own}
    save_file(pack_tensors(plain, own, form), path, metadata(form, shapes))


@contextmanager
def silenced() -> Iterator[None]:
    """Within, transformers prints only errors, and no progress."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _complete(model: Any, base: BaseCheckpoint) -> dict[str, str]:
    """Put the removed parts back: with the values of the base model, or with new ones."""
    removed = [
        part
        for part in REMOVED_PARTS
        if hasattr(model, part)
        and not list(cast("nn.Module", getattr(model, part) or nn.Identity()).parameters())
    ]
    if not removed:
        return {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        whole = type(model)(copy.deepcopy(model.config))
    given = base.tensors()
    sources = dict[str, str]()
    for part in removed:
        new = getattr(whole, part, None)
        if not isinstance(new, nn.Module):  # its class has none with this config
            continue
        for name, weight in new.state_dict(prefix=f"{part}.", keep_vars=True).items():
            tensor = given.get(name, given.get(f"{model.base_model_prefix}.{name}"))
            fits = tensor is not None and tensor.shape == weight.shape
            if fits:
                with torch.no_grad():
                    weight.copy_(cast("Tensor", tensor))
            sources[name] = FROM_BASE if fits else DRAWN
        setattr(model, part, new.to(model.device))
    return sources


def _set_generation(model: Any) -> None:
    """The settings of generation that the config gives; the task replaced them by its own search."""
    from transformers import GenerationConfig

    model.generation_config = GenerationConfig.from_model_config(model.config)


def _check_loaded(model: Any, folder: Path) -> None:
    """Load the folder as others will, and compare every tensor bit for bit.

    Raises:
        StoreError: a tensor is missing, further or different.
    """
    loaded, report = type(model).from_pretrained(
        folder, output_loading_info=True, dtype=torch.float32, trust_remote_code=False, local_files_only=True
    )
    name = type(model).__name__
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report.get(what):
            raise StoreError(
                f"{name} does not load the exported folder as it was written: {what} "
                f"{sorted(report[what])[:3]}"
            )
    ours, theirs = model.state_dict(), loaded.state_dict()
    for key in sorted({*ours, *theirs}):
        if key not in ours or key not in theirs or not torch.equal(ours[key].cpu(), theirs[key]):
            raise StoreError(
                f"{name} loads another {key!r} than was written; the export would not be this net"
            )
