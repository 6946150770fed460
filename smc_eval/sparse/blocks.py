"""Blocks: the equal parts of a net that run one after the other, found by the numbers in module names."""

from __future__ import annotations

from collections.abc import Iterable


def blocks(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The names of each block, by the name of its module, in order of appearance.

    A block is an item of a numbered list of at least two modules: `encoder.layer.3`. Only the outermost
    such list of a name counts, so experts and lists inside a block are parts of it. The two stacks of
    an encoder-decoder are two lists. Names outside of all lists are in no block. A net without lists has
    no blocks.

    Args:
        names: parameters. A list is recognized by its items, so give the names of all of them.
    """
    names = tuple(names)
    items: dict[str, set[str]] = {}
    for name in names:
        for stack, number in _numbers(name):
            items.setdefault(stack, set()).add(number)
    found: dict[str, list[str]] = {}
    for name in names:
        own = next((f"{stack}{number}" for stack, number in _numbers(name) if len(items[stack]) > 1), None)
        if own is not None:
            found.setdefault(own, []).append(name)
    return {block: tuple(own_names) for block, own_names in found.items()}


def blocks_and_others(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """`blocks`, and each other name as a block of its own, in order of appearance."""
    names = tuple(names)
    by_block = blocks(names)
    block_of = {name: block for block, own_names in by_block.items() for name in own_names}
    return {block_of.get(name, name): by_block.get(block_of.get(name, name), (name,)) for name in names}


def _numbers(name: str) -> Iterable[tuple[str, str]]:
    """The numbers in a parameter's name, outermost first, each behind the name of its list."""
    parts = name.split(".")
    for at, part in enumerate(parts[:-1]):  # the last part is the parameter's own
        if part.isdecimal():
            yield "".join(f"{each}." for each in parts[:at]), part
