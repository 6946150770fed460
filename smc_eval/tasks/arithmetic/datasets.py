"""The arithmetic tasks: MAWPS, ASDiv-A and SVAMP, each solved by GTS and by Graph2Tree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from smc_eval.card import TaskCard
from smc_eval.recipe import Recipe
from smc_eval.spec import Outside
from smc_eval.task import Task
from smc_eval.tasks.arithmetic.addresses import ASDIV_LICENCE, MAWPS_LICENCE, SVAMP_LICENCE
from smc_eval.tasks.arithmetic.word_problems import VALUE_ACCURACY, WordProblems
from smc_eval.tasks.text_encoder import TextEncoder

# The official training schedule of both solvers: 50 epochs, and the learning rate is halved every 20.
GTS_4 = Recipe(
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
GTS_8 = GTS_4.model_copy(update={"batch_size": 8})
GRAPH2TREE_8 = GTS_8.model_copy(update={"lr": 8e-4, "backbone_lr": 1e-5})

SOURCES = {
    "MAWPS": "Koncel-Kedziorski et al., NAACL 2016",
    "ASDiv-A": "Miao et al., ACL 2020",
    "SVAMP": "Patel et al., NAACL 2021",
    "GTS": "Xie & Sun, IJCAI 2019",
    "Graph2Tree": "Zhang et al., ACL 2020",
}


def problem_card(
    data: str, solver: Literal["GTS", "Graph2Tree"], folds: int | None, licence: str
) -> TaskCard:
    """The card of a data set with a solver."""
    return TaskCard(
        name=f"{data}/{solver}".lower(),
        summary=f"word problems of {data}, solved with {solver}",
        source=f"{SOURCES[data]}; {SOURCES[solver]}; SMC-Bench, ICLR 2023, arXiv:2303.02141",
        groups=(data.lower(), "arithmetic"),
        metric=VALUE_ACCURACY,
        folds=folds,
        accepts=(TextEncoder.card.name, "scratch", "tiny"),
        published="roberta-base",
        licence=licence,
    )


class Mawps(WordProblems):
    """MAWPS, in the five folds of the SVAMP paper."""

    data_set: ClassVar[str] = "cv_mawps"
    counts: ClassVar[Sequence[tuple[int, int]]] = ((1537, 384),) * 5
    question_tokens: ClassVar[int] = 36


class AsdivA(WordProblems):
    """ASDiv-A, the arithmetic part of ASDiv, in the five folds of the SVAMP paper."""

    data_set: ClassVar[str] = "cv_asdiv-a"
    counts: ClassVar[Sequence[tuple[int, int]]] = (*((979, 238),) * 3, (980, 237), (951, 266))
    question_tokens: ClassVar[int] = 30


class Svamp(WordProblems):
    """SVAMP: training on MAWPS and ASDiv-A, tests on SVAMP's thousand problems."""

    data_set: ClassVar[str] = "mawps-asdiv-a_svamp"
    counts: ClassVar[Sequence[tuple[int, int]]] = ((3138, 1000),)
    question_tokens: ClassVar[int] = 37


class MawpsGts(Mawps):
    """MAWPS, solved with GTS.

    The net reads a word problem and writes its equation as a tree. The score is the share of
    problems whose equation has the right value.
    """

    card: ClassVar[TaskCard] = problem_card("MAWPS", "GTS", 5, MAWPS_LICENCE)
    recipe: Annotated[Recipe, Outside()] = GTS_4


class MawpsGraph2Tree(Mawps):
    """MAWPS, solved with Graph2Tree.

    As with GTS, a tree decoder writes the equation. Graph convolutions before it relate each number
    to its words and to the other numbers.
    """

    card: ClassVar[TaskCard] = problem_card("MAWPS", "Graph2Tree", 5, MAWPS_LICENCE)
    recipe: Annotated[Recipe, Outside()] = GRAPH2TREE_8
    graphs: ClassVar[bool] = True


class AsdivAGts(AsdivA):
    """ASDiv-A, solved with GTS.

    The net reads a word problem and writes its equation as a tree. The score is the share of
    problems whose equation has the right value.
    """

    card: ClassVar[TaskCard] = problem_card("ASDiv-A", "GTS", 5, ASDIV_LICENCE)
    recipe: Annotated[Recipe, Outside()] = GTS_4


class AsdivAGraph2Tree(AsdivA):
    """ASDiv-A, solved with Graph2Tree.

    As with GTS, a tree decoder writes the equation. Graph convolutions before it relate each number
    to its words and to the other numbers.
    """

    card: ClassVar[TaskCard] = problem_card("ASDiv-A", "Graph2Tree", 5, ASDIV_LICENCE)
    recipe: Annotated[Recipe, Outside()] = GRAPH2TREE_8
    graphs: ClassVar[bool] = True


class SvampGts(Svamp):
    """SVAMP, solved with GTS. The training problems are those of MAWPS and ASDiv-A.

    The net reads a word problem and writes its equation as a tree. The score is the share of
    problems whose equation has the right value.
    """

    card: ClassVar[TaskCard] = problem_card("SVAMP", "GTS", None, SVAMP_LICENCE)
    recipe: Annotated[Recipe, Outside()] = GTS_8


class SvampGraph2Tree(Svamp):
    """SVAMP, solved with Graph2Tree. The training problems are those of MAWPS and ASDiv-A.

    As with GTS, a tree decoder writes the equation. Graph convolutions before it relate each number
    to its words and to the other numbers.
    """

    card: ClassVar[TaskCard] = problem_card("SVAMP", "Graph2Tree", None, SVAMP_LICENCE)
    recipe: Annotated[Recipe, Outside()] = GRAPH2TREE_8
    graphs: ClassVar[bool] = True


ARITHMETIC_TASKS: tuple[type[Task], ...] = (
    MawpsGts, MawpsGraph2Tree, AsdivAGts, AsdivAGraph2Tree, SvampGts, SvampGraph2Tree,
)  # fmt: skip
"""In the paper's order."""
