"""Tasks in a folder: a multiple choice, a generation and a perplexity, against lm-eval itself and by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from smc_eval_lm.lm_eval_task import LmEval
from smc_eval_lm.perplexity import Perplexity

from smc_eval.capabilities import content, trained_as
from smc_eval.engine.device import Device
from smc_eval.engine.predict import predict
from smc_eval.engine.run_options import RunOptions
from smc_eval.engine.runner import run_cells
from smc_eval.errors import DataError, TrainingError
from smc_eval.methods.dense import Dense
from smc_eval.methods.omp import MagnitudeAfter
from smc_eval.methods.wanda import Wanda
from smc_eval.registry import Registry
from smc_eval.reporting.rescore import Rescorer
from smc_eval.score import Score
from smc_eval.store.predictions import Predictions
from smc_eval.store.records import RecordsFile
from smc_eval.target import Target
from smc_eval.testing import TaskContract, chain_of

TASKS = ("legs", "copy", "story")


def made(tasks: Path, model: Path | str, name: str, **options: Any) -> LmEval:
    return LmEval.model_validate({"task": name, "include": str(tasks), "backbone": str(model), **options})


def answered(task: LmEval, model: torch.nn.Module | None = None, size: int = 1) -> list[Any]:
    recipe = task.recipe.model_copy(update={"eval_batch_size": size})
    return predict(task, model or task.model(), task.data("test"), recipe, Device("cpu", threads=1))


def score_of(task: LmEval, model: torch.nn.Module | None = None) -> Score:
    return task.score(answered(task, model), task.data("test"))


def own_results(
    tasks: Path, model: Path, shots: int, names: tuple[str, ...] = TASKS
) -> dict[str, dict[str, Any]]:
    """What lm-eval itself says of a model in a folder."""
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.tasks import TaskManager

    found = simple_evaluate(
        model="hf",
        model_args=f"pretrained={model}",
        tasks=list(names),
        num_fewshot=shots,
        device="cpu",
        bootstrap_iters=0,
        task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
    )
    return {**found["results"], "samples": found["samples"]}


class TestLegs(TaskContract):
    @pytest.fixture(autouse=True)
    def _made(self, tasks: Path) -> None:
        self.task = made(tasks, "tiny", "legs")


class TestCopyInBatches(TaskContract):
    @pytest.fixture(autouse=True)
    def _made(self, tasks: Path) -> None:
        self.task = made(tasks, "tiny", "copy", shots=1, metric="chrf", filter="first")


class TestStory(TaskContract):
    @pytest.fixture(autouse=True)
    def _made(self, tasks: Path) -> None:
        self.task = made(tasks, "tiny", "story")


@pytest.mark.parametrize("shots", [0, 2])
@pytest.mark.filterwarnings("ignore")  # lm-eval's own
def test_scores_answers_and_prompts_are_those_of_lm_eval_to_the_digit(
    tasks: Path, llama: Path, shots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pruned = made(tasks, llama, "legs").model()
    with torch.no_grad():  # not the net of the folder: the one in memory is asked
        for weight in pruned.parameters():
            weight[weight.abs() < weight.abs().median()] = 0.0
    exported = tasks.parent / "pruned"
    pruned.save_pretrained(exported)
    for file in llama.glob("*token*"):
        (exported / file.name).write_bytes(file.read_bytes())
    monkeypatch.chdir(tasks)  # lm-eval looks for data where it runs
    theirs = own_results(tasks, exported, shots)
    for name in TASKS:
        task = made(tasks, llama, name, shots=shots if name != "story" else None)
        found, predicted = task.data("test"), answered(task, pruned)
        score = task.score(predicted, found)
        ours = {score.metric: score.value, **score.also}
        samples = theirs["samples"][name]
        by = samples[0]["filter"]
        for metric, value in ours.items():
            key = metric if "," in metric else f"{metric},{by}"
            assert theirs[name][key] == value, (name, metric)
        assert len(ours) == sum("," in key and "_stderr" not in key for key in theirs[name])
        for sample in samples:
            document = found[sample["doc_id"]]
            assert [list(one.arguments) for one in document.requests] == [
                list(a) for a in sample["arguments"]
            ]
            resps = json.loads(json.dumps(sample["resps"]))
            assert predicted[sample["doc_id"]]["answers"] == resps


@pytest.mark.filterwarnings("ignore")  # lm-eval's own
@pytest.mark.parametrize("metric", ["acc", "acc_norm"])
def test_a_group_is_aggregated_as_by_lm_eval(
    tasks: Path, llama: Path, metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tasks)
    theirs = own_results(tasks, llama, 1, ("animals",))
    task = made(tasks, llama, "animals", shots=1, metric=metric)
    found = task.data("test")
    assert [document.part for document in found] == [0] * 14 + [1] * 20
    score = task.score(answered(task), found)
    other = "acc_norm" if metric == "acc" else "acc"
    assert (score.metric, score.value, score.n) == (metric, theirs["animals"][f"{metric},none"], 34)
    parts = {name: theirs[name][f"{metric},none"] for name in ("legs", "wings")}
    assert score.also == {other: theirs["animals"][f"{other},none"], **parts}
    assert score.also_n == {"legs": 14, "wings": 20}
    assert "|task:animals|version:3|shots:1|" in score.signature
    assert score.items is not None and score.items.kind == "mean"
    rows = [row for (row,) in score.items.rows]
    if metric == "acc":
        assert score.items.groups == ("legs",) * 14 + ("wings",) * 20
        assert score.value == pytest.approx((sum(rows[:14]) / 14 + sum(rows[14:]) / 20) / 2)
    else:
        assert score.items.groups == () and score.value == pytest.approx(sum(rows) / 34)


def test_the_accuracy_is_that_of_a_plain_loop_over_choices(tasks: Path, llama: Path) -> None:
    task = made(tasks, llama, "legs")
    model, tokenizer = task.model().eval(), task.tokenizer
    rows = [json.loads(line) for line in (tasks / "legs-test.jsonl").read_text().splitlines()]
    right = []
    for row in rows:
        question = f"Question: how many legs has a {row['animal']} by the {row['place']}?\nAnswer:"
        first, sums = len(tokenizer(question)["input_ids"]), []
        for choice in ("no", "two", "four", "six", "eight"):
            ids_L = torch.tensor(tokenizer(f"{question} {choice}")["input_ids"])
            with torch.no_grad():
                log_LV = model(ids_L[None]).logits[0].log_softmax(-1)
            sums.append(float(log_LV[first - 1 : -1].gather(1, ids_L[first:, None]).sum()))
        right.append(max(range(5), key=sums.__getitem__) == row["answer"])
    score = score_of(task)
    assert (score.metric, score.n, score.higher_is_better) == ("acc", 14, True)
    assert score.value == sum(right) / 14
    assert score.items is not None and score.items.kind == "mean"
    assert score.items.rows == tuple((float(one),) for one in right)


def test_the_perplexity_is_that_of_a_plain_loop_over_windows(tasks: Path, llama: Path) -> None:
    task = made(tasks, llama, "story", metric="byte_perplexity", max_length=50)
    model, tokenizer = task.model().eval(), task.tokenizer
    total, size = 0.0, 0
    for line in (tasks / "story.jsonl").read_text().splitlines():
        text = json.loads(line)["text"]
        ids, size = tokenizer(text)["input_ids"], size + len(text.encode())
        ids = [tokenizer.bos_token_id, *ids]  # the text begins with one already
        for start in range(1, len(ids), 50):
            end = min(start + 50, len(ids))
            ids_L = torch.tensor(ids[:end][-51:])  # the last window reaches back
            with torch.no_grad():
                log_LV = model(ids_L[None, :-1]).logits[0].log_softmax(-1)
            total += float(log_LV.gather(1, ids_L[1:, None]).double()[start - end :].sum())
    score = score_of(task)
    assert score.value == pytest.approx(float(torch.tensor(-total / size).exp()), rel=1e-6)
    assert not score.higher_is_better and score.items is not None and score.items.kind == "perplexity"
    assert "window:50" in score.signature


def test_answers_do_not_depend_on_the_passes_and_hardly_on_the_batch(tasks: Path, llama: Path) -> None:
    for name in TASKS:
        task = made(tasks, llama, name)
        assert answered(task) == answered(task, size=5)
    task = made(tasks, llama, "legs")
    alone, together = answered(task), answered(task.replace(batch=8), size=14)
    for one, other in zip(alone, together, strict=True):
        assert [pair[0][1] for pair in one["answers"]] == [pair[0][1] for pair in other["answers"]]
        ours, theirs = ([pair[0][0] for pair in part["answers"]] for part in (one, other))
        assert ours == pytest.approx(theirs, rel=1e-5)
    assert "batch:8" in score_of(task.replace(batch=8)).signature


def test_the_net_is_asked_in_the_precision_of_the_recipe(tasks: Path, llama: Path) -> None:
    task = made(tasks, llama, "story")
    exact = answered(task)
    rounded = answered(task.replace(recipe=task.recipe.model_copy(update={"precision": "bf16"})))
    for one, other in zip(exact, rounded, strict=True):
        assert one["answers"] != other["answers"]
        assert one["answers"][0] == pytest.approx(other["answers"][0], rel=0.02)


def test_the_positions_of_a_model_are_found_as_lm_eval_finds_them(
    tasks: Path, llama: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for file in llama.iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    config = json.loads((model / "config.json").read_text())
    for fields, window in (({"n_positions": 128}, 128), ({"text_config": {"n_ctx": 64}}, 64)):
        (model / "config.json").write_text(json.dumps({**config, **fields}))
        assert made(tasks, model, "story")._window == window


def test_the_signature_names_all_that_decides_the_score(tasks: Path, llama: Path) -> None:
    legs = score_of(made(tasks, llama, "legs", shots=2)).signature
    start, _, token = legs.partition("tokenizer:")
    assert start == "lm-eval:0.4.13|task:legs|version:1.5|shots:2|metric:acc|filter:none|"
    assert token[8:] == "|seed:1234"
    copy = score_of(made(tasks, llama, "copy", metric="chrf", filter="first"))
    assert "|metric:chrf|filter:first|" in copy.signature
    assert copy.metric == "chrf" and copy.items is None  # of the whole corpus
    assert set(copy.also) == {"exact_match", "exact_match,strict", "chrf,strict"}


def test_a_prompt_that_loses_its_start_is_counted_in_the_signature(tasks: Path, llama: Path) -> None:
    whole = made(tasks, llama, "legs", shots=2)
    cut = whole.replace(max_length=60)
    counts = [sum(one["truncated"] for one in answered(task)) for task in (whole, cut)]
    assert counts[0] == 0 and counts[1] > 0
    assert f"|window:60|truncated:{counts[1]}/70" in score_of(cut).signature
    written = made(tasks, llama, "copy", shots=2, max_length=50)
    assert "truncated:14/14" in score_of(written).signature


def test_a_net_is_trained_and_pruned_as_that_of_perplexity(tasks: Path) -> None:
    own, other = made(tasks, "tiny", "legs"), made(tasks, "tiny", "story")
    assert trained_as(own) == trained_as(other) == trained_as(Perplexity())
    chains = [chain_of(MagnitudeAfter(), Target(sparsity=0.5), task) for task in (own, other, Perplexity())]
    assert len({chain.start for chain in chains}) == 1
    assert len({chain.links[-1].digest for chain in chains}) == 1
    assert len({chain.digest for chain in chains}) == 3


def test_the_digest_covers_the_file_what_it_includes_and_its_data(tasks: Path) -> None:
    def digests() -> tuple[str, ...]:
        return tuple(made(tasks, "tiny", name).sources()[0].digest for name in TASKS)

    first = digests()
    assert digests() == first
    base = tasks / "copy-base"
    base.write_text(base.read_text().replace("version: 2", "version: 3"))
    second = digests()
    assert [a == b for a, b in zip(first, second, strict=True)] == [True, False, True]
    data = tasks / "legs-test.jsonl"
    data.write_text(data.read_text().replace('"answer": 0', '"answer": 1', 1))
    third = digests()
    assert [a == b for a, b in zip(second, third, strict=True)] == [False, False, True]


def test_the_same_question_twice_is_found_under_other_shots(tasks: Path) -> None:
    rows = (tasks / "legs-test.jsonl").read_text().splitlines()
    (tasks / "legs-test.jsonl").write_text("\n".join([*rows, rows[0].replace('"answer": 2', '"answer": 0')]))
    task = made(tasks, "tiny", "legs", shots=2)
    first, *_, last = task.data("test")
    assert first.requests != last.requests
    assert content(task, first) == content(task, last)


def test_a_folder_of_tasks_is_found_in_the_data_folder(tasks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tasks.parent)
    near, far = made(Path("tasks"), "tiny", "legs"), made(tasks, "tiny", "legs")
    assert near.sources()[0].digest == far.sources()[0].digest
    moved = near.replace(folder=str(tasks.parent))
    assert moved.data("test") == far.data("test")
    assert moved.digest() == near.digest()


def test_a_net_that_was_calibrated_on_synthetic_text_is_noted(
    tasks: Path, llama: Path, tmp_path: Path
) -> None:
    (tasks / "text.txt").write_text("how many legs has a spider by the river " * 100)
    task = made(tasks, llama, "story")
    real = task.replace(folder=str(tasks), train_text="text.txt")
    cells = ((MagnitudeAfter(), task), (Wanda(), task), (Wanda(), real))
    chains = [chain_of(method, Target(sparsity=0.5), one) for method, one in cells]
    records = run_cells(chains, RunOptions(tmp_path / "store", device="cpu"))
    assert [record.status for record in records] == ["ok"] * 3
    noted = [any(note.startswith("calibrated on synthetic data") for note in one.notes) for one in records]
    assert noted == [False, True, False]


def test_what_is_drawn_at_random_has_a_seed_for_each_document(tasks: Path, llama: Path) -> None:
    yaml = tasks / "copy.yaml"
    yaml.write_text(yaml.read_text().replace("do_sample: false", "do_sample: true, temperature: 0.9"))
    task = made(tasks, llama, "copy")
    torch.manual_seed(5)
    first, state = answered(task), torch.get_rng_state()
    assert torch.equal(state, torch.manual_seed(5).get_state())
    assert answered(task, size=14) == first
    assert len({one["answers"][0][0] for one in first}) > 10
    assert "|sampled:seed 1234 + document" in score_of(task).signature


def test_a_cell_keeps_the_value_of_each_document_and_can_be_scored_again(
    tasks: Path, llama: Path, tmp_path: Path
) -> None:
    legs, story = made(tasks, llama, "legs", shots=1), made(tasks, llama, "story")
    chains = [
        chain_of(method, target, task)
        for task in (legs, story)
        for method, target in ((Dense(), Target()), (MagnitudeAfter(), Target(sparsity=0.5)))
    ]
    records = run_cells(chains, RunOptions(tmp_path / "store", device="cpu"))
    assert [record.status for record in records] == ["ok"] * 4
    dense, pruned, told, retold = records
    assert dense.task == legs.label and dense.data.source == "lm-eval:legs"
    assert dense.score is not None and dense.score.metric == "acc" and dense.score.n == 14
    assert dense.certificate != pruned.certificate and pruned.certificate == retold.certificate
    predictions = Predictions(tmp_path / "store")
    for record, kind, count in ((dense, "mean", 14), (pruned, "mean", 14), (told, "perplexity", 5)):
        items = predictions.items(record.digest)
        assert items is not None and (items.kind, len(items.rows)) == (kind, count)
    rescorer = Rescorer(Registry(tasks={"lm-eval": LmEval}), "synthetic")
    again = list(rescorer.rescore(RecordsFile(tmp_path / "store"), predictions))
    assert [(one.reason, one.changes) for one in again] == [("", {})] * 4


def test_an_answer_that_is_longer_than_the_net_reads_fails_with_words(tasks: Path, llama: Path) -> None:
    with pytest.raises(DataError, match="cannot ask the net about document 8: an answer is empty, or longer"):
        answered(made(tasks, llama, "legs", max_length=2))


def test_a_probability_that_is_no_number_fails_and_is_no_wrong_answer(tasks: Path, llama: Path) -> None:
    for name in ("legs", "story"):
        task = made(tasks, llama, name)
        model = task.model()
        with torch.no_grad():
            next(model.parameters()).fill_(float("nan"))
        with pytest.raises(TrainingError, match="a log-probability that is no number"):
            answered(task, model)
