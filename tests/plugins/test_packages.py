"""Three packages of strangers: a causal language model, images, and an optimizer of two passes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from smc_eval_causal_lm import WORDS, CausalLanguageModel, NextLetter
from smc_eval_digits import Digits, ImageNet, conv_net
from smc_eval_sam import SharpnessAware

from smc_eval.registry import Registry
from smc_eval.testing import KindContract, OptimizerContract, TaskContract

Invoke = Callable[..., Any]


def save_llama(folder: Path) -> None:
    kind = CausalLanguageModel()
    tokenizer = kind.build_tokenizer("tiny", WORDS)
    tokenizer.save_pretrained(folder)
    kind.build("tiny", tokenizer).save_pretrained(folder)


def save_image_net(folder: Path) -> None:
    save_file(conv_net(4, 6).state_dict(), folder / "model.safetensors")
    config = {"model_type": "dot-image-net", "channels": [4, 6]}
    (folder / "config.json").write_text(json.dumps(config))


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    folder = tmp_path / "llama"
    torch.manual_seed(1)
    save_llama(folder)
    return folder


@pytest.fixture
def image_net(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    torch.manual_seed(1)
    save_image_net(folder)
    return folder


class TestCausalLanguageModel(KindContract):
    kind = CausalLanguageModel()

    def save(self, folder: Path) -> None:
        save_llama(folder)


class TestImageNet(KindContract):
    kind = ImageNet()

    def save(self, folder: Path) -> None:
        save_image_net(folder)


class TestNextLetter(TaskContract):
    task = NextLetter()


class TestDigits(TaskContract):
    task = Digits()


class TestSharpnessAware(OptimizerContract):
    optimizer = SharpnessAware()


class TestSharpnessAwareAdam(OptimizerContract):
    optimizer = SharpnessAware(base="adamw", rho=0.1)
    rate = 0.01


def test_all_three_are_registered(installed: Registry) -> None:
    assert installed.kinds["causal-lm"] is CausalLanguageModel
    assert installed.kinds["dot-image-net"] is ImageNet
    assert installed.tasks["next-letter"] is NextLetter and installed.tasks["digits"] is Digits
    assert installed.optimizers["sam"] is SharpnessAware


def test_they_are_listed_and_shown(invoke: Invoke) -> None:
    listed = invoke("list").stdout
    for name in ("causal-lm", "dot-image-net", "next-letter", "digits", "sam", "text-encoder", "adamw"):
        assert name in listed
    rows = json.loads(invoke("list", "--json").stdout)
    assert [row["name"] for row in rows["optimizers"]] == ["adamw", "adam", "sgd", "sam"]
    assert {"name": "causal-lm", "builds": ["tiny"]}.items() <= rows["kinds"][3].items()
    shown = " ".join(invoke("show", "causal-lm").stdout.split())
    assert "causal-lm (kind of model): predicts the next token" in shown
    assert "tasks next-letter class" in shown and "builds tiny" in shown
    shown = " ".join(invoke("show", "sam").stdout.split())
    assert "passes 2 forward and backward in each step, all but the first at perturbed weights" in shown
    assert "rho number = 0.05 Distance of the worst point." in shown


def test_a_model_folder_of_a_new_kind_runs_and_its_record_names_it(invoke: Invoke, llama: Path) -> None:
    ran = invoke(
        *("--model", llama, "--tasks", "next-letter", "--method", "omp-after", "--sparsity", "0.5"),
        *("--recipe", "steps=4", "--json", "-", "--quiet"),
    )
    assert ran.exit_code == 0, ran.output
    (dense, pruned) = json.loads(ran.stdout)["results"] if "results" in ran.stdout else json.loads(ran.stdout)
    assert dense["model"] == pruned["model"] == str(llama)
    assert pruned["certificate"]["ok"] and pruned["score"]["value"] > 1


def test_an_image_net_is_pruned_by_criteria_that_look_at_inputs(invoke: Invoke, image_net: Path) -> None:
    ran = invoke(
        *("--model", image_net, "--tasks", "digits", "--method", "snip,wanda,omp-rigl", "--sparsity", "0.5"),
        *("--recipe", "epochs=1", "--limit", "64", "--quiet"),
    )
    assert ran.exit_code == 0, ran.output


def test_a_model_of_another_kind_is_refused_with_what_would_fit(
    invoke: Invoke, llama: Path, image_net: Path
) -> None:
    refused = invoke("--model", llama, "--tasks", "csqa", "--method", "omp-after", "--sparsity", "0.5")
    assert refused.exit_code == 2
    assert refused.stderr == (
        f"error: task 'csqa' cannot run with --model {llama}: the model {str(llama)!r} is a causal language "
        "model (LlamaForCausalLM); this task takes a text encoder such as roberta-base\n"
        "leave the task out, or give it a model of its own: --model csqa=MODEL\n"
        "it is a model of the kind causal-lm, for next-letter\n"
    )
    message = invoke("--model", image_net, "--tasks", "next-letter", "--method", "dense").stderr
    assert "is no causal language model (a model without a head); this task takes a causal lm" in message
    assert message.endswith("it is a model of the kind dot-image-net, for digits\n")


def test_the_options_of_an_optimizer_are_typed_after_its_name(invoke: Invoke) -> None:
    flags = ("--model", "tiny", "--tasks", "digits", "--method", "omp-after", "--sparsity", "0.5")
    ran = invoke(
        *flags, "--recipe", "optimizer=sam:rho=0.1,epochs=1", "--limit", "48", "--json", "-", "--quiet"
    )
    assert ran.exit_code == 0, ran.output
    record = json.loads(ran.stdout)["results"][-1] if "results" in ran.stdout else json.loads(ran.stdout)[-1]
    assert record["recipe"]["optimizer"] == "sam:rho=0.1"
    assert record["cost"]["perturbed_passes"] == record["cost"]["steps"] == 6
    for words, fault in (
        ("optimizer=sma", "no optimizer is named 'sma'; did you mean 'sam'?"),
        ("optimizer=sam:roh=1", "no option of optimizer 'sam' is named 'roh'; did you mean 'rho'?"),
        ("optimizer=sam:rho", "option 'rho' of optimizer 'sam' is not of the form key=value"),
        ("optimizer=sam:rho=0", "option 'rho' of optimizer 'sam' is '0'; it should be greater than 0"),
        ("optimizer=sam:rho=1:rho=2", "of optimizer 'sam' is given twice"),
        ("optimizer=sam,precision=fp16", "perturbs weights by their gradients, which precision=fp16 scales"),
    ):
        message = invoke(*flags, "--recipe", words).stderr
        assert fault in message and len(message.splitlines()) <= 3, message


def test_a_plan_shows_the_passes_of_an_optimizer(invoke: Invoke) -> None:
    flags = ("plan", "--model", "tiny", "--tasks", "digits", "--method", "dense")
    assert "train 20 steps of 2 passes" in invoke(*flags, "--recipe", "optimizer=sam").stdout
    assert "passes" not in invoke(*flags, "--recipe", "optimizer=sgd").stdout
