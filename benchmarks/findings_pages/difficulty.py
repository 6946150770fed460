"""The tables and the figure of docs/findings/difficulty.md: what nets keep of easy and of hard test examples.

Where the class of each example comes from stands in `difficulty_classes.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from findings_pages.difficulty_classes import FILE, Classes, classes_of
from findings_pages.stored import PAGES, read, signed

from smc_eval import capabilities
from smc_eval.experiment.grid import task_named
from smc_eval.method import DENSE
from smc_eval.registry import registry
from smc_eval.reporting.html.page import VEGA_LITE, extra_module
from smc_eval.statistics import Curve, Sample
from smc_eval.statistics.estimate import contrast, estimate_sample
from smc_eval.statistics.resample import draws
from smc_eval.statistics.shapes import Floats
from smc_eval.store.predictions import items_in
from smc_eval.tasks.protein.spearman import spearman

STORES = {"hurts-gts": "GTS from scratch, MAWPS", "hurts-hp": "ESM-2 8M, HP-S²C2"}
"""The folders of records, and the titles of their rows and panels."""
SHARE, DRAWS, LEVEL = 0.95, 1000, 0.95
COLOURS = ("#2a78d6", "#e8850c", "#7a3fb0")
"""Of the classes, from easy to hard; they differ in lightness too."""


class Scores(NamedTuple):
    """100 or 0 for each seed and example: of the dense net, and of each sparsity of each method."""

    dense_SN: Floats
    sparse: Mapping[str, Mapping[float, Floats]]
    chance: float


class Row(NamedTuple):
    """The shares that one method keeps, at each sparsity and in each class: measured, and in each draw."""

    method: str
    sparsities: tuple[float, ...]
    share_CP: Floats
    share_BCP: Floats

    @property
    def range(self) -> tuple[float, float]:
        """The measured sparsities; s@95 outside is 0 or 1."""
        return self.sparsities[0], self.sparsities[-1]

    def crossings(self, share_CP: Floats) -> Floats:
        """s@95 of each class [C]: 0 below the measured sparsities, 1 above."""
        bounds, found = {"below": 0.0, "above": 1.0}, list[float]()
        for share_P in share_CP:
            at = Curve(1.0, dict(zip(self.sparsities, share_P.tolist(), strict=True))).sparsity_at(SHARE)
            assert at is not None
            found.append(bounds.get(at.bounded, at.sparsity))
        return np.array(found)


def difficulty() -> str:
    """Tables in Markdown for each store."""
    found = [name for name in STORES if (PAGES / "records" / name / FILE).is_file()]
    return "\n\n".join(table for name in found for table in _tables(name))


def _tables(name: str) -> Iterator[str]:
    classes, rows = _rows(name)
    yield _begins(name, classes, rows)
    yield _deep(name, classes, rows, "")
    if classes.repeated_N.any():
        yield _deep(name, *_rows(name, new=True), ", without examples that stand in the training data")


def _columns(classes: Classes) -> tuple[str, str]:
    """The heads of the columns of the classes and their difference, and the line below."""
    gap = f"{classes.names[-1]} minus {classes.names[0]}"
    return f"{' | '.join(classes.names)} | {gap} |", f"{' | '.join('--:' for _ in classes.names)} | --: |"


def _begins(name: str, classes: Classes, rows: Sequence[Row]) -> str:
    """Where damage begins: s@95 of each class."""
    columns, rule = _columns(classes)
    lines = [
        f"**{STORES[name]}**; s@95 of each class, easy to hard",
        "",
        f"| method | {columns}",
        f"| --- | {rule}",
    ]
    crossings = [
        (row.crossings(row.share_CP), np.array([row.crossings(one) for one in row.share_BCP])) for row in rows
    ]
    for row, (at_C, at_BC) in zip(rows, crossings, strict=True):
        places = [
            f"{_bounded(at, row.range)} ({_bounds(at_B, row.range)})"
            for at, at_B in zip(at_C, at_BC.T, strict=True)
        ]
        inside_C, inside_BC = np.clip(at_C, *row.range), np.clip(at_BC, *row.range)
        difference = _with_ends(inside_C[-1] - inside_C[0], inside_BC[:, -1] - inside_BC[:, 0])
        lines.append(f"| `{row.method}` | {' | '.join(places)} | {difference} |")
    whole = _correlation([at_C for at_C, _ in crossings], rows)
    count = min(len(at_BC) for _, at_BC in crossings)
    drawn = [_correlation([at_BC[number] for _, at_BC in crossings], rows) for number in range(count)]
    lines += ["", f"Rank correlation of difficulty and s@95 within methods: {_with_ends(whole, drawn)}."]
    return "\n".join(lines)


def _deep(name: str, classes: Classes, rows: Sequence[Row], which: str) -> str:
    """What is left beyond: the share kept at the highest sparsity."""
    columns, rule = _columns(classes)
    dense = " and ".join(f"{score:.1f}" for score in _dense(name, classes))
    lines = [
        f"**{STORES[name]}**; share kept at the highest sparsity tried{which}; dense scores {dense}",
        "",
        f"| method | sparsity | {columns}",
        f"| --- | --: | {rule}",
    ]
    for row in rows:
        kept_C, kept_BC = row.share_CP[:, -1], row.share_BCP[:, :, -1]
        difference = _with_ends(kept_C[-1] - kept_C[0], kept_BC[:, -1] - kept_BC[:, 0])
        shares = " | ".join(f"{share:.2f}".replace("-", "−") for share in kept_C)
        lines.append(f"| `{row.method}` | {row.sparsities[-1]:g} | {shares} | {difference} |")
    return "\n".join(lines)


def _dense(name: str, classes: Classes) -> list[float]:
    """The dense score of each class."""
    dense_SN = _scores(name).dense_SN
    return [float(dense_SN[:, classes.of_N == at].mean()) for at in range(len(classes.names))]


def figure() -> str:
    """The share that is kept over sparsity, a line for each class and a panel for each method, as SVG."""
    x = {"field": "sparsity", "type": "quantitative", "scale": {"domain": [0.4, 1.0]}}
    y = {"field": "share", "type": "quantitative", "title": "share kept"}
    colour = {
        "field": "class",
        "type": "nominal",
        "sort": None,
        "title": "difficulty",
        "scale": {"range": list(COLOURS)},
    }
    ends = {"x": x, "y": y | {"field": "low"}, "y2": {"field": "high"}, "color": colour}
    spec = {
        "data": {"values": list(_values())},
        "facet": {
            "column": {"field": "method", "title": None, "sort": None},
            "row": {"field": "panel", "title": None, "sort": list(STORES.values())},
        },
        "spec": {
            "width": 170,
            "height": 170,
            "layer": [
                {"mark": "rule", "encoding": ends},
                {"mark": {"type": "line", "point": True}, "encoding": {"x": x, "y": y, "color": colour}},
            ],
        },
        "background": "white",
    }
    svg: str = extra_module("vl_convert").vegalite_to_svg(spec, vl_version=VEGA_LITE)
    return svg


def _values() -> Iterator[dict[str, object]]:
    for name, title in STORES.items():
        if not (PAGES / "records" / name / FILE).is_file():
            continue
        classes, rows = _rows(name)
        for row in rows:
            for number, sparsity in enumerate(row.sparsities):
                for at, label in enumerate(classes.names):
                    low, high = _ends(row.share_BCP[:, at, number])
                    point = {"panel": title, "method": row.method, "class": label, "sparsity": sparsity}
                    yield point | {"share": float(row.share_CP[at, number]), "low": low, "high": high}


@cache
def _rows(name: str, *, new: bool = False) -> tuple[Classes, list[Row]]:
    """The classes of a store, and what each of its methods keeps in each of them.

    With `new`, examples that stand in the training data are in no class.
    """
    classes, scores = classes_of(name), _scores(name)
    if new:
        classes = classes._replace(of_N=np.where(classes.repeated_N, -1, classes.of_N))
    assert scores.dense_SN.shape[1] == len(classes.of_N)
    return classes, [_row(method, scores, points, classes) for method, points in scores.sparse.items()]


def _row(method: str, scores: Scores, points: Mapping[float, Floats], classes: Classes) -> Row:
    """One method, with draws of all its scores together: the same seeds, and the same examples of a class."""
    right = (scores.dense_SN, *points.values())
    samples = [[_sample(each_SN, classes, at) for each_SN in right] for at in range(len(classes.names))]
    values_CP = np.array([[sample.value() for sample in own] for own in samples])
    share_CP = _shares(values_CP[:, :, None], scores.chance)[:, :, 0]
    freedom = median(
        min(estimate_sample(point).freedom, contrast(point, own[0], share).freedom)
        for own, shares in zip(samples, share_CP.tolist(), strict=True)
        for point, share in zip(own[1:], shares, strict=True)
    )
    drawn = draws([sample for own in samples for sample in own], DRAWS, freedom, linear=True)
    drawn_CPB = drawn.reshape(*values_CP.shape, DRAWS)
    drawn_CPB = drawn_CPB[:, :, (drawn_CPB[:, 0] > scores.chance).all(0)]  # else shares mean nothing
    share_CPB = _shares(drawn_CPB, scores.chance)
    return Row(method, tuple(points), share_CP, np.ascontiguousarray(share_CPB.transpose(2, 0, 1)))


def _sample(right_SN: Floats, classes: Classes, at: int) -> Sample:
    """The examples of one class."""
    rows_SNK = right_SN[:, classes.of_N == at, None]
    groups_N, seeds = np.zeros(rows_SNK.shape[1], dtype=np.intp), tuple(range(len(rows_SNK)))
    return Sample("mean", rows_SNK, groups_N, np.ones(1), seeds, ((at,),), (0.0, 100.0))


def _shares(values_CPB: Floats, chance: float) -> Floats:
    """Shares of the dense score above chance; the first score is the dense one."""
    above_CPB = values_CPB - chance
    return np.asarray(above_CPB[:, 1:] / above_CPB[:, :1])


def _scores(name: str) -> Scores:
    """The right answers of all certified cells of the searches."""
    folder = PAGES / "records" / name
    find_items = items_in([folder])
    right: dict[tuple[str, float], dict[int, list[float]]] = {}
    records = [record for record in read(folder)[0] if record.sound and "+" not in record.method]
    for record in records:
        items = find_items(record.digest)
        assert items is not None
        key = record.method, record.target.sparsity
        right.setdefault(key, {})[record.seed] = [row[0] for row in items.rows]
    arrays = {key: np.array([rows[seed] for seed in sorted(rows)]) for key, rows in right.items()}
    dense_SN = arrays.pop((DENSE, 0.0))
    sparse: dict[str, dict[float, Any]] = {}
    for (method, sparsity), right_SN in sorted(arrays.items()):
        if right_SN.shape == dense_SN.shape:  # a sparsity of which a seed is missing is left out
            sparse.setdefault(method, {})[sparsity] = right_SN
    chance = capabilities.chance(task_named(records[0].task, registry()))
    return Scores(dense_SN, sparse, chance)


def _correlation(found: Sequence[Floats], rows: Sequence[Row]) -> float:
    """Spearman's correlation of the class and s@95, from which the mean of its method is taken."""
    places, values = list[float](), list[float]()
    for at_C, row in zip(found, rows, strict=True):
        inside_C = np.clip(at_C, *row.range)
        places += range(len(inside_C))
        values += (inside_C - inside_C.mean()).round(9).tolist()
    return spearman(places, values) if len(set(values)) > 1 else 0.0


def _with_ends(value: float, drawn_B: Sequence[float] | Floats) -> str:
    low, high = _ends(drawn_B)
    return f"{signed(value)} ({signed(low)} to {signed(high)})"


def _bounds(drawn_B: Floats, measured: tuple[float, float]) -> str:
    return " to ".join(_bounded(end, measured) for end in _ends(drawn_B))


def _ends(drawn_B: Sequence[float] | Floats) -> tuple[float, float]:
    """The ends of an interval, each of which is one of the draws."""
    low, high = np.quantile(drawn_B, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="nearest")
    return float(low), float(high)


def _bounded(sparsity: float, measured: tuple[float, float]) -> str:
    """A sparsity, or the end of the measured range beyond which it is."""
    if sparsity < measured[0]:
        return f"< {measured[0]:.2f}"
    return f"≥ {measured[1]:.2f}" if sparsity > measured[1] else f"{sparsity:.2f}"
