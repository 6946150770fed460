"""The world a cell runs in: device, precision, and every source of chance."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import gc
import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor

from smc_eval.engine.distributed import launch
from smc_eval.engine.distributed.ranks import Ranks
from smc_eval.errors import UsageError
from smc_eval.recipe import Precision
from smc_eval.spec import digest

RESET, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
"""Where Linux forgets, on the order 5, the most that was resident so far, and where it tells it."""

CACHED = 2048
"""Tokens of a forward pass that a thread of a CPU gets through fastest. Of more it has to fetch what it
computes from memory, and memory from the system: MiniLM takes 13 % longer for each token of 7,000, ESM-2 8M
19 % of 6,000. Of fewer it waits for weights."""

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Device:
    """One process's device, and the ranks it is one of. Seeding happens here and nowhere else."""

    def __init__(self, device: str = "auto", threads: int | None = None, *, shard: bool = False) -> None:
        """Open the device: `auto` takes an accelerator where there is one; `shard` cuts nets among ranks.

        Raises:
            UsageError: the device is not there, or is not known.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        try:
            kind = torch.device("cpu" if device == "auto" else device).type
        except RuntimeError:
            raise UsageError(f"no device is called {device!r}; known: auto, cpu, cuda, cuda:N, mps") from None
        backend = getattr(torch, kind, None)
        if kind != "cpu" and not (backend is not None and backend.is_available()):
            raise UsageError(f"--device {device}: this machine has no {kind} device that torch can use")
        self.torch_device = _own(device) if launch.world_size() > 1 else _alone(device)
        if self.torch_device.type == "cuda" and (self.torch_device.index or 0) >= torch.cuda.device_count():
            raise UsageError(f"--device {device}: this machine has {torch.cuda.device_count()} cuda devices")
        self.ranks = Ranks(self.torch_device.type, sharded=shard)
        self._began = False

    @property
    def description(self) -> dict[str, Any]:
        """Device and threads as they stand, for the record."""
        name = (
            torch.cuda.get_device_name(self.torch_device)
            if self.torch_device.type == "cuda"
            else self.torch_device.type
        )
        told = {"device": name, "threads": torch.get_num_threads(), "ranks": self.ranks.size}
        return told | ({"sharded": True} if self.ranks.sharded else {})

    @property
    def cached(self) -> int | None:
        """Tokens of the forward pass that is fastest here; None where more are always faster."""
        return CACHED * torch.get_num_threads() if self.torch_device.type == "cpu" else None

    def seed(self, name: str, *, alike: bool = False) -> None:
        """Set every global generator from a digest; on other ranks than the first to a stream of their own,
        unless they are to draw `alike`."""
        number = seed_of(name if alike or self.ranks.rank == 0 else digest(name, self.ranks.rank))
        random.seed(number)
        np.random.seed(number % 2**32)
        torch.manual_seed(number)  # the accelerators' too

    def generator(self, name: str) -> torch.Generator:
        """A generator of its own, on the CPU, from a digest."""
        return torch.Generator().manual_seed(seed_of(name))

    def rng_state(self) -> dict[str, Any]:
        """The state of every global generator, as a checkpoint keeps it."""
        kind, keys, position, has_gauss, gauss = np.random.get_state()
        version, internal, gauss_next = random.getstate()
        return {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if self.torch_device.type == "cuda" else [],
            "numpy": [kind, torch.from_numpy(np.asarray(keys, dtype=np.int64)), position, has_gauss, gauss],
            "python": [version, list(internal), gauss_next],
        }

    def set_rng_state(self, chance: Mapping[str, Any]) -> None:
        """Set every global generator to a state that `chance` gave."""
        torch.set_rng_state(chance["torch"])
        if chance["cuda"]:
            torch.cuda.set_rng_state_all(chance["cuda"])
        kind, keys, position, has_gauss, gauss = chance["numpy"]
        np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
        version, internal, gauss_next = chance["python"]
        random.setstate((version, tuple(internal), gauss_next))

    def autocast(self, precision: Precision) -> contextlib.AbstractContextManager[Any]:
        """Forward passes within run in this precision; weights stay fp32."""
        if precision == "fp32":
            return contextlib.nullcontext()
        # what autocast caches of a sharded net would be all of it at once
        cached = not self.ranks.sharded
        return torch.autocast(self.torch_device.type, dtype=DTYPES[precision], cache_enabled=cached)

    def scaler(self, precision: Precision) -> torch.amp.GradScaler:
        """Scales the loss under fp16, whose gradients would vanish; idle otherwise."""
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
        """The same world on the CPU: for a net that its device has no room for."""
        here = copy.copy(self)
        here.torch_device = torch.device("cpu")
        return here

    def empty_cache(self) -> None:
        """Give back what memory is cached, after there was too little of it."""
        gc.collect()
        if self.torch_device.type == "cuda":
            torch.cuda.empty_cache()

    def reset_peak_memory(self) -> None:
        """Begin a cell: what was held at once before counts no longer, where the system allows that."""
        self._began = self.torch_device.type == "cuda"
        if self._began:
            torch.cuda.reset_peak_memory_stats(self.torch_device)
            return
        with contextlib.suppress(OSError):  # Linux alone has it, and not in every container
            RESET.write_text("5", encoding="ascii")
            self._began = "VmHWM:" in STATUS.read_text(encoding="ascii")

    def peak_memory(self) -> tuple[int, str]:
        """Most bytes that a rank held at once, and by whom: `cell` since `reset_peak_memory` began one, else
        `process`.

        On an accelerator what torch allocated there, else what the process had resident.
        """
        return max(self.ranks.gather(self._peak()))

    def _peak(self) -> tuple[int, str]:
        if self.torch_device.type == "cuda":
            return int(
                torch.cuda.max_memory_allocated(self.torch_device)
            ), "cell" if self._began else "process"
        if self._began:
            (line,) = (line for line in STATUS.read_text(encoding="ascii").splitlines() if "VmHWM" in line)
            return int(line.split()[1]) * 1024, "cell"
        try:
            import resource
        except ImportError:  # not on every system
            return 0, "process"
        import sys

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, "process"


def accelerators(device: str) -> list[str]:
    """The accelerators that several processes may share out, as CUDA_VISIBLE_DEVICES names them.

    None where the device is said with its number or is the CPU, or where several ranks share a cell.
    """
    if device not in {"auto", "cuda"} or launch.world_size() > 1 or not torch.cuda.is_available():
        return []
    if visible := os.environ.get("CUDA_VISIBLE_DEVICES"):
        return [name.strip() for name in visible.split(",")][: torch.cuda.device_count()]
    return [str(number) for number in range(torch.cuda.device_count())]


def _alone(device: str) -> torch.device:
    """The device of a process that carries out cells by itself."""
    state = PartialState(cpu=device == "cpu")
    return state.device if device == "auto" else torch.device(device)


def _own(device: str) -> torch.device:
    """A rank's own device.

    Raises:
        UsageError: all ranks are given the same, or one that ranks cannot share out.
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
