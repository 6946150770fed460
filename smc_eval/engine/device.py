"""Device: where a cell computes, in which precision, and the state of every random generator."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import dataclasses
import gc
import os
import random
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor

from smc_eval.engine.attention import attention_in_fp32
from smc_eval.engine.distributed import launch
from smc_eval.engine.distributed.ranks import Ranks
from smc_eval.errors import UsageError
from smc_eval.recipe import Precision
from smc_eval.spec import digest

RESET, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
"""Linux files: writing 5 to the first resets the peak of resident memory; the second reports it."""

FAST_TOKENS = 2048
"""Tokens of the forward pass that is fastest on one CPU thread. Larger passes do not fit into the cache:
MiniLM takes 13 % longer for each token of 7,000, ESM-2 8M 19 % of 6,000. Smaller passes wait for weights."""

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


LARGE_NET = 2**27
"""Bytes of a net above which unused memory is given back between stages."""


def is_large(tensors: Iterable[Tensor]) -> bool:
    """Whether a net of these tensors is so large that memory matters more than time."""
    return sum(tensor.nbytes for tensor in tensors) > LARGE_NET


class Device:
    """The device of one process, and its ranks. All seeding happens here."""

    def __init__(self, device: str = "auto", threads: int | None = None, *, shard: bool = False) -> None:
        """Open the device: `auto` takes an accelerator if there is one; `shard` shards nets over ranks.

        Raises:
            UsageError: the device is missing or unknown.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        try:
            kind = torch.device("cpu" if device == "auto" else device).type
        except RuntimeError:
            raise UsageError(f"no device is named {device!r}; known: auto, cpu, cuda, cuda:N, mps") from None
        backend = getattr(torch, kind, None)
        if kind != "cpu" and not (backend is not None and backend.is_available()):
            raise UsageError(f"--device {device}: this machine has no {kind} device that torch can use")
        self.torch_device = _rank_device(device) if launch.world_size() > 1 else _single_device(device)
        if self.torch_device.type == "cuda" and (self.torch_device.index or 0) >= torch.cuda.device_count():
            raise UsageError(f"--device {device}: this machine has {torch.cuda.device_count()} cuda devices")
        self.ranks = Ranks(self.torch_device.type, shard_nets=shard)
        self._peak_was_reset = False

    @property
    def description(self) -> dict[str, Any]:
        """Device, threads and ranks, for the record."""
        name = (
            torch.cuda.get_device_name(self.torch_device)
            if self.torch_device.type == "cuda"
            else self.torch_device.type
        )
        fields = {"device": name, "threads": torch.get_num_threads(), "ranks": self.ranks.size}
        return fields | ({"sharded": True} if self.ranks.shard_nets else {})

    @property
    def fast_tokens(self) -> int | None:
        """Tokens of the forward pass that is fastest here; None if larger ones are always faster."""
        return FAST_TOKENS * torch.get_num_threads() if self.torch_device.type == "cpu" else None

    def seed(self, name: str, *, same_on_all_ranks: bool = False) -> None:
        """Seed every global generator from a digest.

        Ranks other than rank 0 take a stream of their own, unless it is to be `same_on_all_ranks`.
        """
        rank = self.ranks.rank
        number = seed_of(name if same_on_all_ranks or rank == 0 else digest(name, rank))
        random.seed(number)
        np.random.seed(number % 2**32)
        torch.manual_seed(number)  # the accelerators' too

    def generator(self, name: str) -> torch.Generator:
        """A new generator on the CPU, seeded from a digest."""
        return torch.Generator().manual_seed(seed_of(name))

    def rng_state(self) -> dict[str, Any]:
        """The state of every global generator, for a checkpoint."""
        kind, keys, position, has_gauss, gauss = np.random.get_state()
        version, internal, gauss_next = random.getstate()
        return {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if self.torch_device.type == "cuda" else [],
            "numpy": [kind, torch.from_numpy(np.asarray(keys, dtype=np.int64)), position, has_gauss, gauss],
            "python": [version, list(internal), gauss_next],
        }

    def set_rng_state(self, state: Mapping[str, Any]) -> None:
        """Set every global generator to an `rng_state`."""
        torch.set_rng_state(state["torch"])
        if state["cuda"]:
            torch.cuda.set_rng_state_all(state["cuda"])
        kind, keys, position, has_gauss, gauss = state["numpy"]
        np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
        version, internal, gauss_next = state["python"]
        random.setstate((version, tuple(internal), gauss_next))

    @contextlib.contextmanager
    def autocast(self, precision: Precision) -> Iterator[None]:
        """Within, forward passes run in this precision; weights stay fp32. For attention on a CPU see
        `attention_in_fp32`."""
        if precision == "fp32":
            yield
            return
        # the cache of autocast would hold a whole sharded net at once
        cached = not self.ranks.shard_nets
        kind, dtype = self.torch_device.type, DTYPES[precision]
        with attention_in_fp32(), torch.autocast(kind, dtype=dtype, cache_enabled=cached):
            yield

    def scaler(self, precision: Precision) -> torch.amp.GradScaler:
        """Scales the loss under fp16, because gradients would vanish; disabled otherwise."""
        return torch.amp.GradScaler(self.torch_device.type, enabled=precision == "fp16")

    def move(self, batch: Any) -> Any:
        """A batch on this device: tensors inside dataclasses, mappings, lists and tuples move."""
        match batch:
            case Tensor():
                return batch.to(self.torch_device, non_blocking=True)
            case Mapping():
                return type(batch)({key: self.move(value) for key, value in batch.items()})  # type: ignore[call-arg]
            case list():
                return [self.move(value) for value in batch]
            case tuple() if hasattr(batch, "_fields"):
                return type(batch)(*(self.move(value) for value in batch))
            case tuple():
                return tuple(self.move(value) for value in batch)
        if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
            fields = {f.name: self.move(getattr(batch, f.name)) for f in dataclasses.fields(batch) if f.init}
            return dataclasses.replace(batch, **fields)
        return batch

    def on_cpu(self) -> Device:
        """The same device object, but on the CPU: for a net that is too large for the device."""
        other = copy.copy(self)
        other.torch_device = torch.device("cpu")
        return other

    def empty_cache(self) -> None:
        """Give unused memory back: that of garbage, of the CUDA cache and of the C library."""
        gc.collect()
        if self.torch_device.type == "cuda":
            torch.cuda.empty_cache()
        with contextlib.suppress(OSError, AttributeError):  # only glibc has it
            ctypes.CDLL(None).malloc_trim(0)

    def free_memory(self, tensors: Iterable[Tensor]) -> None:
        """Give back unused memory if a net of these tensors is large; a small one leaves little."""
        if is_large(tensors):
            self.empty_cache()

    def reset_peak_memory(self) -> None:
        """Start a new peak for a cell, if the system allows it."""
        self._peak_was_reset = self.torch_device.type == "cuda"
        if self._peak_was_reset:
            torch.cuda.reset_peak_memory_stats(self.torch_device)
            return
        with contextlib.suppress(OSError):  # only Linux has it, and not in every container
            RESET.write_text("5", encoding="ascii")
            self._peak_was_reset = "VmHWM:" in STATUS.read_text(encoding="ascii")

    def peak_memory(self) -> tuple[int, str]:
        """Largest memory of a rank in bytes, and of what: `cell` since `reset_peak_memory`, or `process`.

        On an accelerator it is what torch allocated there, otherwise the resident memory of the process.
        """
        return max(self.ranks.gather(self._peak()))

    def _peak(self) -> tuple[int, str]:
        if self.torch_device.type == "cuda":
            most = int(torch.cuda.max_memory_allocated(self.torch_device))
            return most, "cell" if self._peak_was_reset else "process"
        if self._peak_was_reset:
            (line,) = (line for line in STATUS.read_text(encoding="ascii").splitlines() if "VmHWM" in line)
            return int(line.split()[1]) * 1024, "cell"
        try:
            import resource
        except ImportError:  # not on every system
            return 0, "process"
        import sys

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, "process"


def tensor_shapes(batch: Any) -> Any:
    """The shapes of all tensors of a batch, in a form that can be a key."""
    match batch:
        case Tensor():
            return tuple(batch.shape)
        case Mapping():
            return tuple((key, tensor_shapes(value)) for key, value in batch.items())
        case list() | tuple():
            return tuple(tensor_shapes(value) for value in batch)
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        return tuple(tensor_shapes(getattr(batch, field.name)) for field in dataclasses.fields(batch))
    return None


def accelerators(device: str) -> list[str]:
    """The accelerators that several processes may share, as CUDA_VISIBLE_DEVICES names them.

    Empty if the device is the CPU or has a number, and if several ranks share a cell.
    """
    if device not in {"auto", "cuda"} or launch.world_size() > 1 or not torch.cuda.is_available():
        return []
    if visible := os.environ.get("CUDA_VISIBLE_DEVICES"):
        return [name.strip() for name in visible.split(",")][: torch.cuda.device_count()]
    return [str(number) for number in range(torch.cuda.device_count())]


def is_cpu(device: str) -> bool:
    """Whether nets are on the CPU: by name, or because torch finds nothing else."""
    return device == "cpu" or (device == "auto" and not torch.accelerator.is_available())


def _single_device(device: str) -> torch.device:
    """The device of a process without other ranks."""
    # the state is one of the whole process: a trainer of the user may read it later
    return PartialState().device if device == "auto" else torch.device(device)


def _rank_device(device: str) -> torch.device:
    """The device of one of several ranks.

    Raises:
        UsageError: the device is for one process only, or there are too few devices.
    """
    if device not in {"auto", "cpu", "cuda"}:
        raise UsageError(
            f"--device {device} is one device, and there are {launch.world_size()} ranks; leave it out"
        )
    if device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    count = torch.cuda.device_count()
    if launch.local_rank() >= count:
        raise UsageError(
            f"rank {launch.rank()} has no cuda device: this machine has {count}; start fewer ranks"
        )
    own = torch.device("cuda", launch.local_rank())
    torch.cuda.set_device(own)
    return own


def seed_of(name: str) -> int:
    """A seed of 63 bits from any text."""
    return int(digest(name)[:16], 16) >> 1
