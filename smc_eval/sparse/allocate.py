"""From saliencies to masks that meet a target exactly."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from smc_eval.errors import SparsityError
from smc_eval.sparse.distribution import lamp, outlying, share_out
from smc_eval.sparse.pattern import grouped, grouped_count, rowwise
from smc_eval.sparse.select import available, check_saliencies, largest
from smc_eval.sparse.shard_group import UNSHARDED, ShardGroup
from smc_eval.target import Target

Shapes = Mapping[str, tuple[int, ...]]

BY_ROWS = ("global", "uniform", "erk")
"""Spreads that can be decided where tensors are cut by rows: the others look at whole tensors."""


def allocate(
    saliency: Mapping[str, Tensor],
    target: Target,
    within: Mapping[str, Tensor] | None = None,
    shards: ShardGroup = UNSHARDED,
) -> dict[str, Tensor]:
    """Masks of the most salient weights that meet the target, True stays: exactly `expected` in all.

    `global` compares all tensors, `lamp` their layer-adaptive saliencies; `uniform`, `erk` and `owl`
    take the largest of each tensor up to its budget; `rows` those of each row of each tensor up to
    the row's; an N:M pattern those of each group. Ties are settled as `largest` says, never by chance.

    Args:
        within: what is alive; nothing else stays, so that masks which follow each other shrink.
            A tensor with fewer alive than its budget keeps them all and hands on the rest. Only an
            N:M pattern may then keep fewer than expected: a group cannot borrow from the next.
        crowd: who holds the other rows, where all tensors are cut by rows.

    Raises:
        SparsityError: the target leaves no weight, or asks for more than are alive; saliencies
            that cannot be compared, or, under `lamp`, below zero; a spread that needs whole tensors
            where they are cut.
    """
    shapes = shards.shapes(saliency)
    keep = expected(shapes, target)
    check_saliencies(saliency, within, shards)
    if target.pattern != "free":
        return {
            name: grouped(values, *target.group, None if within is None else within[name])
            for name, values in saliency.items()
        }
    _afford(keep, available(saliency, within, shards), _size(shapes), target)
    if shards.size > 1 and target.distribution not in BY_ROWS:
        raise SparsityError(
            f"spread {target.distribution!r} needs whole tensors, and these are cut by rows; "
            f"choose one of {', '.join(BY_ROWS)}"
        )
    match target.distribution:
        case "global":
            return largest(saliency, keep, within, shards)
        case "lamp":
            return largest(lamp(saliency, within), keep, within)
        case "uniform" | "erk" | "owl":
            counts = budgets(shapes, target, within, saliency, shards)
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
    """How many weights of all these tensors together stay under the target.

    Raises:
        SparsityError: there is no weight, or the target leaves none.
    """
    size = _size(shapes)
    if not size:
        raise SparsityError(
            f"no weight is in scope {target.scope!r}, so none can be pruned; choose another scope or model"
        )
    if target.pattern != "free":
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
) -> dict[str, int]:
    """How many weights of each tensor stay; together as many as are `expected`.

    `uniform` and `rows`: in proportion to its size. `erk`, Evci et al. (2020): the density of a
    tensor of shape [d0, d1, ...] is in proportion to sum(d) / prod(d), so its budget to sum(d); a
    tensor that would be more than full is dense and the rest share its debt. `owl`: as `outlying`
    says, from the saliencies. Fractions are settled by largest remainder, equal ones in the order of
    names. What a tensor lacks in `within` the others get in the same proportion.

    Raises:
        SparsityError: the target leaves no weight or asks for more than are alive, or its spread sets
            no budget: under `global` and `lamp` the saliencies decide, under `owl` they are needed.
    """
    keep = expected(shapes, target)
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    alive = sizes
    if within is not None:
        alive = dict(zip(shapes, shards.count(within[name] for name in shapes), strict=True))
    if target.pattern != "free":
        return {name: grouped_count(shape, *target.group) for name, shape in shapes.items()}
    _afford(keep, sum(alive.values()), _size(shapes), target)
    match target.distribution:
        case "uniform" | "rows":
            return share_out(keep, sizes, alive)
        case "erk":
            return share_out(keep, {name: max(1, sum(shape)) for name, shape in shapes.items()}, alive)
        case "owl" if saliency is not None:
            return share_out(keep, outlying(saliency, target.sparsity, within), alive)
        case "global" | "lamp" | "owl":
            raise SparsityError(
                f"spread {target.distribution!r} sets no budget for a tensor; choose 'uniform' or 'erk'"
            )


def _afford(keep: int, alive: int, size: int, target: Target) -> None:
    """Refuse a target that only what is dead could meet."""
    if keep > alive:
        raise SparsityError(
            f"sparsity {target.sparsity:g} keeps {keep} of {size} weights, but only {alive} are alive; "
            f"ask for {1 - alive / size!r} or more"
        )


def _size(shapes: Shapes) -> int:
    return sum(math.prod(shape) for shape in shapes.values())
