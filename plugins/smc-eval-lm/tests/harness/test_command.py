"""lm-eval's own command on an exported folder gives our number, to the digit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from smc_eval_lm.lm_eval_task import LmEval

from smc_eval.engine.device import Device
from smc_eval.engine.predict import predict


@pytest.mark.slow
@pytest.mark.parametrize("shots", [0, 2])
def test_the_command_of_lm_eval_gives_our_number_to_the_digit(
    tasks: Path, llama: Path, tmp_path: Path, shots: int
) -> None:
    options = {"include": str(tasks), "backbone": str(llama)}
    made = [
        LmEval.model_validate({"task": name, "shots": shots if name != "story" else None, **options})
        for name in ("legs", "copy", "story")
    ]
    pruned = made[0].model()
    with torch.no_grad():
        for weight in pruned.parameters():
            weight[weight.abs() < weight.abs().median()] = 0.0
    exported = tmp_path / "exported"
    pruned.save_pretrained(exported)
    for file in llama.glob("*token*"):
        (exported / file.name).write_bytes(file.read_bytes())
    command = [sys.executable, "-m", "lm_eval", "--model", "hf", "--model_args", f"pretrained={exported}"]
    command += ["--tasks", "legs,copy,story", "--include_path", str(tasks), "--num_fewshot", str(shots)]
    command += ["--device", "cpu", "--output_path", str(tmp_path / "out")]
    threads = str(torch.get_num_threads())
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1"}
    ran = subprocess.run(command, cwd=tasks, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    (file,) = (tmp_path / "out").rglob("results_*.json")
    theirs = json.loads(file.read_text())["results"]
    for task in made:
        found = task.data("test")
        score = task.score(predict(task, pruned, found, task.recipe, Device("cpu")), found)
        by = score.signature.partition("filter:")[2].partition("|")[0]
        ours = {score.metric: score.value, **score.also}
        assert {(metric if "," in metric else f"{metric},{by}"): value for metric, value in ours.items()} == {
            key: value for key, value in theirs[task.task].items() if "," in key and "_stderr" not in key
        }
