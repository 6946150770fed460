#!/bin/sh
# lm-eval shows a net the question that it is asked, with its answer, among the solved examples of the prompt.
#
# 2026-11-30; Python 3.11, lm-eval 0.4.13, datasets 5.2.0.
#
# A task that has no training split, and names no split for shots, draws them from the documents that are scored.
# lm-eval then warns that this "is not recommended". It does not say that it no longer leaves out the document
# itself: it does so only if `fewshot_split` is written down and equals `test_split`. The same happens where
# `fewshot_split` equals the validation split that is scored. With 5 shots of 20 documents, 8 of the 20 prompts hold
# their own answer, and a net that copies is right without knowing anything.
#
# Of the 13,123 tasks that lm-eval brings, 2,691 are of this kind, such as lambada_openai and agieval_sat_en. They
# have no shots of their own: `--num_fewshot` gives them some.
#
# The script ends with an error if this changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q lm-eval==0.4.13 datasets==5.2.0
cd "$folder"
mkdir tasks
HF_HUB_OFFLINE=1 HF_HOME="$folder/cache" venv/bin/python - <<'PYTHON'
import json
import pathlib

from lm_eval.tasks import TaskManager

folder = pathlib.Path("tasks")
rows = [{"question": f"What is {n} times 7?", "answer": str(7 * n)} for n in range(20)]
(folder / "sevens.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{{part}: tasks/sevens.jsonl}}}}
{part}_split: {part}
{more}
output_type: generate_until
doc_to_text: "Q: {{{{question}}}}\\nA:"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: ["\\n"]}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""
KINDS = {
    "only-test": ("test", "", True),
    "shots-of-validation": ("validation", "fewshot_split: validation", True),
    "shots-of-test": ("test", "fewshot_split: test", False),
}
for name, (part, more, shown) in KINDS.items():
    (folder / f"{name}.yaml").write_text(TASK.format(name=name, part=part, more=more))
tasks = TaskManager(include_path="tasks", include_defaults=False).load(list(KINDS))["tasks"]
for name, (_, more, shown) in KINDS.items():
    task = tasks[name]
    task.set_config(key="num_fewshot", value=5)  # as --num_fewshot 5 does
    task.set_fewshot_seed(seed=1234)
    task.build_all_requests(rank=0, world_size=1)
    own = sum(f"Q: {one.doc['question']}\nA: {one.doc['answer']}" in one.args[0] for one in task.instances)
    print(f"{name} ({more or 'no fewshot_split'}): {own} of {len(task.instances)} prompts hold their own answer")
    assert (own > 0) == shown, "lm-eval behaves in another way now"
PYTHON
