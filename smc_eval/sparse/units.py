"""Units: attention heads or hidden neurons, as the weights that leave a net together.

Shapes: U units of a layer, O outputs, I inputs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from smc_eval.errors import SparsityError
from smc_eval.sparse.counts import equal_masks
from smc_eval.sparse.distribution import share_out
from smc_eval.sparse.select import largest
from smc_eval.sparse.unit_layers import UnitLayer, Units
from smc_eval.target import Target

Kept = dict[str, Tensor]
"""For each layer, by name, which of its units remain: bool [U]."""


def expected_units(units: Units, target: Target) -> int:
    """How many units of all layers remain under a target: the nearest whole number.

    Raises:
        SparsityError: the net has no unit of this kind, or none would remain.
    """
    total = sum(layer.count for layer in units)
    if not total:
        raise SparsityError(
            f"the net has no {target.pattern} in scope, so none can be pruned; choose another pattern, or "
            "keep the maps that read them in scope (--include, --exclude)"
        )
    keep = round(total * target.density)
    if not keep:
        raise SparsityError(
            f"sparsity {target.sparsity!r} leaves none of {total} {target.pattern}; the largest that can be "
            f"reached is {1 - 1 / total!r}"
        )
    return keep


def kept_units(
    scores: Mapping[str, Tensor], target: Target, units: Units, within: Kept | None = None
) -> Kept:
    """The units of the highest scores, exactly as many as are expected. Ties go to the first.

    `global` compares the units of all layers; `uniform` keeps the same share of each layer.

    Args:
        scores: finite numbers for each layer, [U].
        within: only these units can remain; None allows all.

    Raises:
        SparsityError: the target leaves no unit, or asks for more than there are; a score is not finite;
            the distribution has no meaning for units.
    """
    keep = expected_units(units, target)
    allowed = within or {layer.name: torch.ones_like(scores[layer.name], dtype=torch.bool) for layer in units}
    remaining = {name: int(mask.sum()) for name, mask in allowed.items()}
    if keep > sum(remaining.values()):
        raise SparsityError(
            f"sparsity {target.sparsity:g} keeps {keep} {target.pattern}, but only {sum(remaining.values())} "
            "are unpruned; ask for more sparsity"
        )
    for name, values in scores.items():
        if not bool(values.isfinite().all()):
            raise SparsityError(f"the scores of the {target.pattern} of {name!r} are not finite numbers")
    match target.distribution:
        case "global":
            return largest(scores, keep, allowed)
        case "uniform":
            counts = share_out(keep, {layer.name: layer.count for layer in units}, remaining)
            return {
                name: largest({name: values}, counts[name], allowed)[name] for name, values in scores.items()
            }
    raise SparsityError(
        f"distribution {target.distribution!r} has no meaning for {target.pattern}; choose global or uniform"
    )


def unit_means(saliency: Mapping[str, Tensor], units: Units) -> dict[str, Tensor]:
    """The mean saliency of the weights of each unit, for each layer: [U], in double precision."""
    means = {}
    for layer in units:
        parts = [part.of(saliency[part.name], layer.count).flatten(1).double() for part in layer.parts]
        means[layer.name] = torch.cat(parts, 1).mean(1)
    return means


def masks_of(kept: Kept, units: Units, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Masks of the tensors `like`: a weight stays if all units that it belongs to remain."""
    masks = {name: torch.ones_like(tensor, dtype=torch.bool) for name, tensor in like.items()}
    for layer in units:
        for part in layer.parts:
            own = part.of(masks[part.name], layer.count)
            own &= kept[layer.name].view(-1, *[1] * (own.ndim - 1))
    return masks


def units_left(masks: Mapping[str, Tensor], units: Units) -> Kept:
    """The units that some masks leave: those with at least one unpruned weight.

    A weight between two hidden layers belongs to a unit of each. So a unit that remains can have no weight
    left in one of its parts.
    """
    return {
        layer.name: torch.stack(
            [part.of(masks[part.name], layer.count).flatten(1).any(1) for part in layer.parts]
        ).any(0)
        for layer in units
    }


def unit_faults(masks: Mapping[str, Tensor], units: Units, target: Target) -> tuple[list[str], list[str]]:
    """What is wrong with masks of whole units, in words, and the tensors whose units are not whole."""
    whole = masks_of(units_left(masks, units), units, masks)
    broken = [name for name, mask in masks.items() if not equal_masks(mask, whole[name])]
    remaining, wanted = remaining_units(masks, units), expected_units(units, target)
    words = [f"{remaining} {target.pattern} remain, {wanted} expected"] if remaining != wanted else []
    return words, broken


def within_scope(units: Sequence[UnitLayer], names: Collection[str]) -> Units:
    """The layers whose reading map is in scope, with those of their parts that are."""
    parts = [
        UnitLayer(layer.count, tuple(part for part in layer.parts if part.name in names)) for layer in units
    ]
    return tuple(
        part for part, layer in zip(parts, units, strict=True) if part.parts and part.name == layer.name
    )


def remaining_units(masks: Mapping[str, Tensor], units: Units) -> int:
    """How many units some masks leave."""
    return sum(int(left.sum()) for left in units_left(masks, units).values())


def unit_share(units: Units, masks: Mapping[str, Tensor]) -> float:
    """The share of all units that remain under some masks."""
    return remaining_units(masks, units) / sum(layer.count for layer in units)
