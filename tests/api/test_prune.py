import copy
import json
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils.prune import l1_unstructured

import smc_eval
from smc_eval import SparsityError, Target, UsageError
from smc_eval.engine.batches import Batches
from smc_eval.engine.device import Device
from smc_eval.engine.initial_net import initial_net
from smc_eval.engine.net_units import find_net_units
from smc_eval.engine.probe import NetProbe
from smc_eval.engine.progress import Silent
from smc_eval.engine.prune_stage import run_prune
from smc_eval.engine.usage import Usage
from smc_eval.errors import StoreError, UnknownName
from smc_eval.exported.packed_tensors import read_packed
from smc_eval.registry import registry
from smc_eval.stages import Prune
from smc_eval.store.net_uses import NetUse
from smc_eval.testing.toy import Toy, UnitToy

TRAINS_NOTHING = {
    name: kind
    for name, kind in registry().methods.items()
    if kind.card.when in ("before", "after") and "rigl" not in name
}
"""The methods whose masks need no training. RigL's are made in training."""


def two_layers() -> nn.Module:
    net = nn.Sequential(OrderedDict(first=nn.Linear(2, 2, bias=False), second=nn.Linear(2, 2, bias=False)))
    with torch.no_grad():
        net.first.weight.copy_(torch.tensor([[4.0, -1.0], [0.5, 3.0]]))
        net.second.weight.copy_(torch.tensor([[-2.0, 0.1], [0.2, 5.0]]))
    return net


def squares(net: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    return net(batch).square().mean()


def test_the_four_smallest_of_eight_weights_are_pruned() -> None:
    pruned = smc_eval.prune(two_layers(), "omp-before", 0.5)
    assert pruned.model.first.weight.tolist() == [[4.0, 0.0], [0.0, 3.0]]
    assert pruned.model.second.weight.tolist() == [[-2.0, 0.0], [0.0, 5.0]]
    assert pruned.masks["first.weight"].tolist() == [[True, False], [False, True]]
    assert pruned.certificate.ok
    assert (pruned.certificate.remaining, pruned.certificate.in_scope) == (4, 8)


def test_a_net_is_copied_unless_it_is_pruned_in_place() -> None:
    net = two_layers()
    assert smc_eval.prune(net, "omp-before", 0.5).model is not net
    assert int(net.first.weight.count_nonzero()) == 4
    assert smc_eval.prune(net, "omp-before", 0.5, inplace=True).model is net
    assert int(net.first.weight.count_nonzero()) == 2


@pytest.mark.parametrize("name", sorted(TRAINS_NOTHING))
def test_masks_are_those_of_the_suite_on_the_same_net_and_batches(name: str) -> None:
    method, device = TRAINS_NOTHING[name](), Device("cpu")
    units = "free" not in method.card.patterns
    task = UnitToy(limit=48) if units else Toy(limit=48)  # whole batches: 6 of 8 examples
    target = Target.parse("heads:0.5" if units else "0.6").with_distribution(method.card.distribution)
    batches = Batches(task, task.recipe, "start", device)
    net = initial_net(
        task,
        target,
        "start",
        device,
        lambda _: NetUse((), ()),
        (lambda model, names: find_net_units(model, names, target.units, batches)) if units else None,
    )
    untouched = copy.deepcopy(net.model)
    number = batches.in_a_pass if name in {"snip", "grasp"} else 256  # these two read the data once
    loader = [batches.batch(places) for places in batches._sampled_places(number, "name", None)]
    for stage in method.plan(target):
        if isinstance(stage, Prune):
            run_prune(stage, target, NetProbe(net, batches, "name", Usage(), device), Silent())
    pruned = smc_eval.prune(
        untouched,
        method,
        "heads:0.5" if units else 0.6,
        batches=loader,
        loss=task.loss,
        outputs=lambda model, batch: task.loss_and_outputs(model, batch)[1],
    )
    assert pruned.certificate.ok
    assert (
        pruned.certificate.remaining == sum(int(mask.sum()) for mask in net.masks.values())
        or "random" in name
    )
    if "random" not in name:  # chance has another seed
        for weight, mask in net.masks.items():
            assert torch.equal(pruned.masks[weight], mask), weight


def test_patterns_are_written_in_two_ways() -> None:
    net = nn.Sequential(nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0]]))
    wanted = [[False, False, True, True], [True, True, False, False]]
    assert smc_eval.prune(net, "omp-after", "2:4").masks["0.weight"].tolist() == wanted
    assert smc_eval.prune(net, "omp-after", 0.5, pattern="2:4").masks["0.weight"].tolist() == wanted
    with pytest.raises(UsageError, match=r"pattern '2:4' has a sparsity of 0.5, not 0.6"):
        smc_eval.prune(net, "omp-after", 0.6, pattern="2:4")


def test_include_and_exclude_choose_tensors() -> None:
    assert [*smc_eval.prune(two_layers(), "omp-before", 0.5, include="first").masks] == ["first.weight"]
    assert [*smc_eval.prune(two_layers(), "omp-before", 0.5, exclude=["first"]).masks] == ["second.weight"]


def test_generators_mode_gradients_and_frozen_weights_are_as_before() -> None:
    net = two_layers().eval()
    net.first.weight.requires_grad_(False)
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    pruned = smc_eval.prune(net, "snip", 0.5, batches=[torch.ones(2, 2)], loss=squares, inplace=True)
    assert torch.equal(torch.rand(2), wanted)
    assert not pruned.model.training
    assert [weight.requires_grad for weight in net.parameters()] == [False, True]
    assert [weight.grad for weight in net.parameters()] == [None, None]
    assert pruned.certificate.remaining == 4


def test_a_model_of_transformers_needs_no_loss() -> None:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16
    )
    net = BertForSequenceClassification(config)
    batch = {"input_ids": torch.arange(12).view(2, 6), "labels": torch.tensor([0, 1])}
    pruned = smc_eval.prune(net, "wanda", 0.5, batches=[batch])
    assert pruned.certificate.ok
    assert "bert.embeddings.word_embeddings.weight" not in pruned.masks
    assert pruned.model(**batch).loss.isfinite()


@pytest.mark.parametrize(
    ("method", "arguments", "words"),
    [
        ("wanda", {}, "the method looks at data; give it some: prune(…, batches=LOADER)"),
        ("snip", {"batches": []}, "there are no batches: the iterable is empty"),
        ("snip", {"batches": [torch.ones(1, 2)]}, "give a loss: prune(…, loss=lambda net, batch: …)"),
        ("snip", {"batches": [{"x": 1}], "loss": lambda net, batch: 3}, "the loss of a batch is 3"),
        (
            "snip",
            {"batches": [torch.ones(1, 2)], "loss": lambda net, batch: net(batch)},
            "the loss of a batch is a tensor (1, 2)",
        ),
        (
            "snip",
            {"batches": [torch.full((1, 2), torch.inf)], "loss": squares},
            "the loss of a batch is nan; wanted a finite number",
        ),
        ("synflow", {"batches": [torch.ones(1, 2)], "loss": squares}, "method 'synflow' needs the outputs"),
        ("gmp", {}, "method 'gmp' makes its masks during training; prune trains nothing: use evaluate"),
        ("lth", {}, "method 'lth' trains between its rounds"),
        ("dense", {}, "method 'dense' computes no masks"),
        ("wanda,snip", {}, "names 2 methods; prune takes one"),
        ("omp-before", {"sparsity": None}, "give a sparsity"),
        ("omp-before", {"distribution": "even"}, "even"),
        ("omp-before", {"scope": "everything"}, "everything"),
        ("snip", {"batches": 3}, "batches is 3 (int); wanted an iterable, such as a DataLoader"),
        ("omp-before", {"sparsity": 1.5}, "lies outside [0, 1)"),
        ("omp-before", {"sparsity": "half", "pattern": "1:2"}, "sparsity 'half' is neither a number nor"),
        ("omp-before", {"sparsity": "2:4", "pattern": "1:2"}, "pattern '1:2' has a sparsity of 0.5, not 2:4"),
        ("omp-before", {"pattern": 2}, "pattern is 2 (int); wanted free, N:M, heads or neurons"),
        ("omp-before", {"include": 3}, "include is 3 (int); wanted a glob of names"),
        ("omp-before", {"exclude": ["a", 3]}, "exclude is ['a', 3] (list); wanted a glob of names"),
        ("omp-before", {"seed": "one"}, "seed is one (str); wanted a whole number"),
        ("omp-before", {"most_batches": -1}, "most_batches is -1 (int); wanted a whole number from 1 on"),
        ("omp-before", {"loss": 3}, "loss is 3 (int); wanted a function of net and batch"),
        (
            "grasp",
            {"batches": [torch.ones(1, 2)], "loss": squares, "outputs": lambda net, batch: 3},
            "the outputs of a batch are 3 (int); wanted a tensor of floats",
        ),
    ],
)
def test_what_cannot_be_pruned_is_refused(method: str, arguments: dict, words: str) -> None:
    net, given = two_layers(), {"sparsity": 0.5, **arguments}
    with pytest.raises(UsageError) as error:
        smc_eval.prune(net, method, **given)
    assert words in str(error.value)
    assert int(net.first.weight.count_nonzero()) == 4


def test_an_unknown_method_and_a_net_without_matrices_are_refused() -> None:
    with pytest.raises(UnknownName, match="did you mean"):
        smc_eval.prune(two_layers(), "wand", 0.5)
    with pytest.raises(SparsityError, match="no weight"):
        smc_eval.prune(nn.LayerNorm(3), "omp-before", 0.5)
    with pytest.raises(UsageError, match="net is roberta-base .str.; wanted a torch.nn.Module"):
        smc_eval.prune("roberta-base", "omp-before", 0.5)
    with pytest.raises(UsageError, match="lies on meta"):
        smc_eval.prune(nn.Linear(2, 2, device="meta"), "omp-before", 0.5)
    with pytest.raises(UsageError, match="the net has complex weights"):
        smc_eval.prune(nn.Linear(2, 2, dtype=torch.complex64), "omp-before", 0.5)
    with pytest.raises(UsageError, match="the net has lazy parameters"):
        smc_eval.prune(nn.LazyLinear(2), "omp-before", 0.5)
    computed = l1_unstructured(nn.Linear(2, 2), "weight", 0.5)
    with pytest.raises(UsageError, match="the net cannot be copied"):
        smc_eval.prune(computed, "omp-before", 0.5)


def test_a_loss_without_gradients_and_inference_mode_are_told() -> None:
    with pytest.raises(SparsityError, match="the loss depends on none of its matrices"):
        smc_eval.prune(
            two_layers(), "snip", 0.5, batches=[torch.ones(1, 2)], loss=lambda net, x: net(x).mean().detach()
        )
    with torch.inference_mode():
        net = two_layers()
        with pytest.raises(UsageError, match="inference_mode"):
            smc_eval.prune(net, "omp-before", 0.5)
    with pytest.raises(UsageError, match="inference_mode"):
        smc_eval.prune(net, "omp-before", 0.5, inplace=True)
    assert smc_eval.prune(net, "omp-before", 0.5).certificate.ok


def test_buffers_that_a_net_does_not_store_are_not_saved(tmp_path: Path) -> None:
    net = two_layers()
    net.register_buffer("kept", torch.ones(2))
    net.register_buffer("made", torch.ones(2), persistent=False)
    stored = load_file(smc_eval.prune(net, "omp-before", 0.5).save(tmp_path / "net") / "model.safetensors")
    assert stored.keys() == net.state_dict().keys()


def test_a_pruned_net_tells_what_it_is() -> None:
    text = str(smc_eval.prune(two_layers(), "omp-before", 0.5))
    assert text.splitlines()[:2] == [
        "omp-before 0.5, global, scope body",
        "4 of 8 weights in scope remain; all checks passed",
    ]


def test_a_pruned_net_is_saved_whole_with_its_masks_and_certificate(tmp_path: Path) -> None:
    pruned = smc_eval.prune(two_layers(), "omp-before", 0.5)
    folder = pruned.save(tmp_path / "net")
    assert {path.name for path in folder.iterdir()} == {
        "model.safetensors",
        "masks.safetensors",
        "certificate.json",
    }
    stored = load_file(folder / "model.safetensors")
    assert stored["first.weight"].tolist() == [[4.0, 0.0], [0.0, 3.0]]
    masks = read_packed(folder / "masks.safetensors")
    assert {name: mask.tolist() for name, mask in masks.items()} == {
        name: mask.tolist() for name, mask in pruned.masks.items()
    }
    assert json.loads((folder / "certificate.json").read_text())["certificate"]["remaining"] == 4
    with pytest.raises(StoreError, match="exists; give a new name, or remove it"):
        pruned.save(folder)
    for wrong in (None, 3, "a\0b"):
        with pytest.raises(UsageError, match="folder is .*; wanted a path"):
            pruned.save(wrong)
    with pytest.raises(UsageError, match="tokenizer is 3 .int.; wanted one of transformers"):
        pruned.save(tmp_path / "other", tokenizer=3)
    assert not (tmp_path / "other").exists()


def test_a_saved_model_of_transformers_is_loaded_by_transformers(tmp_path: Path) -> None:
    from transformers import AutoModel, BertConfig, BertModel

    net = BertModel(
        BertConfig(
            vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
        )
    )
    pruned = smc_eval.prune(net, "omp-before", 0.5)
    loaded = AutoModel.from_pretrained(pruned.save(tmp_path / "net"))
    for name, weight in pruned.model.named_parameters():
        assert torch.equal(dict(loaded.named_parameters())[name], weight)
