"""The score of answers by lm-eval: its filters, its results for each document, and its aggregation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from smc_eval.errors import DataError, UnknownName
from smc_eval.score import Items, Score
from smc_eval_lm.lm_eval_documents import LOGLIKELIHOOD, Document, Evaluation
from smc_eval_lm.lm_eval_package import as_its_command

Values = Mapping[tuple[str, str], Sequence[Any]]
"""What each document gives, by metric and filter."""


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
        metrics, filters = list(found.task.aggregation()), [one.name for one in found.task._filters]  # noqa: SLF001
        for noun, name, known in (("metric", metric, metrics), ("filter", by, filters)):
            if name is not None and name not in known:
                raise UnknownName(f"{noun} of {where}", name, known)
        if not metrics:
            raise DataError(f"{where} names no metric")
        return cls(metric or metrics[0], by or filters[0])


def scored(
    found: Evaluation, measure: Measure, predicted: Sequence[Mapping[str, Any]], documents: Sequence[Document]
) -> Score:
    """The score of the answers to some documents, without a signature.

    Raises:
        DataError: the metric is no number for these answers.
    """
    with as_its_command(in_sandbox=found.in_sandbox):
        values = _values(found, predicted, documents)
        totals = {key: _total(found.task, key[0], own) for key, own in values.items()}
    key = (measure.metric, measure.filter)
    value = totals.get(key)
    if value is None or not math.isfinite(value):
        raise DataError(
            f"the metric {measure.metric!r} of the task {found.asked.name!r} of lm-eval is "
            f"{'no number' if value is None else value} for the answers of this net; "
            "choose another: metric=NAME"
        )
    also = {
        one: total
        for one, total in totals.items()
        if one != key and total is not None and math.isfinite(total)
    }
    names = {(metric, by): metric if by == measure.filter else f"{metric},{by}" for metric, by in also}
    return Score(
        metric=measure.metric,
        value=value,
        n=len(values[key]),
        higher_is_better=bool(found.task.higher_is_better().get(measure.metric, True)),
        also={names[one]: total for one, total in also.items()},
        also_n={names[one]: len(values[one]) for one in also if len(values[one]) != len(values[key])},
        items=_items(found.task, measure.metric, values[key], len(documents)),
    )


def _values(
    found: Evaluation, predicted: Sequence[Mapping[str, Any]], documents: Sequence[Document]
) -> Values:
    """What lm-eval makes of the answers to each document."""
    task, groups = found.task, []
    for one, document in zip(predicted, documents, strict=True):
        groups.append([_answered(found, document, n, own) for n, own in enumerate(one["answers"])])
    task._instances = [instance for group in groups for instance in group]  # noqa: SLF001
    task.apply_filters()
    values: dict[tuple[str, str], list[Any]] = {}
    for name in groups[0][0].filtered_resps:
        for group, document in zip(groups, documents, strict=True):
            answers = [instance.filtered_resps[name] for instance in group]
            for metric, value in task.process_results(found.rows[document.number], answers).items():
                values.setdefault((metric, name), []).append(value)
    return values


def _answered(found: Evaluation, document: Document, number: int, answers: Sequence[Any]) -> Any:
    """A request of lm-eval with its answers."""
    from lm_eval.api.instance import Instance

    request = document.requests[number]
    pairs = request.kind == LOGLIKELIHOOD
    return Instance(
        request_type=request.kind,
        doc=found.rows[document.number],
        arguments=request.arguments,
        idx=number,
        metadata=(found.asked.name, document.number, request.repeats),
        resps=[tuple(answer) if pairs else answer for answer in answers],
    )


def _total(task: Any, metric: str, values: Sequence[Any]) -> float | None:
    """The aggregation of a metric, which is a mean unless the task names one; None if it is no number."""
    from lm_eval.api.metrics import mean

    try:
        total = task.aggregation().get(metric, mean)(values)
    except OverflowError:
        return math.inf
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return float(total) if isinstance(total, Real) else None


def _items(task: Any, metric: str, values: Sequence[Any], count: int) -> Items | None:
    """The value of each document, if the score is their mean."""
    from lm_eval.api.metrics import mean, weighted_perplexity

    total = task.aggregation().get(metric, mean)
    if len(values) != count:
        return None
    if total is mean and all(isinstance(value, Real) for value in values):
        return Items("mean", tuple((float(value),) for value in values))
    if total is weighted_perplexity:
        return Items("perplexity", tuple((-float(log_p), float(weight)) for log_p, weight in values))
    return None
