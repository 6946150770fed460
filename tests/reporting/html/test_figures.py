"""Each figure draws what the records say, and says in words what it draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from smc_eval.reporting.html.cost_chart import cost_figure
from smc_eval.reporting.html.layer_heatmap import layer_figure
from smc_eval.reporting.html.mask_agreement import agreement_figure
from smc_eval.reporting.html.packed_rows import Matrix, Rows
from smc_eval.reporting.html.score_chart import score_figure
from smc_eval.reporting.html.style import DASHES, HUES, SHADES, SHAPES, painted, styles
from smc_eval.reporting.html.weight_change import weight_change_figure
from smc_eval.reporting.series import Panel, panels_of
from smc_eval.reporting.table import table_of
from smc_eval.store.mask_samples import MaskSample
from smc_eval.store.record import Record

Make = Callable[..., Record]
Draw = Callable[[str], MaskSample]


def panel(records: Sequence[Record]) -> Panel:
    return panels_of(table_of(records), {"csqa": 20.0, "meltome": 0.0})[0]


def curve(records: Sequence[Record]) -> tuple[Any, list[dict[str, Any]]]:
    shown = panel(records)
    figure, rows = score_figure(shown, "x", styles(line.label for line in shown.lines))
    return figure, rows.plain()


def test_published_points_lie_under_methods_that_ours_has_and_no_others(record: Make) -> None:
    _, rows = curve([record("dense", value=76.0), record("lth:share=0.3"), record("sparsegpt")])
    theirs = [row for row in rows if row["kind"] == "published"]
    assert {row["label"] for row in theirs} == {"lth:share=0.3"}
    assert len(theirs) == 10
    assert [row["value"] for row in rows if row["kind"] == "published dense"] == [77.4]


def test_an_ablated_method_is_not_the_published_one(record: Make) -> None:
    figure, rows = curve([record("lth+shuffle")])
    assert not [row for row in rows if row["kind"] == "published"]
    assert "+shuffle" in figure.alt


def test_a_published_artefact_is_hollow_and_says_why(record: Make) -> None:
    records = [record("omp-before", 0.893, 1.0, task="svamp/gts", metric="value accuracy (%)")]
    _, rows = curve(records)
    odd = {row["column"]: row for row in rows if row["kind"] == "published"}
    assert odd["0.893"]["odd"]
    assert "collapsed" in odd["0.893"]["note"]
    assert not odd["0.2"]["odd"]


def test_whose_model_was_published_is_said(record: Make) -> None:
    assert "the same model, roberta-large" in curve([record()])[0].note
    assert "roberta-large, not tiny" in curve([record(model="tiny")])[0].note
    other = record(task="meltome", metric="Spearman's rho", value=0.5)
    assert "which is not this score" in curve([other])[0].note


def test_the_dense_net_and_a_guess_are_levels(record: Make) -> None:
    _, rows = curve([record("dense", value=76.0), record("lth"), record("snip")])
    assert [row["value"] for row in rows if row["kind"] == "dense"] == [76.0]
    assert [row["value"] for row in rows if row["kind"] == "chance"] == [20.0]


def test_what_is_not_certified_is_marked_and_on_no_line(record: Make) -> None:
    figure, rows = curve([record("lth", 0.36, 60.0), record("lth", 0.672, 50.0, ok=False)])
    states = {row["column"]: (row["state"], row["note"]) for row in rows if row["kind"] == "ours"}
    assert states["0.672"][0] == "doubt"
    assert "certificate failed" in states["0.672"][1]
    alarms = [one for one in figure.spec["layer"] if one["mark"].get("stroke") == "var(--alarm)"]
    assert [one["transform"][1] for one in alarms] == [{"filter": "datum.state == 'doubt'"}]


def test_layers_without_anything_to_draw_are_left_out(record: Make) -> None:
    kinds = [one["mark"]["type"] for one in curve([record("sparsegpt", task="t")])[0].spec["layer"]]
    assert kinds == ["line", "point"]


def test_dead_tensors_are_counted_and_marked(record: Make) -> None:
    made = layer_figure(
        panel([record(tensors={"a": 1.0, "b": 0.5}), record("snip", tensors={"a": 0.9, "b": 0.9})]), "x"
    )
    assert made is not None
    figure, matrix = made
    assert "1 of 4 tensors in 2 squares are dead" in figure.note
    assert isinstance(matrix, Matrix)
    assert [row["tensor"] for row in matrix.plain() if row["share"] == 1] == ["a"]


def test_a_tensor_is_dead_only_if_it_is_in_every_seed(record: Make) -> None:
    made = layer_figure(panel([record(tensors={"a": 1.0}), record(tensors={"a": 0.5}, seed=1)]), "x")
    assert made is not None
    assert [row["share"] for row in made[1].plain()] == [0.75]


def test_old_records_have_no_figures_of_what_they_do_not_tell(record: Make) -> None:
    old = panel([record(tensors={})])
    assert layer_figure(old, "x") is None
    assert weight_change_figure(old, "x") is None
    assert agreement_figure(old, "x", lambda _: None) is None
    assert cost_figure(old, "x", styles(["lth"])) is None  # no dense net to measure by


def test_agreement_is_of_one_seeds_methods_and_of_one_methods_seeds(record: Make, sketch: Draw) -> None:
    masks = {
        record("lth").digest: {"a": sketch("11110000")},
        record("lth", seed=1).digest: {"a": sketch("11000011")},
        record("snip").digest: {"a": sketch("01111000")},
    }
    made = agreement_figure(panel([record("lth"), record("lth", seed=1), record("snip")]), "x", masks.get)
    assert made is not None
    told = {(row["a"], row["b"]): row["iou"] for row in made[1].plain()}
    assert told == pytest.approx({("lth", "lth"): 2 / 6, ("lth", "snip"): 3 / 5, ("snip", "lth"): 3 / 5})
    assert made[1].plain()[0]["chance"] == pytest.approx(0.64 / 1.36)


def test_the_front_holds_whom_nobody_beats(record: Make) -> None:
    records = [
        record("dense", value=77.0, steps=100),
        record("lth", value=70.0, steps=1000),
        record("gmp", value=65.0, steps=100),
        record("snip", value=60.0, steps=100),
        record("omp-after", value=69.0, steps=1100),
    ]
    made = cost_figure(panel(records), "x", styles(["lth"]))
    assert made is not None
    figure, rows = made
    front = {row["label"]: row["cost"] for row in rows.plain() if row["front"]}
    assert front == {"lth": 10.0, "gmp": 1.0}
    assert "nobody beats" in figure.alt


def test_operations_are_counted_with_those_of_pruning_or_not_at_all(record: Make) -> None:
    def spent(train: float, prune: float | None) -> dict[str, Any]:
        part = None if prune is None else {"dense": prune, "sparse": prune}
        return {"flops": {"train": {"dense": train, "sparse": train}, "prune": part}}

    records = [
        record("dense", value=77.0, cost=spent(10.0, 0.0)),
        record("lth", cost=spent(20.0, 5.0)),
        record("snip", cost=spent(20.0, None)),
    ]
    made = cost_figure(panel(records), "x", styles(["lth"]))
    assert made is not None
    told = {row["label"]: row["cost"] for row in made[1].plain() if row["measure"].endswith("sparse")}
    assert told == {"lth": 2.5}


def test_the_way_of_survivors_is_drawn_where_it_is_known(record: Make) -> None:
    def moving(**more: object) -> Record:
        found = record("lth")
        way = {"scope": 0.5, "tensors": {"a": 0.5}, **more}
        return record("lth", certificate={**found.certificate, "moved": way})

    for made, value, words in (
        (weight_change_figure(panel([moving()]), "x"), 0.5, "all weights"),
        (
            weight_change_figure(panel([moving(scope_kept=0.1, tensors_kept={"a": 0.1})]), "x"),
            0.1,
            "survivors alone",
        ),
    ):
        assert made is not None
        assert {row["moved"] for row in made[1].plain()} == {value}
        assert words in made[0].note


def test_no_two_of_the_first_methods_look_alike() -> None:
    chosen = styles(f"m{n}" for n in range(HUES * len(SHAPES)))
    assert len({(style.hue, style.shape) for style in chosen}) == len(chosen)
    assert len({(style.shape, style.dash) for style in chosen[: 7 * len(DASHES)]}) == 28  # without hues, too


def test_a_spec_for_a_file_knows_no_style_sheet() -> None:
    assert painted({"a": ["var(--ink)", ("var(--hue-0)", 1)]}) == {
        "a": [SHADES["ink"][0], [SHADES["hue-0"][0], 1]]
    }


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("night", [0, 1], ids=["day", "night"])
def test_words_and_lines_stand_out_by_day_and_by_night(night: int) -> None:
    shade = {name: pair[night] for name, pair in SHADES.items()}
    for ground in ("paper", "sheet", "wash"):
        for words in ("ink", "soft", "link", "alarm", "good"):
            assert contrast(shade[words], shade[ground]) >= 4.5, (words, ground)
    assert contrast(shade["alarm"], shade["blush"]) >= 4.5
    assert all(contrast(shade[f"hue-{n}"], shade["sheet"]) >= 3 for n in range(HUES))


def test_rows_are_shared_by_name(several: list[Record]) -> None:
    shown = panel(several)
    figure, rows = score_figure(shown, "x", styles(line.label for line in shown.lines))
    assert isinstance(rows, Rows)
    assert figure.drawn["data"] == {"name": "scores-x"}
    assert "values" not in str(figure.drawn["data"])
