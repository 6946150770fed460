"""The table and the figure of docs/findings/lazy.md: how far weights moved against what was lost."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from findings_pages.stored import PAGES, read, signed

from smc_eval.method import DENSE
from smc_eval.reporting.html.page import VEGA_LITE, extra_module
from smc_eval.store.record import Record
from smc_eval.tasks.protein.spearman import spearman

STORES: Mapping[str, str] = {
    "gts": "GTS from scratch, MAWPS",
    "csqa": "MiniLM, CommonsenseQA",
    "hp": "ESM-2 8M, HP-S²C2",
}
"""The folders of records, with what the figure calls them."""
REPAIRING = ("obert", "cap", "alps", "sparsegpt")
"""Methods that also change the unpruned weights by a formula when they prune."""
HEAD = (
    "| net and task | sparsity | change of the dense net | methods | correlation "
    "| those that only train weights | correlation |"
)
RESAMPLES = 10_000
COLOURS = ("#0072b2", "#d55e00")
"""Of trained and of repaired weights."""


@dataclass(frozen=True)
class Row:
    """A method on a task, at a sparsity and with a distribution; means over seeds."""

    method: str
    change: float
    """‖w − w₀‖ / ‖w₀‖ over the unpruned weights in scope."""
    damage: float
    """Dense score of the same seed minus the score, in points."""

    @property
    def repairs(self) -> bool:
        """Whether it changes unpruned weights by a formula."""
        return self.method.partition(":")[0] in REPAIRING


def lazy() -> str:
    """Rank correlations of change and damage, for all methods and for those that only train weights."""
    lines = [HEAD, "| --- | --: | --: | --: | --: | --: | --: |"]
    for name, title in STORES.items():
        records = read(PAGES / "records" / name)[0]
        dense = fmean(_moved(record) for record in records if record.method == DENSE)
        for sparsity, rows in _rows(records).items():
            trained = [row for row in rows if not row.repairs]
            cells = [title, f"{sparsity:g}", f"{dense:.3f}", str(len(rows)), _correlation(rows)]
            lines.append(f"| {' | '.join([*cells, str(len(trained)), _correlation(trained)])} |")
    return "\n".join(lines)


def figure() -> str:
    """A scatter of all rows, a panel for each net and task, as SVG."""
    values = [
        {
            "panel": title,
            "change": row.change,
            "damage": row.damage,
            "weights": "repaired" if row.repairs else "trained",
            "sparsity": f"{sparsity:g}",
        }
        for name, title in STORES.items()
        for sparsity, rows in _rows(read(PAGES / "records" / name)[0]).items()
        for row in rows
    ]
    points = {
        "mark": {"type": "point", "filled": True, "size": 50},
        "width": 230,
        "height": 200,
        "encoding": {
            "x": _axis("change", "change of weights", {"type": "log"}),
            "y": _axis("damage", "points lost"),
            "color": {"field": "weights", "scale": {"range": COLOURS}, "title": "unpruned weights"},
            "shape": {"field": "sparsity", "title": "sparsity"},
        },
    }
    spec = {
        "data": {"values": values},
        "facet": {"column": {"field": "panel", "title": None, "sort": list(STORES.values())}},
        "spec": points,
        "resolve": {"scale": {"x": "independent", "y": "independent"}},
        "background": "white",
    }
    svg: str = extra_module("vl_convert").vegalite_to_svg(spec, vl_version=VEGA_LITE)
    return svg


def _axis(field: str, title: str, scale: Mapping[str, str] | None = None) -> dict[str, object]:
    axis: dict[str, object] = {"field": field, "type": "quantitative", "title": title}
    return axis | {"scale": scale} if scale else axis


def _rows(records: Sequence[Record]) -> dict[float, list[Row]]:
    """The rows of each sparsity."""
    dense = {record.seed: _score(record) for record in records if record.method == DENSE}
    cells = defaultdict[tuple[float, str, str], list[tuple[float, float]]](list)
    for record in records:
        if record.method != DENSE and record.sound:
            key = record.target.sparsity, record.method, record.target.distribution
            cells[key].append((_moved(record), dense[record.seed] - _score(record)))
    rows = defaultdict[float, list[Row]](list)
    for (sparsity, method, _), seeds in cells.items():
        rows[sparsity].append(Row(method, *map(fmean, zip(*seeds, strict=True))))
    return dict(sorted(rows.items()))


def _moved(record: Record) -> float:
    assert record.certificate is not None
    moved = record.certificate.moved.scope_remaining
    assert moved is not None
    return moved


def _score(record: Record) -> float:
    assert record.score is not None
    return record.score.value


def _correlation(rows: Sequence[Row]) -> str:
    """Spearman's correlation of change and damage, with percentiles over resampled methods."""
    drawn = sorted(_resampled(rows))
    low, high = (drawn[round(share * (len(drawn) - 1))] for share in (0.025, 0.975))
    return f"{signed(_spearman(rows))} ({signed(low)} to {signed(high)})"


def _resampled(rows: Sequence[Row]) -> Iterator[float]:
    draws = random.Random(0)
    for _ in range(RESAMPLES):
        drawn = draws.choices(rows, k=len(rows))
        if len({row.change for row in drawn}) > 1 and len({row.damage for row in drawn}) > 1:
            yield _spearman(drawn)


def _spearman(rows: Sequence[Row]) -> float:
    return spearman([row.change for row in rows], [row.damage for row in rows])
