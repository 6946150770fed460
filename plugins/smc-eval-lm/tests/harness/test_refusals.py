"""What is refused before anything runs: packages, names, code, shots, models and data that do not fit."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from local_tasks import need_lm_eval
from smc_eval_lm import lm_eval_package
from smc_eval_lm.lm_eval_refusals import shows_answers
from smc_eval_lm.lm_eval_task import LmEval

from smc_eval.errors import DataError, ModelError, SmcError, UnknownName, UsageError

PROGRAM = """
import sys
from smc_eval.experiment.config import RunConfig
from smc_eval.experiment.grid import Grid
from smc_eval.methods.dense import Dense
from smc_eval.registry import Registry
from smc_eval_lm import smc_eval_kinds, smc_eval_tasks

tasks = {kind.card.name: kind for kind in smc_eval_tasks()}
kinds = {kind.card.name: kind for kind in smc_eval_kinds()}
registry = Registry(methods={"dense": Dense}, tasks=tasks, kinds=kinds)
config = RunConfig(model=("tiny",), tasks=("lm-eval:task=hellaswag,shots=5",), dense=True)
task, = Grid.of(config, registry).tasks
print(task.label, task.digest()[:0], sorted({"lm_eval", "torch", "yaml"} & sys.modules.keys()))
"""


def made(folder: Path, name: str, **options: Any) -> LmEval:
    return LmEval.model_validate({"task": name, "include": str(folder), "backbone": "tiny", **options})


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_naming_a_task_imports_no_lm_eval() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "lm-eval:task=hellaswag,shots=5  []"


def test_a_missing_package_is_refused_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(lm_eval_package, "version", missing)
    with pytest.raises(UsageError, match="need the package lm-eval 0.4.13: pip install lm-eval==0.4.13"):
        LmEval(task="hellaswag").sources()


@pytest.mark.parametrize(
    ("found", "fits"), [("0.4.13", True), ("0.4.13.1", True), ("0.4.12", False), ("0.4.130", False)]
)
def test_another_release_is_refused(monkeypatch: pytest.MonkeyPatch, found: str, fits: object) -> None:
    monkeypatch.setattr(lm_eval_package, "version", lambda _: found)
    if fits:
        assert lm_eval_package.check_version() == found
        return
    with pytest.raises(UsageError, match=f"lm-eval {found} is installed, and .* 0.4.13 alone"):
        LmEval(task="hellaswag").sources()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"task": ""}, UsageError, "needs the name of a task: --tasks lm-eval:task=hellaswag"),
        ({"task": "leg"}, UnknownName, "no task of lm-eval in .* is named 'leg'; did you mean 'legs'"),
        (
            {"include": "nowhere"},
            DataError,
            "include=nowhere: there is no folder synthetic/nowhere and no nowhere",
        ),
        (
            {"metric": "accuracy"},
            UnknownName,
            "no metric of the task 'legs' .* is named 'accuracy'.*acc, acc_norm",
        ),
        ({"filter": "strict"}, UnknownName, "no filter of the task 'legs' .* known: none"),
        ({"shots": 21}, UsageError, "shots=21: the task 'legs' of lm-eval has 20 documents for shots"),
        ({"task": "story", "shots": 1}, UsageError, "shots=1: the task 'story' .* reads a text alone"),
        ({"chat": True}, ModelError, "chat=true: the tokenizer of 'tiny' has no chat template"),
        ({"max_length": 65}, UsageError, "max_length=65 is longer than the 64 positions of the model 'tiny'"),
        (
            {"task": "copy", "max_length": 8},
            ModelError,
            "'copy' lets the net write 8 tokens, and 'tiny' reads 8",
        ),
    ],
)
def test_a_wrong_word_is_refused(
    tasks: Path, options: dict[str, Any], error: type[SmcError], words: str
) -> None:
    with pytest.raises(error, match=words):
        made(
            tasks, **{"name": "legs", **{("name" if k == "task" else k): v for k, v in options.items()}}
        ).sources()


def test_a_group_and_a_tag_are_refused_with_their_members(tasks: Path) -> None:
    (tasks / "both.yaml").write_text("group: both\ntask: [legs, {task: copy, num_fewshot: 1}]\n")
    change(tasks / "legs.yaml", "task: legs", "task: legs\ntag: easy")
    change(tasks / "wings.yaml", "task: wings", "task: wings\ntag: []")
    change(tasks / "story.yaml", "task: story", "task: story\ntag: easy")
    for name, members in (("both", "legs, copy"), ("easy", "legs, story")):
        with pytest.raises(
            UsageError,
            match=f"'{name}' is no task of lm-eval but 2 of them, without a common score: {members}",
        ):
            made(tasks, name).sources()


def test_a_group_is_refused_for_the_faults_of_its_tasks(tasks: Path) -> None:
    change(tasks / "wings.yaml", "task: wings", "task: wings\nprocess_docs: !function utils.docs")
    with pytest.raises(UsageError, match="'wings' in .* runs Python code of its own .*utils.docs"):
        made(tasks, "animals").sources()
    change(tasks / "wings.yaml", "process_docs: !function utils.docs", "num_fewshot: 0")
    with pytest.raises(UsageError, match="shots=1: the task 'wings' of lm-eval fixes its shots at 0"):
        made(tasks, "animals", shots=1).sources()
    change(tasks / "wings.yaml", "num_fewshot: 0", "")
    change(tasks / "animals.yaml", "{group: flying}", "{group: flying}, fins")
    with pytest.raises(DataError, match="the group 'animals' in .* has 'fins', a task in none of its files"):
        made(tasks, "animals").sources()
    change(tasks / "animals.yaml", "{group: flying}, fins", "{task: wings, test_split: none}")
    with pytest.raises(DataError, match="cannot load the task 'animals': KeyError: 'none'"):
        made(tasks, "animals").sources()


def test_own_tasks_of_lm_eval_are_found_and_their_nearest_names() -> None:
    need_lm_eval()
    with pytest.raises(
        DataError, match="cannot load the task 'hellaswag': .*\n.*on the Hugging Face hub, which"
    ):
        LmEval(task="hellaswag").sources()
    with pytest.raises(UsageError, match="'humaneval' of lm-eval runs code that the net writes"):
        LmEval(task="humaneval").sources()
    with pytest.raises(UsageError, match="'mmmu_val_biology' of lm-eval shows images or sounds"):
        LmEval(task="mmmu_val_biology").sources()


@pytest.mark.slow
def test_an_unknown_name_gets_the_nearest_of_thousands() -> None:
    need_lm_eval()
    with pytest.raises(UnknownName, match="no task of lm-eval is named 'helaswag'; did you mean 'hellaswag'"):
        LmEval(task="helaswag").sources()
    with pytest.raises(
        UsageError, match="'ai2_arc' is no task of lm-eval but 2 of them, .*: arc_challenge, arc_easy"
    ):
        LmEval(task="ai2_arc").sources()
    with pytest.raises(DataError, match="cannot load the task 'mmlu'"):  # all 57 are found, their data is not
        LmEval(task="mmlu", shots=5).sources()


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ('doc_to_target: "{{answer}}"', "doc_to_target: !function utils.answer", "!function utils.answer"),
        ("task: legs", "task: legs\nclass: !function utils.Legs", "!function utils.Legs"),
        ("metric: acc,", "metric: acc, hf_evaluate: true,", "hf_evaluate of the metric 'acc'"),
        ("metric: acc,", "metric: mine,", "the metric 'mine', which is fetched as code"),
    ],
)
def test_code_in_a_folder_is_refused_and_not_run(tasks: Path, old: str, new: str, code: str) -> None:
    (tasks / "utils.py").write_text(f"open({str(tasks / 'ran')!r}, 'w')\n")
    change(tasks / "legs.yaml", old, new)
    with pytest.raises(UsageError, match="'legs' in .* runs Python code of its own") as caught:
        made(tasks, "legs").sources()
    assert code in str(caught.value)
    assert not (tasks / "ran").exists()


def test_code_of_an_included_file_is_refused_too(tasks: Path) -> None:
    (tasks / "utils.py").write_text("def place(doc):\n    return doc['place']\n")
    change(tasks / "copy-base", 'doc_to_target: "{{place}}"', "doc_to_target: !function utils.place")
    with pytest.raises(UsageError, match="copy-base: !function utils.place"):
        made(tasks, "copy").sources()
    plain, allowed = made(tasks, "legs").sources()[0], made(tasks, "copy", code=True)
    before = allowed.sources()[0].digest
    assert len(allowed.data("test")) == 14
    (tasks / "utils.py").write_text("def place(doc):\n    return doc['place'] + ''\n")
    assert allowed.sources()[0].digest != before
    assert made(tasks, "legs").sources()[0] == plain


REACH = "{{ cycler.__init__.__globals__.os.system('touch ran') }}"


def test_a_template_that_reaches_for_python_is_refused_and_not_run(
    tasks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tasks)
    change(tasks / "legs.yaml", "Question: how", f"Question{REACH}: how")
    with pytest.raises(UsageError, match=r"a template of the task 'legs' in .* reaches for Python objects"):
        made(tasks, "legs").sources()
    assert not (tasks / "ran").exists()
    assert made(tasks, "legs", code=True).data("test")[0].requests[0].text.startswith("Question0: how")
    assert (tasks / "ran").exists()


def test_shots_that_would_show_the_answer_of_a_scored_document_are_refused(tasks: Path) -> None:
    change(tasks / "legs.yaml", "training_split: train\n", "")
    with pytest.raises(
        UsageError, match="shots=2: the task 'legs' .* from those that are scored, each document"
    ):
        made(tasks, "legs", shots=2).sources()
    assert made(tasks, "legs", shots=0).sources()
    change(tasks / "legs.yaml", "task: legs", "task: legs\nnum_fewshot: 1")
    with pytest.raises(UsageError, match="shots=1: the task 'legs'"):
        made(tasks, "legs").sources()
    change(tasks / "legs.yaml", "num_fewshot: 1", "num_fewshot: 0")
    with pytest.raises(UsageError, match="shots=2: the task 'legs' of lm-eval fixes its shots at 0"):
        made(tasks, "legs", shots=2).sources()


@pytest.mark.parametrize(
    ("splits", "shown"),
    [
        ({"test_split": "test"}, True),
        ({"validation_split": "dev", "fewshot_split": "dev"}, True),
        ({"validation_split": "dev", "fewshot_config": {"split": "dev"}}, True),
        ({"test_split": "test", "fewshot_split": "test"}, False),  # lm-eval leaves the document out
        ({"validation_split": "dev"}, False),  # the same
        ({"test_split": "test", "validation_split": "dev"}, False),
        ({"validation_split": "dev", "training_split": "train"}, False),
        ({"test_split": "test", "fewshot_config": {"samples": [{"a": 1}]}}, False),
        ({"test_split": "test", "class": "a path"}, False),
    ],
)
def test_it_is_seen_in_the_config_whether_a_document_may_be_its_own_shot(
    splits: dict[str, Any], shown: object
) -> None:
    assert shows_answers(splits) == shown


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("legs.yaml", "task: [", "legs.yaml"),
        (
            "legs.yaml",
            "task: !!python/name:os.system ''",
            "'legs' that can be read: .*python/name",
        ),
        ("legs.yaml", "task: legs\ninclude: nothing\n", "nothing"),
        ("legs.yaml", None, "cannot load the task 'legs': UndefinedError: 'colour' is undefined"),
        ("legs-test.jsonl", "{", "cannot load the task 'legs'"),
        (
            "legs-test.jsonl",
            "",
            "the data 'legs-test.jsonl' of a task of lm-eval is missing: there is no .*include=",
        ),
    ],
)
def test_broken_files_are_named(tasks: Path, file: str, text: str | None, words: str) -> None:
    if text is None:
        change(tasks / file, "{{animal}}", "{{colour}}")
    elif text:
        (tasks / file).write_text(text)
    else:
        (tasks / file).unlink()
    with pytest.raises(DataError, match=words):
        made(tasks, "legs").sources()


def test_a_task_that_two_files_define_is_refused(tasks: Path) -> None:
    (tasks / "more.yaml").write_text((tasks / "legs.yaml").read_text())
    with pytest.raises(
        DataError, match="two files have the task 'legs': .*legs.yaml and .*more.yaml; rename one"
    ):
        made(tasks, "legs").sources()


def test_a_metric_that_is_no_number_is_refused_and_another_can_be_taken(tasks: Path, llama: Path) -> None:
    (tasks / "story.jsonl").write_text(json.dumps({"text": "catbirdspiderfish" * 90}) + "\n")
    task = made(tasks, "story", backbone=str(llama))
    predicted = [{"answers": [[-9000.0]], "truncated": 0}]
    with pytest.raises(
        DataError, match="'word_perplexity' of the task 'story' of lm-eval is inf .* metric=NAME"
    ):
        task.score(predicted, task.data("test"))
    score = task.replace(metric="bits_per_byte").score(predicted, task.data("test"))
    assert score.value == pytest.approx(9000 / 0.6931471805599453 / 1530)
    assert "word_perplexity" not in score.also


def test_a_tokenizer_without_first_and_last_token_is_refused(
    tasks: Path, llama: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for file in llama.iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    config = json.loads((model / "tokenizer_config.json").read_text())
    names = ("bos_token", "eos_token")
    (model / "tokenizer_config.json").write_text(
        json.dumps({name: value for name, value in config.items() if name not in names})
    )
    with pytest.raises(ModelError, match="has no token that begins or ends a text; lm-eval needs one"):
        made(tasks, "legs", backbone=str(model)).sources()


def test_the_chat_template_of_a_tokenizer_is_used(tasks: Path, llama: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for file in llama.iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    (model / "chat_template.jinja").write_text(
        "{% for message in messages %}[{{ message.role }}] {{ message.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}[assistant] {% endif %}"
    )
    task = made(tasks, "legs", backbone=str(model), chat=True, shots=1)
    context, answer = task.data("test")[0].requests[0].arguments
    roles = [line.partition("]")[0] for line in context.splitlines() if line.startswith("[")]
    assert roles == ["[user", "[assistant", "[user", "[assistant"]
    assert answer == "no"
    assert task.sources()[0].digest != made(tasks, "legs", backbone=str(model), shots=1).sources()[0].digest
