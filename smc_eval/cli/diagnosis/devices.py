"""Torch and its devices, as `smc-eval doctor` shows them. Torch may be broken, and that is a finding."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from smc_eval.cli.diagnosis.section import DiagnosisSection, Obstacle
from smc_eval.cli.store import bytes_text
from smc_eval.engine.cores import usable_cores
from smc_eval.errors import first_line

ON_OFF = ("off", "on")


def torch_sections() -> dict[str, DiagnosisSection]:
    """The sections `torch` and `devices`."""
    try:
        from smc_eval.engine.torch_facts import torch_devices, torch_facts
    except Exception as error:  # noqa: BLE001  a broken library raises what it likes
        problem = Obstacle(
            f"torch cannot be imported: {type(error).__name__}: {first_line(error)}",
            "install it again: pip install --force-reinstall torch",
        )
        return {
            "torch": DiagnosisSection(None, (problem,), lines=("cannot be imported",)),
            "devices": DiagnosisSection([]),
        }
    facts, devices = torch_facts(), torch_devices()
    return {"torch": _torch(facts, devices), "devices": _devices(devices)}


def _torch(facts: dict[str, Any], devices: Sequence[dict[str, Any]]) -> DiagnosisSection:
    cpus = os.cpu_count() or 1
    usable = usable_cores()
    facts = {**facts, "cpus": cpus, "usable_cpus": usable}
    notes = []
    if facts["build"] != "cpu" and len(devices) == 1:
        notes.append(f"torch is built for {facts['build']}, and sees no GPU: runs use the CPU")
    settings = (
        f"determinism: deterministic algorithms {ON_OFF[facts['deterministic_algorithms']]}, cuDNN benchmark "
        f"{ON_OFF[facts['cudnn_benchmark']]}, fp32 products of {facts['matmul_precision']} precision"
    )
    threads = (
        f"{facts['threads']} threads, {usable} of {cpus} cores usable, {facts['processor']}, "
        f"BLAS {facts['blas']}"
    )
    return DiagnosisSection(
        facts, notes=tuple(notes), lines=(f"{facts['version']} for {facts['build']}; {threads}", settings)
    )


def _devices(devices: Sequence[dict[str, Any]]) -> DiagnosisSection:
    problems = [
        Obstacle(
            f"{one['device']} ({one['name']}) cannot compute: {one['error']}",
            "run without it, by --device cpu; or install a build of torch that fits its driver",
        )
        for one in devices
        if one["error"] and one["device"] != "cpu"
    ]
    problems += [
        Obstacle(
            f"torch cannot compute on the CPU: {one['error']}",
            "install it again: pip install --force-reinstall torch",
        )
        for one in devices
        if one["error"] and one["device"] == "cpu"
    ]
    shown = [
        f"{one['device']} {one['name']} {bytes_text(one['memory_bytes'])}"
        if one["memory_bytes"]
        else f"{one['device']}"
        for one in devices
    ]
    return DiagnosisSection(list(devices), tuple(problems), lines=(", ".join(shown),))
