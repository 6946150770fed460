"""Certificates: what the engine itself checked of a net before its score may be believed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from smc_eval.sparse.allocate import expected
from smc_eval.sparse.bits import mask_digest
from smc_eval.sparse.net import Net
from smc_eval.sparse.pattern import fits
from smc_eval.target import Target


def certify(net: Net, target: Target | None) -> dict[str, Any]:
    """Count and look: is the net as sparse as asked, exactly, and is nothing under its masks?

    `ok` holds when the survivors are as many as the target wants, in every group where it names a
    pattern, every weight under a mask is zero and every weight is a finite number; `failed` says in
    words what does not. Without a target any number will do: the masks were given. `dead_tensors` and
    `dead_units` are named, not judged: a method may empty a tensor, but not unseen.
    """
    alive, weights = net.full_masks, net.weights
    kept = sum(int(mask.sum()) for mask in alive.values())
    size = sum(mask.numel() for mask in alive.values())
    shapes = {name: tuple(mask.shape) for name, mask in alive.items()}
    under = {name: weights[name].masked_select(~mask) for name, mask in net.masks.items()}
    patterned = target is not None and target.pattern != "free"
    found = {
        "asked": target.sparsity if target else None,
        "reached": 1 - kept / size,
        "kept": kept,
        "wanted": expected(shapes, target) if target else kept,
        "in_scope": size,
        "largest_under_mask": max((float(v.abs().max()) for v in under.values() if v.numel()), default=0.0),
        "revived": sum(int(values.count_nonzero()) for values in under.values()),
        "finite": all(bool(weight.isfinite().all()) for weight in net.model.parameters()),
        "misfits": [n for n, mask in alive.items() if patterned and target and not fits(mask, *target.group)],
        "tensors": {name: 1 - int(mask.sum()) / mask.numel() for name, mask in alive.items()},
        "dead_tensors": [name for name, mask in alive.items() if not bool(mask.any())],
        "dead_units": {name: dead for name, mask in net.masks.items() if any(dead := dead_units(mask))},
        "mask_digest": mask_digest(net.masks),
        "mask_changes": net.changes,
        "regrown": net.regrown,
    }
    failed = list(certificate_faults(found, target))
    return {"ok": not failed, "failed": failed, **found}


def certificate_faults(found: Mapping[str, Any], target: Target | None) -> Iterator[str]:
    """What speaks against a net, in plain words."""
    if found["kept"] != found["wanted"]:
        yield f"{found['kept']} weights left, {found['wanted']} wanted"
    if revived := found["revived"]:
        few = "1 weight under a mask is" if revived == 1 else f"{revived} weights under masks are"
        yield f"{few} not zero; the largest is {found['largest_under_mask']:.3g}"
    if not found["finite"]:
        yield "weights that are no finite numbers"
    if found["misfits"] and target:
        number = len(found["misfits"])
        many = f" and {number - 1} more" if number > 1 else ""
        yield f"groups that are not {target.pattern} in {found['misfits'][0]}{many}"


def dead_units(mask: Tensor) -> list[int]:
    """How many rows of a tensor are gone, units that no input reaches, and how many columns, inputs
    that leave through no weight.

    Of a convolution these are channels, whatever place of the kernel; of a recurrent layer a row is
    one gate of a unit.
    """
    mask_OIK = mask.reshape(len(mask), mask.shape[1], -1)
    return [int((~mask_OIK.any(2).any(dim)).sum()) for dim in (1, 0)]
