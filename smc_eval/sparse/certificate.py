"""Certificates: what the engine itself checked of a net before its score may be believed."""

from __future__ import annotations

from typing import Any

from smc_eval.sparse.allocate import expected
from smc_eval.sparse.bits import mask_digest
from smc_eval.sparse.net import Net
from smc_eval.sparse.pattern import fits
from smc_eval.target import Target


def certify(net: Net, target: Target | None) -> dict[str, Any]:
    """Count and look: is the net as sparse as asked, exactly, and is nothing under its masks?

    `ok` holds when the survivors are as many as the target wants, in every group where it names a
    pattern, every weight under a mask is zero and every weight is a finite number. Without a target
    any number will do: the masks were given. `dead_tensors` are named, not judged: a method may
    empty a tensor, but not unseen.
    """
    alive, weights = net.alive, net.weights
    kept = sum(int(mask.sum()) for mask in alive.values())
    size = sum(mask.numel() for mask in alive.values())
    shapes = {name: tuple(mask.shape) for name, mask in alive.items()}
    wanted = expected(shapes, target) if target else kept
    under = {name: weights[name].masked_select(~mask) for name, mask in net.masks.items()}
    largest = max((float(values.abs().max()) for values in under.values() if values.numel()), default=0.0)
    finite = all(bool(weight.isfinite().all()) for weight in net.model.parameters())
    patterned = target is not None and target.pattern != "free"
    misfits = [n for n, mask in alive.items() if patterned and target and not fits(mask, *target.group)]
    return {
        "ok": kept == wanted and largest == 0.0 and finite and not misfits,
        "asked": target.sparsity if target else None,
        "reached": 1 - kept / size,
        "kept": kept,
        "wanted": wanted,
        "in_scope": size,
        "largest_under_mask": largest,
        "revived": sum(int(values.count_nonzero()) for values in under.values()),
        "finite": finite,
        "misfits": misfits,
        "tensors": {name: 1 - int(mask.sum()) / mask.numel() for name, mask in alive.items()},
        "dead_tensors": [name for name, mask in alive.items() if not bool(mask.any())],
        "mask_digest": mask_digest(net.masks),
        "mask_changes": net.changes,
        "regrown": net.regrown,
    }
