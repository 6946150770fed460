"""The tables of docs/findings/tuned-gmp.md: gmp-tuned with each of its parts left out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from findings_pages.stored import PAGES, difference_cells, read

from smc_eval.method import DENSE
from smc_eval.statistics import compare_samples, holm
from smc_eval.statistics.sample import Sample
from smc_eval.store.predictions import items_in
from smc_eval.store.record import Record

STORES = ("tuned-hp", "tuned-csqa")
"""The folders of records, in the order of the tables."""


class Variant(NamedTuple):
    """A row: what is left out, and the records that it is made of."""

    name: str
    method: str
    head_dense: bool
    """Whether the hidden layer of the head is excluded from the scope."""


WHOLE = Variant("all three parts", "gmp-tuned", head_dense=True)
VARIANTS = (
    WHOLE,
    Variant("schedule of one length", "gmp-tuned:pace=0.01", head_dense=True),
    Variant("no distillation", "gmp-tuned:hardness=0.0", head_dense=True),
    Variant("head's hidden layer pruned", "gmp-tuned", head_dense=False),
    Variant("head and embeddings pruned", "gmp-tuned:embeddings=pruned", head_dense=False),
    Variant("only embeddings and output layer dense", "gmp-tuned:pace=0.01,hardness=0.0", head_dense=False),
    Variant("none of the three", "gmp-tuned:pace=0.01,hardness=0.0,embeddings=pruned", head_dense=False),
)


def tuned_gmp() -> str:
    """A table in Markdown for each store."""
    folders = [PAGES / "records" / name for name in STORES]
    return "\n\n".join(_table(folder) for folder in folders if folder.is_dir())


def _table(folder: Path) -> str:
    """Each variant with its score, and its difference from the whole method."""
    records = read(folder)[0]
    find_items = items_in([folder])
    own = {variant: [record for record in records if _is_of(record, variant)] for variant in VARIANTS}
    own = {variant: found for variant, found in own.items() if found}
    samples = {variant: Sample.of(found, find_items) for variant, found in own.items()}
    whole = samples[WHOLE]
    assert whole is not None
    pairs = {
        variant: compare_samples(sample, whole)
        for variant, sample in samples.items()
        if sample is not None and variant != WHOLE
    }
    corrected = dict(zip(pairs, holm([pair.p for pair in pairs.values()]), strict=True))
    first = records[0]
    assert first.score is not None
    dense = [record for record in records if record.method == DENSE]
    lines = [
        f"**{first.task}, {first.model}, 0.8**; dense {_mean(dense)}, {first.score.metric}",
        "",
        "| left out | score | minus all three parts | p | steps | pruned of all parameters | disconnected |",
        "| --- | --: | --: | --: | --: | --: | --: |",
    ]
    for variant, found in own.items():
        cells = [variant.name, _mean(found), "", ""]
        if variant in pairs:
            cells[2:] = difference_cells(pairs[variant], corrected[variant])
        cells += [*_facts(found)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _is_of(record: Record, variant: Variant) -> bool:
    """Whether a certified record belongs to a variant."""
    same_head = bool(record.target.exclude) == variant.head_dense
    return record.sound and record.method == variant.method and same_head


def _mean(records: Sequence[Record]) -> str:
    return f"{fmean(record.score.value for record in records if record.score):.1f}"


def _facts(records: Sequence[Record]) -> tuple[str, str, str]:
    """Optimizer steps of the chain, the share of all parameters that is pruned, and disconnected nets."""
    first = records[0]
    assert first.cost is not None
    assert first.sparsity is not None
    cut = sum(record.certificate is not None and record.certificate.effective == 1.0 for record in records)
    return str(first.cost.steps), f"{first.sparsity.all:.3f}", f"{cut} of {len(records)}"
