"""Many cells, one after the other; what fails fails alone."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from smc_eval.cell import Chain
from smc_eval.engine.store import Store
from smc_eval.engine.walk import Walk
from smc_eval.engine.watch import Watcher
from smc_eval.engine.world import World
from smc_eval.errors import SmcError, StoreError
from smc_eval.results import Result, failed, opened


def run(
    chains: Sequence[Chain],
    folder: Path,
    *,
    ahead: Sequence[Chain] = (),
    device: str = "auto",
    threads: int | None = None,
    watcher: Watcher,
) -> list[Result]:
    """Results of all chains, in order; finished ones are read, the others run.

    `ahead` are chains that may be asked for later: the nets they would share stay in the store.

    Raises:
        UsageError: the device is not there.
        StoreError: the store cannot be written at all.
    """
    store = Store(folder)
    store.open()
    world = World(device, threads)
    kept = shared([*chains, *ahead])
    watcher.begin(len(chains))
    results: list[Result] = []
    finished = store.book.latest()
    if store.book.broken:
        watcher.note(
            f"{store.book.broken} broken records in {store.book.path} are passed over; "
            "a cell that has no other runs again",
            warning=True,
        )
    for number, chain in enumerate(chains, 1):
        watcher.cell(number, chain.cell.label)
        result = finished.get(chain.digest)
        if result is None or result.status != "ok":
            result = _one(Walk(chain, store, world, watcher, kept))
        watcher.result(result)
        results.append(result)
    return results


def _one(walk: Walk) -> Result:
    """Run a cell and write its record; an error becomes a failed record with its reason."""
    blank = opened(walk.chain.cell, walk.chain)
    try:
        with walk.store.lock(walk.chain.digest, walk.watcher):
            result = walk.store.book.latest().get(walk.chain.digest)  # another process may have been here
            if result is None or result.status != "ok":
                result = walk.run()
                walk.store.book.add(result)
            return result
    except SmcError as error:
        result = failed(blank, str(error))
    except MemoryError as error:
        result = failed(blank, f"out of memory: {error}; try a smaller --recipe batch_size with accumulation")
    except Exception as error:
        log = walk.store.log(walk.chain.digest, traceback.format_exc())
        result = failed(blank, f"{type(error).__name__}: {error}\nfull story in {log}")
    try:
        walk.store.book.add(result)
    except StoreError as error:
        walk.watcher.note(str(error), warning=True)
    return result


def shared(chains: Sequence[Chain]) -> frozenset[str]:
    """Digests whose nets are worth keeping: where chains fork, and where a Rewind points."""
    backs = {link.back for chain in chains for link in chain.links if link.back}
    after: dict[str, set[str]] = {}
    for chain in chains:
        # the cell comes after its last net: two cells that score one net fork there
        for here, there in pairwise([*(link.digest for link in chain.links), chain.digest]):
            after.setdefault(here, set()).add(there)
    return frozenset(digest for digest, nexts in after.items() if len(nexts) > 1) | backs
