"""Padding is no input: the inputs of weights do not depend on the other examples of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from smc_eval.capabilities import excluded
from smc_eval.engine.batches import Batches
from smc_eval.engine.device import Device
from smc_eval.engine.probe import NetProbe
from smc_eval.engine.usage import Usage
from smc_eval.methods.sparsegpt import Reconstruction
from smc_eval.methods.wanda import WandaScore
from smc_eval.sparse.input_stats import Grams, Squares
from smc_eval.sparse.net import Net
from smc_eval.sparse.scope import in_scope
from smc_eval.target import Target
from smc_eval.task import Part, Task
from smc_eval.tasks.arithmetic.datasets import MawpsGraph2Tree, MawpsGts
from smc_eval.tasks.commonsense.csqa import Csqa
from smc_eval.tasks.commonsense.winogrande import WinoGrande
from smc_eval.tasks.protein.datasets import Meltome
from smc_eval.tasks.translation.corpus import Sentence
from smc_eval.tasks.translation.translation import TwoToTwo
from smc_eval.testing import Toy

EXAMPLES = 12


class Uneven(TwoToTwo):
    """Sentences of different lengths on both sides."""

    def data(self, part: Part) -> Sequence[Sentence]:
        return [
            replace(
                sentence,
                source=" ".join(sentence.source.split()[: 1 + n % 4]),
                target=" ".join(sentence.target.split()[: 1 + n // 2 % 3]),
            )
            for n, sentence in enumerate(super().data(part))
        ]


TASKS: dict[str, Callable[[], Task]] = {
    "encoder": lambda: Csqa(limit=EXAMPLES),
    "masked words": lambda: WinoGrande(limit=EXAMPLES),
    "encoder-decoder": lambda: Uneven(limit=EXAMPLES),
    "protein encoder": lambda: Meltome(limit=EXAMPLES),
    "LSTM": lambda: MawpsGts(fold=0, limit=EXAMPLES),
    "LSTM and graphs": lambda: MawpsGraph2Tree(fold=0, limit=EXAMPLES),
}


def probe_of(task: Task, batch_size: int, name: str = "stage") -> NetProbe:
    """A probe over the same net, whatever the size and the order of its batches."""
    device = Device("cpu", threads=1)
    device.seed("net")
    model = task.model()
    with torch.no_grad():  # biases and norms of untrained nets would hide padding
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    recipe = task.recipe.model_copy(update={"batch_size": batch_size, "precision": "fp32"})
    net = Net(model, in_scope(model, "body", excluded(task, model)))
    return NetProbe(net, Batches(task, recipe, "start", device), name, Usage(), device)


def epochs(task: Task) -> list[NetProbe]:
    """Probes that see the same examples once: one by one, in pairs of two orders, all at once."""
    return [
        probe_of(task, 1),
        probe_of(task, 2),
        probe_of(task, 2, "another order"),
        probe_of(task, EXAMPLES),
    ]


def squares_of(probe: NetProbe) -> dict[str, Tensor]:
    squares = Squares(probe.weights, probe.weights)
    probe.inputs(EXAMPLES // probe._batches.recipe.batch_size, squares)
    return {name: squares.scaled(name) for name in probe.weights}


@pytest.mark.parametrize("kind", TASKS)
def test_inputs_do_not_depend_on_who_shares_a_batch(kind: str) -> None:
    alone, *others = epochs(TASKS[kind]())
    expected = squares_of(alone)
    for probe in others:
        torch.testing.assert_close(squares_of(probe), expected, atol=1e-4, rtol=1e-4)
        assert probe.sight is not None and not probe.sight.padded


@pytest.mark.parametrize("kind", TASKS)
def test_masks_do_not_depend_on_who_shares_a_batch(kind: str) -> None:
    for pruner, target in (
        (WandaScore, Target(sparsity=0.6, distribution="rows")),
        (Reconstruction, Target(sparsity=0.6, distribution="uniform")),
    ):
        masks = [
            pruner(batches=EXAMPLES // probe._batches.recipe.batch_size).prune(probe, target)
            for probe in epochs(TASKS[kind]())
        ]
        bits = sum(mask.numel() for mask in masks[0].values())
        for other in masks[1:]:
            # sums in another order can exchange two nearly equal saliencies
            assert sum(int((masks[0][n] != other[n]).sum()) for n in other) <= 5e-4 * bits


def rows_alone(
    net: nn.Module, weights: Sequence[str], calls: Sequence[dict[str, Tensor]]
) -> dict[str, Tensor]:
    """By hooks on `nn.Linear`, the norm of each input of an encoder, over calls without any padding."""
    sums = dict[str, Tensor]()
    modules = {
        f"{name}.weight": module for name, module in net.named_modules() if isinstance(module, nn.Linear)
    }
    hooks = [
        modules[name].register_forward_pre_hook(
            lambda _, args, name=name: sums.update(
                {name: sums.get(name, 0) + args[0].double().flatten(0, -2).square().sum(0)}
            )
        )
        for name in weights
    ]
    with torch.no_grad():
        for call in calls:
            net(**call)
    for hook in hooks:
        hook.remove()
    return sums


@pytest.mark.parametrize("kind", ["encoder", "masked words", "protein encoder", "encoder-decoder"])
def test_the_norms_are_those_of_texts_that_are_read_one_by_one(kind: str) -> None:
    task = TASKS[kind]()
    probe = probe_of(task, EXAMPLES)
    squares = Squares(probe.weights, probe.weights)
    probe.inputs(1, squares)
    model: Any = probe.net.model.eval()
    places = {"encoder-decoder": "model", "masked words": "net.roberta"}
    prefix = places.get(kind, "encoder")
    encoder = model.get_submodule(prefix)
    calls = []
    for example in probe._batches.examples:
        batch: Any = task.collate([example])
        if kind == "encoder-decoder":
            calls.append({"input_ids": batch.source_NS, "decoder_input_ids": batch.decoder_NT})
        else:
            ids = next(getattr(batch, n) for n in ("ids_NCL", "ids_N2L", "ids_NL") if hasattr(batch, n))
            real = next(getattr(batch, n) for n in ("real_NCL", "real_N2L", "real_NL") if hasattr(batch, n))
            calls += [
                {"input_ids": row[keep][None], "attention_mask": keep[keep][None].long()}
                for row, keep in zip(ids.flatten(0, -2), real.flatten(0, -2), strict=True)
            ]
    names = [name.removeprefix(f"{prefix}.") for name in probe.weights if name.startswith(f"{prefix}.")]
    expected = rows_alone(encoder, names, calls)
    assert len(expected) == len(names) > 10
    for name, squares_I in expected.items():
        ((_, found_I),) = squares.bands(f"{prefix}.{name}")
        torch.testing.assert_close(found_I, squares_I, atol=1e-3, rtol=1e-4)


def test_a_pass_counts_once_whoever_shares_it() -> None:
    probe = probe_of(Csqa(limit=EXAMPLES), 4)
    probe.inputs(2, Squares(probe.weights, ()))
    assert probe._usage.scoring_passes == 2
    assert probe.meters["inputs"].spent()["dense"] > 0


# nets that are not of transformers


class Padded(nn.Module):
    """Two maps of padded vectors, and one of their sum."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.pooled = nn.Linear(3, 3), nn.Linear(3, 4), nn.Linear(4, 12)

    def forward(self, x_NLI: Tensor) -> Tensor:
        h_NLO = self.second(self.first(x_NLI).flatten(0, 1).tanh()).view(*x_NLI.shape[:2], 4)
        logits: Tensor = self.pooled(h_NLO.sum(1))
        return logits


class PaddedToy(Toy):
    """Each example has three tokens, and padding up to five, as choices of different lengths have."""

    def model(self) -> nn.Module:
        return Padded()

    def collate(self, examples: Any) -> dict[str, Tensor]:
        plain = super().collate(examples)
        x_NLI = torch.nn.functional.one_hot(plain["tokens"] % 3, 3).float()
        return plain | {"tokens": x_NLI, "real": torch.arange(5).expand(len(examples), 5) < 3}


class DeclaredToy(PaddedToy):
    """Declares its padding."""

    def real_tokens(self, batch: Any) -> Tensor:
        real: Tensor = batch["real"]
        return real


def test_a_task_can_declare_its_padding() -> None:
    counts = {}
    for task in (PaddedToy(), DeclaredToy()):
        probe, rows = probe_of(task, 4), dict[str, int]()
        probe.inputs(13, lambda name, _, x_NI, rows=rows: rows.update({name: rows.get(name, 0) + len(x_NI)}))
        counts[type(task).__name__] = rows
        assert probe.sight is not None
    # 52 examples; `second` gets rows whose order its shape does not show, so they all count
    assert counts == {
        "PaddedToy": {"first.weight": 260, "second.weight": 260, "pooled.weight": 52},
        "DeclaredToy": {"first.weight": 156, "second.weight": 260, "pooled.weight": 52},
    }
    assert probe.sight and probe.sight.padded == {"second.weight"}


def test_a_square_batch_is_not_cut_because_its_shape_does_not_tell() -> None:
    probe = probe_of(DeclaredToy(), 5)
    grams = Grams(probe.weights, probe.weights)
    probe.inputs(1, grams)
    ((_, gram_II),) = grams.bands("first.weight")
    assert gram_II is not None and int(gram_II.diagonal().sum()) == 25  # 5 examples of 5 places
    assert probe.sight is not None and probe.sight.padded == {"first.weight", "second.weight"}
