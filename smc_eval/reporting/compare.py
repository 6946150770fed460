"""Comparisons of two methods over all that both were run on, corrected for how many there are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from smc_eval.errors import UnknownName, UsageError
from smc_eval.method import DENSE
from smc_eval.reporting.cell_value import FindItems
from smc_eval.reporting.table import ANY, column_names, distinct, facets, sparsity_key
from smc_eval.statistics.paired import Comparison, compare_samples, holm, seeds_needed
from smc_eval.statistics.sample import Sample
from smc_eval.store.record import Record, scores_by_seed

OWN_FACETS = ("distribution", "match", "factor", "inside")
"""Facets that may be a method's own; in all others two methods ought to be alike."""

SparsityLevel = tuple[str, float]
"""How sparse: `dense`, `free` or a pattern, and a number."""

SquareKey = tuple[str, str, SparsityLevel]
"""Task, model, and how sparse."""


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
    """What sets their records apart beside the method: a facet, and its value on either side."""

    @property
    def better(self) -> str:
        """`a`, `b`, `tie`, or `unknown` where nothing tells how far the difference may be off."""
        if self.comparison.interval is None:
            return "unknown"
        verdict = self.comparison.verdict(self.p)
        turned = {"a": "b", "b": "a"}
        return verdict if self.higher else turned.get(verdict, verdict)

    @property
    def needed(self) -> int | None:
        """Of a tie: how many seeds would show a difference of this size in four experiments of five."""
        return seeds_needed(self.comparison) if self.better == "tie" else None


@dataclass(frozen=True)
class Side:
    """A method as it was named, and what it has at each task, model and sparsity."""

    method: str
    at: SparsityLevel | None
    """The one sparsity that is meant; None means all."""
    squares: Mapping[SquareKey, tuple[Sample, Record]]

    @property
    def single(self) -> bool:
        """Whether it has one net a task, which stands beside every sparsity of the other side."""
        return self.at is not None or self.method == DENSE


def compare_methods(
    records: Sequence[Record], look: FindItems, a: str, b: str, where: Mapping[str, str] | None = None
) -> list[PairedComparison]:
    """Methods a and b at every task, model and sparsity that both have.

    `METHOD@SPARSITY` is a method at one sparsity; it stands beside every sparsity of the other, as
    `dense` does. Only certified records enter. `where` keeps those of which a facet has a value, as
    `distribution=global`.

    Raises:
        UnknownName: a method has no records.
        UsageError: it has none at the sparsity that is said, or several rows to choose from; or the two
            have nothing in common.
    """
    kept = [record for record in distinct(records) if record.sound and _fits(record, where or {})]
    first, second = (_side(kept, word, look) for word in (a, b))
    if (first.method, first.at) == (second.method, second.at):
        raise UsageError(f"{a!r} was named twice; name two methods, or one at two sparsities")
    shared = _shared(first, second)
    if not shared:
        raise UsageError(f"{a!r} and {b!r} have no task, model and sparsity in common")
    ours, theirs = first.squares, second.squares
    tested = [(here, there, compare_samples(ours[here][0], theirs[there][0])) for here, there in shared]
    corrected = iter(holm([found.p for _, _, found in tested if found.interval]))
    names = column_names(kept)
    told = []
    for here, there, found in tested:
        one, other = ours[here][1], theirs[there][1]
        assert one.score is not None
        told.append(
            PairedComparison(
                task=here[0],
                model=here[1],
                level=_told(names[here[2]], names[there[2]]),
                metric=one.score.metric,
                higher=one.score.higher_is_better,
                comparison=found,
                p=next(corrected) if found.interval else 1.0,
                unlike=_unlike(one, other),
            )
        )
    return told


def _shared(first: Side, second: Side) -> list[tuple[SquareKey, SquareKey]]:
    """The squares of both sides that are compared; never one with itself."""
    return sorted(
        (here, there)
        for here in first.squares
        for there in second.squares
        if here[:2] == there[:2]
        and (first.single or second.single or here == there)
        and (first.method, here) != (second.method, there)
    )


def _told(here: str, there: str) -> str:
    """At which sparsity two squares are compared; the dense net's goes without saying."""
    return " / ".join(name for name in dict.fromkeys((here, there)) if name != DENSE)


def _parted(word: str, records: Sequence[Record]) -> tuple[str, SparsityLevel | None]:
    """The method of a word, and the sparsity behind its `@`.

    Raises:
        UnknownName: it has no certified records.
        UsageError: it has none at that sparsity.
    """
    methods = {record.method for record in records}
    whole = word in methods or "@" not in word
    method, parted, wanted = (word, "", "") if whole else word.rpartition("@")
    if method not in methods:
        raise UnknownName("method with certified records", method, methods)
    if not parted:
        return method, None
    if method == DENSE:
        raise UsageError(f"{word!r} names a sparsity of the dense net, which has none; write {DENSE}")
    own = {sparsity_key(record) for record in records if record.method == method}
    known = {at: name for at, name in column_names(records).items() if at in own}
    found = [at for at, name in known.items() if name == wanted or _near(at, wanted)]
    if len(found) != 1:
        raise UsageError(f"{method!r} has no sparsity {wanted!r}; write one of {', '.join(known.values())}")
    return method, found[0]


def _near(at: SparsityLevel, wanted: str) -> bool:
    """Whether a sparsity is what was wanted, to three decimals at least."""
    kind, sparsity = at
    if kind != "free" or not re.fullmatch(r"0?\.[0-9]{1,9}", wanted):
        return False
    return round(sparsity, max(3, len(wanted.partition(".")[2]))) == float(wanted)


def _side(records: Sequence[Record], word: str, look: FindItems) -> Side:
    """The sample of each square of a method, with one of its records."""
    method, wanted = _parted(word, records)
    squares: dict[SquareKey, list[Record]] = {}
    for record in records:
        if record.method == method and wanted in {None, sparsity_key(record)}:
            squares.setdefault((record.task, record.model, sparsity_key(record)), []).append(record)
    found = {}
    for at, square in squares.items():
        for name in facets(square[0]):
            values = {str(facets(record).get(name)) for record in square} - {ANY}
            if len(values) > 1:
                raise UsageError(
                    f"{method!r} has several rows on {at[0]}: {name} {', '.join(sorted(values))}; "
                    f"choose one, as in --where {name}={min(values)}"
                )
        sample = Sample.of(square, look)
        found[at] = sample or Sample.of_seeds(scores_by_seed(square)), square[0]
    return Side(method, wanted, found)


def _unlike(first: Record, second: Record) -> dict[str, tuple[str, str]]:
    """Facets, but a method's own, that two records have and differ in."""
    one, other = facets(first), facets(second)
    return {
        name: (str(one[name]), str(other.get(name)))
        for name in one
        if name not in OWN_FACETS and ANY not in {one[name], other.get(name)} and one[name] != other.get(name)
    }


def _fits(record: Record, where: Mapping[str, str]) -> bool:
    known = {"task": record.task, "model": record.model, **facets(record)}
    for name, value in where.items():
        if name not in known:
            raise UnknownName("facet", name, known)
        if str(known[name]) not in {value, ANY}:
            return False
    return True
