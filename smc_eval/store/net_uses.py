"""Net uses: which tensors the dense net of a start digest uses, found once for all processes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from smc_eval.files.sealed_json import read_sealed_json, write_sealed_json

USES_FOLDER = "uses"
"""Their folder inside a store; one file for each start digest."""


@dataclass(frozen=True)
class NetUse:
    """What a task makes of the tensors of a net, by canonical name."""

    unused: tuple[str, ...] = ()
    """Matrices that no training example reaches: autograd gives them no gradient at all."""
    tables: tuple[str, ...] = ()
    """Tensors whose rows are looked up."""


class NetUses:
    """The uses of a store's nets, by start digest, as compressed JSON."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / USES_FOLDER

    def save(self, start: str, use: NetUse) -> None:
        """Save a use: all of it, or nothing.

        Raises:
            StoreError: it cannot be written.
        """
        write_sealed_json(self._path(start), start, asdict(use))

    def load(self, start: str) -> NetUse | None:
        """The use of a start's net; None where it is not known yet, or broken."""
        content = read_sealed_json(self._path(start), start)
        try:
            return (
                None if content is None else NetUse(*(tuple(content[name]) for name in ("unused", "tables")))
            )
        except (KeyError, TypeError):
            return None

    def _path(self, start: str) -> Path:
        return self.folder / f"{start}.json.gz"
