"""An attempt at a cell: its walk under a lease, and its record, whatever happens."""

from __future__ import annotations

import traceback
from dataclasses import replace

from smc_eval.engine.cell_run import Walk
from smc_eval.errors import Busy, LeaseLost, RankLost, SmcError, StoreError, StoreGone
from smc_eval.store.records import Result, failed, opened


def attempt(walk: Walk) -> Result | None:
    """Run a cell and write its record; an error becomes a failed record with its reason.

    None where another process is at work on it, and the walk does not wait.

    Raises:
        StoreGone: the store's folder has vanished, and no record can be written.
        RankLost: another rank has ended, or this one failed alone.
    """
    while True:
        try:
            with walk.store.lock(walk.chain.digest, walk.watcher.note, wait=walk.wait):
                return _recorded(walk)
        except Busy:
            return None
        except (RankLost, StoreGone):
            raise
        except LeaseLost as error:  # whoever took over goes on from the last checkpoint
            walk.watcher.note(str(error), warning=True)
            if not walk.wait:
                return None
        except StoreError as error:
            return failed(opened(walk.chain.cell, walk.chain), str(error))


def _recorded(walk: Walk) -> Result:
    """The record of a cell that this process holds: read if another was here before, else made."""
    found = walk.store.book.get(walk.chain.digest)
    if found is not None and found.status == "ok":
        return found
    result, short = _tried(walk)
    if short:
        walk.watcher.note("out of memory; once more with forward passes of half the size", warning=True)
        walk.let_go()
        walk.world.spare()
        result, _ = _tried(replace(walk, parts=2 * walk.parts))
    walk.store.check()
    try:
        walk.store.book.add(result)
    except StoreError as error:
        walk.watcher.note(str(error), warning=True)
    if result.status == "ok":
        walk.leave()
    return result


def _tried(walk: Walk) -> tuple[Result, bool]:
    """The record of one try, and whether smaller forward passes may help where it failed."""
    blank = opened(walk.chain.cell, walk.chain)
    try:
        return walk.run(), False
    except (Busy, LeaseLost, RankLost, StoreGone):
        raise
    except Exception as error:
        # all ranks stand here, or else end now
        short = walk.world.ranks.failed(str(error), short=out_of_memory(error))
        if short:
            told = f"out of memory: {str(error).partition(chr(10))[0]}"
            advice = "try a smaller --recipe batch_size with accumulation"
            return failed(blank, f"{told}; {advice}"), walk.parts == 1
        if isinstance(error, SmcError):
            return failed(blank, str(error)), False
        log = walk.store.log(walk.chain.digest, traceback.format_exc())
        return failed(blank, f"{type(error).__name__}: {error}\nfull story in {log}"), False


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran short, in whatever words."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)  # torch's, on a CPU
