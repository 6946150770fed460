"""The score of answers by lm-eval: its filters, its results for each document, and its aggregation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import Any

from smc_eval.errors import DataError, UnknownName
from smc_eval.score import Items, Score
from smc_eval_lm.lm_eval_documents import LOGLIKELIHOOD, Document, Evaluation, Part
from smc_eval_lm.lm_eval_package import as_its_command


@dataclass(frozen=True)
class Measure:
    """A metric, and the filter of the answers that it reads."""

    metric: str
    filter: str

    @classmethod
    def of(cls, found: Evaluation, metric: str | None, by: str | None) -> Measure:
        """The chosen metric and filter; by default the first of the task.

        Raises:
            UnknownName: the task has no such metric or filter.
        """
        where = f"the task {found.asked.name!r} of lm-eval"
        first = found.parts[0].task
        filters = [one.name for one in first._filters]  # noqa: SLF001
        metrics = list(first.aggregation())
        if found.group is not None:
            listed = found.group.aggregate_metric_list
            metrics = list(dict.fromkeys(one.metric for one in listed))
            named = [
                name
                for one in listed
                if one.metric == (metric or metrics[0])
                for name in one.filter_list or ()
            ]
            filters = list(dict.fromkeys(named)) or filters
        for noun, name, known in (("metric", metric, metrics), ("filter", by, filters)):
            if name is not None and name not in known:
                raise UnknownName(f"{noun} of {where}", name, known)
        if not metrics:
            raise DataError(f"{where} names no metric")
        return cls(metric or metrics[0], by or filters[0])

    @property
    def key(self) -> str:
        """Its name in lm-eval's results."""
        return f"{self.metric},{self.filter}"


@dataclass(frozen=True)
class PartScore:
    """What one task gives."""

    part: Part
    values: Mapping[str, Sequence[Any]]
    """What its documents give, by metric and filter."""

    @cached_property
    def totals(self) -> Mapping[str, float]:
        """The aggregated metrics that are numbers, as in lm-eval's results."""
        found = {key: _total(self.aggregation(key), own) for key, own in self.values.items()}
        return {key: total for key, total in found.items() if total is not None}

    @property
    def documents(self) -> int:
        """The largest number of documents that a metric has, as lm-eval counts them."""
        return max(map(len, self.values.values()), default=0)

    def aggregation(self, key: str) -> Any:
        """How a metric is aggregated: by its mean, unless the task names something else."""
        from lm_eval.api.metrics import mean

        return self.part.task.aggregation().get(key.partition(",")[0], mean)


def scored(
    found: Evaluation, measure: Measure, predicted: Sequence[Mapping[str, Any]], documents: Sequence[Document]
) -> Score:
    """The score of the answers to some documents, without a signature.

    Raises:
        DataError: the metric is no finite number for these answers.
    """
    with as_its_command(in_sandbox=found.asked.in_sandbox):
        scores = _part_scores(found, predicted, documents)
        totals = _grouped(found, scores) if found.group is not None else scores[0].totals
    value = totals.get(measure.key)
    if value is None or not math.isfinite(value):
        raise DataError(
            f"the metric {measure.metric!r} of the task {found.asked.name!r} of lm-eval is "
            f"{'no number' if value is None else value} for the answers of this net; "
            "choose another: metric=NAME"
        )
    counted = {key: sum(len(one.values.get(key, ())) for one in scores) for key in totals}
    also = {key: total for key, total in totals.items() if key != measure.key and math.isfinite(total)}
    names = {key: key.removesuffix(f",{measure.filter}") for key in also}
    parts = {one.part.name: one.totals[measure.key] for one in scores if measure.key in one.totals}
    further = {
        **{names[key]: total for key, total in also.items()},
        **(parts if found.group is not None else {}),
    }
    count = counted[measure.key]
    sizes = {names[key]: counted[key] for key in also}
    if found.group is not None:
        sizes |= {one.part.name: len(one.values[measure.key]) for one in scores if one.part.name in parts}
    return Score(
        metric=measure.metric,
        value=value,
        n=count,
        higher_is_better=bool(found.parts[0].task.higher_is_better().get(measure.metric, True)),
        also={name: total for name, total in further.items() if math.isfinite(total)},
        also_n={name: size for name, size in sizes.items() if size != count},
        items=_items(found, measure, scores, len(documents)),
    )


def _part_scores(
    found: Evaluation, predicted: Sequence[Mapping[str, Any]], documents: Sequence[Document]
) -> list[PartScore]:
    """What each task makes of the answers to its documents; tasks without documents are left out."""
    by_part: dict[int, list[tuple[Document, Mapping[str, Any]]]] = {}
    for document, answers in zip(documents, predicted, strict=True):
        by_part.setdefault(document.part, []).append((document, answers))
    return [
        PartScore(found.parts[number], _values(found.parts[number], pairs))
        for number, pairs in sorted(by_part.items())
    ]


def _values(part: Part, pairs: Sequence[tuple[Document, Mapping[str, Any]]]) -> Mapping[str, Sequence[Any]]:
    """What lm-eval makes of the answers to each document, by metric and filter."""
    groups = [
        [_answered(part, document, number, own) for number, own in enumerate(answers["answers"])]
        for document, answers in pairs
    ]
    part.task._instances = [instance for group in groups for instance in group]  # noqa: SLF001
    part.task.apply_filters()
    values: dict[str, list[Any]] = {}
    for name in groups[0][0].filtered_resps:
        for group, (document, _) in zip(groups, pairs, strict=True):
            answers = [instance.filtered_resps[name] for instance in group]
            for metric, value in part.task.process_results(part.rows[document.number], answers).items():
                values.setdefault(f"{metric},{name}", []).append(value)
    return values


def _answered(part: Part, document: Document, number: int, answers: Sequence[Any]) -> Any:
    """A request of lm-eval with its answers."""
    from lm_eval.api.instance import Instance

    request = document.requests[number]
    pairs = request.kind == LOGLIKELIHOOD
    return Instance(
        request_type=request.kind,
        doc=part.rows[document.number],
        arguments=request.arguments,
        idx=number,
        metadata=(part.name, document.number, request.repeats),
        resps=[tuple(answer) if pairs else answer for answer in answers],
    )


def _grouped(found: Evaluation, scores: Sequence[PartScore]) -> Mapping[str, float]:
    """The metrics of a group, as lm-eval aggregates those of its tasks."""
    results = {one.part.name: {**one.totals, "sample_len": one.documents} for one in scores}
    grouped = found.group.aggregate(results)
    keys = [key for key in grouped if "," in key and "_stderr" not in key]
    return {key: float(grouped[key]) for key in keys}


def _total(aggregate: Any, values: Sequence[Any]) -> float | None:
    """The aggregation of the values of a metric; None if it is no number."""
    try:
        total = aggregate(values)
    except OverflowError:
        return math.inf
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return float(total) if isinstance(total, Real) else None


def _items(found: Evaluation, measure: Measure, scores: Sequence[PartScore], count: int) -> Items | None:
    """What each document gives, if the score is a mean over documents, or over the means of tasks."""
    from lm_eval.api.metrics import mean, weighted_perplexity

    values = [(one.part.name, value) for one in scores for value in one.values.get(measure.key, ())]
    totals = {one.aggregation(measure.key) for one in scores}
    if len(values) != count or len(totals) != 1:
        return None
    if totals == {mean} and all(isinstance(value, Real) for _, value in values):
        rows = tuple((float(value),) for _, value in values)
        return Items("mean", rows, () if _by_size(found, measure) else tuple(name for name, _ in values))
    if totals == {weighted_perplexity} and found.group is None:
        return Items("perplexity", tuple((-float(log_p), float(weight)) for _, (log_p, weight) in values))
    return None


def _by_size(found: Evaluation, measure: Measure) -> bool:
    """Whether each document has the same weight."""
    if found.group is None:
        return True
    listed = found.group.aggregate_metric_list
    return next(bool(one.weight_by_size) for one in listed if one.metric == measure.metric)
