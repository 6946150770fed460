"""Ranks: processes that compute one cell together, each with a copy of the net.

All ranks run the same program. They divide the work and add up the results. Where one of them decides, it
is rank 0, and all get its decision. This uses torch.distributed directly, because accelerate counts one rank
if there is no accelerator.
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
from smc_eval.errors import PluginError, RankLost, SparsityError, UsageError, first_line

RANK_TIMEOUT = timedelta(minutes=30)
"""How long a rank waits for the others at one point. A rank that died is noticed at once."""
FAILURE_TIMEOUT = timedelta(seconds=20)
"""How long a rank that failed waits for the others to fail too."""
BUCKET = 2**25
"""Bytes that are sent at once."""

T = TypeVar("T")


class Ranks:
    """The ranks that were launched together. A single rank has no communication at all."""

    def __init__(self, kind: str, *, shard_nets: bool = False) -> None:
        """Connect to the other ranks. `kind` is the type of device: nccl joins GPUs, gloo joins CPUs.

        With `shard_nets`, each rank holds only rows of a net, and every pass needs all ranks.

        Raises:
            UsageError: the launcher does not set the address.
            RankLost: the other ranks do not connect.
        """
        self.size, self.rank, self.shard_nets = launch.world_size(), launch.rank(), shard_nets
        if self.size == 1:
            return
        if not _CONNECTED:
            _connect("cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo")
        self._messages = _CONNECTED[0]
        on_sigterm(self._end_on_sigterm)

    def on_rank_zero(self, act: Callable[[], T]) -> T:
        """Call a function on rank 0. Its value is returned, or its error raised, on all ranks."""
        if self.size == 1:
            return act()
        outcome: list[Any] = [None, None]
        if self.rank == 0:
            try:
                outcome = [act(), None]
            except RankLost:
                raise
            except (Exception, SystemExit) as error:
                outcome = [None, _portable(_exception(error))]
        with self._communicating():
            distributed.broadcast_object_list(outcome, src=0, device=torch.device("cpu"))
        value, failure = outcome
        if failure is not None:
            raise failure
        return value  # type: ignore[no-any-return]

    def broadcast(self, value: T) -> T:
        """The value of rank 0, on all ranks."""
        return self.on_rank_zero(lambda: value)

    @contextmanager
    def errors_shared(self) -> Iterator[None]:
        """Within, each rank works by itself. At the end, an error of one rank is raised on all.

        With a sharded net no rank can work by itself: a rank that fails waits for no other.
        """
        if self.size == 1 or self.shard_nets:
            yield
            return
        failure: Exception | None = None
        try:
            yield
        except RankLost:
            raise
        except (Exception, SystemExit) as error:
            failure = _exception(error)
        failed = torch.tensor([failure is not None], dtype=torch.int32)
        with self._communicating():
            distributed.all_reduce(failed)
        if not int(failed):
            return
        others = self.gather(failure and _portable(failure))
        raise failure or next(error for error in others if error is not None)

    def gather(self, value: T) -> list[T]:
        """The value of every rank, in the order of ranks."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with self._communicating():
            distributed.all_gather_object(values, value)
        return values

    def check_equal(self, what: str, tensors: Mapping[str, Tensor]) -> None:
        """Check that all ranks have the same tensors under these names, bit for bit.

        Raises:
            SparsityError: a rank has others. It names the rank, `what` differs, and the first tensor.
        """
        if self.size == 1:
            return
        names, differing = iter(tensors), list[str]()
        for bucket in buckets(tensors.values()):
            own = torch.cat([_as_bytes(tensor).reshape(-1) for tensor in bucket])
            first, sizes = own.clone(), [tensor.numel() for tensor in bucket]
            with self._communicating():
                distributed.broadcast(first, src=0)
            pairs = zip(torch.split(own, sizes), torch.split(first, sizes), strict=True)
            equal = [torch.equal(mine, theirs) for mine, theirs in pairs]
            named = zip(islice(names, len(equal)), equal, strict=True)
            differing += [name for name, same in named if not same]
        for rank, names_of_rank in enumerate(self.gather(differing)):
            if names_of_rank:
                raise SparsityError(
                    f"rank {rank} has other {what} than rank 0, first of {names_of_rank[0]!r}; "
                    "ranks must run the same release on machines of one kind"
                )

    def broadcast_tensors(self, tensors: Iterable[Tensor]) -> None:
        """Give all ranks the values of rank 0, in place."""
        if self.size > 1:
            self._each_bucket(tensors, lambda flat: distributed.broadcast(flat, src=0))

    def all_reduce(self, tensors: Iterable[Tensor]) -> None:
        """Add up the values of all ranks, in place. The results are equal bit for bit on all ranks."""
        if self.size > 1:
            self._each_bucket(tensors, distributed.all_reduce)

    def all_reduce_gradients(self, model: nn.Module, mean: float) -> float:
        """Add up the gradients of all ranks, and their parts of the mean loss, which is returned.

        A weight without a gradient on every rank stays without one. The running statistics of norms
        are averaged.
        """
        if self.size == 1:
            return mean
        weights = list(model.parameters())
        sums = torch.tensor([mean, *(w.grad is not None for w in weights)], dtype=torch.float64)
        self.all_reduce([sums])
        mean, *counts = sums.tolist()
        trained = [weight for weight, holders in zip(weights, counts, strict=True) if holders]
        for weight in trained:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        self.all_reduce(weight.grad for weight in trained if weight.grad is not None)
        self.average_norm_statistics(model)
        return mean

    def average_norm_statistics(self, model: nn.Module) -> None:
        """Average the running statistics of all batch and instance norms over the ranks, in place."""
        tracked = [
            buffer
            for module in model.modules()
            if isinstance(module, _NormBase)
            for buffer in (module.running_mean, module.running_var)
            if buffer is not None
        ]
        self.all_reduce(tracked)
        for buffer in tracked:
            buffer /= self.size

    def gather_rows(self, rows: Tensor) -> Tensor:
        """The rows of all ranks as one tensor, in the order of ranks, on the CPU of rank 0.

        The other ranks get their own rows back. The last ranks may have fewer rows, or none.
        """
        counts = self.gather(len(rows))
        own = _as_bytes(rows).cpu().contiguous()
        padded = own.new_zeros(max(counts), *own.shape[1:])
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in counts] if self.rank == 0 else None
        with self._communicating():
            distributed.gather(padded, parts)
        if parts is None:
            return rows
        return torch.cat([part[:length] for part, length in zip(parts, counts, strict=True)]).view(rows.dtype)

    def all_failed(self, reason: str, *, short: bool) -> bool:
        """Wait until every rank has failed; returns whether any of them ran out of memory (`short`).

        Raises:
            RankLost: this rank failed alone. The others wait for it somewhere, and end when it ends.
        """
        if self.size == 1:
            return short
        number = next(_FAILURES)
        keys = [f"smc-eval: failure {number} of {rank}" for rank in range(self.size)]
        try:
            self._messages.set(keys[self.rank], "short" if short else "")
            self._messages.wait(keys, FAILURE_TIMEOUT)
            return any(self._messages.get(key) == b"short" for key in keys)
        except RuntimeError:
            if self.shard_nets:
                reason += "; a pass of a sharded net also fails if another rank has ended"
            raise self._lost(f"rank {self.rank} of {self.size} failed: {reason}") from None

    def _each_bucket(self, tensors: Iterable[Tensor], act: Callable[[Tensor], Any]) -> None:
        """Communicate tensors in buckets, so that messages are neither many nor large."""
        for bucket in buckets(tensors):
            flat = torch.cat([_as_bytes(tensor).reshape(-1) for tensor in bucket])
            with self._communicating():
                act(flat)
            parts = torch.split(flat, [tensor.numel() for tensor in bucket])
            for tensor, part in zip(bucket, parts, strict=True):
                _as_bytes(tensor).copy_(part.view(tensor.shape))

    @contextmanager
    def _communicating(self) -> Iterator[None]:
        """Within, all ranks communicate. If another rank has ended, this one ends too."""
        try:
            yield
        except RuntimeError as error:  # torch raises several kinds
            why = first_line(error)
            raise self._lost(f"another of {self.size} ranks has ended: {why}") from None

    def _end_on_sigterm(self, _number: int, _frame: FrameType | None) -> None:
        raise self._lost("the launcher ends this rank, as it does when another has ended")

    def _lost(self, why: str) -> RankLost:
        """The error that ends this rank. Its reason is that of the first rank that ended, which prints it."""
        on_sigterm(signal.SIG_IGN)  # this rank ends by itself, with a reason
        try:
            first = self._messages.add("smc-eval: ended", 1) == 1
            if first:
                self._messages.set("smc-eval: why", why)
            elif self._messages.check(["smc-eval: why"]):
                why = self._messages.get("smc-eval: why").decode()
        except RuntimeError:  # the process that keeps the messages has ended too
            first = True
        return RankLost(why, reported=not first)


_FAILURES = count(1)
"""Numbers of the failures that all ranks had."""
_CONNECTED: list[Any] = []
"""The key-value store in which ranks leave messages for each other. A process connects once."""


def _connect(backend: str) -> None:
    try:
        messages, rank, size = next(rendezvous("env://", timeout=RANK_TIMEOUT))
        distributed.init_process_group(
            backend, store=messages, rank=rank, world_size=size, timeout=RANK_TIMEOUT
        )
    except ValueError as error:
        raise UsageError(f"{error}; start ranks with torchrun or accelerate launch") from None
    except RuntimeError as error:
        why = first_line(error)
        raise RankLost(f"the ranks cannot connect: {why}", reported=launch.rank() > 0) from None
    _CONNECTED[:] = [messages]
    atexit.register(distributed.destroy_process_group)


def on_sigterm(act: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    """Set the handler of SIGTERM, with which a launcher ends a rank. Only the main thread can."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, act)


def buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors grouped to be sent as one: of one type, on one device, of at most `BUCKET` bytes or single."""
    bucket: list[Tensor] = []
    room = math.inf
    for tensor in tensors:
        size = tensor.numel() * tensor.element_size()
        fits = not bucket or (tensor.dtype, tensor.device) == (bucket[0].dtype, bucket[0].device)
        if bucket and not (fits and size <= room):
            yield bucket
            bucket = []
        room = (room if bucket else BUCKET) - size
        bucket.append(tensor)
    if bucket:
        yield bucket


def _as_bytes(tensor: Tensor) -> Tensor:
    """The tensor; a bool tensor as bytes, because not every backend can send bools."""
    return tensor.detach().view(torch.uint8) if tensor.dtype == torch.bool else tensor.detach()


def _portable(error: Exception) -> Exception:
    """A copy of an error that can be pickled, with its traceback as a note."""
    story = f"on rank {launch.rank()}:\n{''.join(traceback.format_exception(error))}"
    try:
        sent: Exception = pickle.loads(pickle.dumps(error))  # noqa: S301  our own
    except Exception:
        sent = RuntimeError(f"{type(error).__name__}: {error}")
    sent.add_note(story)
    return sent


def _exception(error: Exception | SystemExit) -> Exception:
    """The error itself; that of sys.exit as one that ends the cell, not the rank."""
    if isinstance(error, Exception):
        return error
    return PluginError(f"sys.exit({error.code!r}) was called")
