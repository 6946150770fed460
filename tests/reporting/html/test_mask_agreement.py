"""The figure of mask agreement compares methods and seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from smc_eval.reporting.html.mask_agreement import agreement_figure
from smc_eval.reporting.series import Panel
from smc_eval.store.mask_samples import MaskSample
from smc_eval.store.record import Record

Make = Callable[..., Record]
MakePanel = Callable[[Sequence[Record]], Panel]
MakeSample = Callable[[str], MaskSample]


def test_two_methods_share_a_seed_and_one_method_has_two_seeds(
    record: Make, panel_of: MakePanel, mask_sample: MakeSample
) -> None:
    samples = {
        record("lth").digest: {"a": mask_sample("11110000")},
        record("lth", seed=1).digest: {"a": mask_sample("11000011")},
        record("snip").digest: {"a": mask_sample("01111000")},
    }
    panel = panel_of([record("lth"), record("lth", seed=1), record("snip")])
    drawn = agreement_figure(panel, "x", samples.get)
    assert drawn is not None
    rows = drawn[1].plain()
    agreement = {(row["a"], row["b"]): row["iou"] for row in rows}
    assert agreement == pytest.approx({("lth", "lth"): 2 / 6, ("lth", "snip"): 3 / 5, ("snip", "lth"): 3 / 5})
    assert rows[0]["chance"] == pytest.approx(0.64 / 1.36)


def test_without_mask_samples_there_is_no_figure(record: Make, panel_of: MakePanel) -> None:
    assert agreement_figure(panel_of([record()]), "x", lambda _: None) is None
