"""Cells on checkpoints: what their records say of the loading."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from smc_eval.methods.dense import Dense
from smc_eval.recipe import Recipe
from smc_eval.store.record import Record
from smc_eval.target import Target
from smc_eval.task import CheckpointUse, Task
from smc_eval.tasks.commonsense.csqa import Csqa
from smc_eval.tasks.commonsense.winogrande import WinoGrande
from smc_eval.testing import chain_of, run_chain

HEAD, TABLE = "lm_head.decoder.weight", "roberta.embeddings.word_embeddings.weight"


def record_of(task: Task, folder: Path) -> Record:
    recipe = Recipe(steps=1, batch_size=2)
    return run_chain(chain_of(Dense(), Target(sparsity=0), task.replace(recipe=recipe, limit=2)), folder)[0]


def test_the_record_names_the_tensors_of_a_head_that_goes_unused(
    checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    record = record_of(Csqa(backbone=str(checkpoint())), tmp_path)
    unused = ("bias", "dense.bias", "dense.weight", "layer_norm.bias", "layer_norm.weight")
    assert record.checkpoint == CheckpointUse(tuple(f"lm_head.{name}" for name in unused))


def test_the_record_says_that_values_untied_a_head(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    folder = checkpoint()
    tensors = load_file(folder / "model.safetensors")
    head = tensors[TABLE].clone()
    head[0, 0] += 1e-6
    save_file(tensors | {HEAD: head}, folder / "model.safetensors", {"format": "pt"})
    record = record_of(WinoGrande(backbone=str(folder)), tmp_path)
    assert record.checkpoint is not None and record.checkpoint.untied == {HEAD: TABLE}
    assert record.status == "ok" and record.checkpoint.tied == {"lm_head.decoder.bias": "lm_head.bias"}


def test_a_net_without_a_checkpoint_says_nothing_of_one(tmp_path: Path) -> None:
    assert record_of(WinoGrande(), tmp_path).checkpoint is None


def test_an_encoder_that_always_calls_its_pooler_runs_without_its_weights(
    checkpoint: Callable[..., Path], small: dict[str, int], tmp_path: Path
) -> None:
    from transformers import SqueezeBertConfig, SqueezeBertModel

    folder = checkpoint()
    torch.manual_seed(0)
    config = SqueezeBertConfig(vocab_size=401, embedding_size=8, **small)
    net = SqueezeBertModel(config)
    net.save_pretrained(folder)
    task = Csqa(backbone=str(folder), limit=2)
    ranker, batch = task.model().eval(), task.collate(task.data("test"))
    assert not any("pooler" in name for name, _ in ranker.named_parameters())
    with torch.no_grad():
        states_MLH = net.eval()(batch.ids_NCL.flatten(0, 1), batch.real_NCL.flatten(0, 1).long())[0]
        expected_M1 = ranker.out(torch.tanh(ranker.dense(states_MLH[:, 0])))
        torch.testing.assert_close(ranker(batch), expected_M1.view(2, 5))
    assert record_of(task, tmp_path).status == "ok"
