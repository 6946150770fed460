"""Attempt: run a cell while holding its lease, and write its record, whatever happens."""

from __future__ import annotations

import traceback
from pathlib import Path

from smc_eval.engine.cell_run import CellRun
from smc_eval.errors import Busy, LeaseLost, RankLost, SmcError, StoreError, StoreGone, first_line, message_of
from smc_eval.store.record import Record, blank_record, failed_record


def attempt(run: CellRun) -> Record | None:
    """Run a cell and write its record; an error becomes a failed record with its reason.

    None if another process works on the cell, and the run does not wait.

    Raises:
        StoreGone: the store's folder has vanished, so no record can be written.
        RankLost: another rank has ended, or this rank failed alone.
    """
    while True:
        try:
            with run.store.lock(run.chain.digest, run.watcher.note, wait=run.options.wait):
                return _run_or_read(run)
        except Busy:
            return None
        except (RankLost, StoreGone):
            raise
        except LeaseLost as error:  # the process that took over continues from the last checkpoint
            run.watcher.note(str(error), warning=True)
            if not run.options.wait:
                return None
        except StoreError as error:
            return failed_record(blank_of(run), str(error))


def _run_or_read(run: CellRun) -> Record:
    """The record of a cell whose lease this process holds: read if another process made it, else made."""
    records, read = run.store.records, run.options.records_read
    digest = run.chain.digest
    earlier = records.get(digest) if read is None else records.added(digest, read)
    if earlier is not None and earlier.status == "ok":
        return earlier
    record, short = _try(run)
    if short:
        run.watcher.note("out of memory; trying again with forward passes of half the size", warning=True)
        run = run.in_smaller_parts()
        run.device.empty_cache()
        record, _ = _try(run)
    run.store.check()
    try:
        run.store.records.add(record)
    except StoreError as error:  # no reader will find it: so it is no result
        run.watcher.note(str(error), warning=True)
        record = record if record.status == "failed" else failed_record(blank_of(run), str(error))
    if record.status == "ok":
        run.drop_last_net()
    return record


def _try(run: CellRun) -> tuple[Record, bool]:
    """The record of one try, and whether smaller forward passes may help if it failed."""
    blank = blank_of(run)
    try:
        return run.run(), False
    except (Busy, LeaseLost, RankLost, StoreGone):
        raise
    except (Exception, SystemExit) as error:  # sys.exit in a plugin ends its cell alone
        if ends_job(error):
            raise
        # all ranks come to this point, or else they end
        short = run.device.ranks.all_failed(message_of(error), short=out_of_memory(error))
        if short:
            reason = f"out of memory: {first_line(error)}"
            advice = "try a smaller --recipe batch_size with accumulation"
            return failed_record(blank, f"{reason}; {advice}"), run.options.parts == 1
        if isinstance(error, SmcError):
            return failed_record(blank, str(error)), False
        log = run.store.log(run.chain.digest, traceback.format_exc())
        cell = run.chain.cell
        place = f"in a cell of task {cell.task.identity} and method {cell.method.identity}"
        return failed_record(blank, f"{in_words(error)}\n{place}; the traceback is in {log}"), False


def in_words(error: BaseException) -> str:
    """An unforeseen error in one or two lines."""
    if not isinstance(error, SystemExit):
        lines = [line for line in message_of(error).splitlines() if line.strip()]
        return f"{type(error).__name__}: {chr(10).join(lines[:2])}"
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"sys.exit({error.code!r}) was called in {Path(last.filename).name}, line {last.lineno}"


def ends_job(error: BaseException) -> bool:
    """Whether submitit ends this process, in the handler of a signal, after it requeued the cell."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    name: str = frames[-1].f_globals.get("__name__", "") if frames else ""
    return isinstance(error, SystemExit) and name.partition(".")[0] == "submitit"


def blank_of(run: CellRun) -> Record:
    """The record of a cell without any result."""
    return blank_record(run.chain.cell, run.chain)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out; each library has its own error for it."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's
        return True
    cpu = "can't allocate memory"  # torch's
    return isinstance(error, RuntimeError) and cpu in message_of(error)
