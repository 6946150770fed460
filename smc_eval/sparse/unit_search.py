"""Unit search: the heads and neurons of any net, found from what depends on what.

Shapes: N rows, O outputs, I inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from smc_eval.sparse.map_reads import CuttingCapture, MapReads, ReadCapture, slopes_of
from smc_eval.sparse.tensors import Tensors
from smc_eval.sparse.unit_layers import UnitLayer, UnitPart, Units

UnitKind = Literal["heads", "neurons"]

Runs = tuple[bool, Sequence[tuple[int, int]]]
"""Whether they are rows, and the first and the length of each run."""

SEGMENTS = (1, 2, 3)
"""Numbers of equal parts that a map can have, as query, key and value in one matrix."""


def find_units(
    model: nn.Module, weights: Tensors, kind: UnitKind, loss: Callable[[], Tensor], seed: int = 0
) -> Units:
    """The units of each map that reads some, in the order in which the maps are called.

    Names and classes do not matter. A map reads units if its inputs fall into equal consecutive groups, and
    outputs of earlier maps reach one group each, and nothing else. Autograd tells: the inputs of a group have
    a gradient by the outputs of their own unit, and exactly none by those of others; and with these inputs
    cut from the graph, the loss has none at all. Where an input depends on one output of each earlier map,
    units are neurons: in the middle of a feed-forward layer, or between convolutions, where they are
    channels. Where it depends on several of one of them, as through the products of queries and keys, units
    are heads. Heads that share keys and values are one unit. There are as many units as possible. Layers that
    are used one after the other with the same weights have none, nor have products that `InputWatch` does not
    see.

    Args:
        weights: the weights that units may have; parameters of the model.
        loss: calls the model once, and returns its loss.
    """
    parameters = {name: weight for name, weight in model.named_parameters() if name in weights}
    with ReadCapture(weights) as capture, torch.enable_grad():
        loss()
    generator = torch.Generator().manual_seed(seed)
    found = [
        layer
        for reader in capture.readers.values()
        if (layer := _layer_of(reader, parameters, kind, generator)) is not None
    ]
    layers = _only_readers(found, weights, parameters, loss)
    return tuple(_without_shared_sides(_only_sources(layers, weights, parameters, loss)))


def _only_readers(
    layers: Sequence[UnitLayer], weights: Tensors, parameters: Tensors, loss: Callable[[], Tensor]
) -> list[UnitLayer]:
    """The layers whose units are read by their maps alone: with their inputs cut, nothing is left."""
    with CuttingCapture(weights, inputs_of={layer.name for layer in layers}), torch.enable_grad():
        slopes = slopes_of([loss()], [torch.ones(())], parameters)
    elsewhere = {name for name, slope in slopes.items() if bool(slope.any())}
    return [layer for layer in layers if not elsewhere & {part.name for part in layer.parts[1:]}]


def _only_sources(
    layers: Sequence[UnitLayer], weights: Tensors, parameters: Tensors, loss: Callable[[], Tensor]
) -> list[UnitLayer]:
    """The layers that read their units alone: with the outputs of these cut, no input depends on a weight."""
    sources = {part.name for layer in layers for part in layer.parts[1:]}
    with CuttingCapture(weights, outputs_of=sources) as capture, torch.enable_grad():
        loss()
    return [layer for layer in layers if not _depends(capture.readers.get(layer.name), parameters)]


def _depends(reader: MapReads | None, parameters: Tensors) -> bool:
    """Whether some input of a map depends on a parameter."""
    if reader is None:
        return False
    ones = [torch.ones(x_NI.shape) for x_NI in reader.inputs]
    return any(bool(slope.any()) for slope in slopes_of(reader.inputs, ones, parameters).values())


def _layer_of(
    reader: MapReads, parameters: Tensors, kind: UnitKind, generator: torch.Generator
) -> UnitLayer | None:
    """The units that a map reads; None if they are of another kind, or there are none."""
    busiest = int(torch.cat(reader.inputs).detach().abs().sum(0).argmax())
    one = torch.arange(reader.width) == busiest
    slopes = reader.slopes(one, parameters, generator)
    runs = {name: found for name, slope in slopes.items() if (found := _partial_runs(slope)) is not None}
    runs.pop(reader.name, None)
    longest = max((length for _, spans in runs.values() for _, length in spans), default=0)
    if not longest or (longest > 1) != (kind == "heads"):
        return None
    sources, best, units = {name: parameters[name] for name in runs}, list[UnitPart](), 0
    for count in _counts(runs, parameters, reader.width):
        unit = busiest // (reader.width // count)
        guesses = [
            part
            for name, spans in runs.items()
            for part in _guesses(name, spans, parameters[name], count, unit)
        ]
        parts = _confirmed(reader, count, guesses, sources, generator)
        if len({part.name for part in parts}) > len({part.name for part in best}):
            best, units = parts, count
        if {part.name for part in best} == runs.keys():
            break
    if not best or (kind == "heads" and not any(_is_long(part, runs) for part in best)):
        return None
    return UnitLayer(units, (UnitPart(reader.name, reader.turned, 0, reader.width // units), *best))


def _is_long(part: UnitPart, runs: Mapping[str, Runs]) -> bool:
    """Whether an input depends on several outputs of this part."""
    return any(length > 1 for _, length in runs[part.name][1])


def _partial_runs(slope: Tensor) -> Runs | None:
    """Whether some rows, or else some columns, have a gradient and others none; and these as few runs.

    A run is a first row and a number of rows. None: all or no rows and columns have one, or runs differ in
    length or are too many, as where a unit happens to be at rest.
    """
    for rows in (True, False):
        touched = (slope != 0).any(1 if rows else 0)
        if bool(touched.any()) and not bool(touched.all()):
            places = touched.nonzero()[:, 0].tolist()
            spans = list(_spans(places))
            even = len({length for _, length in spans}) == 1 or len(spans) in SEGMENTS
            return (rows, spans) if even and len(spans) <= max(SEGMENTS) else None
    return None


def _spans(places: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Rising numbers as runs: the first of each, and its length."""
    start = places[0]
    for before, after in pairwise([*places, -1]):
        if after != before + 1:
            yield start, before + 1 - start
            start = after


def _counts(runs: Mapping[str, Runs], parameters: Tensors, inputs: int) -> list[int]:
    """Possible numbers of units, most first: the inputs, and a map with a longest run, fall into as many."""
    longest = max(length for _, spans in runs.values() for _, length in spans)
    extents = {
        parameters[name].flatten(1).shape[0 if rows else 1]
        for name, (rows, spans) in runs.items()
        if max(length for _, length in spans) == longest
    }
    most = max(extents) // longest
    divisors = (count for count in range(most, 1, -1) if inputs % count == 0)
    return [count for count in divisors if any(extent % count == 0 for extent in extents)]


def _guesses(name: str, runs: Runs, weight: Tensor, count: int, unit: int) -> list[UnitPart]:
    """The places that units can have in a source, if one of them holds these runs; perhaps none."""
    rows, spans = runs
    for parts in SEGMENTS:
        width, rest = divmod(weight.flatten(1).shape[0 if rows else 1], parts * count)
        if rest or not width:
            continue
        places = {start // (count * width) * count * width for start, _ in spans}
        guesses = [UnitPart(name, rows, place, width) for place in sorted(places)]
        own = [range(part.first + unit * width, part.first + (unit + 1) * width) for part in guesses]
        if all(any(start in span and start + length - 1 in span for span in own) for start, length in spans):
            return guesses
    return []


def _confirmed(
    reader: MapReads,
    count: int,
    guesses: Sequence[UnitPart],
    sources: Tensors,
    generator: torch.Generator,
) -> list[UnitPart]:
    """The guesses that hold for all units: no input depends on a part of another unit.

    Units are numbered in binary. For each digit, the inputs of the units with a 1 must have no gradient by
    the units with a 0, and the other way round. Any two units differ in a digit.
    """
    codes, holds = torch.arange(count), dict.fromkeys(guesses, True)
    for digit in range((count - 1).bit_length()):
        for value in (0, 1):
            chosen = (codes >> digit & 1) == value
            slopes = reader.slopes(chosen.repeat_interleave(reader.width // count), sources, generator)
            for part in holds:
                slope = slopes.get(part.name)
                others = None if slope is None else part.of(slope, count)[~chosen.to(slope.device)]
                holds[part] &= others is not None and not bool(others.any())
    return [part for part, held in holds.items() if held]


def _without_shared_sides(layers: Iterable[UnitLayer]) -> list[UnitLayer]:
    """Layers with a common part, as values that two maps read, become one. Other overlaps are left out."""
    joined: list[UnitLayer] = []
    for layer in layers:
        for at, other in enumerate(joined):
            if other.count == layer.count and set(other.parts) & set(layer.parts):
                new = tuple(part for part in layer.parts if part not in other.parts)
                joined[at] = replace(other, parts=(*other.parts, *new))
                break
        else:
            joined.append(layer)
    sides = [side for layer in joined for side in {(part.name, part.rows) for part in layer.parts}]
    shared = {side for side in sides if sides.count(side) > 1}
    return [layer for layer in joined if not shared & {(part.name, part.rows) for part in layer.parts}]
