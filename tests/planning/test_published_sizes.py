"""Published sizes: those of the real data and nets, and what a plan counts with where it can read neither."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smc_eval.errors import DataError, UsageError
from smc_eval.experiment.config import RunConfig, configured
from smc_eval.experiment.grid import Grid
from smc_eval.planning.plan import Plan
from smc_eval.planning.resolve import Resolver, supposed_lines, unresolved_lines
from smc_eval.registry import load
from smc_eval.task import Task
from smc_eval.tasks import backbone, dimensions
from smc_eval.tasks.arithmetic.datasets import AsdivAGts, MawpsGts
from smc_eval.tasks.commonsense.csqa import Csqa
from smc_eval.tasks.commonsense.race import Race, RaceHigh, RaceMiddle
from smc_eval.tasks.commonsense.winogrande import WinoGrande
from smc_eval.tasks.protein.datasets import HpS2C2, HpS2C5, Meltome
from smc_eval.tasks.translation.translation import TenToTen, TwoToTwo

SHELVES = load().checked()


@pytest.fixture(autouse=True)
def _nothing_cached(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever this machine's cache of the hub holds, nothing is there; nothing asked before counts."""
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    backbone._asked.cache_clear()
    yield
    backbone._asked.cache_clear()


def planned(*words: str, **flags: object) -> Plan:
    """The plan of the shipped grid's methods on some tasks."""
    order = configured({"tasks": words, **flags}, "smc-bench")
    squares = Resolver(published=True).resolve_all(Grid.of(order, SHELVES).cells())
    return Plan.of([square.chain for square in squares if square.chain], set().__contains__)


def test_the_published_sizes_are_those_of_the_real_data(data_dir: Path) -> None:
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
    # from and to English: French and Czech have a million pairs each
    assert TwoToTwo().sizes() == TwoToTwo(temperature=5).sizes()
    two, ten = TwoToTwo().sizes(), TenToTen().sizes()
    assert two is not None and (two.train, two.test) == (4_000_000, 8000)
    # n ^ (1/1.5) times 100: what is smaller is repeated
    assert ten is not None
    assert ten.train == 2 * (8_000_000 + round(100 * 318_306 ** (2 / 3)) + round(100 * 24_594 ** (2 / 3)))


@pytest.mark.parametrize("word", dimensions.published_dimensions())
def test_the_matrices_of_a_published_model_are_those_of_its_net(word: str) -> None:
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM

    told = dimensions.published_dimensions()[word]
    writes = bool(told.get("is_encoder_decoder"))
    config = AutoConfig.for_model(**told)
    with torch.device("meta"):
        auto: Any = AutoModelForSeq2SeqLM if writes else AutoModel
        net = auto.from_config(config)
    out = () if writes else ("pooler", "contact_head")
    maps = [
        module.weight.numel()
        for name, module in net.named_modules()
        if isinstance(module, torch.nn.Linear) and not name.startswith(out)
    ]
    assert dimensions.matrices(told) == sum(maps)


def test_every_published_model_of_a_card_has_its_dimensions() -> None:
    assert {kind.card.published for kind in SHELVES.tasks.values()} == set(dimensions.published_dimensions())


def test_dimensions_under_other_names_are_not_guessed() -> None:
    assert dimensions.matrices({"dim": 768, "n_layers": 6}) is None
    assert dimensions.matrices({"is_encoder_decoder": True, "d_model": 512}) is None
    assert dimensions.dimensions_of("nobody/nothing") is None


def test_the_papers_table_has_its_seventeen_tasks_twelve_rows_and_ten_columns() -> None:
    order = configured({}, "smc-bench")
    cells = list(Grid.of(order, SHELVES).cells())
    starts = 5 * 4 + 10 * 2 + 11  # MAWPS and ASDiv-A twice; two of HotProtein's; all others
    assert len(cells) == starts * (1 + 11 * 10)
    assert len({cell.task.card.name for cell in cells}) == 17


def test_a_task_of_the_papers_table_costs_what_it_does_by_hand() -> None:
    plan = planned("csqa")
    # trained once: dense, each of ten rounds, ten levels of three methods after training and of seven others
    assert plan.shared == 3000 * (1 + 10 + 30 + 70)
    assert plan.naive == 3000 * (1 + sum(range(2, 12)) + 30 * 2 + 70)
    (price,) = plan.prices()
    assert (price.cells, price.steps) == (111, plan.shared)


def test_folds_count_by_their_own_sizes() -> None:
    plan = planned("asdiv-a/gts", method=("dense",))
    assert plan.shared == 50 * (245 * 4 + 238)


def test_race_is_priced_once_for_both_levels() -> None:
    (price,) = planned("race", method=("dense",)).prices()
    assert (price.tasks, price.cells, price.steps) == (("race/middle", "race/high"), 2, 5 * 10_984)
    assert price.naive == 2 * price.steps


def test_what_is_read_is_counted_and_the_rest_is_told() -> None:
    order = RunConfig(tasks=("csqa",), method=("dense",), model=("csqa=roberta-large",))
    (square,) = Resolver(published=True).resolve_all(Grid.of(order, SHELVES).cells())
    assert square.chain and square.chain.examples == len(Csqa().data("train"))
    told = "the model 'roberta-large' is not in the local cache"
    assert supposed_lines([square]) == [f"1 cells planned by published sizes (csqa dense 0 seed 0): {told}"]
    assert unresolved_lines([square]) == []


def test_missing_data_counts_as_published_and_says_what_is_missing(tmp_path: Path) -> None:
    order = RunConfig(
        tasks=("svamp/gts",), method=("dense",), model=("tiny",), data_dir=str(tmp_path), limit=100
    )
    (square,) = Resolver(published=True).resolve_all(Grid.of(order, SHELVES).cells())
    assert square.chain and square.chain.examples == 100
    assert "has no mawps-asdiv-a_svamp/train.csv" in supposed_lines([square])[0]


def test_a_run_takes_nothing_as_published(tmp_path: Path) -> None:
    order = RunConfig(tasks=("csqa",), method=("dense",), model=("tiny",), data_dir="published")
    cells = list(Grid.of(order, SHELVES).cells())
    with pytest.raises(UsageError, match="'published' is sizes alone, to plan with; to run, name a folder"):
        Resolver().resolve_all(cells)
    missing = RunConfig(tasks=("csqa",), method=("dense",), model=("tiny",), data_dir=str(tmp_path))
    with pytest.raises(UsageError, match="has no commonsenseqa/train_rand_split"):
        Resolver().resolve_all(Grid.of(missing, SHELVES).cells())


def test_a_plan_by_published_sizes_finds_no_finished_cell_of_a_real_run() -> None:
    words = {"tasks": ("csqa",), "method": ("dense",), "model": ("tiny",)}
    (real,) = Resolver(published=True).resolve_all(Grid.of(RunConfig(**words), SHELVES).cells())
    (alone,) = Resolver(published=True).resolve_all(
        Grid.of(RunConfig(**words, data_dir="published"), SHELVES).cells()
    )
    (run,) = Resolver().resolve_all(Grid.of(RunConfig(**words), SHELVES).cells())
    assert real.chain and alone.chain and run.chain
    assert real.chain.digest == run.chain.digest != alone.chain.digest


def test_what_nobody_has_published_cannot_be_planned_without_it() -> None:
    order = RunConfig(
        tasks=("meltome:split=human",), method=("dense",), model=("tiny",), data_dir="published"
    )
    with pytest.raises(UsageError, match="is sizes alone, to plan with"):
        Resolver(published=True).resolve_all(Grid.of(order, SHELVES).cells())


def test_a_model_that_is_none_cannot_be_planned_with(tmp_path: Path) -> None:
    order = RunConfig(tasks=("csqa",), method=("dense",), model=(str(tmp_path),), data_dir="published")
    with pytest.raises(UsageError, match=r"has no config.json"):
        Resolver(published=True).resolve_all(Grid.of(order, SHELVES).cells())


def test_a_hub_that_does_not_answer_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from smc_eval.tasks import hub

    asked = list[str]()

    def ask(address: str, timeout: float) -> None:
        asked.append(address)
        raise TimeoutError

    class Session:
        head = staticmethod(ask)

    monkeypatch.setattr("huggingface_hub.utils.get_session", Session)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_: pytest.fail("the client would wait"))
    hub.hub_answers.cache_clear()
    try:
        for word in ("some/model", "some/other"):
            with pytest.raises(UsageError, match="the hub cannot be reached"):
                backbone.find_backbone(word)
        with pytest.raises(DataError, match="the hub gives none"):
            hub.HubSet("some/data", "default", ()).source(["train"])
    finally:
        hub.hub_answers.cache_clear()
    assert len(asked) == 1
