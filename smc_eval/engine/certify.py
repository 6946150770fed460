"""Certify: the engine measures the finished net itself, so that no method need be believed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from smc_eval.capabilities import HasOutputs
from smc_eval.engine.batches import Batches
from smc_eval.sparse.allocate import expected
from smc_eval.sparse.bits import mask_digest
from smc_eval.sparse.net import Net
from smc_eval.sparse.paths import on_paths
from smc_eval.sparse.pattern import fits
from smc_eval.sparse.stored_size import stored
from smc_eval.sparse.weight_change import weight_change
from smc_eval.store.certificate import Certificate, StoredBytes, WeightChange
from smc_eval.target import Target

PATH_BATCHES, PATH_BATCH_SIZE = 8, 4
"""At most this many small batches are used to find paths; fewer if every weight was asked for before."""


def certify(net: Net, target: Target | None, batches: Batches, start: nn.Module) -> Certificate:
    """The certificate of a net that began as `start`. For custom masks, `target` is None.

    `ok` holds if four things do: as many weights remain as the target demands, every group fits its
    N:M pattern, every weight under a mask is zero, and every parameter is a finite number. Dead
    tensors and dead units are listed, and do not fail the certificate.
    """
    found = count_and_check(net, target)
    found = replace(found, moved=WeightChange(**weight_change(net, dict(start.named_parameters()))))
    # paths through values that are not finite mean nothing
    effective = effective_sparsity(net, batches) if found.finite else None
    if effective is None:
        return found
    whole, tensors = effective
    return replace(found, effective=whole, effective_tensors=tensors)


def count_and_check(net: Net, target: Target | None) -> Certificate:
    """The part of a certificate that the net alone decides."""
    alive, weights = net.full_masks, net.weights
    remaining = sum(int(mask.sum()) for mask in alive.values())
    in_scope = sum(mask.numel() for mask in alive.values())
    shapes = {name: tuple(mask.shape) for name, mask in alive.items()}
    under = {name: weights[name].masked_select(~mask) for name, mask in net.masks.items()}
    patterned = target is not None and target.pattern != "free"
    found = Certificate(
        ok=False,
        failed=(),
        asked=target.sparsity if target else None,
        reached=1 - remaining / in_scope,
        remaining=remaining,
        expected=expected(shapes, target) if target else remaining,
        in_scope=in_scope,
        largest_under_mask=max((float(v.abs().max()) for v in under.values() if v.numel()), default=0.0),
        revived=sum(int(values.count_nonzero()) for values in under.values()),
        finite=all(bool(weight.isfinite().all()) for weight in net.model.parameters()),
        misfits=tuple(
            name for name, mask in alive.items() if patterned and target and not fits(mask, *target.group)
        ),
        tensors={name: 1 - int(mask.sum()) / mask.numel() for name, mask in alive.items()},
        dead_tensors=tuple(name for name, mask in alive.items() if not bool(mask.any())),
        dead_units={name: dead for name, mask in net.masks.items() if any(dead := dead_units(mask))},
        mask_digest=mask_digest(net.masks),
        mask_changes=net.changes,
        regrown=net.regrown,
        bytes=StoredBytes(**stored(net)),
        moved=WeightChange(None, None, {}, {}),
        effective=None,
    )
    failed = tuple(faults(found, target))
    return replace(found, ok=not failed, failed=failed)


def faults(found: Certificate, target: Target | None) -> Iterator[str]:
    """Each check that a net failed, in words."""
    if found.remaining != found.expected:
        yield f"{found.remaining} weights remain, {found.expected} expected"
    if found.revived:
        few = "1 weight under a mask is" if found.revived == 1 else f"{found.revived} weights under masks are"
        yield f"{few} not zero; the largest is {found.largest_under_mask:.3g}"
    if not found.finite:
        yield "some weights are not finite numbers"
    if found.misfits and target:
        number = len(found.misfits)
        many = f" and {number - 1} more" if number > 1 else ""
        yield f"groups that are not {target.pattern} in {found.misfits[0]}{many}"


def dead_units(mask: Tensor) -> tuple[int, int]:
    """How many rows and how many columns of a tensor have no unpruned weight.

    No input reaches a unit whose row is dead; no weight carries an input whose column is dead. Rows
    and columns of a convolution are channels; a row of a recurrent layer is one gate of one unit.
    """
    mask_OIK = mask.reshape(len(mask), mask.shape[1], -1)
    rows, columns = (int((~mask_OIK.any(2).any(dim)).sum()) for dim in (1, 0))
    return rows, columns


def effective_sparsity(net: Net, batches: Batches) -> tuple[float, dict[str, float]] | None:
    """Sparsity if weights that lie on no path count as pruned: of the scope, and of each tensor.

    None where the task does not give its outputs, or where numbers left the range of floats.
    """
    task = batches.task
    if not isinstance(task, HasOutputs):
        return None
    found: dict[str, Tensor] = {}
    for batch in batches.sample(PATH_BATCHES, "paths", PATH_BATCH_SIZE):
        part = on_paths(net, partial(_outputs, task, batch))
        if part is None:
            return None
        found |= {name: found[name] | mask if name in found else mask for name, mask in part.items()}
        if found.keys() == set(net.scope):
            break
    sizes = {name: weight.numel() for name, weight in net.weights.items()}
    counts = dict.fromkeys(sizes, 0) | {name: int(mask.count_nonzero()) for name, mask in found.items()}
    whole = 1 - sum(counts.values()) / sum(sizes.values())
    return whole, {name: 1 - counts[name] / size for name, size in sizes.items()}


def _outputs(task: HasOutputs, batch: Any, model: nn.Module) -> Tensor:
    return task.loss_and_outputs(model, batch)[1]
