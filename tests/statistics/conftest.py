"""A fixture that makes small samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from smc_eval.statistics import Sample

Make = Callable[..., Sample]


@pytest.fixture
def sample() -> Make:
    """Makes a sample from rows of shape [seeds, items] or [seeds, items, numbers]."""

    def make(rows: object, kind: str = "mean", groups: Sequence[int] = (), data: str = "") -> Sample:
        rows_SNK = np.array(rows, dtype=float)
        rows_SNK = rows_SNK[..., None] if rows_SNK.ndim == 2 else rows_SNK
        groups_N = np.array(groups or [0] * rows_SNK.shape[1])
        weights_G = np.ones(groups_N.max() + 1)
        return Sample(kind, rows_SNK, groups_N, weights_G, tuple(range(len(rows_SNK))), ((data,),))

    return make
