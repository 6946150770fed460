"""Net uses: how a task uses the dense net of a start digest, found once for all processes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path

from smc_eval.files.sealed_json import read_sealed_json, write_sealed_json
from smc_eval.sparse.unit_layers import UnitLayer, UnitPart, Units
from smc_eval.spec import digest

USES_FOLDER = "uses"
"""Their folder inside a store: a file for each start digest, and for each task that reads such a net."""


@dataclass(frozen=True)
class NetUse:
    """What a task makes of the tensors of a net, by canonical name."""

    unused: tuple[str, ...] = ()
    """Matrices that no training example reaches: autograd gives them no gradient at all."""
    tables: tuple[str, ...] = ()
    """Tensors whose rows are looked up."""
    turned: tuple[str, ...] = ()
    """Weights whose rows are inputs, as in `x @ weight`; also stacks of such matrices."""


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
                None
                if content is None
                else NetUse(**{part.name: tuple(content[part.name]) for part in fields(NetUse)})
            )
        except (KeyError, TypeError):
            return None

    def save_batch_effect(self, start: str, task: str, *, effect: bool) -> None:
        """Save whether what shares a batch changes what the net makes of an example of a task, by its digest.

        Raises:
            StoreError: it cannot be written.
        """
        name = digest(start, task)
        write_sealed_json(self._path(name), name, {"batch_effect": effect})

    def batch_effect(self, start: str, task: str) -> bool | None:
        """Whether there is such an effect; None where it is not known yet, or broken."""
        name = digest(start, task)
        effect = (read_sealed_json(self._path(name), name) or {}).get("batch_effect")
        return effect if isinstance(effect, bool) else None

    def save_units(self, name: str, units: Units) -> None:
        """Save the heads or neurons of a net, by a digest of the net and of its scope.

        Raises:
            StoreError: it cannot be written.
        """
        write_sealed_json(self._path(name), name, {"units": [asdict(layer) for layer in units]})

    def units(self, name: str) -> Units | None:
        """These; None where they are not known yet, or broken."""
        layers = (read_sealed_json(self._path(name), name) or {}).get("units")
        try:
            return (
                None
                if layers is None
                else tuple(
                    UnitLayer(layer["count"], tuple(UnitPart(**part) for part in layer["parts"]))
                    for layer in layers
                )
            )
        except (KeyError, TypeError):
            return None

    def is_whole(self, name: str) -> bool:
        """Whether a file, named without its endings, is one of these and whole."""
        content = read_sealed_json(self._path(name), name)
        return content is not None and (
            "batch_effect" in content or self.units(name) is not None or self.load(name) is not None
        )

    def _path(self, start: str) -> Path:
        return self.folder / f"{start}.json.gz"
