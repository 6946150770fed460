"""The arithmetic tasks: MAWPS, ASDiv-A and SVAMP, each with both solvers and their published recipes."""

from __future__ import annotations

from typing import ClassVar

from smc_eval.card import Accepts, TaskCard
from smc_eval.recipe import Recipe
from smc_eval.tasks.arithmetic.word_problems import METRIC, WordProblems

ACCEPTS: tuple[Accepts, ...] = ("text-encoder", "scratch", "tiny")


def card(name: str, summary: str, source: str, folds: int | None, licence: str) -> TaskCard:
    """A card of this family; the task's name is its set's and its solver's."""
    return TaskCard(
        name=name,
        groups=(name.partition("/")[0], "arithmetic"),
        summary=summary,
        source=source,
        metric=METRIC,
        folds=folds,
        accepts=ACCEPTS,
        published="roberta-base",
        licence=licence,
    )


class Gts(WordProblems):
    """The goal-driven tree-structured solver, with the recipe of SMC-Bench (PROTOCOL 2)."""

    graphs: ClassVar[bool] = False
    published_hidden: ClassVar[int] = 512
    recipe: Recipe = Recipe(
        epochs=50,
        batch_size=4,
        optimizer="adam",
        lr=1e-3,
        backbone_lr=8e-6,
        weight_decay=1e-5,
        schedule="step",
        period=20,
        gamma=0.5,
    )


class Graph2Tree(WordProblems):
    """GTS's decoder over graphs of the problem's quantities, with the recipe of SMC-Bench."""

    graphs: ClassVar[bool] = True
    published_hidden: ClassVar[int] = 384
    recipe: Recipe = Gts.model_fields["recipe"].default.model_copy(
        update={"batch_size": 8, "lr": 8e-4, "backbone_lr": 1e-5}
    )


MAWPS = "Koncel-Kedziorski et al. (2016), MAWPS, NAACL; folds of Patel et al. (2021), arXiv:2103.07191"
ASDIV = "Miao et al. (2020), ASDiv, arXiv:2106.15772; folds of Patel et al. (2021), arXiv:2103.07191"
SVAMP = "Patel et al. (2021), SVAMP, arXiv:2103.07191"
GTS = "GTS: Xie & Sun (2019), IJCAI"
GRAPH2TREE = "Graph2Tree: Zhang et al. (2020), ACL"


class MawpsGts(Gts):
    """MAWPS solved by GTS."""

    dataset: ClassVar[str] = "cv_mawps"
    card: ClassVar[TaskCard] = card(
        "mawps/gts", "arithmetic word problems of MAWPS, solved by GTS", f"{MAWPS}; {GTS}", 5, "unstated"
    )


class MawpsGraph2Tree(Graph2Tree):
    """MAWPS solved by Graph2Tree."""

    dataset: ClassVar[str] = "cv_mawps"
    card: ClassVar[TaskCard] = card(
        "mawps/graph2tree",
        "arithmetic word problems of MAWPS, solved by Graph2Tree",
        f"{MAWPS}; {GRAPH2TREE}",
        5,
        "unstated",
    )


class AsdivGts(Gts):
    """ASDiv-A solved by GTS."""

    dataset: ClassVar[str] = "cv_asdiv-a"
    card: ClassVar[TaskCard] = card(
        "asdiv-a/gts", "the arithmetic part of ASDiv, solved by GTS", f"{ASDIV}; {GTS}", 5, "CC BY-NC 4.0"
    )


class AsdivGraph2Tree(Graph2Tree):
    """ASDiv-A solved by Graph2Tree."""

    dataset: ClassVar[str] = "cv_asdiv-a"
    card: ClassVar[TaskCard] = card(
        "asdiv-a/graph2tree",
        "the arithmetic part of ASDiv, solved by Graph2Tree",
        f"{ASDIV}; {GRAPH2TREE}",
        5,
        "CC BY-NC 4.0",
    )


class SvampGts(Gts):
    """SVAMP solved by GTS, trained on MAWPS and ASDiv-A."""

    dataset: ClassVar[str] = "mawps-asdiv-a_svamp"
    recipe: Recipe = Gts.model_fields["recipe"].default.model_copy(update={"batch_size": 8})
    card: ClassVar[TaskCard] = card(
        "svamp/gts", "SVAMP after training on MAWPS and ASDiv-A, solved by GTS", f"{SVAMP}; {GTS}", None, "MIT"
    )


class SvampGraph2Tree(Graph2Tree):
    """SVAMP solved by Graph2Tree, trained on MAWPS and ASDiv-A."""

    dataset: ClassVar[str] = "mawps-asdiv-a_svamp"
    card: ClassVar[TaskCard] = card(
        "svamp/graph2tree",
        "SVAMP after training on MAWPS and ASDiv-A, solved by Graph2Tree",
        f"{SVAMP}; {GRAPH2TREE}",
        None,
        "MIT",
    )


TASKS = [MawpsGts, MawpsGraph2Tree, AsdivGts, AsdivGraph2Tree, SvampGts, SvampGraph2Tree]
"""All of them, in the order of the paper's tables."""
