"""BLEU and chrF of each direction, by sacrebleu, with its signatures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from smc_eval.score import Items, Score
from smc_eval.tasks.translation.corpus import Sentence
from smc_eval.tasks.translation.languages import LANGUAGES, Direction

if TYPE_CHECKING:
    from sacrebleu.metrics.bleu import BLEU

BLEU_METRIC = "BLEU"


def score_directions(predicted: Sequence[str], sentences: Sequence[Sentence], beam: int) -> Score:
    """Mean corpus BLEU over all directions; also the BLEU of each direction, and the mean chrF.

    Papineni et al. (2002), Post (2018). Directions differ in their BLEU tokenizer, so the signature
    has one part for each tokenizer.
    """
    from sacrebleu.metrics.chrf import CHRF

    groups: dict[Direction, tuple[list[str], list[str]]] = {}
    rows = list[tuple[float, ...]]()
    for text, sentence in zip(predicted, sentences, strict=True):
        outputs, references = groups.setdefault(sentence.direction, ([], []))
        outputs.append(text)
        references.append(sentence.target)
        bleu = _metric(sentence.direction, single=True).sentence_score(text, [sentence.target])
        rows.append((*bleu.counts, *bleu.totals, bleu.sys_len, bleu.ref_len))
    also: dict[str, float] = {}
    counts: dict[str, int] = {}
    chrf: list[float] = []
    signatures: dict[str, list[str]] = {}
    for direction, (outputs, references) in groups.items():
        metric = _metric(direction)
        also[str(direction)] = metric.corpus_score(outputs, [references]).score
        counts[str(direction)] = len(outputs)
        signatures.setdefault(str(metric.get_signature()), []).append(str(direction))
        chrf.append(CHRF().corpus_score(outputs, [references]).score)
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
        items=Items("bleu", tuple(rows), tuple(str(sentence.direction) for sentence in sentences)),
    )


def ceilings(rewrite: Callable[[str], str], sentences: Iterable[Sentence]) -> dict[str, float]:
    """The BLEU of each direction's references after `rewrite`: what a net without a mistake would score."""
    groups: dict[Direction, list[str]] = {}
    for sentence in sentences:
        groups.setdefault(sentence.direction, []).append(sentence.target)
    return {
        str(direction): _metric(direction).corpus_score(list(map(rewrite, texts)), [texts]).score
        for direction, texts in groups.items()
    }


@cache
def _metric(direction: Direction, *, single: bool = False) -> BLEU:
    """BLEU with the tokenizer of the target language: of a corpus, or of a single sentence."""
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize=LANGUAGES[direction.target].bleu_tokenizer, effective_order=single)
