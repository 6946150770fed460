"""Final net: the last net of a finished cell, kept in its store, or computed again and compared."""

from __future__ import annotations

import traceback
from dataclasses import dataclass

from smc_eval.engine.cell_run import CellOptions, CellRun
from smc_eval.engine.device import Device
from smc_eval.engine.executors.attempt import in_words
from smc_eval.engine.initial_net import initial_model
from smc_eval.engine.progress import Watcher
from smc_eval.errors import SmcError, StoreError
from smc_eval.experiment.cell import Chain
from smc_eval.sparse.bits import mask_digest
from smc_eval.sparse.net import Net
from smc_eval.sparse.weight_change import weight_change
from smc_eval.store.certificate import WeightChange
from smc_eval.store.record import Record
from smc_eval.store.store import Store

KEPT = "kept by the run"
SAME = "computed again; weights and masks are those of the record"
OTHER = "computed again; the masks are those of the record, the weights differ in their last digits"


@dataclass(frozen=True)
class FinalNet:
    """The last net of a cell."""

    net: Net
    origin: str
    """`KEPT`, `SAME` or `OTHER`."""


def final_net(chain: Chain, record: Record, store: Store, device: Device, watcher: Watcher) -> FinalNet:
    """The last net of a cell that has a record. Stages that the store lacks are computed again.

    Nets that were computed for this alone leave the store again.

    Raises:
        StoreError: its masks are others than those of the record, or it cannot be computed.
    """
    kept = bool(chain.links) and store.load(chain.links[-1].digest) is not None
    parts = record.cost.parts if record.cost else 1
    run = CellRun(chain, store, device, watcher, CellOptions(parts=parts))
    try:
        net = run.run_stages()
    except SmcError:
        raise
    except Exception as error:  # noqa: BLE001  a library can raise anything
        log = store.log(chain.digest, traceback.format_exc())
        raise StoreError(
            f"the net cannot be computed again: {in_words(error)}\nthe traceback is in {log}"
        ) from None
    if not kept:
        run.drop_last_net()
    assert record.certificate is not None
    if (found := mask_digest(net.masks)) != record.certificate.mask_digest:
        raise StoreError(
            f"the masks differ from those of the record: their digest is {found[:12]}, the record has "
            f"{record.certificate.mask_digest[:12]}; nothing was written\nexport where the cell ran, with "
            f"its device, threads and versions ({_versions(record)}), or run it again with --keep final"
        )
    if kept:
        return FinalNet(net, KEPT)
    start = initial_model(run.task, chain.start, device)
    moved = WeightChange(**weight_change(net, dict(start.named_parameters())))
    return FinalNet(net, SAME if moved == record.certificate.moved else OTHER)


def _versions(record: Record) -> str:
    names = ("torch", "transformers", "device", "threads")
    return ", ".join(f"{name} {record.versions[name]}" for name in names if name in record.versions)
