"""Comparisons of two methods over all that both were run on, corrected for how many there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from smc_eval.entry import Look, seeds
from smc_eval.errors import UnknownName, UsageError
from smc_eval.results import Result
from smc_eval.statistics.paired import Comparison, compare, holm, seeds_needed
from smc_eval.statistics.sample import Sample
from smc_eval.table import ANY, DENSE, facets, level, short

OWN = ("spread", "match", "factor", "inside")
"""Facets that may be a method's own; in all others two methods ought to be alike."""

Place = tuple[str, str, tuple[str, float]]
"""Task, model, and how sparse."""


@dataclass(frozen=True)
class Versus:
    """Two methods on one task with one model at one sparsity."""

    task: str
    model: str
    level: str
    metric: str
    higher: bool
    """Whether a higher score is better."""
    found: Comparison
    p: float
    """Corrected by Holm's method for all comparisons that are shown together."""
    unlike: Mapping[str, tuple[str, str]]
    """What sets their records apart beside the method: a facet, and its value on either side."""

    @property
    def better(self) -> str:
        """`a`, `b`, `tie`, or `unknown` where nothing tells how far the difference may be off."""
        if self.found.interval is None:
            return "unknown"
        verdict = self.found.verdict(self.p)
        turned = {"a": "b", "b": "a"}
        return verdict if self.higher else turned.get(verdict, verdict)

    @property
    def needed(self) -> int | None:
        """Of a tie: how many seeds would show a difference of this size in four experiments of five."""
        return seeds_needed(self.found) if self.better == "tie" else None


def versus(
    records: Sequence[Result], look: Look, a: str, b: str, where: Mapping[str, str] | None = None
) -> list[Versus]:
    """Methods a and b at every task, model and sparsity that both have; `dense` stands beside each.

    Only certified records enter. `where` keeps those of which a facet has a value, as `spread=global`.

    Raises:
        UnknownName: a method has no records.
        UsageError: they have nothing in common, or a method has several rows to choose from.
    """
    if a == b:
        raise UsageError(f"{a!r} was named twice; name two methods")
    kept = [record for record in records if record.sound and _fits(record, where or {})]
    sides = [_side(kept, method, look) for method in (a, b)]
    for method, other, side in ((a, b, 0), (b, a, 1)):
        if method == DENSE:  # one net beside every sparsity of the other
            own = {(task, model): found for (task, model, _), found in sides[side].items()}
            beside = sides[1 - side]
            sides[side] = {at: own[at[:2]] for at in beside if at[:2] in own and other != DENSE}
    shared = [at for at in sides[0] if at in sides[1]]
    if not shared:
        raise UsageError(f"{a!r} and {b!r} have no task, model and sparsity in common")
    tested = [(at, compare(sides[0][at][0], sides[1][at][0])) for at in sorted(shared, key=str)]
    names = short([sparsity for (_, _, (kind, sparsity)), _ in tested if kind == "free"])
    known = [at for at, found in tested if found.interval]
    corrected = dict(zip(known, holm([found.p for _, found in tested if found.interval]), strict=True))
    told = []
    for at, found in tested:
        task, model, (kind, sparsity) = at
        first, second = (side[at][1] for side in sides)
        assert first.score is not None
        told.append(
            Versus(
                task=task,
                model=model,
                level=names[sparsity] if kind == "free" else kind,
                metric=first.score["metric"],
                higher=first.score["higher_is_better"],
                found=found,
                p=corrected.get(at, 1.0),
                unlike=_unlike(first, second),
            )
        )
    return told


def _side(records: Sequence[Result], method: str, look: Look) -> dict[Place, tuple[Sample, Result]]:
    """The sample of each square of a method, with one of its records."""
    own = [record for record in records if record.method == method]
    if not own:
        raise UnknownName("method with certified records", method, {record.method for record in records})
    squares: dict[Place, list[Result]] = {}
    for record in own:
        squares.setdefault((record.task, record.model, level(record)), []).append(record)
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
        found[at] = sample or Sample.of_seeds(seeds(square)), square[0]
    return found


def _unlike(first: Result, second: Result) -> dict[str, tuple[str, str]]:
    """Facets, but a method's own, that two records have and differ in."""
    one, other = facets(first), facets(second)
    return {
        name: (str(one[name]), str(other.get(name)))
        for name in one
        if name not in OWN and ANY not in {one[name], other.get(name)} and one[name] != other.get(name)
    }


def _fits(record: Result, where: Mapping[str, str]) -> bool:
    known = {"task": record.task, "model": record.model, **facets(record)}
    for name, value in where.items():
        if name not in known:
            raise UnknownName("facet", name, known)
        if str(known[name]) not in {value, ANY}:
            return False
    return True
