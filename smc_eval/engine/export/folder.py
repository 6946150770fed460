"""Exported folder: everything that a user takes home of one cell, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from smc_eval.capabilities import head_facts, net_tokenizer, trained_as
from smc_eval.engine.export.final_net import FinalNet
from smc_eval.engine.export.model_card import model_card
from smc_eval.engine.export.model_files import model_in, pack_model, write_model, write_tensors
from smc_eval.engine.stored_head import own_tensors
from smc_eval.errors import StoreError, first_line
from smc_eval.experiment.cell import Chain
from smc_eval.exported import manifest as names
from smc_eval.exported.base_checkpoint import BaseCheckpoint
from smc_eval.exported.manifest import Manifest, WeightFormat, built_form
from smc_eval.exported.packed_tensors import shares_of_dense, write_masks
from smc_eval.files.atomic import atomic_folder
from smc_eval.files.checksum import file_sha256
from smc_eval.reporting.cell_value import FindItems
from smc_eval.store.record import Record

TENSOR_FILES = ("*.safetensors", "*.safetensors.index.json")
"""Files whose checksums are in the manifest."""


@dataclass(frozen=True)
class Export:
    """A finished cell with its net, and all that is written beside it."""

    chain: Chain
    record: Record
    final: FinalNet
    base: BaseCheckpoint
    format: WeightFormat
    find_items: FindItems
    """The items of the score, for its interval."""
    command: str
    """The command that runs the cell again."""
    score_flags: str
    """Flags that score the folder again, without its name."""


@dataclass(frozen=True)
class Parts:
    """The tensors of a net: those of a model of transformers in it, and its own."""

    model: Any
    """None if there is no such model."""
    prefix: str | None
    model_masks: Mapping[str, Tensor]
    """By the model's own names."""
    own: Mapping[str, Tensor]
    """All tensors outside of the model."""
    own_masks: Mapping[str, Tensor]

    @classmethod
    def of(cls, final: FinalNet) -> Parts:
        """The parts of a net. A net whose parts would share names in one file of masks has no model."""
        net = final.net
        found = model_in(net.model)
        if found:
            prefix, model = found
            start = f"{prefix}." if prefix else ""
            inside = {name: mask for name, mask in net.masks.items() if name.startswith(start)}
            own = own_tensors(net.model, prefix)
            model_masks = {name.removeprefix(start): mask.cpu() for name, mask in inside.items()}
            own_masks = {name: mask.cpu() for name, mask in net.masks.items() if name not in inside}
            if not model_masks.keys() & own_masks.keys():
                return cls(model, prefix, model_masks, own, own_masks)
        masks = {name: mask.cpu() for name, mask in net.masks.items()}
        return cls(None, None, {}, own_tensors(net.model, None), masks)

    @property
    def masks(self) -> dict[str, Tensor]:
        """All masks, by the names of the tensors in the files."""
        return {**self.model_masks, **self.own_masks}


def write_folder(export: Export, to: Path) -> Manifest:
    """Write the folder: whole, or not at all. Returns its manifest.

    Raises:
        StoreError: something has its name, it cannot be written, or it would not be this net.
    """
    with writing(to), atomic_folder(to) as draft:
        parts = Parts.of(export.final)
        not_trained = _write_parts(export, parts, draft)
        task = trained_as(export.chain.cell.task)
        manifest = Manifest(
            folder=to,
            form="model" if parts.model is not None else "state dict",
            format=export.format,
            task=task.identity,
            tasks=export.record.task,
            prefix=parts.prefix or "",
            built=built_form(task.backbone),
            facts=head_facts(task),
            files={
                path.name: file_sha256(path)
                for pattern in TENSOR_FILES
                for path in sorted(draft.glob(pattern))
            },
            record=export.record.to_json(),
            weights=export.final.origin,
            not_trained=not_trained,
        )
        text = json.dumps(manifest.to_json(), indent=1, ensure_ascii=False, allow_nan=False)
        (draft / names.MANIFEST).write_text(text + "\n", encoding="utf-8")
        card = model_card(
            export.record, manifest, export.base, export.find_items, export.command, export.score_flags
        )
        (draft / "README.md").write_text(card, encoding="utf-8")
        mode = (draft / "README.md").stat().st_mode
        for name in manifest.files:  # safetensors lets nobody else read them
            (draft / name).chmod(mode)
    return manifest


def packed_shares(final: FinalNet) -> dict[str, float]:
    """Bytes of the masked tensors of a net as a share of dense ones, by packing and width of the values."""
    return dict(shares_of_dense(final.net.weights, final.net.masks))


def _write_parts(export: Export, parts: Parts, draft: Path) -> dict[str, str]:
    """Write the files of tensors and of the tokenizer."""
    not_trained: dict[str, str] = {}
    if parts.model is not None:
        tokenizer = net_tokenizer(export.chain.cell.task)
        not_trained = write_model(parts.model, draft, export.base, tokenizer)
        if export.format != "dense":
            pack_model(draft, parts.model_masks, export.format)
    if parts.own:
        file = names.HEAD_FILE if parts.model is not None else names.NET_FILE
        write_tensors(draft / file, parts.own, parts.own_masks, export.format)
    if export.format == "dense" and parts.masks:
        write_masks(draft / names.MASKS_FILE, parts.masks)
    return not_trained


@contextmanager
def writing(to: Path) -> Iterator[None]:
    """Turn the errors of files into a StoreError that names the folder."""
    from safetensors import SafetensorError

    try:
        yield
    except FileExistsError:
        raise StoreError(f"{str(to)!r} exists; give a new name, or remove it") from None
    except OSError as error:
        raise StoreError(
            f"cannot write {str(to)!r}: {error.strerror or first_line(error)}; nothing was left there"
        ) from None
    except SafetensorError as error:
        raise StoreError(f"cannot write {str(to)!r}: {first_line(error)}; nothing was left there") from None
