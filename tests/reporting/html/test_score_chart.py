"""The chart of scores shows the measured and the published curves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from smc_eval.reporting.html.figure import depth_axis
from smc_eval.reporting.html.packed_rows import Rows
from smc_eval.reporting.html.score_chart import score_figure
from smc_eval.reporting.html.style import styles_of
from smc_eval.reporting.series import Panel
from smc_eval.store.record import Record

Make = Callable[..., Record]
MakePanel = Callable[[Sequence[Record]], Panel]


def chart(panel: Panel) -> tuple[Any, list[dict[str, Any]]]:
    figure, rows = score_figure(panel, "x", styles_of(series.label for series in panel.series))
    return figure, rows.plain()


def test_published_points_are_shown_for_the_methods_of_the_panel(record: Make, panel_of: MakePanel) -> None:
    _, rows = chart(panel_of([record("dense", value=76.0), record("lth:share=0.3"), record("sparsegpt")]))
    published = [row for row in rows if row["kind"] == "published"]
    assert {row["label"] for row in published} == {"lth:share=0.3"}
    assert len(published) == 10
    assert [row["value"] for row in rows if row["kind"] == "published dense"] == [77.4]


def test_an_ablated_method_is_not_the_published_one(record: Make, panel_of: MakePanel) -> None:
    figure, rows = chart(panel_of([record("lth+shuffle")]))
    assert not [row for row in rows if row["kind"] == "published"]
    assert "+shuffle" in figure.alt


def test_a_published_artefact_is_hollow_and_has_a_note(record: Make, panel_of: MakePanel) -> None:
    records = [record("omp-before", 0.893, 1.0, task="svamp/gts", metric="value accuracy (%)")]
    _, rows = chart(panel_of(records))
    published = {row["column"]: row for row in rows if row["kind"] == "published"}
    assert published["0.893"]["odd"]
    assert "collapsed" in published["0.893"]["note"]
    assert not published["0.2"]["odd"]


def test_the_note_names_the_published_model(record: Make, panel_of: MakePanel) -> None:
    assert "the same model, roberta-large" in chart(panel_of([record()]))[0].note
    assert "roberta-large, not tiny" in chart(panel_of([record(model="tiny")]))[0].note
    other = record(task="meltome", metric="Spearman's rho", value=0.5)
    assert "which is not this score" in chart(panel_of([other]))[0].note


def test_the_dense_net_and_the_chance_level_are_horizontal_lines(record: Make, panel_of: MakePanel) -> None:
    _, rows = chart(panel_of([record("dense", value=76.0), record("lth"), record("snip")]))
    assert [row["value"] for row in rows if row["kind"] == "dense"] == [76.0]
    assert [row["value"] for row in rows if row["kind"] == "chance"] == [20.0]


def test_uncertified_points_are_marked_and_on_no_line(record: Make, panel_of: MakePanel) -> None:
    figure, rows = chart(panel_of([record("lth", 0.36, 60.0), record("lth", 0.672, 50.0, ok=False)]))
    states = {row["column"]: (row["state"], row["note"]) for row in rows if row["kind"] == "measured"}
    assert states["0.672"][0] == "doubt"
    assert "certificate failed" in states["0.672"][1]
    alarms = [layer for layer in figure.spec["layer"] if layer["mark"].get("stroke") == "var(--alarm)"]
    assert [layer["transform"][1] for layer in alarms] == [{"filter": "datum.state == 'doubt'"}]


def test_a_pattern_stands_at_its_exact_share_and_on_no_line(record: Make, panel_of: MakePanel) -> None:
    records = [
        record("lth", 0.36, 60.0),
        record("lth", 0.5, 55.0, pattern="2:4"),
        record("lth", 0.75, 40.0, pattern="1:4"),
        record("lth", 0.5, 54.0, pattern="heads", reached_scope=0.3),
    ]
    figure, rows = chart(panel_of(records))
    patterns = {row["column"]: row for row in rows if row["kind"] == "pattern"}
    # log(0.5) / log(0.8) and twice that: steps of the paper, each of which keeps 0.8
    assert patterns["2:4"]["depth"] == pytest.approx(3.106284, abs=1e-6)
    assert patterns["1:4"]["depth"] == pytest.approx(6.212567, abs=1e-6)
    # half of the heads have 0.3 of the weights in scope: log(0.7) / log(0.8)
    assert patterns["heads:0.5"]["depth"] == pytest.approx(1.598410, abs=1e-6)
    assert [row["column"] for row in rows if row["kind"] == "measured"] == ["0.36"]
    names = [layer["data"]["values"] for layer in figure.spec["layer"] if "data" in layer]
    assert {row["names"] for row in names[0]} == {"2:4", "1:4", "heads:0.5"}
    assert "55.0 at 2:4" in figure.alt
    assert "Large hollow points are N:M patterns" in figure.note


def test_patterns_of_one_share_are_named_together(record: Make, panel_of: MakePanel) -> None:
    records = [record(method, 0.5, 55.0, pattern=p) for method in ("lth", "gmp") for p in ("2:4", "4:8")]
    figure, _ = chart(panel_of(records))
    texts = next(layer["data"]["values"] for layer in figure.spec["layer"] if "data" in layer)
    assert [row["names"] for row in texts] == ["2:4, 4:8"]


def test_without_patterns_nothing_speaks_of_them(record: Make, panel_of: MakePanel) -> None:
    figure, _ = chart(panel_of([record("lth", 0.36, 60.0)]))
    assert not [layer for layer in figure.spec["layer"] if "data" in layer]
    assert "hollow points are" not in figure.note


def test_many_intervals_are_hidden_at_first(record: Make, panel_of: MakePanel) -> None:
    def switch(count: int) -> object:
        methods = ["lth", "gmp", "snip", "wanda", "grasp", "set", "mest", "cap"][:count]
        records = [record(method, value=60.0 + seed, seed=seed) for method in methods for seed in (0, 1)]
        figure, _ = chart(panel_of(records))
        return {control.name: control.value for control in figure.controls}["bands"]

    assert switch(7) is True
    assert switch(8) is False


def test_layers_without_data_are_left_out(record: Make, panel_of: MakePanel) -> None:
    figure, _ = chart(panel_of([record("sparsegpt", task="t")]))
    assert [layer["mark"]["type"] for layer in figure.spec["layer"]] == ["line", "point"]


def test_figures_refer_to_their_rows_by_name(several: list[Record], panel_of: MakePanel) -> None:
    panel = panel_of(several)
    figure, rows = score_figure(panel, "x", styles_of(series.label for series in panel.series))
    assert isinstance(rows, Rows)
    assert figure.page_spec["data"] == {"name": "scores-x"}
    assert "values" not in str(figure.page_spec["data"])


@pytest.mark.parametrize(
    ("depths", "domain", "ticks"),
    [
        ({1.0, 5.0}, [0.8, 5.2], [1, 2, 3, 4, 5]),  # 0.2 and 0.672, as in the paper
        ({7.2126, 10.3188}, [7.0126, 10.5188], [7.2126, 8, 9, 10]),  # 0.8 and 0.9: nothing before 0.8
        ({3.1063}, [2.9063, 4.1063], [3]),  # 0.5 alone: one step wide
    ],
)
def test_the_axis_of_sparsities_begins_just_before_the_data(
    depths: set[float], domain: list[float], ticks: list[float]
) -> None:
    axis = depth_axis(depths)
    assert axis["scale"]["domain"] == pytest.approx(domain)
    assert axis["axis"]["values"] == pytest.approx(ticks)


def test_an_axis_with_a_beginning_of_its_own_keeps_it() -> None:
    assert depth_axis({0.0, 7.2126}, first=0.0)["scale"]["domain"] == pytest.approx([0.0, 7.4126])
