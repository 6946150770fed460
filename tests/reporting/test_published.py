"""Published numbers are as they were read, with remarks on those that are not valid results."""

from __future__ import annotations

from collections import Counter

import pytest

from smc_eval.registry import load_registry
from smc_eval.reporting.published import PublishedPoint, metrics, points_for, published_points
from smc_eval.target import SMC_GRID

REGISTRY = load_registry().checked()

OF_PLUGINS = {"hp-s2c5/structure"}
"""Published tasks that a package of their own has: plugins/smc-eval-structures."""


def point_of(task: str, method: str, sparsity: float) -> PublishedPoint:
    (point,) = (p for p in published_points() if (p.task, p.method, p.sparsity) == (task, method, sparsity))
    return point


@pytest.mark.parametrize(
    ("task", "method", "sparsity", "value"),
    [
        ("csqa", "dense", 0.0, 77.4),
        ("csqa", "omp-before", 0.36, 59.5),
        ("mawps/gts", "lth", 0.893, 80.73),
        ("svamp/graph2tree", "omp-after", 0.672, 35.3),
        ("translation/5-to-5", "gmp", 0.893, 4.87),
        ("race/middle", "random-rigl", 0.2, 82.2),
        ("hp-s2c5/structure", "omp-after", 0.866, 58.2),
    ],
)
def test_a_value_is_as_it_was_read(task: str, method: str, sparsity: float, value: float) -> None:
    assert point_of(task, method, sparsity).value == value


def test_all_tasks_and_methods_are_installed() -> None:
    assert {point.task for point in published_points()} <= set(REGISTRY.tasks) | OF_PLUGINS
    assert {point.method for point in published_points()} <= set(REGISTRY.methods)


def test_sparsities_are_the_papers_ten_and_each_occurs_once() -> None:
    for sparsity in {point.sparsity for point in published_points()}:
        assert min(abs(sparsity - exact) for exact in (0.0, *SMC_GRID)) < 1e-3
    keys = Counter((p.task, p.model, p.method, p.sparsity) for p in published_points())
    assert max(keys.values()) == 1


def test_the_note_of_a_shifted_point_has_the_value_of_its_array() -> None:
    point = point_of("asdiv-a/graph2tree", "snip", 0.2)
    assert point.value == 64.68
    assert "69.68" in point.note


def test_the_notes_of_curves_of_another_net_say_so() -> None:
    rows = [p for p in published_points() if p.task == "svamp/graph2tree" and p.method == "omp-rigl"]
    assert len(rows) == 10
    assert all(p.note.startswith("values of another net") for p in rows)
    gts = {p.sparsity: p.value for p in published_points() if (p.task, p.method) == ("svamp/gts", "omp-rigl")}
    assert {p.sparsity: p.value for p in rows} == gts


def test_only_collapsed_points_are_noted_as_collapsed() -> None:
    assert point_of("svamp/gts", "omp-before", 0.893).note.startswith("collapsed")
    assert point_of("svamp/gts", "omp-before", 0.2).note == ""


def test_published_points_are_of_the_same_model_if_there_are_some() -> None:
    def models(model: str) -> set[str]:
        return {point.model for point in points_for("hp-s", model, "accuracy (%)")}

    assert models("facebook/esm1b_t33_650M_UR50S") == {"facebook/esm1b_t33_650M_UR50S"}
    assert models("TAPE") == {"TAPE"}
    assert models("facebook/esm2_t6_8M_UR50D") == {"facebook/esm1b_t33_650M_UR50S"}


def test_numbers_of_a_net_that_reads_structures_are_not_those_of_sequences() -> None:
    assert {point.model for point in points_for("hp-s2c5/structure", "any", "accuracy (%)")} == {"ESM-IF1"}
    assert metrics("hp-s2c5") == ()


def test_published_points_of_another_metric_are_left_out() -> None:
    assert points_for("meltome", "any", REGISTRY.tasks["meltome"].card.metric) == ()
    assert metrics("meltome") == ("accuracy (%)",)
    assert metrics("hp-s/tm") == ()
