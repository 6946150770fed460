"""The Page: records and what lies beside them, made into sections, and these into one file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import smc_eval
from smc_eval.errors import UsageError
from smc_eval.registry import Registry, load
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
from smc_eval.reporting.html.style import MARKS, SHADES, Style, styles
from smc_eval.reporting.html.weight_change import weight_change_figure
from smc_eval.reporting.series import Panel
from smc_eval.reporting.summary import Summaries
from smc_eval.reporting.summary_table import SUMMARY_HEADS
from smc_eval.reporting.table import Table
from smc_eval.store.mask_samples import FindSamples
from smc_eval.store.record import Record

VEGA_LITE = "6.4"
"""The version whose bundle is laid into the page, of those that vl-convert brings."""

FigureAndData = tuple[Figure, Rows | Matrix] | None


@dataclass(frozen=True)
class Section:
    """One question, a figure a panel; without data, a line that says why."""

    name: str
    title: str
    lead: str
    figures: tuple[Figure, ...]
    absent: str = ""


@dataclass(frozen=True)
class Page:
    """Everything that is shown."""

    table: Table
    notes: Footnotes
    summaries: Summaries
    styles: tuple[Style, ...]
    sections: tuple[Section, ...]
    data: FigureData
    shelves: Registry

    @classmethod
    def of(
        cls, table: Table, find_samples: FindSamples = lambda _: None, summaries: Summaries | None = None
    ) -> Page:
        """The page of a table, whose records may have sketches of their masks beside them.

        `summaries` are the table's, where they are at hand.
        """
        shelves = load()
        summaries = summaries or Summaries.of(table, shelves.chances)
        shown = summaries.panels
        chosen = styles(line.label for panel in shown for line in panel.lines if line.squares)
        names = _names(shown)
        data: dict[str, Rows | Matrix] = {}

        def section(
            name: str, title: str, lead: str, make: Callable[[Panel, str], FigureAndData], absent: str
        ) -> Section:
            figures, wanting = [], []
            for panel in shown:
                if (made := make(panel, names[panel.title])) is None:
                    wanting.append(panel.title)
                    continue
                figure, data[figure.data] = made
                figures.append(figure)
            whose = "" if not figures else f"{', '.join(wanting)}: "
            return Section(name, title, lead, tuple(figures), f"{whose}{absent}" if wanting else "")

        sections = (
            section(
                "curves", "Score against sparsity", CURVES_LEAD, lambda p, n: score_figure(p, n, chosen), ""
            ),
            section(
                "cost",
                "Score against cost",
                COST_LEAD,
                lambda p, n: cost_figure(p, n, chosen),
                "no record stands beside a dense net whose cost is known.",
            ),
            section(
                "layers", "Where the weights went", LAYERS_LEAD, layer_figure, "the records name no tensors."
            ),
            section(
                "agreement",
                "Who keeps the same weights",
                AGREEMENT_LEAD,
                lambda p, n: agreement_figure(p, n, find_samples),
                "no two nets of these records have sketches of their masks beside them, which are kept "
                "since they are part of the store.",
            ),
            section(
                "moved",
                "How far weights moved",
                MOVED_LEAD,
                weight_change_figure,
                "the records hold no certificate.",
            ),
        )
        return cls(table, footnotes(table), summaries, chosen, sections, data, shelves)

    @property
    def html(self) -> str:
        """The page as one file that loads nothing.

        Raises:
            UsageError: the extra `page` is not installed.
        """
        jinja, convert = needs("jinja2"), needs("vl_convert")
        environment = jinja.Environment(
            loader=jinja.PackageLoader("smc_eval.reporting.html"),
            autoescape=True,
            undefined=jinja.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        text: str = environment.get_template("page.html").render(
            **self._told, script=convert.javascript_bundle(vl_version=VEGA_LITE)
        )
        return text

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Every figure of every section."""
        return tuple(figure for section in self.sections for figure in section.figures)

    @property
    def _told(self) -> Mapping[str, Any]:
        records = self.table.records
        drawn = {figure.name: figure.drawn for figure in self.figures}
        packed = {name: rows.packed() for name, rows in self.data.items()}
        return {
            "headline": headline(records, self.notes),
            "notes": self.notes,
            "sections": self.sections,
            "styles": self.styles,
            "shades": SHADES,
            "columns": self.table.columns,
            "further": SUMMARY_HEADS,
            "marks": MARKS,
            "rows": list(results_table.page_rows(self.summaries, self.table.columns)),
            "ranking": self.summaries.suite,
            "verdicts": certificates.verdicts(records),
            "verdict_heads": certificates.VERDICT_HEADS,
            "commands": commands_of(records, self.shelves),
            "versions": _versions(records),
            "digests": _digests(records),
            "specs": _script(drawn),
            "data": _script(packed),
            "release": smc_eval.__version__,
        }


CURVES_LEAD = (
    "A line a method; the band is the 95 % interval over seeds and items; level: the dense net; dotted: a "
    "guess. The axis is spaced like the paper's: each step leaves 0.8 of the weights."
)
LAYERS_LEAD = (
    "The share of each tensor that is gone, in the net's order. A method that empties a tensor (×) cuts "
    "whatever runs through it, at whatever sparsity the whole net has."
)
AGREEMENT_LEAD = "Weights that both nets keep, of those that either keeps."
COST_LEAD = (
    "In units of the dense net's own training. The line joins methods that nobody beats in both: better at "
    "no more cost, or as good for less."
)
MOVED_LEAD = (
    "Where weights barely leave their start, training is lazy, and magnitudes say little of the task."
)


def _names(shown: Sequence[Panel]) -> dict[str, str]:
    """A name for the files of each panel, by its title; no two alike."""
    names: dict[str, str] = {}
    for panel in shown:
        model = panel.model.rstrip("/").rpartition("/")[2]
        name = re.sub(r"[^a-z0-9]+", "-", f"{panel.task}-{model}".lower()).strip("-")
        names[panel.title] = f"{name}-{len(names)}" if name in names.values() else name
    return names


def _versions(records: Sequence[Record]) -> dict[str, list[str]]:
    """Each library's versions; several are told, as numbers may differ between them."""
    found: dict[str, list[str]] = {}
    for record in records:
        for name, version in record.versions.items():
            if str(version) not in (known := found.setdefault(name, [])):
                known.append(str(version))
    return found


def _digests(records: Sequence[Record]) -> list[tuple[str, str, str]]:
    """Task, source and digest of all data that was read."""
    told = {
        (
            record.task + ("" if record.fold is None else f" fold {record.fold}"),
            record.data.source,
            record.data.digest or "–",
        )
        for record in records
        if record.status == "ok"
    }
    return sorted(told)


def _script(value: object) -> str:
    """JSON that ends no script element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def needs(module: str) -> Any:
    """A module of the extra `page`."""
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError:
        raise UsageError(
            f"--html and --figures need {module}, which is not installed; pip install 'smc-eval[page]'"
        ) from None
