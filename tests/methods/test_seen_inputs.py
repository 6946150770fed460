"""Inputs that a criterion sees: convolutions and turned weights as linear maps; the rest is noted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.pytorch_utils import Conv1D

from smc_eval.errors import SparsityError
from smc_eval.methods.sparsegpt import SparseGPT
from smc_eval.methods.wanda import Wanda
from smc_eval.target import Target
from smc_eval.testing import Toy, chain_of, run_chain

UNTRAINED = Toy().recipe.model_copy(update={"steps": 0})
WORDS, LENGTH, WIDTH, KERNEL = 12, 5, 4, 3


class Mixed(nn.Module):
    """Words, a map of three neighbours each, and a map of their mean."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.words = nn.Embedding(WORDS, WIDTH)
        self.out = nn.Linear(6, WORDS)
        with torch.no_grad():
            self.words.weight.copy_(torch.randn(WORDS, WIDTH, generator=generator))
            self.out.weight.copy_(torch.randn(WORDS, 6, generator=generator))
        self.kernel = torch.randn(6, WIDTH, KERNEL, generator=generator)

    def forward(self, tokens_NL: Tensor) -> Tensor:
        logits: Tensor = self.out(self.mix(self.words(tokens_NL)).tanh().mean(1))
        return logits

    def mix(self, x_NLI: Tensor) -> Tensor:
        """Features [N, L, 6] of each place."""
        raise NotImplementedError


class Convolved(Mixed):
    """With a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Conv1d(WIDTH, 6, KERNEL, padding=1)
        with torch.no_grad():
            self.map.weight.copy_(self.kernel)

    def mix(self, x_NLI: Tensor) -> Tensor:
        mixed: Tensor = self.map(x_NLI.mT)
        return mixed.mT


def neighbours(x_NLI: Tensor) -> Tensor:
    """Each place with the one before and the one after, as [N, L, I * 3]."""
    wide = F.pad(x_NLI, (0, 0, 1, 1))
    return torch.stack([wide[:, k : k + LENGTH] for k in range(KERNEL)], -1).flatten(2)


class Linear(Mixed):
    """With the equal linear map of unfolded inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(WIDTH * KERNEL, 6)
        with torch.no_grad():
            self.map.weight.copy_(self.kernel.flatten(1))

    def mix(self, x_NLI: Tensor) -> Tensor:
        mixed: Tensor = self.map(neighbours(x_NLI))
        return mixed


class TurnedNet(Mixed):
    """With GPT-2's layer, whose rows are inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.map = Conv1D(6, WIDTH * KERNEL)
        with torch.no_grad():
            self.map.weight.copy_(self.kernel.flatten(1).T)

    def mix(self, x_NLI: Tensor) -> Tensor:
        mixed: Tensor = self.map(neighbours(x_NLI))
        return mixed


def toy_with(net: type[nn.Module]) -> Toy:
    """The untrained toy task with a net of this class; biases are zero."""

    class WithNet(Toy):
        recipe: Any = UNTRAINED

        def model(self) -> nn.Module:
            made = net()
            for weight in made.parameters():
                if weight.ndim < 2:
                    nn.init.zeros_(weight)
            return made

    return WithNet()


METHODS = (
    (Wanda(batches=3), Target(sparsity=0.5, distribution="rows")),
    (Wanda(batches=3), Target(sparsity=0.5, distribution="global")),
    (SparseGPT(batches=3), Target(sparsity=0.5, distribution="uniform")),
)


@pytest.mark.parametrize(("method", "target"), METHODS)
def test_an_unfolded_weight_is_pruned_like_the_equal_linear_map(
    tmp_path: Path, method: Any, target: Target
) -> None:
    results = {}
    for net in (Linear, Convolved, TurnedNet):
        record, tensors, masks = run_chain(chain_of(method, target, toy_with(net)), tmp_path / net.__name__)
        assert record.certificate is not None and record.certificate.ok and record.inputs is None
        forms = (masks["map.weight"], tensors["map.weight"])
        results[net] = [form.T if net is TurnedNet else form.flatten(1) for form in forms]
    for net in (Convolved, TurnedNet):
        assert torch.equal(results[net][0], results[Linear][0])
        torch.testing.assert_close(results[net][1], results[Linear][1], atol=1e-5, rtol=1e-4)
    if target.distribution == "rows":
        assert not torch.equal(results[Linear][0], largest_of_rows(Mixed().kernel.flatten(1)))


def largest_of_rows(weight_OI: Tensor) -> Tensor:
    """The mask of the largest half of each row."""
    order = weight_OI.abs().argsort(1, descending=True)
    return torch.zeros_like(weight_OI).bool().scatter(1, order[:, : weight_OI.shape[1] // 2], 1)


@pytest.mark.parametrize("method", [Wanda(), SparseGPT()])
def test_a_pattern_along_outputs_is_refused(tmp_path: Path, method: Any) -> None:
    with pytest.raises(SparsityError, match=r"pattern 2:4 groups .* the rows of 'map.weight' are inputs"):
        run_chain(chain_of(method, Target.parse("2:4"), toy_with(TurnedNet)), tmp_path)


class Experts(Mixed):
    """With two experts whose matrices are one tensor, and multiply as a batch."""

    width = 6

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(WIDTH, 6)
        self.experts = nn.Parameter(torch.randn(2, 6, self.width) * 0.1)
        self.last = nn.Linear(self.width, 6)

    def mix(self, x_NLI: Tensor) -> Tensor:
        h_NL6 = self.first(x_NLI)
        both = torch.einsum("nli,eio->enlo", h_NL6, self.experts)
        mixed: Tensor = self.last(both.mean(0))
        return mixed


class WideExperts(Experts):
    """With experts that are most of the net."""

    width = 20


@pytest.mark.parametrize("method", [Wanda(), SparseGPT()])
def test_the_share_of_weights_without_inputs_is_told(tmp_path: Path, method: Any) -> None:
    target = Target(sparsity=0.5, distribution=method.card.distribution)
    record = run_chain(chain_of(method, target, toy_with(Experts)), tmp_path)[0]
    # 24 + 72 + 36 + 72 weights, of which 72 are experts
    assert record.inputs is not None and record.inputs.unseen == pytest.approx(72 / 204)
    assert dict(record.inputs.unseen_tensors) == {"experts": 1.0} and record.inputs.padded == ()
    assert type(record).from_json(record.to_json()) == record


@pytest.mark.parametrize("method", [Wanda(), SparseGPT()])
def test_a_criterion_that_saw_no_input_of_most_weights_is_refused(tmp_path: Path, method: Any) -> None:
    target = Target(sparsity=0.5, distribution=method.card.distribution)
    # 240 of 24 + 240 + 120 + 72
    with pytest.raises(SparsityError, match=r"saw no input of 53% of the weights in scope \('experts'\)"):
        run_chain(chain_of(method, target, toy_with(WideExperts)), tmp_path)
