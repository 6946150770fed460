"""The witness: what the engine measures of a finished net, so that no method need be believed."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

from smc_eval.engine.batches import Batches
from smc_eval.sparse.certificate import certify
from smc_eval.sparse.net import Net
from smc_eval.sparse.paths import on_paths
from smc_eval.sparse.stored_size import stored
from smc_eval.sparse.weight_change import weight_change
from smc_eval.target import Target

PATH_BATCHES, PATH_BATCH_SIZE = 8, 4
"""At most so many small batches lend their form to find paths, until one has asked for every weight."""


def certificate_of(net: Net, target: Target | None, batches: Batches, start: nn.Module) -> dict[str, Any]:
    """The certificate of a net that began as `start`; `target` is None where masks were given."""
    found = certify(net, target) | {"bytes": stored(net)}
    found |= {"moved": weight_change(net, dict(start.named_parameters()))}
    effective = effective_sparsity(net, batches)
    # a net with numbers that are none has no paths to speak of
    return found | (effective if effective and found["finite"] else {"effective": None})


def effective_sparsity(net: Net, batches: Batches) -> dict[str, Any] | None:
    """Sparsity when survivors count as gone that lie on no path, of the scope and of each tensor.

    None where the task does not tell its outputs, or numbers left the range of floats.
    """
    if not batches.task.has_outputs:
        return None
    found: dict[str, Tensor] = {}
    for batch in batches.sample(PATH_BATCHES, "paths", PATH_BATCH_SIZE):
        part = on_paths(net, partial(_outputs, batches, batch))
        if part is None:
            return None
        found |= {name: found[name] | mask if name in found else mask for name, mask in part.items()}
        if found.keys() == set(net.scope):
            break
    sizes = {name: weight.numel() for name, weight in net.weights.items()}
    counts = dict.fromkeys(sizes, 0) | {name: int(mask.count_nonzero()) for name, mask in found.items()}
    return {
        "effective": 1 - sum(counts.values()) / sum(sizes.values()),
        "effective_tensors": {name: 1 - counts[name] / size for name, size in sizes.items()},
    }


def _outputs(batches: Batches, batch: Any, model: nn.Module) -> Tensor:
    return batches.task.loss_and_outputs(model, batch)[1]
