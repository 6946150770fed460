"""Pruned net: a model, its masks and their certificate."""

from __future__ import annotations

import html
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from smc_eval.errors import UsageError, named_value
from smc_eval.exported.manifest import MASKS_FILE, MODEL_FILE
from smc_eval.exported.packed_tensors import write_masks
from smc_eval.files.atomic import atomic_folder
from smc_eval.files.user_path import as_path
from smc_eval.store.certificate import Certificate
from smc_eval.target import Target, level_text


@dataclass(frozen=True)
class PrunedNet:
    """What `smc_eval.prune` returns."""

    model: nn.Module
    """The net, with zeros where masks are False."""
    masks: dict[str, Tensor]
    """A bool tensor on the CPU for each weight in scope, by canonical parameter name; True stays."""
    certificate: Certificate
    """The engine's own checks and counts."""
    method: str
    """The method, as users type it."""
    target: Target
    unused: tuple[str, ...] = ()
    """Matrices on which the loss of no batch depends; they are in no scope."""
    notes: tuple[str, ...] = ()
    """Notes of the method, each one line."""

    @property
    def sparsity(self) -> float:
        """Share of the weights in scope that is pruned."""
        return self.certificate.reached

    def save(self, folder: str | Path, tokenizer: Any = None) -> Path:
        """Write the net as a folder: whole, or not at all. Returns it.

        A model of transformers is written as `save_pretrained` writes it, so `from_pretrained` loads it; of
        another net its tensors are, in `model.safetensors`. Beside it stand `masks.safetensors`, as bits, and
        `certificate.json`.

        Raises:
            UsageError: the folder is no path, or the tokenizer is none.
            StoreError: something has the name of the folder, or it cannot be written.
        """
        from transformers import PreTrainedModel

        from smc_eval.engine.export.folder import writing
        from smc_eval.engine.export.model_files import SHARD_SIZE, silenced, write_tensors

        if tokenizer is not None and not hasattr(tokenizer, "save_pretrained"):
            raise UsageError(f"tokenizer is {named_value(tokenizer)}; wanted one of transformers")
        to = as_path(folder, "folder")
        with writing(to), atomic_folder(to) as draft:
            if isinstance(self.model, PreTrainedModel):
                with silenced():
                    self.model.save_pretrained(draft, max_shard_size=SHARD_SIZE)
            else:
                stored = self.model.state_dict().keys()  # without buffers that are not to be stored
                tensors = {
                    name: tensor
                    for name, tensor in (*self.model.named_parameters(), *self.model.named_buffers())
                    if name in stored
                }
                write_tensors(draft / MODEL_FILE, tensors, {}, "dense")
            if tokenizer is not None:
                tokenizer.save_pretrained(draft)
            write_masks(draft / MASKS_FILE, self.masks)
            plain = {
                "method": self.method,
                "target": dict(self.target),
                "certificate": asdict(self.certificate),
            }
            text = json.dumps(plain, indent=1, allow_nan=False)
            (draft / "certificate.json").write_text(text + "\n", encoding="utf-8")
        return to

    def lines(self) -> tuple[str, ...]:
        """What a reader should know, in lines."""
        found = self.certificate
        level = level_text(self.target.pattern, f"{self.target.sparsity:.4g}")
        yes = "all checks passed" if found.ok else "FAILED: " + "; ".join(found.failed)
        return (
            f"{self.method} {level}, {self.target.distribution}, scope {self.target.scope}",
            f"{found.remaining:,} of {found.in_scope:,} weights in scope remain; {yes}",
            *([f"all weights pruned in {', '.join(found.dead_tensors)}"] if found.dead_tensors else []),
            *([f"the loss does not use {', '.join(self.unused)}"] if self.unused else []),
            *self.notes,
        )

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def _repr_html_(self) -> str:
        return "<br>".join(map(html.escape, self.lines()))
