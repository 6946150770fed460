"""Turns saliencies into masks that meet a target exactly."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from smc_eval.errors import SparsityError
from smc_eval.sparse.blocks import blocks_and_others
from smc_eval.sparse.distribution import lamp, owl_shares, share_out
from smc_eval.sparse.pattern import grouped, grouped_count, rowwise
from smc_eval.sparse.select import available, check_saliencies, largest
from smc_eval.sparse.shard_group import UNSHARDED, ShardGroup
from smc_eval.sparse.spectrum import tail_densities
from smc_eval.sparse.unit_layers import Units
from smc_eval.sparse.units import kept_units, masks_of, unit_means, units_left
from smc_eval.target import Target

Shapes = Mapping[str, tuple[int, ...]]

SHARDABLE_DISTRIBUTIONS = ("global", "uniform", "erk")
"""Distributions that work on tensors sharded by rows. The others need whole tensors."""


def allocate(
    saliency: Mapping[str, Tensor],
    target: Target,
    within: Mapping[str, Tensor] | None = None,
    shards: ShardGroup = UNSHARDED,
    units: Units = (),
    weights: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Masks of the most salient weights that meet the target; True stays, exactly `expected` in all.

    `global` compares all tensors. `lamp` compares their layer-adaptive saliencies. `uniform`, `erk`,
    `owl` and `alpha` keep the largest of each tensor, up to its budget. `rows` keeps the largest of each row
    of each tensor, up to the row's budget. An N:M pattern keeps the largest of each group. `heads` and
    `neurons` keep the units of the largest mean. Ties are settled as in `largest`, never at random.

    Args:
        within: masks of the unpruned weights. No other weight stays, so successive masks shrink.
            A tensor with fewer unpruned weights than its budget keeps them all, and the other tensors get
            the rest. Only an N:M pattern may then keep fewer than expected: groups share nothing.
        shards: the holders of the other rows, where all tensors are sharded by rows.
        units: the heads or neurons, if the target prunes these.
        weights: of the same names; only `alpha` reads them.

    Raises:
        SparsityError: the target leaves no weight, or asks for more than are unpruned; saliencies cannot
            be compared, or are negative under `lamp` or `owl`; the tensors are sharded and the
            distribution needs whole ones; or there are no weights under `alpha`.
    """
    shapes = shards.shapes(saliency)
    if target.is_structured:
        check_saliencies(saliency, within, shards)
        left = None if within is None else units_left(within, units)
        return masks_of(kept_units(unit_means(saliency, units), target, units, left), units, saliency)
    keep = expected(shapes, target)
    check_saliencies(saliency, within, shards)
    if target.is_n_m:
        return {
            name: grouped(values, *target.group, None if within is None else within[name])
            for name, values in saliency.items()
        }
    _check_enough(keep, available(saliency, within, shards), _size(shapes), target)
    if shards.size > 1 and target.distribution not in SHARDABLE_DISTRIBUTIONS:
        raise SparsityError(
            f"distribution {target.distribution!r} needs whole tensors, and these are sharded by rows; "
            f"choose one of {', '.join(SHARDABLE_DISTRIBUTIONS)}"
        )
    match target.distribution:
        case "global":
            return largest(saliency, keep, within, shards)
        case "lamp":
            return largest(lamp(saliency, within), keep, within)
        case "uniform" | "erk" | "owl" | "alpha":
            counts = budgets(shapes, target, within, saliency, shards, weights)
            return {
                name: largest({name: values}, counts[name], within, shards)[name]
                for name, values in saliency.items()
            }
        case "rows":
            counts = budgets(shapes, target, within)
            return {
                name: rowwise(values, counts[name], None if within is None else within[name])
                for name, values in saliency.items()
            }


def expected(shapes: Shapes, target: Target) -> int:
    """How many weights of all these tensors together stay under the target: free, or N:M.

    Raises:
        SparsityError: there is no weight, or the target leaves none.
    """
    size = _size(shapes)
    if not size:
        raise SparsityError(
            f"no weight is in scope {target.scope!r}, so none can be pruned; choose another scope or model"
        )
    if target.is_n_m:
        return sum(grouped_count(shape, *target.group) for shape in shapes.values())
    keep = count_remaining(size, target.sparsity)
    if not keep:
        raise SparsityError(
            f"sparsity {target.sparsity!r} leaves none of {size} weights; the largest that can be "
            f"reached is {1 - 1 / size!r}"
        )
    return keep


def count_remaining(size: int, sparsity: float) -> int:
    """How many of `size` weights stay at a sparsity: the nearest whole number."""
    return round(size * (1 - sparsity))


def budgets(
    shapes: Shapes,
    target: Target,
    within: Mapping[str, Tensor] | None = None,
    saliency: Mapping[str, Tensor] | None = None,
    shards: ShardGroup = UNSHARDED,
    weights: Mapping[str, Tensor] | None = None,
) -> dict[str, int]:
    """How many weights of each tensor stay; together as many as are `expected`.

    `uniform` and `rows`: in proportion to the tensor's size. `erk`, Evci et al. (2020): the density of a
    tensor of shape [d0, d1, ...] is in proportion to sum(d) / prod(d), so its budget is to sum(d). A tensor
    that would be more than full stays dense, and the others share the rest. `owl`: in proportion to
    `owl_shares` of the saliencies. `alpha`: by `tail_densities` of the weights. Fractions are settled by
    largest remainder, equal ones in the order of names. A tensor with fewer True in `within` than its
    budget keeps them all; the others share the rest in the same proportion.

    Raises:
        SparsityError: the target leaves no weight, or asks for more than are unpruned; or the distribution
            sets no budget. Under `global` and `lamp` the saliencies decide; `owl` needs `saliency`,
            and `alpha` needs `weights`.
    """
    keep = expected(shapes, target)
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    unpruned = sizes
    if within is not None:
        unpruned = dict(zip(shapes, shards.count(within[name] for name in shapes), strict=True))
    if target.is_n_m:
        return {name: grouped_count(shape, *target.group) for name, shape in shapes.items()}
    _check_enough(keep, sum(unpruned.values()), _size(shapes), target)
    match target.distribution:
        case "uniform" | "rows":
            return share_out(keep, sizes, unpruned)
        case "erk":
            return share_out(keep, {name: max(1, sum(shape)) for name, shape in shapes.items()}, unpruned)
        case "owl" if saliency is not None:
            return share_out(keep, owl_shares(saliency, target.sparsity, within), unpruned)
        case "alpha" if weights is not None:
            densities = tail_densities(weights, blocks_and_others(weights).values(), target.sparsity)
            # `share_out` takes whole numbers: a millionth of a weight is fine enough
            shares = {name: round(densities[name] * size * 1e6) for name, size in sizes.items()}
            return share_out(keep, shares, unpruned)
        case "alpha":
            raise SparsityError(
                "distribution 'alpha' reads the spectra of the weights, and the pruner gave none; "
                "pass weights=probe.weights (in an updater, view.weights) to `masks`"
            )
        case "global" | "lamp" | "owl":
            raise SparsityError(
                f"distribution {target.distribution!r} sets no budget for a tensor; choose 'uniform' or 'erk'"
            )


def _check_enough(keep: int, unpruned: int, size: int, target: Target) -> None:
    """Refuse a target that keeps more weights than are unpruned."""
    if keep > unpruned:
        raise SparsityError(
            f"sparsity {target.sparsity:g} keeps {keep} of {size} weights, but only {unpruned} are unpruned; "
            f"ask for {1 - unpruned / size!r} or more"
        )


def _size(shapes: Shapes) -> int:
    return sum(math.prod(shape) for shape in shapes.values())
