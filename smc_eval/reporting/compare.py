"""Comparisons of two methods on everything that both were run on, corrected for the number of tests."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from smc_eval.errors import UnknownName, UsageError
from smc_eval.method import DENSE
from smc_eval.reporting.cell_value import FindItems
from smc_eval.reporting.differences import differing
from smc_eval.reporting.table import ANY, column_names, distinct, facet_text, facets, sparsity_key
from smc_eval.statistics.paired import Comparison, compare_samples, holm, seeds_needed
from smc_eval.statistics.sample import Sample, ends_of
from smc_eval.store.record import Record, scores_by_seed

OWN_FACETS = ("distribution", "match", "factor", "inside")
"""Facets that a method may choose; two compared methods should agree in all others."""

SparsityLevel = tuple[str, float]
"""`dense`, `free` or an N:M pattern, and the sparsity."""

ComparisonKey = tuple[str, str, SparsityLevel]
"""Task, model and sparsity level."""


@dataclass(frozen=True)
class PairedComparison:
    """Two methods on one task with one model at one sparsity."""

    task: str
    model: str
    level: str
    metric: str
    higher: bool
    """Whether a higher score is better."""
    comparison: Comparison
    p: float
    """Corrected by Holm's method for all comparisons that are shown together."""
    unlike: Mapping[str, tuple[str, str]]
    """Facets in which their records differ, apart from the method, and both values."""
    differing: Mapping[str, tuple[str, ...]]
    """Versions that differ between any of their records, and digests of their data; all values."""

    @property
    def better(self) -> str:
        """`a`, `b`, `tie`, or `unknown` without a confidence interval of the difference."""
        if self.comparison.interval is None:
            return "unknown"
        verdict = self.comparison.verdict(self.p)
        turned = {"a": "b", "b": "a"}
        return verdict if self.higher else turned.get(verdict, verdict)

    @property
    def needed(self) -> int | None:
        """For a tie: the number of seeds that would show this difference with a power of 80 %."""
        return seeds_needed(self.comparison) if self.better == "tie" else None


@dataclass(frozen=True)
class Side:
    """One method of the comparison, and its samples at each task, model and sparsity."""

    method: str
    at: SparsityLevel | None
    """The one sparsity that is compared; None means all."""
    samples: Mapping[ComparisonKey, tuple[Sample, Sequence[Record]]]
    """Each sample with its records."""

    @property
    def single(self) -> bool:
        """Whether it has one net per task, which is compared with every sparsity of the other side."""
        return self.at is not None or self.method == DENSE


def compare_methods(
    records: Sequence[Record], find_items: FindItems, a: str, b: str, where: Mapping[str, str] | None = None
) -> list[PairedComparison]:
    """Compare methods a and b at every task, model and sparsity that both have.

    `METHOD@SPARSITY` is a method at one sparsity; like `dense`, it is compared with every sparsity of the
    other method. Only certified records count. `where` selects records by the values of facets, such
    as `distribution=global`.

    Raises:
        UnknownName: a method has no certified records.
        UsageError: a method has none at the requested sparsity, or several rows to choose from; or the two
            have nothing in common.
    """
    selected = selected_records([record for record in distinct(records) if record.sound], where or {})
    first, second = (_side(selected, word, find_items) for word in (a, b))
    if (first.method, first.at) == (second.method, second.at):
        raise UsageError(f"{a!r} was named twice; name two methods, or one at two sparsities")
    pairs = _pairs(first, second, selected)
    if not pairs:
        raise UsageError(f"{a!r} and {b!r} have no task, model and sparsity in common")
    tested = [
        (key_a, key_b, compare_samples(first.samples[key_a][0], second.samples[key_b][0]))
        for key_a, key_b in pairs
    ]
    corrected = iter(holm([comparison.p for _, _, comparison in tested if comparison.interval]))
    names = column_names(selected)
    comparisons = []
    for key_a, key_b, comparison in tested:
        records_a, records_b = first.samples[key_a][1], second.samples[key_b][1]
        record_a, record_b = records_a[0], records_b[0]
        assert record_a.score is not None
        comparisons.append(
            PairedComparison(
                task=key_a[0],
                model=key_a[1],
                level=_level(names[key_a[2]], names[key_b[2]]),
                metric=record_a.score.metric,
                higher=record_a.score.higher_is_better,
                comparison=comparison,
                p=next(corrected) if comparison.interval else 1.0,
                unlike=_unlike(record_a, record_b),
                differing=differing([*records_a, *records_b]),
            )
        )
    return comparisons


def _pairs(first: Side, second: Side, records: Sequence[Record]) -> list[tuple[ComparisonKey, ComparisonKey]]:
    """The keys of both sides that are compared, in the table's order; never a sample with itself."""
    rows = list(dict.fromkeys((record.task, record.model) for record in records))
    columns = list(column_names(records))

    def place(pair: tuple[ComparisonKey, ComparisonKey]) -> tuple[int, int, int]:
        (task, model, level), (_, _, other) = pair
        return rows.index((task, model)), columns.index(level), columns.index(other)

    pairs = (
        (key_a, key_b)
        for key_a in first.samples
        for key_b in second.samples
        if key_a[:2] == key_b[:2]
        and (first.single or second.single or key_a == key_b)
        and (first.method, key_a) != (second.method, key_b)
    )
    return sorted(pairs, key=place)


def _level(name_a: str, name_b: str) -> str:
    """The sparsity, or both, without the dense net's."""
    return " / ".join(name for name in dict.fromkeys((name_a, name_b)) if name != DENSE)


def parse_side(word: str, records: Sequence[Record]) -> tuple[str, SparsityLevel | None]:
    """The method of `METHOD@SPARSITY`, and its sparsity; None without an `@`.

    Raises:
        UnknownName: the method has no certified records.
        UsageError: the method has none at that sparsity.
    """
    methods = {record.method for record in records}
    whole = word in methods or "@" not in word
    method, separator, wanted = (word, "", "") if whole else word.rpartition("@")
    if method not in methods:
        raise UnknownName("method with certified records", method, methods)
    if not separator:
        return method, None
    if method == DENSE:
        raise UsageError(f"{word!r} names a sparsity of the dense net, which has none; write {DENSE}")
    own = {sparsity_key(record) for record in records if record.method == method}
    names = {level: name for level, name in column_names(records).items() if level in own}
    matching = [level for level, name in names.items() if name == wanted or _equal(level, wanted)]
    if len(matching) != 1:
        raise UsageError(f"{method!r} has no sparsity {wanted!r}; write one of {', '.join(names.values())}")
    return method, matching[0]


def _equal(level: SparsityLevel, wanted: str) -> bool:
    """Whether a sparsity equals the wanted one, to three decimals or more."""
    kind, sparsity = level
    if kind != "free" or not re.fullmatch(r"0?\.[0-9]{1,9}", wanted):
        return False
    return round(sparsity, max(3, len(wanted.partition(".")[2]))) == float(wanted)


def _side(records: Sequence[Record], word: str, find_items: FindItems) -> Side:
    """The samples of a method, each with its records."""
    method, level = parse_side(word, records)
    groups: dict[ComparisonKey, list[Record]] = {}
    for record in records:
        if record.method == method and level in {None, sparsity_key(record)}:
            groups.setdefault((record.task, record.model, sparsity_key(record)), []).append(record)
    samples = {}
    for key, group in groups.items():
        for name in facets(group[0]):
            found = {facets(record).get(name) for record in group} - {ANY}
            values = set(map(facet_text, found))
            if len(found) > 1:
                raise UsageError(
                    f"{method!r} has several rows on {key[0]}: {name} {', '.join(sorted(values))}; "
                    f"choose one, as in --where {name}={min(values)}"
                )
        sample = Sample.of(group, find_items)
        samples[key] = sample or Sample.of_seeds(scores_by_seed(group), ends_of(group)), group
    return Side(method, level, samples)


def _unlike(first: Record, second: Record) -> dict[str, tuple[str, str]]:
    """The facets in which two records differ, without those that a method may choose."""
    a, b = facets(first), facets(second)
    return {
        name: (facet_text(a[name]), facet_text(b.get(name)))
        for name in a
        if name not in OWN_FACETS and ANY not in {a[name], b.get(name)} and a[name] != b.get(name)
    }


def selected_records(records: Sequence[Record], where: Mapping[str, str]) -> list[Record]:
    """The records whose fields have these values.

    Raises:
        UnknownName: there is no such field, or no record has its value; names the values.
    """
    selected = [
        (record, {"task": record.task, "model": record.model, **facets(record)}) for record in records
    ]
    for name, value in where.items():
        if unlike := next((fields for _, fields in selected if name not in fields), None):
            raise UnknownName("field of --where", name, unlike)
        fitting = [
            (record, fields)
            for record, fields in selected
            if fields[name] is ANY or facet_text(fields[name]) == value
        ]
        if selected and not fitting:
            values = {facet_text(fields[name]) for _, fields in selected}
            raise UnknownName(f"{name} of a certified record", value, values)
        selected = fitting
    return [record for record, _ in selected]
