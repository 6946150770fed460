"""What torch is on this machine: its build, devices, threads, linear algebra and settings of determinism."""

from __future__ import annotations

import re
from typing import Any

import torch

from smc_eval.errors import first_line


def torch_facts() -> dict[str, Any]:
    """The build of torch and its settings, as plain JSON values."""
    cudnn = torch.backends.cudnn
    return {
        "version": str(torch.__version__),
        "build": _build(),
        "threads": torch.get_num_threads(),
        "blas": _blas(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "cudnn_benchmark": bool(cudnn.benchmark),
        "cudnn_deterministic": bool(cudnn.deterministic),
        "matmul_precision": torch.get_float32_matmul_precision(),
    }


def torch_devices() -> list[dict[str, Any]]:
    """The devices that torch can use, the CPU first, each with the error of a small product on it.

    `error` is None where the product is right; otherwise no net can run there.
    """
    found: list[tuple[str, str, int | None]] = [("cpu", "CPU", None)]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            found.append((f"cuda:{index}", properties.name, properties.total_memory))
    if torch.backends.mps.is_available():
        found.append(("mps", "Apple GPU", None))
    return [
        {"device": device, "name": name, "memory_bytes": memory, "error": device_error(device)}
        for device, name, memory in found
    ]


def device_error(device: str) -> str | None:
    """Why a device cannot multiply two small matrices; None if it can."""
    try:
        numbers = torch.arange(4.0, device=device).view(2, 2)
        product = (numbers @ numbers).cpu().tolist()
    except Exception as error:  # noqa: BLE001  a driver can raise anything
        return f"{type(error).__name__}: {first_line(error)}"
    return None if product == [[2.0, 3.0], [6.0, 11.0]] else f"[[0, 1], [2, 3]] squared is {product}"


def _build() -> str:
    """What torch was built for: `cpu`, `cuda 12.8`, `rocm 6.4`."""
    if torch.version.cuda:
        return f"cuda {torch.version.cuda}"
    hip = getattr(torch.version, "hip", None)
    return f"rocm {hip}" if hip else "cpu"


def _blas() -> str:
    """The library of linear algebra: `mkl`, `open`; `unknown` if torch does not say."""
    match = re.search(r"BLAS_INFO=(\w+)", torch.__config__.show())
    return match[1] if match else "unknown"
