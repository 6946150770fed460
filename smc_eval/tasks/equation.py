"""Prefix equations: whether one is whole, what it comes to, and whether it is right."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

OPERATORS = ("+", "-", "*", "/")

VALUE_TOLERANCE = 1e-4
"""Values closer than this are the same answer (PROTOCOL 5.6)."""

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_COPY = re.compile(r"N([0-9]{1,4})")


def number(text: str) -> float | None:
    """A decimal number as it stands in a file; None for anything else, `inf` and `nan` too."""
    if not _NUMBER.fullmatch(text):
        return None
    found = float(text)
    return found if math.isfinite(found) else None


def copied(symbol: str) -> int | None:
    """K of the copy symbol `NK`; None for any other symbol."""
    match = _COPY.fullmatch(symbol)
    return int(match[1]) if match else None


def fault(prefix: Sequence[str]) -> str | None:
    """What keeps the symbols from being one whole prefix expression; None if nothing does."""
    wanted = 1
    for place, symbol in enumerate(prefix):
        if not wanted:
            return f"it is whole after {place} symbols, but {symbol!r} follows"
        if symbol in OPERATORS:
            wanted += 1
        elif copied(symbol) is None and number(symbol) is None:
            return f"{symbol!r} is neither an operator ({' '.join(OPERATORS)}) nor a number"
        else:
            wanted -= 1
    return f"it ends {wanted} operand{'s' * (wanted > 1)} short" if wanted else None


def value(prefix: Sequence[str], numbers: Sequence[float]) -> float | None:
    """What the equation comes to with these numbers for `N0`, `N1`, ….

    None if it comes to nothing: unfinished, with symbols left over, an unknown symbol, a copy
    beyond the numbers, a division by zero, or a result too large for a float.
    """
    stack: list[float] = []
    for symbol in reversed(prefix):
        found = _leaf(symbol, numbers)
        if symbol in OPERATORS:
            found = _applied(symbol, stack.pop(), stack.pop()) if len(stack) > 1 else None
        if found is None or not math.isfinite(found):
            return None
        stack.append(found)
    return stack[0] if len(stack) == 1 else None


def equation_right(predicted: Sequence[str], wanted: Sequence[str], numbers: Sequence[float]) -> bool:
    """Whether both are the same symbols, or are once each number stands for itself.

    So two copies of equal numbers are interchangeable, as are a copy and an equal constant.
    """
    if list(predicted) == list(wanted):
        return True
    return _substituted(predicted, numbers) == _substituted(wanted, numbers)


def value_right(predicted: Sequence[str], wanted: Sequence[str], numbers: Sequence[float]) -> bool:
    """Whether the equation is right, or at least comes to the same value within `VALUE_TOLERANCE`."""
    if equation_right(predicted, wanted, numbers):
        return True
    found, true = value(predicted, numbers), value(wanted, numbers)
    return found is not None and true is not None and abs(found - true) < VALUE_TOLERANCE


def _leaf(symbol: str, numbers: Sequence[float]) -> float | None:
    copy = copied(symbol)
    if copy is None:
        return number(symbol)
    return numbers[copy] if copy < len(numbers) else None


def _applied(operator: str, left: float, right: float) -> float | None:
    match operator:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
    return left / right if right else None


def _substituted(prefix: Sequence[str], numbers: Sequence[float]) -> list[str | float]:
    values = ((symbol, _leaf(symbol, numbers)) for symbol in prefix)
    return [symbol if found is None else found for symbol, found in values]
