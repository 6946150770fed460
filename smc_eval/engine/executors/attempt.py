"""An attempt at a cell: its walk under a lease, and its record, whatever happens."""

from __future__ import annotations

import traceback

from smc_eval.engine.cell_run import CellRun
from smc_eval.errors import Busy, LeaseLost, RankLost, SmcError, StoreError, StoreGone, first_line
from smc_eval.store.record import Record, blank_record, failed_record


def attempt(run: CellRun) -> Record | None:
    """Run a cell and write its record; an error becomes a failed record with its reason.

    None where another process is at work on it, and the walk does not wait.

    Raises:
        StoreGone: the store's folder has vanished, and no record can be written.
        RankLost: another rank has ended, or this one failed alone.
    """
    while True:
        try:
            with run.store.lock(run.chain.digest, run.watcher.note, wait=run.options.wait):
                return _recorded(run)
        except Busy:
            return None
        except (RankLost, StoreGone):
            raise
        except LeaseLost as error:  # whoever took over goes on from the last checkpoint
            run.watcher.note(str(error), warning=True)
            if not run.options.wait:
                return None
        except StoreError as error:
            return failed_record(blank_record(run.chain.cell, run.chain), str(error))


def _recorded(run: CellRun) -> Record:
    """The record of a cell that this process holds: read if another was here before, else made."""
    found = run.store.records.get(run.chain.digest)
    if found is not None and found.status == "ok":
        return found
    result, short = _tried(run)
    if short:
        run.watcher.note("out of memory; once more with forward passes of half the size", warning=True)
        run = run.in_smaller_parts()
        run.device.empty_cache()
        result, _ = _tried(run)
    run.store.check()
    try:
        run.store.records.add(result)
    except StoreError as error:
        run.watcher.note(str(error), warning=True)
    if result.status == "ok":
        run.drop_last_net()
    return result


def _tried(run: CellRun) -> tuple[Record, bool]:
    """The record of one try, and whether smaller forward passes may help where it failed."""
    blank = blank_record(run.chain.cell, run.chain)
    try:
        return run.run(), False
    except (Busy, LeaseLost, RankLost, StoreGone):
        raise
    except Exception as error:
        # all ranks stand here, or else end now
        short = run.device.ranks.failed(str(error), short=out_of_memory(error))
        if short:
            told = f"out of memory: {first_line(error)}"
            advice = "try a smaller --recipe batch_size with accumulation"
            return failed_record(blank, f"{told}; {advice}"), run.options.parts == 1
        if isinstance(error, SmcError):
            return failed_record(blank, str(error)), False
        log = run.store.log(run.chain.digest, traceback.format_exc())
        return failed_record(blank, f"{type(error).__name__}: {error}\nfull story in {log}"), False


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran short, in whatever words."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)  # torch's, on a CPU
