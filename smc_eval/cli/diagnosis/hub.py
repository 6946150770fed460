"""The Hugging Face hub: its local cache, and whether it can be reached. No answer is an answer too."""

from __future__ import annotations

import time
from pathlib import Path
from threading import Thread
from typing import Any
from urllib import request
from urllib.error import HTTPError

from smc_eval.cli.diagnosis.machine import address_without_user
from smc_eval.cli.diagnosis.section import DiagnosisSection

TIMEOUT = 3.0
"""Seconds to wait for an answer. Looking up a host has no limit of its own, so this one holds for all."""


def hub_section() -> DiagnosisSection:
    """The cache, whether the hub is switched off, and whether it answers."""
    try:
        from huggingface_hub import constants
    except ImportError as error:  # packages_section says so, if it is missing
        return DiagnosisSection(None, notes=(f"the hub is not known: {error}",), lines=("unknown",))
    cache, offline = Path(constants.HF_HUB_CACHE), bool(constants.HF_HUB_OFFLINE)
    seconds = None if offline else answer_time(constants.ENDPOINT)
    address = address_without_user(constants.ENDPOINT)
    facts: dict[str, Any] = {
        "address": address,
        "offline": offline,
        "reachable": None if offline else seconds is not None,
        "cache": str(cache),
        "cached_repositories": len(list(cache.glob("*--*"))) if cache.is_dir() else 0,
    }
    if offline:
        answer = "switched off by HF_HUB_OFFLINE"
    elif seconds is None:
        answer = f"{address} cannot be reached: models and data come from the cache or from folders"
    else:
        answer = f"{address} answers in {seconds:.1f} s"
    held = f"{facts['cached_repositories']} repositories in {cache}"
    return DiagnosisSection(
        facts, notes=() if offline or seconds is not None else (answer,), lines=(answer, held)
    )


def answer_time(address: str) -> float | None:
    """Seconds until a server answers, whatever it says; None if it does not in time."""
    times: list[float] = []

    def ask() -> None:
        began = time.monotonic()
        try:
            with request.urlopen(request.Request(address, method="HEAD"), timeout=TIMEOUT):  # noqa: S310  the hub's
                pass
        except HTTPError as error:  # an answer
            error.close()
        except Exception:  # noqa: BLE001  anything else: it cannot be reached
            return
        times.append(time.monotonic() - began)

    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(TIMEOUT)
    return times[0] if times else None
