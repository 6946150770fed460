import copy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM, Trainer, TrainerCallback, TrainingArguments

import smc_eval
from smc_eval import SparsityError, UsageError


def tied_net() -> BertForMaskedLM:
    """A small model whose output layer is its table of words."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=12, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    return BertForMaskedLM(config)


@pytest.fixture
def pruned() -> smc_eval.PrunedNet:
    return smc_eval.prune(tied_net(), "omp-before", 0.75, scope="all-2d")


@pytest.fixture
def examples() -> list[dict[str, Tensor]]:
    draw = torch.Generator().manual_seed(1)
    words = torch.randint(12, (24, 5), generator=draw)
    return [{"input_ids": row, "labels": row.flip(0)} for row in words]


class Watching(TrainerCallback):
    """Notes the largest masked weight after each step."""

    def __init__(self, masks: dict[str, Tensor]) -> None:
        self.masks, self.largest = masks, list[float]()

    def on_step_end(self, args: Any, state: Any, control: Any, **found: Any) -> None:
        self.largest.append(largest_masked(found["model"], self.masks))


class TooEarly(smc_eval.SparsityCallback):
    """A wrong one: it writes the zeros before the step of the optimizer."""

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **found: Any) -> None:
        self._write()

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **found: Any) -> None:
        pass


def largest_masked(net: nn.Module, masks: dict[str, Tensor]) -> float:
    weights = dict(net.named_parameters())
    return max((float(weights[name].detach()[~mask].abs().max()) for name, mask in masks.items()), default=0)


def train(
    net: nn.Module,
    masks: dict[str, Tensor],
    examples: list[Any],
    folder: Path,
    kind: type[smc_eval.SparsityCallback] = smc_eval.SparsityCallback,
    *,
    resume: bool = False,
    optimizer: torch.optim.Optimizer | None = None,
    held: dict[str, Tensor] | None = None,
    **options: Any,
) -> list[float]:
    """The largest masked weight after each of six steps. `held` are the masks of the callback, if others."""
    watching = Watching(masks)
    settings = {
        "max_steps": 6,
        "per_device_train_batch_size": 4,
        "learning_rate": 0.05,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.1,
        "report_to": [],
        "use_cpu": True,
        "save_strategy": "no",
        "disable_tqdm": True,
        "logging_strategy": "no",
        **options,
    }
    trainer = Trainer(
        net,
        TrainingArguments(str(folder), **settings),
        train_dataset=examples,
        callbacks=[kind(held or masks), watching],
        optimizers=(optimizer, None),
    )
    trainer.train(resume_from_checkpoint=resume)
    return watching.largest


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"optim": "sgd", "optim_args": "momentum=0.9"},
        {"optim": "adafactor"},
        {"gradient_accumulation_steps": 2},
        {"bf16": True},
        {"max_grad_norm": 0.1},
        pytest.param(
            {"fp16": True, "use_cpu": False},
            marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="Trainer takes fp16 on a GPU"),
        ),
    ],
    ids=lambda options: "-".join(map(str, options.values())) or "adamw",
)
def test_masked_weights_are_zero_after_each_step(
    pruned: smc_eval.PrunedNet, examples: list[Any], tmp_path: Path, options: dict[str, Any]
) -> None:
    before = copy.deepcopy(pruned.model)
    assert train(pruned.model, pruned.masks, examples, tmp_path, **options) == [0.0] * 6
    assert any(
        not torch.equal(a, b) for a, b in zip(pruned.model.parameters(), before.parameters(), strict=True)
    )
    assert pruned.model.get_output_embeddings().weight is pruned.model.get_input_embeddings().weight


def test_an_optimizer_that_rounds_its_state_moves_no_masked_weight(
    pruned: smc_eval.PrunedNet, examples: list[Any], tmp_path: Path
) -> None:
    torchao = pytest.importorskip("torchao.optim", reason="needs torchao, as in tox -e notebook")
    optimizer = torchao.AdamW8bit(pruned.model.parameters(), lr=0.05, weight_decay=0.1)
    with torch.compiler.set_stance("force_eager"):  # compiling its step takes longer
        assert train(pruned.model, pruned.masks, examples, tmp_path, optimizer=optimizer) == [0.0] * 6


def test_masks_hold_over_a_checkpoint_and_after_it(
    pruned: smc_eval.PrunedNet, examples: list[Any], tmp_path: Path
) -> None:
    whole = copy.deepcopy(pruned.model)
    options = {"save_strategy": "steps", "save_steps": 3}
    train(whole, pruned.masks, examples, tmp_path / "whole", **options)
    train(pruned.model, pruned.masks, examples, tmp_path / "parts", **options, max_steps=3)
    fresh = tied_net()
    assert train(fresh, pruned.masks, examples, tmp_path / "parts", resume=True, **options) == [0.0] * 3
    for name, weight in whole.named_parameters():
        assert torch.equal(weight, dict(fresh.named_parameters())[name])


def test_zeros_before_the_step_of_the_optimizer_are_too_early(
    pruned: smc_eval.PrunedNet, examples: list[Any], tmp_path: Path
) -> None:
    dense = tied_net()  # whose momentum was there before the masks
    optimizer = torch.optim.SGD(dense.parameters(), lr=0.05, momentum=0.9)
    train(dense, {}, examples, tmp_path, optimizer=optimizer)
    found = train(dense, pruned.masks, examples, tmp_path, optimizer=optimizer, kind=TooEarly)
    assert max(found) > 0
    assert train(dense, pruned.masks, examples, tmp_path, optimizer=optimizer) == [0.0] * 6


def test_a_mask_of_another_net_is_refused(
    pruned: smc_eval.PrunedNet, examples: list[Any], tmp_path: Path
) -> None:
    with pytest.raises(SparsityError, match="the model has no parameter 'other'"):
        train(pruned.model, {"other": torch.ones(1, dtype=torch.bool)}, examples, tmp_path)
    with pytest.raises(SparsityError, match=r"the mask of .* is torch.bool \(1,\); wanted"):
        train(
            pruned.model,
            {"bert.encoder.layer.0.output.dense.weight": torch.ones(1, dtype=torch.bool)},
            examples,
            tmp_path,
        )


def test_masks_that_are_none_are_refused(pruned: smc_eval.PrunedNet) -> None:
    with pytest.raises(UsageError, match="masks is .*; wanted a tensor for each name: PrunedNet.masks"):
        smc_eval.SparsityCallback(pruned)


class Inside(nn.Module):
    """A net whose only part has the name that wrappers give."""

    def __init__(self) -> None:
        super().__init__()
        self.module = nn.Linear(2, 2)

    def forward(self, given: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"loss": (self.module(given) - labels).square().mean()}


def test_a_part_named_module_is_no_wrapper(tmp_path: Path) -> None:
    pruned = smc_eval.prune(Inside(), "omp-before", 0.5)
    examples: list[Any] = [{"given": torch.ones(2), "labels": torch.ones(2)} for _ in range(24)]
    assert max(train(pruned.model, pruned.masks, examples, tmp_path)) == 0


def test_masks_of_a_wrapped_net_fit_the_net_inside(
    pruned: smc_eval.PrunedNet, examples: list[Any], tmp_path: Path
) -> None:
    held = {f"module.{name}": mask for name, mask in pruned.masks.items()}
    assert max(train(pruned.model, pruned.masks, examples, tmp_path, held=held)) == 0


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


TWO_RANKS = """
import torch, smc_eval
from transformers import BertConfig, BertForMaskedLM, Trainer, TrainerCallback, TrainingArguments

torch.manual_seed(0)
config = BertConfig(
    vocab_size=12, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
)
net = BertForMaskedLM(config)
masks = {
    name: torch.arange(weight.numel()).view_as(weight) % 3 == 0
    for name, weight in net.named_parameters()
    if weight.ndim == 2
}
words = torch.randint(12, (24, 5))
largest = []

class Watching(TrainerCallback):
    def on_step_end(self, args, state, control, model=None, **found):
        weights = dict(model.named_parameters())
        largest.append(max(float(weights[name][~mask].detach().abs().max()) for name, mask in masks.items()))

arguments = TrainingArguments(
    "out", max_steps=4, per_device_train_batch_size=3, learning_rate=0.05, weight_decay=0.1, report_to=[],
    use_cpu=True, ddp_backend="gloo", save_strategy="no", disable_tqdm=True, logging_strategy="no",
)
examples = [{"input_ids": row, "labels": row.flip(0)} for row in words]
callbacks = [smc_eval.SparsityCallback(masks), Watching()]
trainer = Trainer(net, arguments, train_dataset=examples, callbacks=callbacks)
trainer.train()
total = sum(float(weight.detach().double().sum()) for weight in net.parameters())
print(f"rank of {torch.distributed.get_world_size()}: {largest} {total!r}", flush=True)
"""


@pytest.mark.slow
def test_two_ranks_hold_the_same_zeros(tmp_path: Path) -> None:
    (tmp_path / "two_ranks.py").write_text(TWO_RANKS)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    ended = subprocess.run(
        [*command, "two_ranks.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    lines = [line for line in ended.stdout.splitlines() if line.startswith("rank of")]
    assert len(lines) == 2
    assert lines[0] == lines[1]
    assert lines[0].startswith("rank of 2: [0.0, 0.0, 0.0, 0.0] ")
