"""BLEU and chrF of each direction, by sacrebleu, with its signatures."""

from __future__ import annotations

from collections.abc import Sequence

from smc_eval.score import Score
from smc_eval.tasks.translation.corpus import Sentence
from smc_eval.tasks.translation.languages import LANGUAGES, Direction

METRIC = "BLEU"


def scored(predicted: Sequence[str], sentences: Sequence[Sentence], beam: int) -> Score:
    """Mean over directions of corpus BLEU; each direction's, and mean chrF, beside.

    Papineni et al. (2002), Post (2018). Directions differ in how their words are cut, so the
    signature has one part for each way of cutting.
    """
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    groups: dict[Direction, tuple[list[str], list[str]]] = {}
    for text, one in zip(predicted, sentences, strict=True):
        said, wanted = groups.setdefault(one.direction, ([], []))
        said.append(text)
        wanted.append(one.target)
    also: dict[str, float] = {}
    counts: dict[str, int] = {}
    chrf: list[float] = []
    signatures: dict[str, list[str]] = {}
    for direction, (said, wanted) in groups.items():
        metric = BLEU(tokenize=LANGUAGES[direction.target].cut, effective_order=False)
        also[str(direction)] = metric.corpus_score(said, [wanted]).score
        counts[str(direction)] = len(said)
        signatures.setdefault(str(metric.get_signature()), []).append(str(direction))
        chrf.append(CHRF().corpus_score(said, [wanted]).score)
    mean = sum(also.values()) / len(also)
    parts = [f"{','.join(names)}: {signature}" for signature, names in signatures.items()]
    also["chrF"] = sum(chrf) / len(chrf)
    return Score(
        METRIC, mean, len(predicted), signature="; ".join([f"beam:{beam}", *parts]), also=also, also_n=counts
    )
