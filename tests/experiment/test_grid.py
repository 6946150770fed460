"""Grids: all combinations of what a configuration names, as cells."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from smc_eval.card import MethodCard, TaskCard
from smc_eval.errors import UsageError
from smc_eval.experiment.config import RunConfig
from smc_eval.experiment.grid import Grid
from smc_eval.method import Method
from smc_eval.methods.dense import Dense
from smc_eval.methods.from_checkpoint import FromCheckpoint
from smc_eval.methods.lth import LotteryTicket
from smc_eval.methods.omp import MagnitudeAfter
from smc_eval.optimizer import OPTIMIZERS
from smc_eval.recipe import Recipe
from smc_eval.registry import Registry
from smc_eval.spec import digest
from smc_eval.stages import Stage, Train
from smc_eval.target import SMC_GRID, Target
from smc_eval.tasks.protein.protein_encoder import ProteinEncoder
from smc_eval.tasks.text_encoder import TextEncoder
from smc_eval.testing import Toy


def card(name: str, **more: Any) -> TaskCard:
    fields = {"summary": "a toy", "source": "none", "metric": "accuracy (%)", "published": "org/published"}
    return TaskCard(name=name, **{**fields, "accepts": ("text-encoder", "scratch", "tiny"), **more})


class Sums(Toy):
    card: ClassVar[TaskCard] = card("sums/gts", groups=("sums", "maths"), folds=3)
    tiny: ClassVar[dict[str, Any]] = {"steps": 2, "batch_size": 4}
    paper_recipe: ClassVar[dict[str, Any]] = {"bucket": 1}
    recipe: Recipe = Recipe(epochs=50, optimizer="adam", lr=0.25, bucket=20)


class Terms(Toy):
    card: ClassVar[TaskCard] = card("terms/gts", groups=("terms", "maths"))
    paper: ClassVar[dict[str, Any]] = {"size": "l"}
    size: str = "xl"
    """The training file that is read."""


class Proteins(Toy):
    card: ClassVar[TaskCard] = card("proteins", accepts=("protein-encoder",))


class Chosen(Method):
    """Has a distribution of its own, and another share under the paper's protocol."""

    card: ClassVar[MethodCard] = MethodCard(
        name="chosen", summary="a toy", source="none", when="before", distribution="erk"
    )
    paper: ClassVar[dict[str, Any]] = {"share": 0.75}
    share: float = 0.5

    def plan(self, target: Target) -> Iterator[Stage]:
        yield Train()


REGISTRY = Registry(
    (),
    {kind.card.name: kind for kind in (LotteryTicket, MagnitudeAfter, Dense)},
    {kind.card.name: kind for kind in (Sums, Terms, Proteins)},
    {kind.card.name: kind for kind in (TextEncoder, ProteinEncoder)},
    {kind.card.name: kind for kind in OPTIMIZERS},
)


def grid(registry: Registry = REGISTRY, **fields: Any) -> Grid:
    return Grid.of(
        RunConfig(**{"tasks": ("sums",), "method": ("lth",), "sparsity": ("0.5",), **fields}), registry
    )


def with_tasks(*kinds: type[Toy]) -> Registry:
    return replace(REGISTRY, tasks={kind.card.name: kind for kind in kinds})


def test_a_grid_has_every_combination_with_cells_of_one_start_together() -> None:
    cells = grid(tasks=("sums,terms",), folds="0,2", seeds="2", sparsity=("0.5,0.8",)).cells()
    assert [cell.label for cell in cells] == [
        f"{task} {method} seed {seed}"
        for task in ("sums/gts fold 0", "sums/gts fold 2", "terms/gts")
        for seed in (0, 1)
        for method in ("dense 0", "lth 0.5", "lth 0.8")
    ]


def test_method_all_leaves_out_methods_with_custom_masks() -> None:
    kinds = {kind.card.name: kind for kind in (Dense, LotteryTicket, FromCheckpoint)}
    methods = grid(registry=replace(REGISTRY, methods=kinds), method=("all",)).methods
    assert [method.card.name for method in methods] == ["dense", "lth"]


def test_the_dense_net_comes_once_and_first() -> None:
    def methods(**fields: Any) -> list[tuple[str, float]]:
        cells = grid(tasks=("terms",), **fields).cells()
        return [(cell.method.card.name, cell.target.sparsity) for cell in cells]

    assert methods() == [("dense", 0.0), ("lth", 0.5)]
    assert methods(method=("lth,dense",)) == [("dense", 0.0), ("lth", 0.5)]
    assert methods(method=("all",)) == [("dense", 0.0), ("lth", 0.5), ("omp-after", 0.5)]
    assert methods(method=()) == [("dense", 0.0)]
    assert methods(dense=False) == [("lth", 0.5)]
    assert methods(dense=False, method=("all",)) == [("lth", 0.5), ("omp-after", 0.5)]
    assert methods(dense=False, method=("dense",)) == [("dense", 0.0)]


def test_the_dense_cell_does_not_depend_on_the_distribution() -> None:
    first, second = (
        next(grid(tasks=("terms",), distribution=distribution).cells()) for distribution in ("global", "erk")
    )
    assert first == second


def test_a_cell_comes_once_if_its_names_are_repeated() -> None:
    once = grid(tasks=("all",), method=("lth:share=0.3,omp-after",), sparsity=("smc",))
    often = grid(
        tasks=("sums", "maths", "all"), method=("lth:share=0.3,omp-after", "omp-after"), sparsity=("smc,smc",)
    )
    assert set(often.cells()) == set(once.cells())
    assert len(list(often.cells())) == 5 * (1 + 2 * len(SMC_GRID))


def test_scope_and_distribution_have_flags_and_defaults() -> None:
    def distributions_and_scopes(**fields: Any) -> set[tuple[str, str]]:
        return {
            (cell.target.distribution, cell.target.scope) for cell in grid(method=("lth",), **fields).cells()
        }

    assert distributions_and_scopes() == {("global", "body")}
    assert distributions_and_scopes(protocol="paper") == {("global", "all-2d")}
    chosen = distributions_and_scopes(protocol="paper", scope="body", distribution="erk")
    assert chosen == {("global", "body"), ("erk", "body")}


CHOSEN_REGISTRY = Registry(
    (), {"chosen": Chosen, "dense": Dense, "omp-after": MagnitudeAfter}, {"terms/gts": Terms}
)


def test_the_papers_options_are_defaults_under_its_protocol_and_flags_replace_them() -> None:
    def share(method: str, protocol: str) -> float:
        method_ = grid(
            CHOSEN_REGISTRY, tasks=("terms",), method=(method,), protocol=protocol, dense=False
        ).methods[0]
        assert isinstance(method_, Chosen)
        return method_.share

    assert (share("chosen", "sound"), share("chosen", "paper")) == (0.5, 0.75)
    assert share("chosen:share=0.6", "paper") == 0.6


def test_the_distribution_is_that_of_the_flag_then_of_the_method() -> None:
    def distributions(**fields: Any) -> dict[str, str]:
        cells = grid(
            CHOSEN_REGISTRY, tasks=("terms",), method=("chosen,omp-after",), dense=False, **fields
        ).cells()
        return {cell.method.card.name: cell.target.distribution for cell in cells}

    assert distributions() == {"chosen": "erk", "omp-after": "global"}
    assert distributions(distribution="uniform") == {"chosen": "uniform", "omp-after": "uniform"}
    assert distributions(sparsity=("2:4",), distribution="erk") == {
        "chosen": "uniform",
        "omp-after": "uniform",
    }


def test_a_recipe_is_changed_by_tiny_then_the_paper_then_the_protocol_then_the_flags() -> None:
    def recipe(**fields: Any) -> Recipe:
        return grid(folds="0", **fields).tasks[0].recipe

    assert recipe() == Recipe(epochs=50, optimizer="adamw", lr=0.25, bucket=20)
    assert recipe(protocol="paper") == Recipe(epochs=50, optimizer="adam", lr=0.25, keep="best")
    assert recipe(model=("tiny",)) == Recipe(steps=2, batch_size=4, optimizer="adamw", lr=0.25, bucket=20)
    assert recipe(protocol="paper", recipe=("bucket=3",)).bucket == 3
    fields = {"model": ("tiny",), "recipe": ("epochs=3,optimizer=adam", "lr=0.1"), "precision": "bf16"}
    assert recipe(**fields) == Recipe(
        epochs=3, batch_size=4, optimizer="adam", lr=0.1, precision="bf16", bucket=20
    )


def test_every_task_that_accepts_a_model_gets_it() -> None:
    def models(*model: str) -> dict[str, str]:
        return {task.card.name: task.backbone for task in grid(tasks=("all",), folds="0", model=model).tasks}

    published = "org/published"
    assert set(models().values()) == {published}
    assert models("tiny") == {"sums/gts": "tiny", "terms/gts": "tiny", "proteins": published}
    assert models("org/mine") == dict.fromkeys(("sums/gts", "terms/gts", "proteins"), "org/mine")
    assert models("tiny", "maths=scratch", "sums=org/mine", "proteins=org/esm") == {
        "sums/gts": "org/mine",
        "terms/gts": "scratch",
        "proteins": "org/esm",
    }


def test_the_options_of_a_task_follow_its_name_and_are_part_of_its_digest() -> None:
    tasks = grid(tasks=["terms/gts:size=xs", "terms/gts", "terms/gts:size=xl"]).tasks
    assert [task.label for task in tasks] == ["terms/gts:size=xs", "terms/gts"]
    assert tasks[0].digest() != tasks[1].digest()


def test_a_task_keeps_its_published_model_if_a_checkpoint_is_of_another_kind(tmp_path: Path) -> None:
    letters = {letter: number for number, letter in enumerate("ACDEFGHIKLMNPQRSTVWYX")}
    (tmp_path / "config.json").write_text('{"model_type": "esm", "architectures": ["EsmForMaskedLM"]}')
    (tmp_path / "vocab.json").write_text(json.dumps(letters))
    tasks = grid(tasks=["terms,proteins"], model=[str(tmp_path)], registry=with_tasks(Terms, Proteins)).tasks
    assert {task.card.name: task.backbone for task in tasks} == {
        "terms/gts": "org/published",
        "proteins": str(tmp_path),
    }


OTHER_KINDS = {
    "gpt2": ("a causal language model (GPT2LMHeadModel)", {"architectures": ["GPT2LMHeadModel"]}),
    "llama": ("a causal language model (LlamaForCausalLM)", {"architectures": ["LlamaForCausalLM"]}),
    "t5": (
        "an encoder-decoder (T5ForConditionalGeneration)",
        {"architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": True},
    ),
}


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_a_checkpoint_of_another_kind_is_refused_with_the_reason(tmp_path: Path, kind: str) -> None:
    reason, config = OTHER_KINDS[kind]
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind, **config}))
    for tasks, beginning in (
        (("terms/gts",), "task 'terms/gts' cannot run with --model "),
        (("proteins,terms/gts",), "task 'proteins' cannot run with --model "),
        (("terms",), "no task to run can use --model "),
        (("all",), "no task to run can use --model "),
    ):
        with pytest.raises(UsageError) as caught:
            grid(tasks=tasks, model=(str(tmp_path),), folds="0")
        message = str(caught.value)
        assert message.startswith(f"{beginning}{tmp_path}") and len(message.splitlines()) <= 3
        assert f"the model {str(tmp_path)!r} is {reason}; this task takes a " in message


def test_a_task_of_a_group_that_keeps_its_model_gives_the_reason_to_every_cell() -> None:
    made = grid(tasks=("all",), model=("tiny", "proteins=org/esm"), folds="0")
    assert made.refused_models == ()  # the protein task has a model of its own
    made = grid(tasks=("all",), model=("tiny",), folds="0")
    told = "this task does not build 'tiny'; it accepts: protein-encoder"
    assert made.refused_models == (("proteins", (told,)),)
    assert {(cell.task.card.name, *cell.refused_models) for cell in made.cells()} == {
        ("sums/gts",),
        ("terms/gts",),
        ("proteins", told),
    }
    plain = [cell.digest() for cell in grid(tasks=("proteins",)).cells()]
    assert [cell.digest() for cell in made.cells() if cell.refused_models] == plain


def test_the_papers_options_of_a_task_hold_under_its_protocol_unless_given() -> None:
    def sizes(**fields: Any) -> list[str]:
        return [
            task.size for task in grid(registry=with_tasks(Terms), **fields).tasks if isinstance(task, Terms)
        ]

    assert sizes(tasks=["terms"]) == ["xl"]
    assert sizes(tasks=["terms"], protocol="paper") == ["l"]
    assert sizes(tasks=["terms:size=s"], protocol="paper") == ["s"]


def test_two_models_are_two_tasks() -> None:
    assert [task.backbone for task in grid(tasks=("terms",), model=("tiny", "org/mine")).tasks] == [
        "tiny",
        "org/mine",
    ]


def test_folder_limit_and_fold_are_set_in_the_task(tmp_path: Path) -> None:
    tasks = grid(data_dir=str(tmp_path), limit=7).tasks
    assert [(task.folder, task.limit, task.fold) for task in tasks] == [
        (str(tmp_path), 7, n) for n in range(3)
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tasks": ("summs",)}, "no task or group is named 'summs'; did you mean 'sums'"),
        ({"tasks": ()}, "no task to run; name some with --tasks, as in --tasks all; see smc-eval list tasks"),
        ({"method": ("lht",)}, "no method is named 'lht'; did you mean 'lth'"),
        (
            {"method": (), "dense": False},
            "no method to run; name one with --method, as in --method lth; see smc-eval list methods",
        ),
        ({"method": ("lth:shard=0.1",)}, "no option of method 'lth' is named 'shard'; did you mean 'share'"),
        ({"method": ("lth:share=2",)}, "option 'share' of method 'lth' is '2'; it should be less than 1"),
        ({"method": ("all:share=0.1",)}, "--method all takes no options; give them to one method by name"),
        ({"model": ("math=tiny",)}, "no task or group is named 'math'; did you mean 'maths'"),
        (
            {"model": ("proteins=tiny",)},
            "--model proteins=tiny: no task of 'proteins' accepts this model; they accept: protein-encoder",
        ),
        ({"tasks": ("sums:size=xs",)}, "no option of task 'sums/gts' is named 'size'"),
        (
            {"tasks": ("terms:fold=1",)},
            "'fold' is not an option of task 'terms/gts'; it has a flag of its own",
        ),
        ({"sparsity": ("1.0",)}, r"sparsity 1.0 lies outside \[0, 1\)"),
        ({"sparsity": ("4:2",)}, "sparsity '4:2' keeps 4 of every 2; N must be below M"),
        ({"sparsity": ("2:x",)}, "sparsity '2:x' is not an N:M pattern"),
        ({"folds": "3"}, "--folds 3: task 'sums/gts' has folds 0 to 2"),
        ({"data_dir": "nowhere/at/all"}, "there is no data directory 'nowhere/at/all'"),
        ({"recipe": ("epochs=1,steps=2",)}, "both epochs and steps"),
        ({"recipe": ("lr=fast",)}, "field 'lr' of --recipe is 'fast'; it should be a valid number"),
        ({"include": ("re:(",)}, r"--include: 're:\(' is not a valid regular expression: "),
        (
            {"exclude": ("*.a", "re:[")},
            r"--exclude: 're:\[' is not a valid regular expression: ",
        ),
        ({"recipe": ("lrr=0.1",)}, "no field of --recipe is named 'lrr'; did you mean 'lr'"),
    ],
)
def test_a_wrong_value_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        grid(**fields)
    assert len(str(caught.value).splitlines()) <= 3


def test_patterns_of_tensors_are_in_every_target_but_that_of_the_dense_net() -> None:
    dense, pruned = grid(tasks=("terms",), include=("*.query", "a,b"), exclude=("re:.*[0-3]",)).cells()
    assert (pruned.target.include, pruned.target.exclude) == (("*.query", "a,b"), ("re:.*[0-3]",))
    assert dense == next(grid(tasks=("terms",)).cells())


@pytest.mark.parametrize("flag", ["include", "exclude"])
def test_a_pattern_changes_the_digest_and_an_unset_one_does_not(flag: str) -> None:
    def target_digest(**fields: Any) -> str:
        return list(grid(tasks=("terms",), **fields).cells())[1].target.digest()

    without_patterns = {"sparsity": 0.5, "pattern": "free", "distribution": "global", "scope": "body"}
    unset = digest({"identity": "smc-eval:Target", "version": 1, "fields": without_patterns})
    assert target_digest() == target_digest(**{flag: ()}) == Target(sparsity=0.5).digest()
    assert digest(Target(sparsity=0.5).canonical()) == unset
    assert len({target_digest(), target_digest(**{flag: ("*.a",)}), target_digest(**{flag: ("*.b",)})}) == 3
