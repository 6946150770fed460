"""The Page: tables, figures, certificates and commands of records, as one HTML file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import smc_eval
from smc_eval.errors import UsageError
from smc_eval.registry import Registry, load_registry
from smc_eval.reporting.chance import chances_of
from smc_eval.reporting.footnotes import Footnotes, footnotes
from smc_eval.reporting.html import certificates, results_table
from smc_eval.reporting.html.commands import commands_of
from smc_eval.reporting.html.cost_chart import cost_figure
from smc_eval.reporting.html.figure import Figure, FigureData
from smc_eval.reporting.html.headline import headline
from smc_eval.reporting.html.layer_heatmap import layer_figure
from smc_eval.reporting.html.mask_agreement import agreement_figure
from smc_eval.reporting.html.packed_rows import Matrix, Rows
from smc_eval.reporting.html.score_chart import score_figure
from smc_eval.reporting.html.speed_chart import speed_figure
from smc_eval.reporting.html.style import MARK_WIDTH, SHAPE_PATHS, THEME_COLOURS, Style, styles_of
from smc_eval.reporting.html.weight_change import weight_change_figure
from smc_eval.reporting.series import Panel
from smc_eval.reporting.summary import Summaries
from smc_eval.reporting.summary_table import SUMMARY_HEADS
from smc_eval.reporting.table import Table
from smc_eval.store.mask_samples import FindSamples
from smc_eval.store.record import Record
from smc_eval.store.speeds import FindSpeeds

VEGA_LITE = "6.4"
"""The version of Vega-Lite that is embedded in the page; vl-convert ships it."""

FigureAndData = tuple[Figure, Rows | Matrix] | None

MakeFigure = Callable[[Panel, str], FigureAndData]
"""Makes the figure of a panel with this name, and its data; None without data."""


class Section(NamedTuple):
    """One section of figures, one figure per panel; `absent` names panels without data, and why."""

    name: str
    """Part of the names of its figures' files."""
    menu: str
    """Its entry in the menu of the page: one word."""
    title: str
    lead: str
    """The text above its figures."""
    figures: tuple[Figure, ...]
    absent: str = ""


class Page(NamedTuple):
    """The content of the page."""

    table: Table
    notes: Footnotes
    summaries: Summaries
    styles: tuple[Style, ...]
    """One for each method, the same in all figures."""
    sections: tuple[Section, ...]
    data: FigureData
    registry: Registry
    find_speeds: FindSpeeds

    @classmethod
    def of(
        cls,
        table: Table,
        find_samples: FindSamples = lambda _: None,
        summaries: Summaries | None = None,
        find_speeds: FindSpeeds = lambda _: None,
    ) -> Page:
        """The page of a table; `find_samples` returns the mask samples of a record, `find_speeds` its speeds.

        `summaries` are those of the table, if they are computed already.
        """
        registry = load_registry()
        summaries = summaries or Summaries.of(table, chances_of((row.task for row in table.rows), registry))
        panels = summaries.panels
        styles = styles_of(series.label for panel in panels for series in panel.series if series.points)
        names = _names(panels)
        data: dict[str, Rows | Matrix] = {}

        def section(
            name: str,
            menu: str,
            title: str,
            lead: str,
            make: Callable[[Panel, str], FigureAndData],
            absent: str,
        ) -> Section:
            figures, without = [], []
            for panel in panels:
                if (drawn := make(panel, names[panel.title])) is None:
                    without.append(panel.title)
                    continue
                figure, data[figure.data] = drawn
                figures.append(figure)
            titles = f": {', '.join(without)}" if figures else ""
            missing = f"Not shown{titles}. {absent}" if without else ""
            return Section(name, menu, title, lead, tuple(figures), missing)

        score, cost = partial(score_figure, styles=styles), partial(cost_figure, styles=styles)
        agreement = partial(agreement_figure, find_samples=find_samples)
        speed = partial(speed_figure, styles=styles, find_speeds=find_speeds)
        sections = (
            section("curves", "Scores", "Score against sparsity", CURVES_LEAD, score, ""),
            section("cost", "Costs", "Score against cost", COST_LEAD, cost, COST_ABSENT),
            section("speed", "Speed", "Measured speed", SPEED_LEAD, speed, SPEED_ABSENT),
            section("layers", "Tensors", "Sparsity of each tensor", LAYERS_LEAD, layer_figure, LAYERS_ABSENT),
            section("agreement", "Masks", "Agreement of masks", AGREEMENT_LEAD, agreement, AGREEMENT_ABSENT),
            section("moved", "Weights", "Change of weights", MOVED_LEAD, weight_change_figure, MOVED_ABSENT),
        )
        return cls(table, footnotes(table), summaries, styles, sections, data, registry, find_speeds)

    @property
    def html(self) -> str:
        """The page as one file that loads no other file.

        Raises:
            UsageError: the extra `page` is not installed.
        """
        jinja, convert = extra_module("jinja2"), extra_module("vl_convert")
        environment = jinja.Environment(
            loader=jinja.PackageLoader("smc_eval.reporting.html"),
            autoescape=True,
            undefined=jinja.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        text: str = environment.get_template("page.html").render(
            **self._values, script=convert.javascript_bundle(vl_version=VEGA_LITE)
        )
        return text

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Every figure of every section."""
        return tuple(figure for section in self.sections for figure in section.figures)

    @property
    def _values(self) -> Mapping[str, Any]:
        records = self.table.records
        drawn = {figure.name: figure.page_spec for figure in self.figures}
        packed = {name: numbers.packed() for name, numbers in self.data.items()}
        rows = list(results_table.page_rows(self.summaries, self.table.columns))
        return {
            "headline": headline(records, self.notes),
            "notes": self.notes,
            "sections": self.sections,
            "styles": self.styles,
            "theme_colours": THEME_COLOURS,
            "columns": self.table.columns,
            "several_models": len({model for _, model, _ in (row.names for row in rows)}) > 1,
            "summary_heads": SUMMARY_HEADS,
            "shape_paths": SHAPE_PATHS,
            "mark_width": MARK_WIDTH,
            "rows": rows,
            "ranking": self.summaries.suite,
            "verdicts": certificates.verdicts(records, self.find_speeds),
            "verdict_heads": certificates.VERDICT_HEADS,
            "commands": commands_of(records, self.registry),
            "versions": _versions(records),
            "digests": _digests(records),
            "specs": _script(drawn),
            "data": _script(packed),
            "release": smc_eval.__version__,
        }


CURVES_LEAD = (
    "Each line is a method. Its band is the 95 % confidence interval over seeds and items. The horizontal "
    "line is the dense net, and the dotted line is the chance level. The axis has the steps of SMC-Bench: "
    "each step keeps 0.8 of the weights."
)
COST_LEAD = (
    "The cost is relative to the dense net. The grey line is the Pareto front. A method is on it if no other "
    "method has a better score at the same or a lower cost, or the same score at a lower cost."
)
COST_ABSENT = "No cost relative to a dense net is known."
SPEED_LEAD = (
    "The speed of predictions is relative to dense products on the same machine. The command smc-eval speed "
    "measured it. Each net has its fastest kernel."
)
SPEED_ABSENT = "No speed was measured. The command smc-eval speed STORE measures it."
LAYERS_LEAD = (
    "Each row is a tensor, in the order of the net. The sign × marks a dead tensor: all of its weights are "
    "pruned. It blocks every path through it, whatever the sparsity of the whole net."
)
LAYERS_ABSENT = "The records have no sparsities of tensors."
AGREEMENT_LEAD = (
    "The agreement of two nets is the number of weights that both keep, divided by the number that at least "
    "one keeps."
)
AGREEMENT_ABSENT = "No two nets have stored mask samples that can be compared."
MOVED_LEAD = (
    "The change is the distance of the weights from their initial values. If it is small, training is lazy. "
    "Magnitudes then carry little information about the task."
)
MOVED_ABSENT = "The records have no changes of weights."


def _names(panels: Sequence[Panel]) -> dict[str, str]:
    """A distinct file name for each panel, by its title."""
    names: dict[str, str] = {}
    for panel in panels:
        model = panel.model.rstrip("/").rpartition("/")[2]
        name = re.sub(r"[^a-z0-9]+", "-", f"{panel.task}-{model}".lower()).strip("-")
        names[panel.title] = f"{name}-{len(names)}" if name in names.values() else name
    return names


def _versions(records: Sequence[Record]) -> dict[str, list[str]]:
    """The versions of each library; if there are several, numbers may differ between them."""
    versions: dict[str, list[str]] = {}
    for record in records:
        for name, version in record.versions.items():
            if str(version) not in (known := versions.setdefault(name, [])):
                known.append(str(version))
    return versions


def _digests(records: Sequence[Record]) -> list[tuple[str, str, str]]:
    """Task, source and digest of all data that was read."""
    sources = {
        (
            record.task + ("" if record.fold is None else f" fold {record.fold}"),
            record.data.source,
            record.data.digest or "–",
        )
        for record in records
        if record.status == "ok"
    }
    return sorted(sources)


def _script(value: object) -> str:
    """JSON that cannot end a script element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def check_extra() -> None:
    """Check, before anything is printed, that the extra `page` is installed. It imports nothing.

    Raises:
        UsageError: a package of it is missing.
    """
    from importlib.util import find_spec

    for module in ("jinja2", "vl_convert"):
        if find_spec(module) is None:
            raise _missing(module)


def extra_module(module: str) -> Any:
    """A module of the extra `page`."""
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError:
        raise _missing(module) from None


def _missing(module: str) -> UsageError:
    return UsageError(
        f"--html and --figures need {module}, which is not installed; pip install 'smc-eval[page]'"
    )
