"""Exported nets: others load the same net, and its score comes out again from the folder alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor

from smc_eval.errors import UsageError
from smc_eval.exported.packed_tensors import read_packed
from smc_eval.store.predictions import Predictions
from smc_eval.store.records import RecordsFile
from smc_eval.store.stored_net import StoredNet
from smc_eval.tasks.arithmetic.datasets import MawpsGts
from smc_eval.tasks.arithmetic.stored_solver import load_solver
from smc_eval.tasks.synthetic import synthetic_folder

Invoke = Callable[..., Any]
FLAGS = ("--limit", "16", "--quiet", "--no-dense", "--keep", "final")

IDS = torch.tensor([[0, 5, 6, 7, 8, 2], [0, 9, 5, 4, 2, 1]])
REAL = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0]])


def exported(invoke: Invoke, task: str, *further: str, model: str = "tiny", name: str = "out") -> Path:
    """The folder of one cell, `random-before` at 0.6, which trains three steps."""
    words = ("--method", "random-before", "--sparsity", "0.6", "--recipe", "steps=3", "--output", "s")
    ran = invoke("--model", model, "--tasks", task, *words, *FLAGS, *further)
    assert ran.exit_code == 0, ran.output
    ended = invoke("export", "s", "random-before@0.6", "--to", name, "--quiet")
    assert ended.exit_code == 0, ended.output
    assert "net: kept by the run" in ended.stdout
    return Path(name).absolute()


def stored(store: str = "s") -> StoredNet:
    """The one net in a store, which a run kept."""
    (folder,) = Path(store, "nets").iterdir()
    net = StoredNet.read(folder)
    assert net is not None
    return net


def score_again(invoke: Invoke, folder: Path, task: str, *further: str) -> Any:
    """The record of a folder that is scored as it is, with no other flag than issue and data."""
    words = ("--model", folder, "--tasks", task, "--method", "from-checkpoint", "--recipe", "steps=0")
    ran = invoke(*words, "--limit", "16", "--quiet", "--no-dense", "--output", "again", *further)
    assert ran.exit_code == 0, ran.output
    (record,) = RecordsFile(Path("again")).latest().values()
    return record


def first_record(store: str = "s") -> Any:
    (record,) = RecordsFile(Path(store)).latest().values()
    return record


def whole_state(folder: Path, model: Any) -> dict[str, Tensor]:
    """The tensors of a net in its own names, from a loaded model and the head beside it."""
    manifest = json.loads((folder / "smc_eval.json").read_text())
    start = f"{manifest['prefix']}." if manifest["prefix"] else ""
    every = {**dict(model.named_parameters()), **dict(model.named_buffers()), **model.state_dict()}
    tensors = {f"{start}{name}": tensor for name, tensor in every.items()}
    head = folder / "head.safetensors"
    return tensors | (load_file(head) if head.exists() else {})


def assert_is_the_net(folder: Path, net: StoredNet) -> None:
    """The class that the config names loads every tensor of the net, and the masks are its masks."""
    config = json.loads((folder / "config.json").read_text())
    model = getattr(transformers, config["architectures"][0]).from_pretrained(folder)
    state = whole_state(folder, model)
    for name, tensor in net.tensors.items():
        assert torch.equal(state[name], tensor), name
    manifest = json.loads((folder / "smc_eval.json").read_text())
    start = f"{manifest['prefix']}." if manifest["prefix"] else ""
    masks = {name.removeprefix(start): mask for name, mask in net.masks.items()}
    read = read_packed(folder / "masks.safetensors")
    assert read.keys() == masks.keys()
    for name, mask in masks.items():
        assert torch.equal(read[name], mask), name


def assert_same_outputs(folder: Path, inputs: Mapping[str, Tensor], *names: str) -> None:
    """AutoModel and the class of the config give equal outputs, twice, bit for bit."""
    config = json.loads((folder / "config.json").read_text())
    own = getattr(transformers, config["architectures"][0])
    with torch.no_grad():
        outputs = [cls.from_pretrained(folder).eval()(**inputs) for cls in (own, own, transformers.AutoModel)]
    for name in names:
        assert torch.equal(outputs[0][name], outputs[1][name]), name
        if name in outputs[2]:
            assert torch.equal(outputs[0][name], outputs[2][name]), name


@pytest.mark.slow
def test_a_text_encoder_with_our_head_is_taken_home(invoke: Invoke) -> None:
    folder = exported(invoke, "csqa")
    assert_is_the_net(folder, stored())
    inputs = {"input_ids": IDS, "attention_mask": REAL}
    assert_same_outputs(folder, inputs, "last_hidden_state", "pooler_output")
    assert set(load_file(folder / "head.safetensors")) == {
        "dense.weight",
        "dense.bias",
        "out.weight",
        "out.bias",
    }
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert tokenizer.decode(tokenizer("a word")["input_ids"], skip_special_tokens=True) == "a word"
    again = score_again(invoke, folder, "csqa")
    assert again.score == first_record().score
    assert again.target.sparsity == pytest.approx(0.6, abs=1e-5)


@pytest.mark.slow
def test_a_protein_encoder_is_taken_home_with_its_centre_and_scale(invoke: Invoke) -> None:
    folder = exported(invoke, "hp-s/tm")
    assert_is_the_net(folder, stored())
    assert {"centre", "scale"} < set(load_file(folder / "head.safetensors"))
    assert_same_outputs(folder, {"input_ids": IDS + 4}, "last_hidden_state")
    assert score_again(invoke, folder, "hp-s/tm").score == first_record().score


@pytest.mark.slow
def test_a_translator_is_taken_home_and_has_no_head(invoke: Invoke) -> None:
    folder = exported(invoke, "translation/2-to-2")
    net = stored()
    assert_is_the_net(folder, net)
    assert not (folder / "head.safetensors").exists()
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["MBartForConditionalGeneration"]
    assert_same_outputs(folder, {"input_ids": IDS, "decoder_input_ids": IDS}, "logits")
    again = score_again(invoke, folder, "translation/2-to-2")
    assert again.score == first_record().score


@pytest.mark.slow
def test_a_solver_of_word_problems_is_taken_home_with_its_encoder(invoke: Invoke) -> None:
    folder = exported(invoke, "mawps/gts:beam=1", "--folds", "0,")
    assert_is_the_net(folder, stored())
    again = score_again(invoke, folder, "mawps/gts:beam=1", "--folds", "0,")
    assert again.score == first_record().score
    assert_solves_alone(folder)
    timed = invoke("speed", str(folder), "--examples", "4", "--pairs", "2", "--quiet")
    assert timed.exit_code == 0, timed.output
    assert "median of 2 pairs of passes over 4 examples" in timed.output


def assert_solves_alone(folder: Path) -> None:
    """The loader writes the equations that the run predicted, from the words of the problems alone."""
    record = first_record()
    (name,) = RecordsFile(Path("s")).latest()
    predicted = Predictions(Path("s")).predicted(name)
    task = MawpsGts(fold=record.fold, limit=16)
    blank = [problem._replace(equation=("N0",)) for problem in task.data("test")]
    assert load_solver(folder).equations(blank, beam=1) == predicted
    with pytest.raises(UsageError, match="a problem is two and two .str.; read problems by read_problems"):
        load_solver(folder).equations(["two and two"])


@pytest.mark.slow
def test_a_span_scorer_names_the_class_with_the_head_for_masked_words(invoke: Invoke) -> None:
    folder = exported(invoke, "winogrande")
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["RobertaForMaskedLM"]
    assert_is_the_net(folder, stored())
    assert_same_outputs(folder, {"input_ids": IDS, "attention_mask": REAL}, "logits")
    assert score_again(invoke, folder, "winogrande").score == first_record().score


@pytest.mark.slow
def test_a_solver_without_a_model_of_transformers_is_a_state_dict(invoke: Invoke) -> None:
    task = "mawps/gts:hidden=16,embedding=8,beam=1"
    folder = exported(invoke, task, "--folds", "0,", model="scratch")
    assert not (folder / "config.json").exists()
    net = stored()
    tensors = load_file(folder / "net.safetensors")
    assert tensors.keys() == net.tensors.keys()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in net.tensors.items())
    assert score_again(invoke, folder, task, "--folds", "0,").score == first_record().score
    assert_solves_alone(folder)
    refused = invoke("--model", folder, "--tasks", "csqa", "--method", "dense")
    assert refused.exit_code == 2 and "exported from random-before of mawps/gts" in refused.stderr


def bert(folder: Path) -> Path:
    """A small BERT with a pooler, its tokenizer and a licence, as save_pretrained writes them."""
    from smc_eval.tasks.tiny import tiny_tokenizer

    torch.manual_seed(3)
    tokenizer = tiny_tokenizer(["a word and another word"], 300)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        pad_token_id=1,
    )
    model = transformers.BertModel(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Base\n")
    (folder / "LICENSE").write_text("terms")
    (folder / "modules.json").write_text("[]")
    return folder


@pytest.mark.slow
def test_what_the_task_does_not_use_of_a_checkpoint_comes_home_unchanged(
    invoke: Invoke, tmp_path: Path
) -> None:
    base = bert(tmp_path / "base")
    folder = exported(invoke, "csqa", model=str(base))
    first, last = (load_file(place / "model.safetensors") for place in (base, folder))
    assert first.keys() == last.keys()
    assert torch.equal(first["pooler.dense.weight"], last["pooler.dense.weight"])
    assert not torch.equal(first["embeddings.LayerNorm.weight"], last["embeddings.LayerNorm.weight"])
    for name in ("tokenizer.json", "tokenizer_config.json", "LICENSE"):
        assert (base / name).read_bytes() == (folder / name).read_bytes(), name
    assert not (folder / "modules.json").exists()  # of a program that finds no such folder here
    card = (folder / "README.md").read_text()
    assert "license: apache-2.0" in card and "pooler.dense.weight" in card and "from the base model" in card
    assert_same_outputs(folder, {"input_ids": IDS}, "last_hidden_state", "pooler_output")
    assert score_again(invoke, folder, "csqa").score == first_record().score


@pytest.mark.slow
def test_data_or_a_model_that_is_gone_is_named(invoke: Invoke, tmp_path: Path) -> None:
    base, data = bert(tmp_path / "base"), tmp_path / "data"
    shutil.copytree(synthetic_folder("commonsenseqa"), data)
    cell = ("--method", "random-before", "--sparsity", "0.6", "--recipe", "steps=1", "--output", "s")
    ran = invoke("--model", base, "--tasks", "csqa", *cell, *FLAGS, "--data-dir", data)
    assert ran.exit_code == 0, ran.output
    words = ("export", "s", "random-before@0.6", "--to", "out")
    data.rename(tmp_path / "moved")
    ended = invoke(*words)
    assert ended.exit_code == 2 and str(data) in ended.stderr and not Path("out").exists()
    assert invoke(*words, "--data-dir", tmp_path / "moved", "--quiet").exit_code == 0
    file = next((tmp_path / "moved").rglob("*train*"))
    file.write_bytes(file.read_bytes().rstrip(b"\n").rpartition(b"\n")[0] + b"\n")
    again = ("export", "s", "random-before@0.6", "--to", "two", "--data-dir", tmp_path / "moved")
    ended = invoke(*again)
    assert ended.exit_code == 2 and "is not that of the record" in ended.stderr and not Path("two").exists()
    base.rename(tmp_path / "elsewhere")
    ended = invoke(*again)
    assert ended.exit_code == 2 and "there is no model folder" in ended.stderr and not Path("two").exists()


@pytest.mark.slow
def test_the_head_of_another_task_is_not_taken_and_the_record_says_so(invoke: Invoke) -> None:
    folder = exported(invoke, "csqa")
    ran = invoke(
        *("--model", folder, "--tasks", "race/high", "--method", "dense", "--recipe", "steps=0"),
        *("--limit", "16", "--quiet", "--output", "other"),
    )
    assert ran.exit_code == 0, ran.output
    (note,) = first_record("other").notes
    assert note == f"the head in {folder} is that of csqa; here it is new, and not trained before"
