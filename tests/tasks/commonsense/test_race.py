"""RACE in its files; trained once and reported on two levels."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from smc_eval.cli.plan_tree import stage_trees
from smc_eval.errors import DataError
from smc_eval.experiment.cell import Cell, Chain, chain, shared_nets
from smc_eval.methods.dense import Dense
from smc_eval.methods.omp import MagnitudeAfter
from smc_eval.planning.plan import Plan
from smc_eval.protocol import PAPER, SOUND
from smc_eval.target import Target
from smc_eval.tasks.commonsense.race import Race, RaceHigh, RaceMiddle, insert_option, read_article

ARTICLE = {
    "article": "The cup  fell.\n It broke.",
    "questions": ["What fell?", "The cup _ ."],
    "options": [["a cup", "a hat", "a key", "rain"], ["fell", "stood", "flew", "rang"]],
    "answers": ["A", "D"],
    "id": "middle1.txt",
}


def write_article(path: Path, **changes: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(ARTICLE | changes))
    return path


def write_release(folder: Path) -> Path:
    for part in ("train", "dev", "test"):
        for level in ("middle", "high"):
            for number in (1, 2, 10):
                questions = [f"{part} {level} {number}?", "_"]
                write_article(folder / "RACE" / part / level / f"{number}.txt", questions=questions)
    return folder


def first_questions(task: Race, part: Any) -> list[str]:
    """The first question of each article, up to its number."""
    return [one.choices[0][0].partition("?")[0] for one in task.data(part)[::2]]


def test_an_option_is_put_in_the_blank_or_after_the_question() -> None:
    assert insert_option("What fell?", "a cup") == "What fell? a cup"
    assert insert_option("The cup _ .", "fell") == "The cup fell ."
    assert insert_option("_ fell, and ___ broke", r"a \1") == r"a \1 fell, and a \1 broke"


def test_questions_share_an_article_with_normalised_white_space(tmp_path: Path) -> None:
    first, second = read_article(write_article(tmp_path / "1.txt"))
    assert first.choices[3] == ("What fell? rain", "The cup fell. It broke.")
    assert second.choices[1] == ("The cup stood .", "The cup fell. It broke.")
    assert (first.answer, second.answer) == (0, 3)


def test_both_levels_train_and_each_reports_its_own(tmp_path: Path) -> None:
    folder = str(write_release(tmp_path))
    middle, high = RaceMiddle(folder=folder), RaceHigh(folder=folder)
    trained = [f"train {level} {number}" for level in ("middle", "high") for number in (1, 2, 10)]
    assert first_questions(middle, "train") == first_questions(high, "train") == trained
    assert first_questions(middle, "test") == ["test middle 1", "test middle 2", "test middle 10"]
    assert first_questions(high, "test") == ["test high 1", "test high 2", "test high 10"]


def chain_for(task: Race, method: Any, target: Target, protocol: Any = SOUND) -> Chain:
    cell = Cell(task=task, method=method, target=target, protocol=protocol)
    return chain(cell, task.sources(), len(task.data("train")))


def test_the_plan_of_both_levels_has_one_training() -> None:
    cells = [(Dense(), Target()), (MagnitudeAfter(), Target(sparsity=0.5))]
    chains = [chain_for(kind(), *cell) for kind in (RaceMiddle, RaceHigh) for cell in cells]
    plan = Plan.of(chains, finished=lambda digest: False)
    assert len(plan.roots) == 1
    assert len({chain.digest for chain in chains}) == 4
    assert plan.steps_to_run == 2 * Race().recipe.total(48)  # dense, and the training after the pruning
    assert shared_nets(chains) == {chains[0].links[-1].digest, chains[1].links[-1].digest}


def test_a_plan_on_the_screen_names_both_levels() -> None:
    chains = [chain_for(kind(), Dense(), Target()) for kind in (RaceMiddle, RaceHigh)]
    (tree,) = stage_trees(Plan.of(chains, finished=lambda digest: False))
    assert str(tree.label) == "race/middle, race/high · tiny, seed 0"
    assert str(tree.children[-1].label).endswith("→ race/middle dense, race/high dense")


def test_reading_data_needs_no_tensors() -> None:
    code = (
        "import sys; from smc_eval.tasks import smc_eval_tasks; "
        "tasks = [kind() for kind in smc_eval_tasks() if 'commonsense' in kind.card.groups]; "
        "read = [(task.sources(), task.data('train'), task.score([], [])) for task in tasks]; "
        "assert len(read) == 4 and not {'torch', 'transformers'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_levels_with_different_models_or_recipes_are_trained_separately() -> None:
    recipe = Race().recipe.model_copy(update={"lr": 1.0})
    one, other = (
        chain_for(task, Dense(), Target()) for task in (RaceMiddle(), RaceHigh(recipe=recipe))
    )  # fmt: skip
    assert one.start == other.start and one.links[0].digest != other.links[0].digest
    assert chain_for(RaceHigh(dropout=0.2), Dense(), Target()).start != one.start


def test_a_protocol_selects_checkpoints_on_dev_and_never_on_the_reported_level(tmp_path: Path) -> None:
    folder = str(write_release(tmp_path))
    for task in (RaceMiddle(folder=folder), RaceHigh(folder=folder)):
        trained = task.trained_as()
        assert trained == Race(folder=folder)
        assert first_questions(trained, "test") == [
            f"dev {level} {n}" for level in ("middle", "high") for n in (1, 2, 10)
        ]
    chains = [chain_for(kind(folder=folder), Dense(), Target(), PAPER) for kind in (RaceMiddle, RaceHigh)]
    assert chains[0].links == chains[1].links


def test_a_limit_counts_questions(tmp_path: Path) -> None:
    task = RaceHigh(folder=str(write_release(tmp_path)), limit=3)
    assert (len(task.data("train")), len(task.data("test"))) == (3, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"questions": [], "options": [], "answers": []}, "the article has no questions"),
        ({"article": " \n"}, "'article' is empty"),
        ({"article": None}, "'article' is None; wanted text"),
        ({"answers": ["A"]}, "2 questions, 2 lists of options, 1 answers"),
        ({"answers": ["A", ""]}, "answer of question 2 is ''; wanted one of A, B, C, D"),
        ({"answers": ["A", "E"]}, "answer of question 2 is 'E'; wanted one of A, B, C, D"),
        ({"answers": [["A"], "B"]}, "answer of question 1 is ['A']; wanted one of"),
        ({"options": [["a", "b", "c"], ["a", "b", "c", "d"]]}, "options of question 1 are ['a', 'b', 'c']"),
        ({"options": [["a", "b", "c", "d"], "abcd"]}, "options of question 2 are 'abcd'; wanted a list of 4"),
        ({"options": [["a", "b", 3, "d"]] * 2}, "'an option of question 1' is 3; wanted text"),
        ({"questions": ["a", 2]}, "'question 2' is 2; wanted text"),
        ({"questions": "What?"}, "'questions' is 'What?'; wanted a list"),
    ],
)
def test_an_invalid_article_is_reported(tmp_path: Path, changes: Any, message: str) -> None:
    path = write_article(write_release(tmp_path) / "RACE/test/high/2.txt", **changes)
    with pytest.raises(DataError) as caught:
        RaceHigh(folder=str(tmp_path)).data("test")
    assert str(caught.value).startswith(f"{path}: ") and message in str(caught.value)


def test_a_file_in_another_encoding_is_reported_with_line_and_byte(tmp_path: Path) -> None:
    path = write_release(tmp_path) / "RACE/train/middle/1.txt"
    path.write_bytes('{"article":\n"caf\xe9"}'.encode("latin-1"))
    with pytest.raises(DataError, match=r"1.txt, line 2: byte 0xe9 is not UTF-8"):
        RaceHigh(folder=str(tmp_path)).data("train")


def test_a_missing_level_is_reported(tmp_path: Path) -> None:
    write_article(tmp_path / "RACE/train/middle/1.txt")
    with pytest.raises(DataError, match=r"has no RACE/train/high"):
        RaceMiddle(folder=str(tmp_path)).sources()


def test_the_recipe_is_the_published_one() -> None:
    recipe = RaceMiddle().recipe
    assert (recipe.epochs, recipe.batch_size, recipe.accumulation) == (5, 1, 8)
    assert (recipe.schedule, recipe.warmup, recipe.lr, recipe.betas) == ("constant", 0, 1e-5, (0.9, 0.98))
    assert (recipe.optimizer, recipe.eps, recipe.weight_decay) == ("adamw", 1e-6, 0.01)


def test_real_files_are_read(data_dir: Path) -> None:
    middle, high = RaceMiddle(folder=str(data_dir)), RaceHigh(folder=str(data_dir))
    assert len(middle.data("train")) == len(high.data("train")) == 558
    assert (len(middle.data("test")), len(high.data("test")), len(middle.trained_as().data("test"))) == (
        84, 84, 96,
    )  # fmt: skip
    assert middle.sources() == high.sources()
    first = middle.data("train")[0]
    assert (
        first.choices[1][0] == "Who threw the bottle into the Baltic Sea? Angela Erdmann\u2019s grandfather"
    )
    assert first.answer == 1
