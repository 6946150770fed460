"""Prefix equations: syntax check, value, and comparison with the right equation."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

OPERATORS = ("+", "-", "*", "/")

VALUE_TOLERANCE = 1e-4
"""Two values count as equal if they differ by less than this, as in the official code."""

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_COPY = re.compile(r"N([0-9]{1,4})")


def number(text: str) -> float | None:
    """The value of a decimal number; None for any other text, also for `inf` and `nan`."""
    if not _NUMBER.fullmatch(text):
        return None
    parsed = float(text)
    return parsed if math.isfinite(parsed) else None


def copy_index(symbol: str) -> int | None:
    """K of the copy symbol `NK`; None for any other symbol."""
    match = _COPY.fullmatch(symbol)
    return int(match[1]) if match else None


def prefix_error(prefix: Sequence[str]) -> str | None:
    """Why the symbols are not one complete prefix expression; None if they are."""
    wanted = 1
    for place, symbol in enumerate(prefix):
        if not wanted:
            return f"it is complete after {place} symbols, but {symbol!r} follows"
        if symbol in OPERATORS:
            wanted += 1
        elif copy_index(symbol) is None and number(symbol) is None:
            return f"{symbol!r} is neither an operator ({' '.join(OPERATORS)}) nor a number"
        else:
            wanted -= 1
    return f"{wanted} operand{'s' * (wanted > 1)} missing at the end" if wanted else None


def value(prefix: Sequence[str], numbers: Sequence[float]) -> float | None:
    """The value of an equation, with these numbers for `N0`, `N1`, ….

    None if there is none: the equation is incomplete, has symbols left over, an unknown symbol or a
    copy beyond the numbers, divides by zero, or its result is too large for a float.
    """
    stack: list[float] = []
    for symbol in reversed(prefix):
        result = _leaf(symbol, numbers)
        if symbol in OPERATORS:
            result = _apply(symbol, stack.pop(), stack.pop()) if len(stack) > 1 else None
        if result is None or not math.isfinite(result):
            return None
        stack.append(result)
    return stack[0] if len(stack) == 1 else None


def equation_right(predicted: Sequence[str], wanted: Sequence[str], numbers: Sequence[float]) -> bool:
    """Whether both equations are equal, as symbols or with each number in place of its symbol.

    So two copies of equal numbers are interchangeable, and so are a copy and an equal constant.
    """
    if list(predicted) == list(wanted):
        return True
    return _substituted(predicted, numbers) == _substituted(wanted, numbers)


def value_right(predicted: Sequence[str], wanted: Sequence[str], numbers: Sequence[float]) -> bool:
    """Whether the equation is right, or its value is within `VALUE_TOLERANCE` of the right one."""
    if equation_right(predicted, wanted, numbers):
        return True
    result, right = value(predicted, numbers), value(wanted, numbers)
    return result is not None and right is not None and abs(result - right) < VALUE_TOLERANCE


def _leaf(symbol: str, numbers: Sequence[float]) -> float | None:
    copy = copy_index(symbol)
    if copy is None:
        return number(symbol)
    return numbers[copy] if copy < len(numbers) else None


def _apply(operator: str, left: float, right: float) -> float | None:
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
    return [symbol if leaf is None else leaf for symbol, leaf in values]
