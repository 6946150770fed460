"""BLEU and chrF of each direction, by sacrebleu, with its signatures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from smc_eval.score import Items, Score
from smc_eval.tasks.translation.corpus import Sentence
from smc_eval.tasks.translation.languages import LANGUAGES, Direction

if TYPE_CHECKING:
    from sacrebleu.metrics.bleu import BLEU

BLEU_METRIC = "BLEU"


def score_directions(predicted: Sequence[str], sentences: Sequence[Sentence], beam: int) -> Score:
    """Mean over directions of corpus BLEU; each direction's, and mean chrF, beside.

    Papineni et al. (2002), Post (2018). Directions differ in how their words are cut, so the
    signature has one part for each way of cutting.
    """
    from sacrebleu.metrics.chrf import CHRF

    groups: dict[Direction, tuple[list[str], list[str]]] = {}
    rows = list[tuple[float, ...]]()
    for text, one in zip(predicted, sentences, strict=True):
        said, wanted = groups.setdefault(one.direction, ([], []))
        said.append(text)
        wanted.append(one.target)
        alone = _metric(one.direction, alone=True).sentence_score(text, [one.target])
        rows.append((*alone.counts, *alone.totals, alone.sys_len, alone.ref_len))
    also: dict[str, float] = {}
    counts: dict[str, int] = {}
    chrf: list[float] = []
    signatures: dict[str, list[str]] = {}
    for direction, (said, wanted) in groups.items():
        metric = _metric(direction)
        also[str(direction)] = metric.corpus_score(said, [wanted]).score
        counts[str(direction)] = len(said)
        signatures.setdefault(str(metric.get_signature()), []).append(str(direction))
        chrf.append(CHRF().corpus_score(said, [wanted]).score)
    mean = sum(also.values()) / len(also)
    parts = [f"{','.join(names)}: {signature}" for signature, names in signatures.items()]
    also["chrF"] = sum(chrf) / len(chrf)
    return Score(
        BLEU_METRIC,
        mean,
        len(predicted),
        signature="; ".join([f"beam:{beam}", *parts]),
        also=also,
        also_n=counts,
        items=Items("bleu", tuple(rows), tuple(str(one.direction) for one in sentences)),
    )


@cache
def _metric(direction: Direction, *, alone: bool = False) -> BLEU:
    """BLEU as the words of a direction's target language are cut: of a corpus, or of a sentence alone."""
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize=LANGUAGES[direction.target].cut, effective_order=alone)
