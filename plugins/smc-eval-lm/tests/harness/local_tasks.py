"""Three tasks and a group as users of lm-eval write them."""

from __future__ import annotations

import json
import random
from importlib.util import find_spec
from pathlib import Path

import pytest

ANIMALS = {"cat": "four", "bird": "two", "spider": "eight", "fish": "no", "ant": "six", "snake": "no"}
PLACES = ("river", "road", "mill", "town", "valley", "harbour", "coast", "hill")

LEGS = """
task: legs
dataset_path: json
dataset_kwargs:
  data_files: {train: legs-train.jsonl, test: legs-test.jsonl}
training_split: train
test_split: test
output_type: multiple_choice
doc_to_text: "Question: how many legs has a {{animal}} by the {{place}}?\\nAnswer:"
doc_to_choice: ["no", "two", "four", "six", "eight"]
doc_to_target: "{{answer}}"
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
metadata: {version: 1.5}
"""

COPY = """
include: copy-base
task: copy
generation_kwargs: {until: ["\\n"], do_sample: false, max_gen_toks: 8}
filter_list:
  - name: strict
    filter: [{function: regex, regex_pattern: "([a-z]+)"}, {function: take_first}]
  - name: first
    filter: [{function: take_first}]
"""

COPY_BASE = """
dataset_path: json
dataset_kwargs:
  data_files: {train: legs-train.jsonl, validation: legs-test.jsonl}
training_split: train
validation_split: validation
output_type: generate_until
doc_to_text: "Repeat: {{place}}\\nRepeated:"
doc_to_target: "{{place}}"
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
  - {metric: chrf, aggregation: chrf, higher_is_better: true}
metadata: {version: 2}
"""

STORY = """
task: story
dataset_path: json
dataset_kwargs: {data_files: {test: story.jsonl}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list:
  - {metric: word_perplexity}
  - {metric: byte_perplexity}
  - {metric: bits_per_byte}
metadata: {version: 0}
"""


WINGS = """
include: legs.yaml
task: wings
dataset_kwargs:
  data_files: {train: legs-test.jsonl, test: legs-train.jsonl}
"""

ANIMAL_GROUP = """
group: animals
task: [legs, {group: flying}]
aggregate_metric_list:
  - {metric: acc, weight_by_size: false}
  - {metric: acc_norm, weight_by_size: true}
metadata: {version: 3}
"""

FLYING_GROUP = """
group: flying
task: [wings]
"""


def need_lm_eval() -> None:
    """Skip a test where lm-eval is missing."""
    if find_spec("lm_eval") is None:
        pytest.skip("lm-eval is not installed; `tox -e lm` installs it")


def write_tasks(folder: Path) -> None:
    """Write the YAML files and the data of the tasks."""
    draw = random.Random(0)
    texts = {"legs.yaml": LEGS, "copy.yaml": COPY, "copy-base": COPY_BASE, "story.yaml": STORY}
    texts |= {"wings.yaml": WINGS, "animals.yaml": ANIMAL_GROUP, "flying.yaml": FLYING_GROUP}
    for name, text in texts.items():
        (folder / name).write_text(text)
    names = list(ANIMALS)
    for part, count in (("train", 20), ("test", 14)):
        drawn = [(names[n % len(names)], draw.choice(PLACES)) for n in range(count)]
        rows = [
            {
                "animal": animal,
                "place": place,
                "answer": ["no", "two", "four", "six", "eight"].index(ANIMALS[animal]),
            }
            for animal, place in drawn
        ]
        (folder / f"legs-{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    stories = [
        {"text": " ".join(f"The {draw.choice(names)} saw the {draw.choice(PLACES)}." for _ in range(length))}
        for length in (3, 7, 30, 5, 12)
    ]
    (folder / "story.jsonl").write_text("".join(json.dumps(row) + "\n" for row in stories))
