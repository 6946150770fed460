"""Side effects: what a plan, a digest or a call of a task must leave as it is."""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from smc_eval.spec import Spec

ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")
"""How Python prints the address of an object, as in `<object object at 0x7f3a2c1b9d40>`."""


@contextmanager
def no_draws(what: str) -> Iterator[None]:
    """Within, the global random generators of torch and of Python keep their state.

    Raises:
        AssertionError: one was drawn from or seeded; `what` is named.
    """
    before = torch.get_rng_state(), random.getstate()
    yield
    after = torch.get_rng_state(), random.getstate()
    assert torch.equal(before[0], after[0]), f"{what} draws from, or seeds, the global generator of torch"
    assert before[1] == after[1], f"{what} draws from, or seeds, the global generator of `random`"


@contextmanager
def no_files(what: str, folder: Path) -> Iterator[None]:
    """Within, an empty folder is the working folder, and it stays empty.

    Raises:
        AssertionError: it does not; names the first file.
    """
    folder.mkdir()
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
    written = sorted(path.name for path in folder.iterdir())
    assert not written, f"{what} writes the file {written[0]!r}"


@contextmanager
def same_options(spec: Spec, what: str) -> Iterator[None]:
    """Within, the options of a Spec keep their values.

    Raises:
        AssertionError: one changed; names it.
    """
    before = options_text(spec)
    yield
    after = options_text(spec)
    changed = [name for name in before if after[name] != before[name]]
    assert not changed, (
        f"{what} changes the option {changed[0]!r} from {before[changed[0]]} to {after[changed[0]]}; "
        "options are frozen: return new values instead"
    )


def options_text(spec: Spec) -> dict[str, str]:
    """The options of a Spec as text. It is a copy: a list that grows later does not change it."""
    return {name: repr(getattr(spec, name)) for name in type(spec).model_fields}


def address_in(spec: Spec) -> str:
    """An address of this process in the canonical form of a Spec; empty if there is none."""
    match = ADDRESS.search(json.dumps(spec.canonical()))
    return match[0] if match else ""
