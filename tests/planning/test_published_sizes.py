"""Published sizes equal those of the real data and nets, and plans use them if these are missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smc_eval.errors import DataError, UsageError
from smc_eval.experiment.config import RunConfig, configured
from smc_eval.experiment.grid import Grid
from smc_eval.planning.plan import Plan
from smc_eval.planning.resolve import Resolver, assumption_lines, unresolved_lines
from smc_eval.registry import load_registry
from smc_eval.task import Task
from smc_eval.tasks import backbone, dimensions
from smc_eval.tasks.arithmetic.datasets import AsdivAGts, MawpsGts
from smc_eval.tasks.commonsense.csqa import Csqa
from smc_eval.tasks.commonsense.race import Race, RaceHigh, RaceMiddle
from smc_eval.tasks.commonsense.winogrande import WinoGrande
from smc_eval.tasks.protein.datasets import HpS2C2, HpS2C5, Meltome
from smc_eval.tasks.translation.translation import TenToTen, TwoToTwo

REGISTRY = load_registry().checked()


@pytest.fixture(autouse=True)
def _nothing_cached(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The hub's local cache is empty, and earlier results about it are forgotten."""
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    backbone._snapshot_or_error.cache_clear()
    yield
    backbone._snapshot_or_error.cache_clear()


def planned(*words: str, **flags: object) -> Plan:
    """The plan of the built-in grid's methods on some tasks."""
    config = configured({"tasks": words, **flags}, "smc-bench")
    resolved = Resolver(published=True).resolve_all(Grid.of(config, REGISTRY).cells())
    return Plan.of([cell.chain for cell in resolved if cell.chain], set().__contains__)


def test_the_published_sizes_equal_those_of_the_real_data(data_dir: Path) -> None:
    whole: list[Task] = [MawpsGts(fold=fold) for fold in range(5)]
    whole += [HpS2C2(fold=fold) for fold in range(10)]
    for task in whole:
        real, sizes = task.replace(folder=str(data_dir)), task.sizes()
        assert sizes is not None
        assert (len(real.data("train")), len(real.data("test"))) == (sizes.train, sizes.test), task.fold
    assert len(Csqa(folder=str(data_dir)).data("test")) == Csqa().sizes().test


def test_sizes_follow_the_options() -> None:
    assert WinoGrande().sizes().train == 40_398
    assert WinoGrande(size="xs").sizes().train == 160
    assert [AsdivAGts(fold=fold).sizes().train for fold in range(5)] == [979, 979, 979, 980, 951]
    assert sum(AsdivAGts(fold=fold).sizes().test for fold in range(5)) == 1217
    assert [kind().sizes().test for kind in (RaceMiddle, RaceHigh, Race)] == [1436, 3498, 4887]
    assert {HpS2C5(fold=fold).sizes().test for fold in range(10)} == {104}
    assert Meltome(split="human").sizes() is None
    # from and to English; French and Czech have a million pairs each
    assert TwoToTwo().sizes() == TwoToTwo(temperature=5).sizes()
    two, ten = TwoToTwo().sizes(), TenToTen().sizes()
    assert two is not None and (two.train, two.test) == (4_000_000, 8000)
    # n ^ (1/1.5) times 100: smaller sets are repeated
    assert ten is not None
    assert ten.train == 2 * (8_000_000 + round(100 * 318_306 ** (2 / 3)) + round(100 * 24_594 ** (2 / 3)))


@pytest.mark.parametrize("word", dimensions.published_dimensions())
def test_the_matrices_of_a_published_model_equal_those_of_its_net(word: str) -> None:
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM

    published = dimensions.published_dimensions()[word]
    writes = bool(published.get("is_encoder_decoder"))
    config = AutoConfig.for_model(**published)
    with torch.device("meta"):
        auto: Any = AutoModelForSeq2SeqLM if writes else AutoModel
        net = auto.from_config(config)
    out = () if writes else ("pooler", "contact_head")
    maps = [
        module.weight.numel()
        for name, module in net.named_modules()
        if isinstance(module, torch.nn.Linear) and not name.startswith(out)
    ]
    assert dimensions.matrices(published) == sum(maps)


def test_every_published_model_of_a_card_has_its_dimensions() -> None:
    assert {kind.card.published for kind in REGISTRY.tasks.values()} == set(dimensions.published_dimensions())


def test_dimensions_under_other_names_are_not_guessed() -> None:
    assert dimensions.matrices({"dim": 768, "n_layers": 6}) is None
    assert dimensions.matrices({"is_encoder_decoder": True, "d_model": 512}) is None
    assert dimensions.dimensions_of("nobody/nothing") is None


def test_the_papers_table_has_seventeen_tasks_twelve_rows_and_ten_columns() -> None:
    config = configured({}, "smc-bench")
    cells = list(Grid.of(config, REGISTRY).cells())
    starts = 5 * 4 + 10 * 2 + 11  # MAWPS and ASDiv-A twice; two of HotProtein's; all others
    assert len(cells) == starts * (1 + 11 * 10)
    assert len({cell.task.card.name for cell in cells}) == 17


def test_a_task_of_the_papers_table_costs_the_steps_computed_by_hand() -> None:
    plan = planned("csqa")
    # trainings: dense, ten rounds of lth, ten sparsities of three methods after training and of seven others
    assert plan.steps_shared == 3000 * (1 + 10 + 30 + 70)
    assert plan.steps_naive == 3000 * (1 + sum(range(2, 12)) + 30 * 2 + 70)
    (cost,) = plan.costs()
    assert (cost.cells, cost.steps) == (111, plan.steps_shared)


def test_each_fold_has_its_own_size() -> None:
    plan = planned("asdiv-a/gts", method=("dense",))
    assert plan.steps_shared == 50 * (245 * 4 + 238)


def test_race_costs_one_training_for_both_levels() -> None:
    (cost,) = planned("race", method=("dense",)).costs()
    assert (cost.tasks, cost.cells, cost.steps) == (("race/middle", "race/high"), 2, 5 * 10_984)
    assert cost.steps_without_sharing == 2 * cost.steps


def test_data_that_is_present_is_read_and_a_missing_model_is_named() -> None:
    config = RunConfig(tasks=("csqa",), method=("dense",), model=("csqa=roberta-large",))
    (cell,) = Resolver(published=True).resolve_all(Grid.of(config, REGISTRY).cells())
    assert cell.chain and cell.chain.examples == len(Csqa().data("train"))
    reason = "the model 'roberta-large' is not in the local cache"
    assert assumption_lines([cell]) == [
        f"1 cell planned with published sizes (csqa dense 0 seed 0): {reason}"
    ]
    assert unresolved_lines([cell]) == []


def test_missing_data_has_its_published_size_and_is_named(tmp_path: Path) -> None:
    config = RunConfig(
        tasks=("svamp/gts",), method=("dense",), model=("tiny",), data_dir=str(tmp_path), limit=100
    )
    (cell,) = Resolver(published=True).resolve_all(Grid.of(config, REGISTRY).cells())
    assert cell.chain and cell.chain.examples == 100
    assert "has no mawps-asdiv-a_svamp/train.csv" in assumption_lines([cell])[0]


def test_a_run_does_not_use_published_sizes(tmp_path: Path) -> None:
    config = RunConfig(tasks=("csqa",), method=("dense",), model=("tiny",), data_dir="published")
    cells = list(Grid.of(config, REGISTRY).cells())
    with pytest.raises(
        UsageError, match="--data-dir published has only sizes, for plans; to run, give a folder"
    ):
        Resolver().resolve_all(cells)
    missing = RunConfig(tasks=("csqa",), method=("dense",), model=("tiny",), data_dir=str(tmp_path))
    with pytest.raises(UsageError, match="has no commonsenseqa/train_rand_split"):
        Resolver().resolve_all(Grid.of(missing, REGISTRY).cells())


def test_a_plan_with_published_sizes_has_other_digests_than_a_run() -> None:
    words = {"tasks": ("csqa",), "method": ("dense",), "model": ("tiny",)}
    (real,) = Resolver(published=True).resolve_all(Grid.of(RunConfig(**words), REGISTRY).cells())
    (alone,) = Resolver(published=True).resolve_all(
        Grid.of(RunConfig(**words, data_dir="published"), REGISTRY).cells()
    )
    (run,) = Resolver().resolve_all(Grid.of(RunConfig(**words), REGISTRY).cells())
    assert real.chain and alone.chain and run.chain
    assert real.chain.digest == run.chain.digest != alone.chain.digest


def test_data_without_a_published_size_cannot_be_planned_without_it() -> None:
    config = RunConfig(
        tasks=("meltome:split=human",), method=("dense",), model=("tiny",), data_dir="published"
    )
    with pytest.raises(UsageError, match="published has only sizes, for plans"):
        Resolver(published=True).resolve_all(Grid.of(config, REGISTRY).cells())


def test_a_folder_without_a_model_cannot_be_planned(tmp_path: Path) -> None:
    config = RunConfig(tasks=("csqa",), method=("dense",), model=(str(tmp_path),), data_dir="published")
    with pytest.raises(UsageError, match=r"has no config.json"):
        Resolver(published=True).resolve_all(Grid.of(config, REGISTRY).cells())


def test_a_hub_that_does_not_respond_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from smc_eval.tasks import hub
    from smc_eval.tasks.text_encoder import TextEncoder

    asked = list[str]()

    def ask(address: str, timeout: float) -> None:
        asked.append(address)
        raise TimeoutError

    class Session:
        head = staticmethod(ask)

    monkeypatch.setattr("huggingface_hub.utils.get_session", Session)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_: pytest.fail("the client would wait"))
    hub.hub_reachable.cache_clear()
    try:
        for word in ("some/model", "some/other"):
            with pytest.raises(UsageError, match="the hub cannot be reached"):
                backbone.find_backbone(word, TextEncoder())
        with pytest.raises(DataError, match="cannot be fetched from the hub"):
            hub.HubSet("some/data", "default", ()).source(["train"])
    finally:
        hub.hub_reachable.cache_clear()
    assert len(asked) == 1
