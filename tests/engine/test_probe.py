"""The probe: gradients and Hessian-vector products, against other ways to compute them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from smc_eval.engine.batches import Batches
from smc_eval.engine.device import Device
from smc_eval.engine.probe import NetProbe
from smc_eval.engine.usage import Usage
from smc_eval.errors import PluginError, SparsityError
from smc_eval.sparse.net import Net
from smc_eval.sparse.scope import in_scope
from smc_eval.task import Part, Task
from smc_eval.testing import Toy, assert_equal


class Attentive(nn.Module):
    """Self-attention as in transformers, fused where possible."""

    def __init__(self) -> None:
        super().__init__()
        self.label = nn.Embedding(12, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.out = nn.Linear(8, 12)

    def forward(self, tokens_NL: Tensor) -> Tensor:
        logits: Tensor = self.out(self.layer(self.label(tokens_NL)).mean(1))
        return logits


class Recurrent(nn.Module):
    """A bidirectional LSTM over packed sentences, as in the arithmetic encoders."""

    def __init__(self) -> None:
        super().__init__()
        self.label = nn.Embedding(12, 6)
        self.rnn = nn.LSTM(6, 5, num_layers=2, dropout=0.3, bidirectional=True)
        self.out = nn.Linear(10, 12)

    def forward(self, tokens_NL: Tensor) -> Tensor:
        lengths = torch.full((len(tokens_NL),), tokens_NL.shape[1] - 1)
        packed = nn.utils.rnn.pack_padded_sequence(self.label(tokens_NL).transpose(0, 1), lengths)
        hidden_LNH, _ = nn.utils.rnn.pad_packed_sequence(self.rnn(packed)[0])
        logits: Tensor = self.out(hidden_LNH.mean(0))
        return logits


class Attended(Toy):
    def model(self) -> nn.Module:
        return Attentive()


class Recurred(Toy):
    def model(self) -> nn.Module:
        return Recurrent()


def probed(task: Task, name: str = "stage") -> tuple[Net, NetProbe, Batches, Usage]:
    """A new net in training mode, a probe over it, its batches and its usage."""
    device = Device("cpu", threads=1)
    device.seed("start")
    model = task.model()
    batches, usage = Batches(task, task.recipe, "start", device), Usage()
    net = Net(model, in_scope(model, "body"))
    device.seed(name)
    return net, NetProbe(net, batches, name, usage, device), batches, usage


def by_hand(net: Net, batches: Batches, count: int, *, dropout: bool) -> dict[str, Tensor]:
    """Mean gradient over the batches of a probe, by autograd alone."""
    net.model.train(dropout)
    named = net.parameters
    losses = [batches.task.loss(net.model, batch) for batch in batches.sample(count, "stage")]
    grads = torch.autograd.grad(torch.stack(losses).mean(), list(named.values()))
    return dict(zip(named, grads, strict=True))


@pytest.mark.parametrize("dropout", [True, False])
def test_gradients_are_the_mean_over_the_batches(*, dropout: bool) -> None:
    net, probe, batches, usage = probed(Toy())
    found = probe.gradients(3, dropout=dropout)
    Device("cpu", threads=1).seed("stage")  # dropout draws from the global generator
    for name, gradient in by_hand(net, batches, 3, dropout=dropout).items():
        torch.testing.assert_close(found[name], gradient)
    assert usage.scoring_passes == 3


def test_gradients_without_dropout_are_deterministic() -> None:
    _, probe, _, _ = probed(Toy())
    first, second = probe.gradients(2, dropout=False), probe.gradients(2, dropout=False)
    noisy, other = probe.gradients(2), probe.gradients(2)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(noisy[name], other[name]) for name in noisy)


def test_gradients_without_dropout_read_the_data_at_most_once_and_count_examples_alike() -> None:
    net, probe, batches, usage = probed(Toy())
    assert len(batches.examples) % batches.recipe.batch_size  # the last batch is smaller
    most = batches.in_a_pass
    found = probe.gradients(10 * most, dropout=False)
    assert usage.scoring_passes == most
    net.model.eval()
    named = dict(net.parameters)
    mean = batches.task.loss(net.model, batches.batch(range(len(batches.examples))))
    for name, gradient in zip(named, torch.autograd.grad(mean, list(named.values())), strict=True):
        torch.testing.assert_close(found[name], gradient)
    products = probe.products(found, 10 * most)
    assert usage.scoring_passes == 3 * most  # products count twice
    assert all(torch.equal(products[name], same) for name, same in probe.products(found, most).items())
    probe.gradients(2 * most)
    assert usage.scoring_passes == 7 * most  # dropout draws anew in a second pass


def test_the_mean_of_each_gradient_equals_the_gradients() -> None:
    net, probe, _, _ = probed(Toy())
    net.model.drop.p = 0.0  # type: ignore[union-attr,assignment]
    each = [{n: g.clone() for n, g in grads.items()} for grads in probe.each_gradient(4)]
    net, other, _, usage = probed(Toy())
    net.model.drop.p = 0.0  # type: ignore[union-attr,assignment]
    for name, mean in other.gradients(4).items():
        torch.testing.assert_close(torch.stack([grads[name] for grads in each]).mean(0), mean)
    assert (len(each), usage.scoring_passes) == (4, 4)


def test_a_batch_can_have_another_size() -> None:
    net, probe, batches, _ = probed(Toy())
    net.model.drop.p = 0.0  # type: ignore[union-attr,assignment]
    first, second = ({n: g.clone() for n, g in grads.items()} for grads in probe.each_gradient(2, size=1))
    (pair,) = batches.sample(1, "stage", 2)
    grads = torch.autograd.grad(batches.task.loss(net.model, pair), list(net.parameters.values()))
    for name, gradient in zip(net.parameters, grads, strict=True):
        torch.testing.assert_close((first[name] + second[name]) / 2, gradient)


def test_each_gradient_without_dropout_is_that_of_its_batch() -> None:
    net, probe, batches, _ = probed(Toy())
    found = [{n: g.clone() for n, g in grads.items()} for grads in probe.each_gradient(3, dropout=False)]
    net.model.eval()
    for batch, grads in zip(batches.sample(3, "stage"), found, strict=True):
        wanted = torch.autograd.grad(batches.task.loss(net.model, batch), list(net.parameters.values()))
        for name, gradient in zip(net.parameters, wanted, strict=True):
            torch.testing.assert_close(grads[name], gradient)


class Cool(Toy):
    """The toy with logits that are divided by 5 before its loss."""

    def loss_and_outputs(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        log_NC = (model(batch["tokens"]) / 5).log_softmax(-1)
        return nn.functional.nll_loss(log_NC, batch["answers"]), log_NC


def test_a_temperature_divides_the_logits() -> None:
    (_, warm, _, usage), (_, cool, _, _) = probed(Toy()), probed(Cool())
    vectors = {name: torch.ones_like(weight) for name, weight in warm.weights.items()}
    pairs = [
        (warm.gradients(2, dropout=False, temperature=5.0), cool.gradients(2, dropout=False)),
        (warm.products(vectors, 2, temperature=5.0), cool.products(vectors, 2)),
    ]
    for found, wanted in pairs:
        assert all(bool(tensor.any()) for name, tensor in wanted.items() if "norm" not in name)
        for name, tensor in wanted.items():
            torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-7, msg=name)
    assert usage.scoring_passes == 2 + 4


class Values(Toy):
    """Regression: its outputs are values."""

    def loss_and_outputs(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        value_N = model(batch["tokens"])[:, 0]
        return (value_N**2).mean(), value_N


class Margins(Toy):
    """A margin between log-probabilities."""

    def loss_and_outputs(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        log_NC = model(batch["tokens"]).log_softmax(-1)
        return (log_NC[:, 1] - log_NC[:, 0] + 20).relu().mean(), log_NC


@pytest.mark.parametrize(
    ("task", "reason"),
    [(Values(), r"shape \(8,\), and are not log-prob"), (Margins(), "not the mean cross entropy")],
)
def test_a_loss_without_a_temperature_is_refused_by_name(task: Task, reason: str) -> None:
    _, probe, _, _ = probed(task)
    with pytest.raises(PluginError, match=f"temperature of 200.*'toy'.*{reason}.*use temperature=1"):
        probe.gradients(1, dropout=False, temperature=200.0)


class LossOnly(Toy):
    """A task without outputs."""

    loss_and_outputs: ClassVar[None] = None  # type: ignore[assignment]

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(model(batch["tokens"]), batch["answers"])


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        (LossOnly(), {"temperature": 2.0}, "temperature of 2; .* need a task with `loss_and_outputs`"),
        (Toy(), {"temperature": 0.0}, "temperature of 0; it must be above 0"),
        (Toy(), {"per_class": 0}, "asked for 0 examples of each class; wanted 1 or more"),
    ],
)
def test_impossible_options_are_refused(task: Task, options: Any, message: str) -> None:
    _, probe, _, _ = probed(task)
    with pytest.raises(PluginError, match=message):
        probe.gradients(1, **options)


class Classy(Toy):
    """The answer is a class. Class 0 has one example, class 1 nine, class 2 forty."""

    def data(self, part: Part) -> Sequence[Any]:
        return [((n % 12, (n + 1) % 12), min(2, (n + 8) // 9)) for n in range(50)]

    def class_of(self, example: Any) -> int:
        return int(example[1])


def test_per_class_draws_as_many_examples_of_each_class_and_all_of_a_rare_one() -> None:
    net, probe, batches, usage = probed(Classy())
    passes = batches.sample_classes(6, "stage")
    assert passes is not None
    drawn = [place for each in passes for part in each.parts for place in part]
    assert Counter(batches.examples[place][1] for place in drawn) == {0: 1, 1: 6, 2: 6}
    assert len(set(drawn)) == 13 and [each.examples for each in passes] == [8, 5]
    found = probe.gradients(64, dropout=False, per_class=6)
    assert usage.scoring_passes == 2
    net.model.eval()  # the mean over the examples, though the batches have different sizes
    loss = batches.task.loss(net.model, batches.batch(drawn))
    grads = torch.autograd.grad(loss, list(net.parameters.values()))
    for name, gradient in zip(net.parameters, grads, strict=True):
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-7)


def test_products_take_the_same_examples_of_each_class() -> None:
    net, probe, batches, usage = probed(Classy())
    passes = batches.sample_classes(2, "stage")
    assert passes is not None
    drawn = [place for each in passes for part in each.parts for place in part]
    vectors = {name: torch.ones_like(weight) for name, weight in net.weights.items()}
    found = probe.products(vectors, 64, per_class=2)
    assert len(drawn) == 5 and usage.scoring_passes == 2
    net.model.eval()
    loss = batches.task.loss(net.model, batches.batch(drawn))
    first = torch.autograd.grad(loss, list(net.parameters.values()), create_graph=True)
    wanted = torch.autograd.grad(torch.stack([g.sum() for g in first]).sum(), list(net.parameters.values()))
    for name, product in zip(net.parameters, wanted, strict=True):
        torch.testing.assert_close(found[name], product, rtol=1e-3, atol=1e-6)


def test_without_classes_or_a_temperature_nothing_changes() -> None:
    results = [probed(Toy())[1].gradients(2, dropout=False, **options) for options in ({}, {"per_class": 3})]
    assert_equal([results[0]], [results[1]])


def test_masked_weights_have_gradients_too() -> None:
    net, probe, _, _ = probed(Toy())
    net.set_masks({name: torch.zeros_like(w, dtype=torch.bool) for name, w in net.weights.items()})
    net.model.get_parameter("down.weight").data.fill_(0.1)
    assert probe.gradients(1)["encoder.weight_ih_l0"].any()
    assert probe.gradients(1)["odd.weight"].any()


def test_an_unused_weight_has_gradient_zero() -> None:
    class Idle(Toy):
        def model(self) -> nn.Module:
            model = super().model()
            model.idle = nn.Linear(3, 3)
            return model

    _, probe, _, _ = probed(Idle())
    vectors = {name: torch.ones_like(weight) for name, weight in probe.weights.items()}
    assert not probe.gradients(1)["idle.weight"].any()
    assert not probe.products(vectors, 1)["idle.weight"].any()


@pytest.mark.parametrize("task", [Toy(), Attended(), Recurred()], ids=["gru", "attention", "bilstm"])
def test_products_are_the_hessian_times_the_vectors(task: Task) -> None:
    net, probe, batches, usage = probed(task)
    generator = torch.Generator().manual_seed(5)
    vectors = {name: torch.randn(w.shape, generator=generator) for name, w in net.weights.items()}
    found = probe.products(vectors, 2)
    assert usage.scoring_passes == 4
    net.model.eval()  # without dropout
    sample, names = list(batches.sample(2, "stage")), list(net.parameters)

    def loss(*weights: Tensor) -> Tensor:
        class Loss(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.net = net.model

            def forward(self) -> Tensor:
                return torch.stack([task.loss(self.net, batch) for batch in sample]).mean()

        swapped = {f"net.{name}": weight for name, weight in zip(names, weights, strict=True)}
        value: Tensor = torch.func.functional_call(Loss(), swapped, (), tie_weights=True)
        return value

    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        _, wanted = torch.autograd.functional.hvp(
            loss,
            tuple(net.weights[name].clone() for name in names),
            tuple(vectors[name] for name in names),
        )
    assert any(bool(product.any()) for product in wanted)
    for name, product in zip(names, wanted, strict=True):
        torch.testing.assert_close(found[name], product, rtol=1e-3, atol=1e-5, msg=name)


def test_products_equal_the_change_of_the_gradient_along_the_vectors() -> None:
    net, probe, _, _ = probed(Toy())
    net.model.double()
    generator = torch.Generator().manual_seed(5)
    vectors = {n: torch.randn(w.shape, generator=generator, dtype=w.dtype) for n, w in net.weights.items()}
    found, step, sides = probe.products(vectors, 1), 1e-5, []
    for sign in (1, -2):
        for name, weight in net.parameters.items():
            weight.data += sign * step * vectors[name]
        sides.append(probe.gradients(1, dropout=False))
    for name, product in found.items():
        torch.testing.assert_close(
            product, (sides[0][name] - sides[1][name]) / (2 * step), rtol=1e-5, atol=1e-7
        )


def backward_passes(probe: NetProbe) -> Iterator[Any]:
    """Each kind of backward pass, once."""
    yield probe.gradients(2)
    yield probe.gradients(1, dropout=False)
    yield list(probe.each_gradient(2))
    yield probe.products({name: torch.ones_like(w) for name, w in probe.weights.items()}, 1)


@pytest.mark.parametrize("training", [True, False])
def test_afterwards_the_net_has_no_gradients_and_its_earlier_mode(*, training: bool) -> None:
    net, probe, _, _ = probed(Toy())
    net.model.train(training)
    before = {name: weight.clone() for name, weight in net.weights.items()}
    for _ in backward_passes(probe):
        assert net.model.training == training
        assert all(weight.grad is None for weight in net.model.parameters())
    assert all(torch.equal(net.weights[name], weight) for name, weight in before.items())


def test_an_iteration_that_stops_early_leaves_no_gradients() -> None:
    net, probe, _, _ = probed(Toy())
    each = probe.each_gradient(5)
    next(each)
    each.close()
    assert all(weight.grad is None for weight in net.model.parameters())


def test_an_error_leaves_no_gradients() -> None:
    class Failing(Toy):
        calls: ClassVar[list[int]] = []

        def loss(self, model: nn.Module, batch: Any) -> Tensor:
            self.calls.append(1)
            if len(self.calls) == 2:
                raise ValueError("no loss")
            return super().loss(model, batch)

    net, probe, _, _ = probed(Failing())
    net.model.eval()
    with pytest.raises(ValueError, match="no loss"):
        probe.gradients(3)
    assert not net.model.training and all(weight.grad is None for weight in net.model.parameters())


def test_mended_weights_are_masked() -> None:
    net, probe, _, _ = probed(Toy())
    masks = {name: torch.ones_like(w, dtype=torch.bool) for name, w in net.weights.items()}
    masks["odd.weight"][0] = False
    probe.set_masks(masks)
    probe.mend({"odd.weight": torch.full((5, 7), 3.0)})
    assert net.weights["odd.weight"].tolist() == [[0.0] * 7] + [[3.0] * 7] * 4
    with pytest.raises(SparsityError, match=r"mended 'odd.weight', no weight in scope of shape \(7, 5\)"):
        probe.mend({"odd.weight": torch.zeros(7, 5)})
    with pytest.raises(SparsityError, match="mended 'words.weight'"):
        probe.mend({"words.weight": torch.zeros(12, 8)})


def test_each_gradient_is_the_same_in_a_second_call_dropout_included() -> None:
    task, device = Toy(), Device("cpu", threads=1)
    device.seed("a")
    model = task.model()
    probe = NetProbe(
        Net(model, in_scope(model, "body")), Batches(task, task.recipe, "a", device), "stage", Usage(), device
    )
    first, second = (
        [{name: grad.clone() for name, grad in grads.items()} for grads in probe.each_gradient(9)]
        for _ in range(2)
    )
    assert_equal(first, second)
    assert not torch.equal(first[0]["down.weight"], first[1]["down.weight"])
