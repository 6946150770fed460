"""Prune any net by a method of the suite, without training it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from smc_eval.api.given_task import GivenBatches, GivenTask, Loss, on_device
from smc_eval.api.pruned_net import PrunedNet
from smc_eval.engine.certify import certify, count_and_check
from smc_eval.engine.device import Device
from smc_eval.engine.distributed import launch
from smc_eval.engine.initial_net import initial_net
from smc_eval.engine.net_units import find_net_units
from smc_eval.engine.net_use import find_use
from smc_eval.engine.probe import NetProbe
from smc_eval.engine.progress import Silent
from smc_eval.engine.prune_stage import check_count, run_prune
from smc_eval.engine.usage import Usage
from smc_eval.errors import UsageError, message_of, named_value
from smc_eval.experiment import parsing, spec_text
from smc_eval.experiment.cell import Cell, Chain, chain
from smc_eval.method import Method
from smc_eval.protocol import SOUND
from smc_eval.registry import registry
from smc_eval.sparse.net import Net
from smc_eval.sparse.weight_change import weight_change
from smc_eval.stages import Prune
from smc_eval.store.certificate import Certificate, WeightChange
from smc_eval.store.net_uses import NetUse
from smc_eval.target import Distribution, Scope, Target

MOST_BATCHES = 256
"""Batches that are read of a loader, unless the caller sets another number."""


def prune(  # noqa: PLR0913  each is a choice of its own
    net: nn.Module,
    method: str | Method,
    sparsity: float | str | None = None,
    *,
    pattern: str = "free",
    batches: Iterable[Any] | None = None,
    loss: Loss | None = None,
    outputs: Loss | None = None,
    distribution: Distribution | None = None,
    scope: Scope = "body",
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    seed: int = 0,
    most_batches: int = MOST_BATCHES,
    inplace: bool = False,
) -> PrunedNet:
    """Prune a net in one shot. It runs the pruning of the method, and none of its trainings.

    Masks, exact counts and certificate are those of the suite. Random generators, mode, buffers and
    `requires_grad` of the net are as before.

    Args:
        net: any module on one device; with `inplace` it is changed, else a copy is.
        method: a method that prunes before or after training, as on the command line: `"wanda"`,
            `"snip:batches=8"`; or a `Method`.
        sparsity: the share of weights to prune, in [0, 1), or a text such as `"2:4"` or `"heads:0.5"`.
        pattern: `free`, `N:M`, `heads` or `neurons`.
        batches: any iterable, such as a DataLoader. Methods that look at no data need none.
        loss: the mean loss of a batch, from net and batch. Default: `net(**batch).loss`.
        outputs: log-probabilities [M, C] or values [M], from net and batch, for methods that need them.
        distribution: how the sparsity is spread over tensors. Default: the method's own.
        scope: `body` leaves out embeddings; `all-2d` does not.
        include: globs of parameter or module names; only these are pruned.
        exclude: globs of names that are left out.
        seed: seeds whatever the method draws.
        most_batches: at most so many batches are read.
        inplace: change `net` itself. Where pruning fails, its weights may have changed by then.

    Returns:
        The pruned net with masks and certificate.

    Raises:
        UsageError: the method trains or is unknown, the target is none, there are no batches, or the loss
            is no number.
        SparsityError: no weight is in scope, or the pruner failed.
    """
    _check(net, loss, outputs, seed, most_batches, inplace=inplace)
    chosen = _method(method)
    bare = _target(chosen, sparsity, pattern)
    choices: dict[str, Any] = {
        "scope": scope,
        "include": _texts(include, "include"),
        "exclude": _texts(exclude, "exclude"),
    }
    if not bare.is_n_m:
        choices["distribution"] = distribution or chosen.card.distribution
    target = spec_text.check_spec(Target, {**dict(bare), **choices}, "argument", "prune")
    given = _read(batches, most_batches)
    if launch.world_size() > 1:
        raise UsageError("prune runs in one process; prune and save the net before torchrun starts ranks")
    device = Device(str(on_device(net)))
    own = net if inplace else _copied(net)
    task = GivenTask.of(own, given, loss, outputs)
    links = _chain(task, chosen, target, seed)
    with _as_before(own, device):
        whole, use = _net(task, target, links.start, device, looks=bool(given))
        probed = GivenBatches(task, links.start, device)
        usage = _run(links, whole, probed, device)
        certificate = _certificate(whole, target, probed, None if inplace else net, looks=bool(given))
    return PrunedNet(
        own,
        {name: mask.cpu() for name, mask in whole.masks.items()},
        certificate,
        method=chosen.label,
        target=target,
        unused=use.unused,
        notes=tuple(usage.notes),
    )


def _check(
    net: object, loss: object, outputs: object, seed: object, most_batches: object, *, inplace: bool
) -> None:
    """Refuse arguments of wrong types, and a net or a place without gradients.

    Raises:
        UsageError: one is wrong.
    """
    if not isinstance(net, nn.Module):
        raise UsageError(f"net is {named_value(net)}; wanted a torch.nn.Module")
    for name, function in (("loss", loss), ("outputs", outputs)):
        if function is not None and not callable(function):
            raise UsageError(f"{name} is {named_value(function)}; wanted a function of net and batch")
    if not isinstance(seed, int):
        raise UsageError(f"seed is {named_value(seed)}; wanted a whole number")
    if not isinstance(most_batches, int) or most_batches < 1:
        raise UsageError(f"most_batches is {named_value(most_batches)}; wanted a whole number from 1 on")
    if torch.is_inference_mode_enabled() or (inplace and any(map(torch.is_inference, net.parameters()))):
        raise UsageError("torch.inference_mode() leaves no gradients; make the net and call prune outside it")


def _copied(net: nn.Module) -> nn.Module:
    """A copy of a net.

    Raises:
        UsageError: the net cannot be copied.
    """
    try:
        return copy.deepcopy(net)
    except Exception as error:  # a module may raise anything
        raise UsageError(
            f"the net cannot be copied: {message_of(error)}\n"
            "prune with inplace=True, or first remove what computes its weights, such as torch.nn.utils.prune"
        ) from error


def _method(word: str | Method) -> Method:
    """The method that a text names.

    Raises:
        UsageError: it names none, or several.
    """
    if isinstance(word, Method):
        return word
    if not isinstance(word, str):
        raise UsageError(f"method is {named_value(word)}; wanted a name such as 'wanda', or a Method")
    named = parsing.parse_named([word], "method")
    if len(named) != 1:
        raise UsageError(f"method {word!r} names {len(named)} methods; prune takes one")
    ((name, options),) = named
    return spec_text.parse_spec(registry().method(name), options, "option", f"method {name!r}")


def _target(method: Method, sparsity: float | str | None, pattern: str) -> Target:
    """The target of a sparsity and a pattern.

    Raises:
        UsageError: neither is given, or they contradict each other.
    """
    name = method.card.name
    if method.card.when in ("none", "custom"):
        raise UsageError(f"method {name!r} computes no masks; choose one that prunes")
    if sparsity is None and pattern in ("free", "heads", "neurons"):
        raise UsageError("give a sparsity, as in prune(net, method, 0.5)")
    if pattern == "free":
        return Target.parse(str(sparsity))
    if not isinstance(pattern, str):
        raise UsageError(f"pattern is {named_value(pattern)}; wanted free, N:M, heads or neurons")
    if pattern in ("heads", "neurons"):
        word = str(sparsity)
        return Target.parse(word if word.startswith(f"{pattern}:") else f"{pattern}:{sparsity}")
    target = Target.parse(pattern)
    if sparsity is not None and not _agree(sparsity, target):
        raise UsageError(
            f"pattern {pattern!r} has a sparsity of {target.sparsity:g}, not {sparsity}; leave one out"
        )
    return target


def _agree(sparsity: float | str, target: Target) -> bool:
    """Whether a sparsity is that of a pattern: its number, or the pattern itself.

    Raises:
        UsageError: it is no sparsity.
    """
    own = Target.parse(str(sparsity))
    return own.pattern in ("free", target.pattern) and abs(own.sparsity - target.sparsity) <= 1e-9


def _read(batches: Iterable[Any] | None, most: int) -> list[Any]:
    """The first batches of an iterable; none if there is no iterable.

    Raises:
        UsageError: it is no iterable, or it is empty.
    """
    if batches is None:
        return []
    if not isinstance(batches, Iterable):
        raise UsageError(f"batches is {named_value(batches)}; wanted an iterable, such as a DataLoader")
    given = list(islice(batches, most))
    if not given:
        raise UsageError("there are no batches: the iterable is empty; a generator can be read only once")
    return given


def _texts(words: object, name: str) -> tuple[str, ...]:
    """The globs of an argument.

    Raises:
        UsageError: it holds something else than texts.
    """
    given = [words] if isinstance(words, str) or not isinstance(words, Iterable) else [*words]
    texts = tuple(text for text in given if isinstance(text, str))
    if len(texts) < len(given):
        raise UsageError(f"{name} is {named_value(words)}; wanted a glob of names, or several")
    return texts


def _chain(task: GivenTask, method: Method, target: Target, seed: int) -> Chain:
    """The stages of a method without its trainings.

    Raises:
        UsageError: it makes its masks during training, in rounds of trainings, or refuses the target.
    """
    cell = Cell(task=task, method=method, target=target, protocol=SOUND, seed=seed)
    name = method.card.name
    try:
        links = chain(cell, (), len(task.data("train")))
    except UsageError as error:
        if "recipe has 0 steps" not in str(error):
            raise
        raise UsageError(
            f"method {name!r} makes its masks during training; prune trains nothing: use evaluate"
        ) from None
    if method.card.when == "iterative" or any(not isinstance(link.stage, Prune) for link in links.links):
        raise UsageError(f"method {name!r} trains between its rounds; prune trains nothing: use evaluate")
    return links


@contextmanager
def _as_before(net: nn.Module, device: Device) -> Iterator[None]:
    """Afterwards random generators, mode, gradients and `requires_grad` are as before."""
    state, training = device.rng_state(), {name: part.training for name, part in net.named_modules()}
    learns = [(weight, weight.requires_grad, weight.grad) for weight in net.parameters()]
    try:
        net.requires_grad_(True)
        with torch.enable_grad():
            yield
    finally:
        for weight, needed, gradient in learns:
            weight.requires_grad_(needed)
            weight.grad = gradient
        for name, part in net.named_modules():
            part.training = training[name]
        device.set_rng_state(state)


def _net(task: GivenTask, target: Target, start: str, device: Device, *, looks: bool) -> tuple[Net, NetUse]:
    """The net with the weights in scope, and what the loss uses of it: all, if there are no batches."""
    found: list[NetUse] = []

    def use_of(model: nn.Module) -> NetUse:
        found.append(find_use(model, GivenBatches(task, start, device)) if looks else NetUse((), ()))
        return found[0]

    def units_of(model: nn.Module, names: tuple[str, ...]) -> Any:
        return find_net_units(model, names, target.units, GivenBatches(task, start, device))

    net = initial_net(task, target, start, device, use_of, units_of if target.is_structured else None)
    return net, found[0]


def _run(links: Chain, net: Net, batches: GivenBatches, device: Device) -> Usage:
    """Run the prune stages. Returns what they noted and cost."""
    usage = Usage()
    for link in links.links:
        stage = link.stage
        assert isinstance(stage, Prune)
        device.seed(link.digest)
        probe = NetProbe(net, batches, link.digest, usage, device, stage.by.identity)
        goal = stage.to or links.cell.target.dense()
        run_prune(stage, goal, probe, Silent())
        if stage.to is not None:
            check_count(net, stage.by, stage.to)
    return usage


def _certificate(
    net: Net, target: Target, batches: GivenBatches, before: nn.Module | None, *, looks: bool
) -> Certificate:
    """The certificate of the pruned net; `before` is the net as it was, if it still is."""
    moved = WeightChange(None, None, {}, {})
    if before is not None:
        moved = WeightChange(**weight_change(net, _weights(before)))
    if looks:
        return certify(net, target, batches, moved)
    certificate = count_and_check(net, target)
    return replace(certificate, moved=moved, effective_unknown="no batches were given")


def _weights(net: nn.Module) -> dict[str, Tensor]:
    return {name: weight.detach() for name, weight in net.named_parameters()}
