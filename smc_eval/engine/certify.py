"""Certify: the engine itself measures the finished net, so no method has to be trusted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from smc_eval.capabilities import HasOutputs
from smc_eval.engine.batches import Batches
from smc_eval.engine.device import is_large
from smc_eval.sparse.allocate import expected
from smc_eval.sparse.bits import mask_digest
from smc_eval.sparse.fan_in import fan_in_range
from smc_eval.sparse.net import Net
from smc_eval.sparse.paths import Untraceable, on_paths
from smc_eval.sparse.pattern import fits
from smc_eval.sparse.stored_size import stored_bytes
from smc_eval.sparse.units import expected_units, masks_of, remaining_units, units_left
from smc_eval.store.certificate import Certificate, StoredBytes, UnitCount, WeightChange
from smc_eval.target import Target

PATH_EXAMPLES, PATH_GROUP = 32, 4
"""At most this many examples are used to find paths, in groups. No more groups are used if some reach every
tensor."""


def certify(
    net: Net,
    target: Target | None,
    batches: Batches,
    moved: WeightChange,
    *,
    constant_fan_in: bool = False,
) -> Certificate:
    """The certificate of a net that moved so far from its start. For custom masks, `target` is None.

    `ok` is True if four checks pass: as many weights or units remain as the target demands, every group fits
    its N:M pattern and every unit is whole, every weight under a mask is zero, and every parameter is a
    finite number. With `constant_fan_in` there is a fifth: rows of a tensor that have weights have equally
    many, or one more. Dead tensors and dead units are listed; they do not fail the certificate.
    """
    certificate = replace(count_and_check(net, target), moved=moved)
    if constant_fan_in:
        certificate = check_fan_in(certificate, net)
    if not certificate.finite:
        return replace(certificate, effective_unknown="some weights are not finite numbers")
    try:
        whole, tensors = effective_sparsity(net, batches)
    except Untraceable as error:
        return replace(certificate, effective_unknown=str(error))
    return replace(certificate, effective=whole, effective_tensors=tensors)


def count_and_check(net: Net, target: Target | None) -> Certificate:
    """The part of a certificate that depends on the net alone."""
    masks, weights = net.full_masks, net.weights
    remaining = _count(masks)
    in_scope = sum(mask.numel() for mask in masks.values())
    shapes = {name: tuple(mask.shape) for name, mask in masks.items()}
    under = {name: weights[name].masked_select(~mask) for name, mask in net.masks.items()}
    structured = target is not None and target.is_structured
    whole = masks_of(units_left(masks, net.units), net.units, masks) if structured else masks
    certificate = Certificate(
        ok=False,
        failed=(),
        asked=target.sparsity if target else None,
        reached=1 - remaining / in_scope,
        remaining=remaining,
        expected=expected(shapes, target) if target and not structured else _count(whole),
        in_scope=in_scope,
        largest_under_mask=max((float(v.abs().max()) for v in under.values() if v.numel()), default=0.0),
        revived=sum(int(values.count_nonzero()) for values in under.values()),
        finite=all(bool(weight.isfinite().all()) for weight in net.model.parameters()),
        misfits=tuple(name for name, mask in masks.items() if _misfits(mask, whole[name], target)),
        tensors={name: 1 - int(mask.sum()) / mask.numel() for name, mask in masks.items()},
        dead_tensors=tuple(name for name, mask in masks.items() if not bool(mask.any())),
        dead_units={name: dead for name, mask in net.masks.items() if any(dead := dead_units(mask))},
        mask_digest=mask_digest(net.masks),
        mask_changes=net.changes,
        regrown=net.regrown,
        bytes=StoredBytes(**stored_bytes(net)),
        moved=WeightChange(None, None, {}, {}),
        effective=None,
        units=_unit_count(masks, net, target) if target and structured else None,
    )
    failed = tuple(faults(certificate, target))
    return replace(certificate, ok=not failed, failed=failed)


def _count(masks: Mapping[str, Tensor]) -> int:
    return sum(int(mask.sum()) for mask in masks.values())


def _misfits(mask: Tensor, whole: Tensor, target: Target | None) -> bool:
    """Whether a mask breaks its N:M pattern, or prunes a part of a unit only."""
    if target is not None and target.is_n_m:
        return not fits(mask, *target.group)
    return not torch.equal(mask, whole)


def _unit_count(masks: Mapping[str, Tensor], net: Net, target: Target) -> UnitCount:
    total = sum(layer.count for layer in net.units)
    return UnitCount(
        target.units, remaining_units(masks, net.units), expected_units(net.units, target), total
    )


def faults(certificate: Certificate, target: Target | None) -> Iterator[str]:
    """A message for each check that a net failed."""
    if (units := certificate.units) and units.remaining != units.expected:
        yield f"{units.remaining} {units.kind} remain, {units.expected} expected"
    if certificate.remaining != certificate.expected:
        yield f"{certificate.remaining} weights remain, {certificate.expected} expected"
    if certificate.revived:
        count = certificate.revived
        subject = "1 weight under a mask is" if count == 1 else f"{count} weights under masks are"
        yield f"{subject} not zero; the largest is {certificate.largest_under_mask:.3g}"
    if not certificate.finite:
        yield "some weights are not finite numbers"
    if certificate.misfits and target:
        number = len(certificate.misfits)
        others = f" and {number - 1} more" if number > 1 else ""
        what = (
            f"{target.pattern} that are pruned in part"
            if target.is_structured
            else f"groups that are not {target.pattern}"
        )
        yield f"{what} in {certificate.misfits[0]}{others}"


def check_fan_in(certificate: Certificate, net: Net) -> Certificate:
    """The certificate with the fan-in of each tensor's rows; it fails where rows differ by more than one."""
    fan_in = {name: fan_in_range(mask) for name, mask in net.full_masks.items()}
    failed = tuple(
        f"rows of {name!r} have from {least} to {most} weights, where the fan-in is constant"
        for name, (least, most) in fan_in.items()
        if most - least > 1
    )
    return replace(
        certificate, fan_in=fan_in, ok=certificate.ok and not failed, failed=certificate.failed + failed
    )


def dead_units(mask: Tensor) -> tuple[int, int]:
    """Number of rows and number of columns of a tensor without any unpruned weight.

    A unit with a dead row gets no input; the input of a dead column reaches no unit. Rows and columns
    of a convolution are channels; a row of a recurrent layer is one gate of one unit.
    """
    mask_OIK = mask.reshape(len(mask), mask.shape[1], -1)
    rows, columns = (int((~mask_OIK.any(2).any(dim)).sum()) for dim in (1, 0))
    return rows, columns


def effective_sparsity(net: Net, batches: Batches) -> tuple[float, dict[str, float]]:
    """Sparsity if weights that lie on no path count as pruned: of the scope, and of each tensor.

    Raises:
        Untraceable: the task has no outputs, the net cannot be traced, numbers leave the range of floats,
            or the trace finds no path even where no weight is pruned.
    """
    if not isinstance(batches.task, HasOutputs):
        raise Untraceable("the task has no outputs")
    reached = _reached(net, batches.task, batches)
    counts = dict.fromkeys(net.scope, 0) | {name: int(mask.sum()) for name, mask in reached.items()}
    if not any(counts.values()) and not any(
        mask.any() for mask in _reached(net, batches.task, batches, dense=True).values()
    ):
        raise Untraceable("the trace finds no path, not even where no weight is pruned")
    sizes = {name: weight.numel() for name, weight in net.weights.items()}
    whole = 1 - sum(counts.values()) / sum(sizes.values())
    return whole, {name: 1 - counts[name] / size for name, size in sizes.items()}


def _reached(net: Net, task: HasOutputs, batches: Batches, *, dense: bool = False) -> dict[str, Tensor]:
    """Masks of the weights that some example reaches."""
    reached: dict[str, Tensor] = {}
    large = is_large(net.state.values())
    size = 1 if large else PATH_GROUP  # a group at once takes a third of the time, and more memory
    for number, batch in enumerate(batches.sample_excerpts(PATH_EXAMPLES // size, "paths", size), 1):
        reached = on_paths(net, partial(_outputs, task, batch), dense=dense, known=reached)
        if large:
            batches.device.empty_cache()
        if number * size % PATH_GROUP == 0 and reached.keys() == set(net.scope):
            break
    return reached


def _outputs(task: HasOutputs, batch: Any, model: nn.Module) -> Tensor:
    return task.loss_and_outputs(model, batch)[1]
