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

from smc_eval.sparse.map_reads import CuttingCapture, MapReads, ReadCapture
from smc_eval.sparse.tensors import Tensors
from smc_eval.sparse.unit_layers import UnitLayer, UnitPart, Units

UnitKind = Literal["heads", "neurons"]

Runs = tuple[bool, Sequence[tuple[int, int]]]
"""Whether they are rows, and the first and the length of each run."""

OUTPUT = "output of "
"""Before the name of a weight: what its map makes."""

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
    with ReadCapture(parameters) as capture, torch.enable_grad():
        loss()
    generator = torch.Generator().manual_seed(seed)
    found = [
        layer
        for reader in capture.reads.values()
        if (layer := _layer_of(reader, parameters, kind, generator)) is not None
    ]
    return tuple(_closed(_without_shared_sides(found), {layer.parts[0] for layer in found}, parameters, loss))


def _closed(
    layers: Sequence[UnitLayer], readings: set[UnitPart], parameters: Tensors, loss: Callable[[], Tensor]
) -> Iterator[UnitLayer]:
    """The layers whose units are read by their own maps alone, and whose maps read nothing but these units.

    With the inputs of all reading maps cut, neither the loss nor the inputs of a map of another layer may
    depend on a source. With the outputs of all sources cut, the inputs of a map may depend on no weight, and
    on no output but those of its own sources.
    """
    readers = {part.name for part in readings}
    sources = {part.name for layer in layers for part in layer.parts if part not in readings}
    weights = list(parameters.items())
    with CuttingCapture(parameters, inputs_of=readers) as before, torch.enable_grad():
        reached = {"": _dependents([loss()], weights)}
    for name in readers & before.reads.keys():
        reached[name] = _dependents(before.reads[name].inputs, weights)
    with CuttingCapture(parameters, outputs_of=sources) as behind, torch.enable_grad():
        loss()
    ends = weights + [(OUTPUT + name, leaf) for name, leaves in behind.leaves.items() for leaf in leaves]
    for layer in layers:
        reading = {part.name for part in layer.parts if part in readings}
        feeding = {part.name for part in layer.parts if part not in readings}
        elsewhere = (names for reader, names in reached.items() if reader not in reading)
        read = (_dependents(behind.reads[name].inputs, ends) for name in reading & behind.reads.keys())
        own_outputs = {OUTPUT + name for name in feeding}
        if not any(feeding & names for names in elsewhere) and not any(names - own_outputs for names in read):
            yield layer


def _dependents(values: Sequence[Tensor], ends: Sequence[tuple[str, Tensor]]) -> set[str]:
    """The names of the tensors on which some values depend."""
    slopes = torch.autograd.grad(
        values,
        [end for _, end in ends],
        [torch.ones_like(value) for value in values],
        retain_graph=True,
        allow_unused=True,
    )
    found: list[tuple[tuple[str, Tensor], Tensor | None]] = list(zip(ends, slopes, strict=True))
    return {name for (name, _), slope in found if slope is not None and bool(slope.any())}


def _layer_of(
    reader: MapReads, parameters: Tensors, kind: UnitKind, generator: torch.Generator
) -> UnitLayer | None:
    """The units that a map reads; None if they are of another kind, or there are none."""
    busiest = int(torch.cat(reader.inputs).detach().abs().sum(0).argmax())
    every = reader.slopes(torch.ones(reader.width), parameters, generator)
    one = reader.slopes(torch.arange(reader.width) == busiest, parameters, generator)
    runs = {
        name: found
        for name, slope in one.items()
        if name != reader.name and (found := _partial_runs(slope, every[name])) is not None
    }
    if kind == "neurons":
        runs = {name: found for name, found in runs.items() if _longest(found) == 1}
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
    if not best or (kind == "heads" and all(_longest(runs[part.name]) == 1 for part in best)):
        return None
    return UnitLayer(units, (UnitPart(reader.name, reader.turned, 0, reader.width // units), *best))


def _longest(runs: Runs) -> int:
    """The length of the longest run."""
    return max(length for _, length in runs[1])


def _partial_runs(slope: Tensor, every: Tensor) -> Runs | None:
    """The rows, or else the columns, that one input depends on, if further inputs depend on others.

    They are given as few runs: a first row and a number of rows. None: all inputs depend on the same, or the
    runs are too many, as where units of earlier layers happen to be at rest.
    """
    for rows in (True, False):
        touched, in_all = ((each != 0).any(1 if rows else 0) for each in (slope, every))
        if bool((in_all & ~touched).any()):
            spans = list(_spans(touched.nonzero()[:, 0].tolist()))
            return (rows, spans) if 0 < len(spans) <= max(SEGMENTS) else None
    return None


def _spans(places: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Rising numbers as runs: the first of each, and its length."""
    start = places[0] if places else 0
    for before, after in pairwise([*places, -1] if places else []):
        if after != before + 1:
            yield start, before + 1 - start
            start = after


def _counts(runs: Mapping[str, Runs], parameters: Tensors, inputs: int) -> list[int]:
    """Possible numbers of units, most first: inputs, and a source with the longest runs, fall into as many.

    Of a value, a head's input reads one row; of queries, as many as the head has.
    """
    counts, several = set[int](), {name: found for name, found in runs.items() if _longest(found) > 1}
    for name, found in (several or runs).items():
        extent = parameters[name].flatten(1).shape[0 if found[0] else 1]
        counts |= {n for n in range(2, extent // _longest(found) + 1) if extent % n == inputs % n == 0}
    return sorted(counts, reverse=True)


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
