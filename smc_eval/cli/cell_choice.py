"""One cell of a store, chosen by METHOD@SPARSITY and further words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from smc_eval.errors import UnknownName, UsageError, counted
from smc_eval.method import DENSE
from smc_eval.reporting.compare import parse_side, selected_records
from smc_eval.reporting.footnotes import cell_name
from smc_eval.reporting.table import distinct, facet_text, facets, sparsity_key
from smc_eval.store.record import Record

MOST_NAMED = 4
"""Cells that an error names."""


def choose_record(
    records: Sequence[Record], cell: str, exact: Mapping[str, str | int | None], where: Mapping[str, str]
) -> Record:
    """The one certified record of a cell.

    Args:
        records: all records of a store.
        cell: METHOD@SPARSITY, or dense.
        exact: values of the fields task, model, seed and fold; None fits all.
        where: values of facets, such as scope.

    Raises:
        UnknownName: no certified record has this method, or a value of `where`.
        UsageError: none is left, or several; they are named.
    """
    sound = [record for record in distinct(records) if record.sound]
    if not sound:
        raise UsageError(
            f"none of {counted(len(records), 'record')} is done and certified; run the cell first"
        )
    for name, value in exact.items():
        values = {str(getattr(record, name)) for record in sound}
        if value is not None and str(value) not in values:
            raise UnknownName(f"{name} of a certified record", str(value), values)
    chosen = [
        record
        for record in sound
        if all(value is None or str(getattr(record, name)) == str(value) for name, value in exact.items())
    ]
    chosen = selected_records(chosen, where)
    method, level = parse_side(cell, chosen)
    chosen = [
        record for record in chosen if record.method == method and level in {None, sparsity_key(record)}
    ]
    if len(chosen) == 1:
        return chosen[0]
    shown = "; ".join(map(cell_name, chosen[:MOST_NAMED]))
    more = f"; and {len(chosen) - MOST_NAMED} more" if len(chosen) > MOST_NAMED else ""
    raise UsageError(
        f"{cell!r} is {counted(len(chosen), 'cell')}: {shown}{more}\nchoose one {_choice(chosen)}"
    )


def _choice(records: Sequence[Record]) -> str:
    """Flags that tell records apart."""
    words = [
        f"by --{name} {min(values)}"
        for name in ("task", "model", "seed", "fold")
        if len(values := {str(getattr(record, name)) for record in records}) > 1
    ]
    levels = {sparsity_key(record) for record in records if record.method != DENSE}
    words += ["by its sparsity, as in METHOD@0.5"] if len(levels) > 1 else []
    for name in facets(records[0]):
        values = {facet_text(facets(record).get(name)) for record in records}
        words += [f"by --where {name}={min(values)}"] if len(values) > 1 else []
    return ", ".join(words[:MOST_NAMED]) or "by a store of its own: only versions or data differ"
