"""Padding is no input: a net of transformers reads rows of different lengths one length after the other.

Shapes: M rows, L tokens of the longest, G rows of one length.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn

MASK = "attention_mask"
"""Name of the argument that says which tokens are real."""

OTHER_SIDES = ("decoder", "encoder", "past", "cross")
"""Beginnings of names of arguments that have lengths of their own."""


class Reading:
    """What a net reads at the moment."""

    def __init__(self) -> None:
        self.size: tuple[int, int] | None = None
        """Rows and tokens of a call without padding; None outside of one."""
        self.padding: tuple[int, int] | None = None
        """Rows and tokens of a call whose padding could not be taken out."""

    @contextmanager
    def of(self, size: tuple[int, int] | None, padding: tuple[int, int] | None = None) -> Iterator[None]:
        """Within, the net reads this."""
        before = self.size, self.padding
        self.size, self.padding = size, padding
        try:
            yield
        finally:
            self.size, self.padding = before


class Enough(BaseException):
    """Raised in a pass to end it: what it was made for has been seen.

    Where the rows of a net are read in groups, it ends the group. It is no `Exception`, so that no net
    takes it for an error of its own.
    """


class Unsplittable(Exception):
    """An argument whose part for some rows is not known."""


@contextmanager
def without_padding(model: nn.Module) -> Iterator[Reading]:
    """Within, nets of transformers inside a model get rows without padding. Their outputs stay the same.

    Such a net treats each row on its own. Where its attention mask shows padding after the tokens, the rows
    of each length run in a call of their own, cut to their length. The outputs are put together again;
    zeros stand where padding was. Other modules, and calls that cannot be cut, run as they are; `Reading`
    says so.
    """
    reading = Reading()
    watched = [(module, own) for module in model.modules() if (own := _takes_mask(module)) is not None]
    usual = [vars(module).get("forward") for module, _ in watched]
    for module, own in watched:
        module.forward = _cut(module.forward, reading, own=own)
    try:
        yield reading
    finally:
        for (module, _), forward in zip(watched, usual, strict=True):
            del module.forward
            if forward is not None:
                module.forward = forward


def _takes_mask(module: nn.Module) -> bool | None:
    """Whether rows of a module are independent: True of the body of a net of transformers, False where an
    attention mask alone is known, None where not even that is."""
    body = getattr(module, "base_model", None)
    if body is not None:  # a body inside a head is cut, and not the head: hooks on the body see all rows
        return True if body is module else None
    try:
        return False if MASK in _signature(module.forward).parameters else None
    except (TypeError, ValueError):  # a compiled module has no signature
        return None


def _signature(forward: Callable[..., Any]) -> inspect.Signature:
    """The signature of a `forward`; that of a method is looked up once for all modules of a class."""
    if isinstance(forward, MethodType) and isinstance(forward.__func__, FunctionType):
        return _signature_of_method(forward.__func__)
    return inspect.signature(forward)


@lru_cache(maxsize=1024)
def _signature_of_method(function: FunctionType) -> inspect.Signature:
    return inspect.signature(MethodType(function, object()))


def _cut(forward: Callable[..., Any], reading: Reading, *, own: bool) -> Callable[..., Any]:
    """A `forward` that runs the rows of each length apart."""
    names = [
        parameter.name
        for parameter in _signature(forward).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]

    def run(*args: Any, **kwargs: Any) -> Any:
        arguments = dict(zip(names, args, strict=False)) | kwargs
        mask_ML = arguments.get(MASK)
        if reading.size or not isinstance(mask_ML, Tensor) or mask_ML.ndim != 2:
            return forward(*args, **kwargs)
        real_ML = mask_ML != 0
        rows, tokens = real_ML.shape
        if bool(real_ML.all()):
            # an encoder-decoder has two lengths; its encoder says its own
            one_length = own and not any(_of_other_side(*argument) for argument in arguments.items())
            with reading.of((rows, tokens) if one_length else None):
                return forward(*args, **kwargs)
        try:
            groups = row_groups(real_ML) if own and len(args) <= len(names) else []
            calls = [(*group, parts_of(arguments, *group, real_ML)) for group in groups]
        except Unsplittable:
            calls = []
        if not calls:
            with reading.of(None, (rows, tokens)):
                return forward(*args, **kwargs)
        outputs = []
        for places_G, length, call in calls:
            with reading.of((len(places_G), length)), suppress(Enough):
                outputs.append(forward(**call))
        if len(outputs) < len(calls):
            raise Enough
        return joined(outputs, [places_G for places_G, *_ in calls], [n for _, n, _ in calls], (rows, tokens))

    return run


def row_groups(real_ML: Tensor) -> list[tuple[Tensor, int]]:
    """Rows by rising length; none if a row is empty, or has padding that is not at its end."""
    lengths_M = real_ML.sum(1)
    places_L = torch.arange(real_ML.shape[1], device=real_ML.device)
    if not bool((real_ML == (places_L < lengths_M[:, None])).all()) or not bool(lengths_M.all()):
        return []
    return [((lengths_M == n).nonzero()[:, 0], n) for n in sorted(set(lengths_M.tolist()))]


def parts_of(arguments: Mapping[str, Any], places_G: Tensor, length: int, real_ML: Tensor) -> dict[str, Any]:
    """The parts of all arguments for some rows, cut to their length.

    Raises:
        Unsplittable: of one of them it is not known which part that is.
    """
    return {name: part_of(name, value, places_G, length, real_ML) for name, value in arguments.items()}


def part_of(name: str, value: Any, places_G: Tensor, length: int, real_ML: Tensor) -> Any:
    """The part of an argument for some rows, cut to their length.

    Raises:
        Unsplittable: it is not known which part that is.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if not isinstance(value, Tensor) or _of_other_side(name, value) or value.ndim < 2:
        raise Unsplittable
    if value.shape[:2] == real_ML.shape:
        return value[places_G, :length]
    if value.shape[:2] == (1, real_ML.shape[1]):  # one row of positions for all
        return value[:, :length]
    raise Unsplittable


def _of_other_side(name: str, value: Any) -> bool:
    """Whether an argument has a length of its own, as the targets of an encoder-decoder have."""
    return value is not None and name.startswith(OTHER_SIDES)


def joined(
    parts: Sequence[Any], places: Sequence[Tensor], lengths: Sequence[int], size: tuple[int, int]
) -> Any:
    """The output of all rows, from the outputs of groups. What cannot be joined is None: caches, losses."""
    first = parts[0]
    if isinstance(first, Tensor):
        return _joined_tensors(parts, places, lengths, size)
    if isinstance(first, Mapping):
        values = {key: joined([part[key] for part in parts], places, lengths, size) for key in first}
        return type(first)(**values)
    if isinstance(first, (tuple, list)) and not hasattr(first, "_fields"):
        return type(first)(joined(each, places, lengths, size) for each in zip(*parts, strict=True))
    return None


def _joined_tensors(
    parts: Sequence[Tensor], places: Sequence[Tensor], lengths: Sequence[int], size: tuple[int, int]
) -> Tensor | None:
    """Rows in their places. A dimension that is as long as the tokens of each group is padded with zeros."""
    ndim, several = parts[0].ndim, len(lengths) > 1
    counts = [len(places_G) for places_G in places]
    if not ndim or [len(part) if part.ndim == ndim else -1 for part in parts] != counts:
        return None
    sizes = [size[0]]
    for d in range(1, ndim):
        own = [part.shape[d] for part in parts]
        # of groups of one length alone, the second of three dimensions is that of tokens
        tokens = own == list(lengths) and (several or (d == 1 and ndim > 2))
        sizes.append(size[1] if tokens else max(own))
    whole = parts[0].new_zeros(sizes)
    for part, places_G in zip(parts, places, strict=True):
        inside: list[Any] = [places_G, *(slice(0, length) for length in part.shape[1:])]
        whole[tuple(inside)] = part
    return whole
