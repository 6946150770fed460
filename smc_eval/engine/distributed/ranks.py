"""Ranks: processes that carry out one cell together, each with a copy of the net; how they agree, and end.

All run the same program. What they share out they add up again; what one of them decides the first decides,
and all hear of it. torch.distributed alone, as accelerate counts one rank where it finds no accelerator.
"""

from __future__ import annotations

import atexit
import math
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from itertools import count, islice
from types import FrameType
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.modules.batchnorm import _NormBase

from smc_eval.engine.distributed import launch
from smc_eval.errors import RankLost, SparsityError, UsageError, first_line

RANK_TIMEOUT = timedelta(minutes=30)
"""How long a rank waits for the others at one point; those that died are noticed at once."""
FAILURE_TIMEOUT = timedelta(seconds=20)
"""How long a rank that failed waits for the others to fail alike."""
BUCKET = 2**25
"""Bytes that are sent at once."""

T = TypeVar("T")


class Ranks:
    """The ranks that were launched together; one alone agrees with itself at no cost."""

    def __init__(self, kind: str, *, sharded: bool = False) -> None:
        """Meet the others. `kind` is the type of device: nccl joins GPUs, gloo what lies on CPUs.

        Where nets are `sharded`, each rank holds rows of them alone, and a pass needs all ranks.

        Raises:
            UsageError: the launcher does not say where to meet.
            RankLost: the others do not come.
        """
        self.size, self.rank, self.sharded = launch.world_size(), launch.rank(), sharded
        if self.size == 1:
            return
        if not _MET:
            _meet("cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo")
        self._words = _MET[0]
        on_end(self._told_to_end)

    def lead(self, act: Callable[[], T]) -> T:
        """What the first rank's act comes to: its value, or its error, on all ranks."""
        if self.size == 1:
            return act()
        said: list[Any] = [None, None]
        if self.rank == 0:
            try:
                said = [act(), None]
            except RankLost:
                raise
            except Exception as error:
                said = [None, _portable(error)]
        with self._joined():
            distributed.broadcast_object_list(said, src=0, device=torch.device("cpu"))
        value, failure = said
        if failure is not None:
            raise failure
        return value  # type: ignore[no-any-return]

    def first(self, value: T) -> T:
        """The first rank's value, on all."""
        return self.lead(lambda: value)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Within, each rank works by itself; what fails on one fails on all, at the end.

        Of a sharded net no rank makes a pass by itself: one that fails there waits for no other.
        """
        if self.size == 1 or self.sharded:
            yield
            return
        failure: Exception | None = None
        try:
            yield
        except RankLost:
            raise
        except Exception as error:
            failure = error
        failed = torch.tensor([failure is not None], dtype=torch.int32)
        with self._joined():
            distributed.all_reduce(failed)
        if not int(failed):
            return
        others = self.gather(failure and _portable(failure))
        raise failure or next(error for error in others if error is not None)

    def gather(self, value: T) -> list[T]:
        """Every rank's value, in the order of ranks."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with self._joined():
            distributed.all_gather_object(values, value)
        return values

    def same(self, what: str, tensors: Mapping[str, Tensor]) -> None:
        """Make sure that all ranks have the same tensors under these names, to the bit.

        Raises:
            SparsityError: one of them does not; says which, `what` differs, and the first name.
        """
        if self.size == 1:
            return
        names, differing = iter(tensors), list[str]()
        for bucket in buckets(tensors.values()):
            own = torch.cat([_plain(tensor).reshape(-1) for tensor in bucket])
            first, sizes = own.clone(), [tensor.numel() for tensor in bucket]
            with self._joined():
                distributed.broadcast(first, src=0)
            pairs = zip(torch.split(own, sizes), torch.split(first, sizes), strict=True)
            alike = [torch.equal(mine, theirs) for mine, theirs in pairs]
            named = zip(islice(names, len(alike)), alike, strict=True)
            differing += [name for name, equal in named if not equal]
        for rank, found in enumerate(self.gather(differing)):
            if found:
                raise SparsityError(
                    f"rank {rank} has other {what} than rank 0, first of {found[0]!r}; "
                    "ranks must run the same release on machines of one kind"
                )

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Give all ranks the first one's values, in place."""
        if self.size > 1:
            self._each(tensors, lambda flat: distributed.broadcast(flat, src=0))

    def add(self, tensors: Iterable[Tensor]) -> None:
        """Add up all ranks' values, in place, the same to the bit on each."""
        if self.size > 1:
            self._each(tensors, distributed.all_reduce)

    def reduce(self, model: nn.Module, mean: float) -> float:
        """Add up all ranks' gradients, and their parts of the mean loss, which is returned.

        A weight that no rank's examples asked for has no gradient, as on one rank. What norms track
        of their batches is averaged.
        """
        if self.size == 1:
            return mean
        weights = list(model.parameters())
        told = torch.tensor([mean, *(w.grad is not None for w in weights)], dtype=torch.float64)
        self.add([told])
        mean, *asked = told.tolist()
        found = [weight for weight, count in zip(weights, asked, strict=True) if count]
        for weight in found:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        self.add(weight.grad for weight in found if weight.grad is not None)
        self.average(model)
        return mean

    def average(self, model: nn.Module) -> None:
        """Of what norms track of their batches, the mean over ranks, in place."""
        tracked = [
            buffer
            for module in model.modules()
            if isinstance(module, _NormBase)
            for buffer in (module.running_mean, module.running_var)
            if buffer is not None
        ]
        self.add(tracked)
        for buffer in tracked:
            buffer /= self.size

    def stacked(self, rows: Tensor) -> Tensor:
        """All ranks' rows of a tensor, one rank's below another's, on the first rank's CPU.

        The others get theirs back. The last ranks may have fewer than the first, or none.
        """
        counts = self.gather(len(rows))
        own = _plain(rows).cpu().contiguous()
        padded = own.new_zeros(max(counts), *own.shape[1:])
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in counts] if self.rank == 0 else None
        with self._joined():
            distributed.gather(padded, parts)
        if parts is None:
            return rows
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)]).view(rows.dtype)

    def failed(self, told: str, *, short: bool) -> bool:
        """All ranks failed, and can go on to what comes next: whether any of them was short of memory.

        Raises:
            RankLost: this one failed alone. The others wait for it somewhere, and end when it does.
        """
        if self.size == 1:
            return short
        number = next(_FAILURES)
        keys = [f"smc-eval: failure {number} of {rank}" for rank in range(self.size)]
        try:
            self._words.set(keys[self.rank], "short" if short else "")
            self._words.wait(keys, FAILURE_TIMEOUT)
            return any(self._words.get(key) == b"short" for key in keys)
        except RuntimeError:
            told += "; a pass of a sharded net also fails where another has ended" if self.sharded else ""
            raise self._lost(f"rank {self.rank} of {self.size} failed: {told}") from None

    def _each(self, tensors: Iterable[Tensor], join: Callable[[Tensor], Any]) -> None:
        """Send tensors, some at a time, so that there are neither many messages nor large ones."""
        for bucket in buckets(tensors):
            flat = torch.cat([_plain(tensor).reshape(-1) for tensor in bucket])
            with self._joined():
                join(flat)
            parts = torch.split(flat, [tensor.numel() for tensor in bucket])
            for tensor, part in zip(bucket, parts, strict=True):
                _plain(tensor).copy_(part.view(tensor.shape))

    @contextmanager
    def _joined(self) -> Iterator[None]:
        """Within is a word with all ranks; one that is gone ends this one too."""
        try:
            yield
        except RuntimeError as error:  # of any kind, as torch tells them
            why = first_line(error)
            raise self._lost(f"another of {self.size} ranks has ended: {why}") from None

    def _told_to_end(self, _number: int, _frame: FrameType | None) -> None:
        raise self._lost("the launcher ends this rank, as it does when another has ended")

    def _lost(self, why: str) -> RankLost:
        """The error that ends this rank: why, in the words of whoever knew first, who alone is to say so."""
        on_end(signal.SIG_IGN)  # this one ends by itself, and says why
        try:
            first = self._words.add("smc-eval: told", 1) == 1
            if first:
                self._words.set("smc-eval: why", why)
            elif self._words.check(["smc-eval: why"]):
                why = self._words.get("smc-eval: why").decode()
        except RuntimeError:  # who kept the words is gone as well
            first = True
        return RankLost(why, spoken=not first)


_FAILURES = count(1)
"""Numbers of failures that all ranks had."""
_MET: list[Any] = []
"""Where the ranks met, and leave words for each other; a process meets the others once."""


def _meet(backend: str) -> None:
    try:
        words, rank, size = next(rendezvous("env://", timeout=RANK_TIMEOUT))
        distributed.init_process_group(backend, store=words, rank=rank, world_size=size, timeout=RANK_TIMEOUT)
    except ValueError as error:
        raise UsageError(f"{error}; start ranks with torchrun or accelerate launch") from None
    except RuntimeError as error:
        why = first_line(error)
        raise RankLost(f"the ranks do not find each other: {why}", spoken=launch.rank() > 0) from None
    _MET[:] = [words]
    atexit.register(distributed.destroy_process_group)


def on_end(act: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    """What to do when the launcher tells this rank to end; only a process's main thread hears it."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, act)


def buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors that can be sent as one: of one type, on one device, together of `BUCKET` bytes or single."""
    bucket: list[Tensor] = []
    room = math.inf
    for tensor in tensors:
        size = tensor.numel() * tensor.element_size()
        alike = not bucket or (tensor.dtype, tensor.device) == (bucket[0].dtype, bucket[0].device)
        if bucket and not (alike and size <= room):
            yield bucket
            bucket = []
        room = (room if bucket else BUCKET) - size
        bucket.append(tensor)
    if bucket:
        yield bucket


def _plain(tensor: Tensor) -> Tensor:
    """The tensor, bools as the bytes they are: not every backend sends those."""
    return tensor.detach().view(torch.uint8) if tensor.dtype == torch.bool else tensor.detach()


def _portable(error: Exception) -> Exception:
    """An error as other processes can have it, with the story of where it happened."""
    story = f"on rank {launch.rank()}:\n{''.join(traceback.format_exception(error))}"
    try:
        sent: Exception = pickle.loads(pickle.dumps(error))  # noqa: S301  our own
    except Exception:
        sent = RuntimeError(f"{type(error).__name__}: {error}")
    sent.add_note(story)
    return sent
