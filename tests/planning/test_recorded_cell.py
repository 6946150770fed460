"""Cells that are made again from their records."""

from __future__ import annotations

import pytest

from smc_eval.experiment.config import configured
from smc_eval.experiment.grid import Grid
from smc_eval.planning.recorded_cell import cell_of_record
from smc_eval.registry import registry
from smc_eval.store.record import blank_record


@pytest.mark.parametrize("kernels", ["dense", "sparse"])
def test_a_record_has_all_of_its_cell(kernels: str) -> None:
    flags = {"model": ("tiny",), "tasks": ("csqa",), "method": ("snip",), "sparsity": ("0.5",)}
    cells = list(Grid.of(configured({**flags, "kernels": kernels}), registry()).cells())
    assert [cell.kernels for cell in cells] == ["dense", kernels]  # the dense net has no masked matrix
    for cell in cells:
        record = blank_record(cell)
        assert cell_of_record(record, registry()) == cell
        assert (record.kernels is None) == (cell.kernels == "dense")
