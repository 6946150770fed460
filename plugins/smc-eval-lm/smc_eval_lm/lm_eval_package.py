"""The package lm-eval: its version, its seeds, and what it may run and print."""

from __future__ import annotations

import logging
import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from unittest.mock import patch

from smc_eval.errors import UsageError

VERSION = "0.4.13"
"""The release whose results were compared. Others give other prompts and other numbers."""

EXTRA = f"pip install lm-eval=={VERSION}"

SHOWING = ("lm_eval.api.task", "lm_eval.api.model", "lm_eval.models.huggingface")
"""Modules of lm-eval that show progress."""

SHOT_SEED = 1234
"""The seed of the shots of lm-eval's own command, and of numpy; the command seeds Python with 0."""


def check_version() -> str:
    """The version of lm-eval. It imports nothing.

    Raises:
        UsageError: lm-eval is missing, or is of another release.
    """
    try:
        found = version("lm-eval")
    except PackageNotFoundError:
        raise UsageError(f"tasks of lm-eval need the package lm-eval {VERSION}: {EXTRA}") from None
    if found != VERSION and not found.startswith(f"{VERSION}."):
        raise UsageError(
            f"lm-eval {found} is installed, and tasks of lm-eval were compared with {VERSION} alone, "
            f"as releases differ in prompts and scores: {EXTRA}"
        )
    return found


@contextmanager
def as_its_command(*, in_sandbox: bool = False) -> Iterator[None]:
    """Within: the seeds of lm-eval's own command, no output of it, and what templates may do.

    lm-eval renders the templates of a YAML file with a jinja that can reach any Python object, so that a
    template is code too. With `in_sandbox`, it renders them with jinja's sandbox: harmless templates give the
    same text. The state of the generators is put back.
    """
    import numpy as np
    from jinja2.sandbox import SandboxedEnvironment
    from lm_eval import utils

    check_version()
    logging.getLogger("lm_eval").setLevel(logging.CRITICAL)
    own = utils.env
    sandbox = SandboxedEnvironment(undefined=own.undefined, keep_trailing_newline=own.keep_trailing_newline)
    sandbox.filters.update(own.filters)
    python, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002  lm-eval's tasks use this one
    random.seed(0)
    np.random.seed(SHOT_SEED)  # noqa: NPY002
    with ExitStack() as within:
        within.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        within.enter_context(patch.object(utils, "env", sandbox) if in_sandbox else nullcontext())
        within.enter_context(_no_progress())
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(arrays)  # noqa: NPY002


@contextmanager
def _no_progress() -> Iterator[None]:
    """Within: no progress bars of lm-eval and datasets."""
    from datasets.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from tqdm import tqdm

    def hidden(*arguments: Any, **settings: Any) -> Any:
        return tqdm(*arguments, **{**settings, "disable": True})

    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    with ExitStack() as within:
        for name in SHOWING:
            if module := sys.modules.get(name):
                within.enter_context(patch.object(module, "tqdm", hidden))
        try:
            yield
        finally:
            if shown:
                enable_progress_bars()
