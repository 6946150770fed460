"""The parameters of a model by name, looked up again only where a module or a parameter was replaced."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

from torch import nn


class NamedParameters:
    """`dict(model.named_parameters())`, remembered: in a net of many modules it takes a millisecond.

    A training looks the parameters up some five times in each step, and modules may replace theirs at any
    time. So each look-up compares all children and parameters of all modules with those of the last one.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._parameters: dict[str, nn.Parameter] = {}
        self._members: list[Mapping[str, object]] = []
        """The parameters and the children that each module itself has, as torch keeps them."""
        self._seen: tuple[list[int], list[str], list[int]] | None = None
        self._held: list[object] = []
        """The members that were seen: no other object gets the number of one that lives."""

    def current(self) -> dict[str, nn.Parameter]:
        """The parameters by canonical name, tied ones once."""
        if self._seen is None or self._look() != self._seen:
            self._parameters = dict(self._model.named_parameters())
            self._members = [each for module in self._model.modules() for each in _members(module)]
            self._held = [member for each in self._members for member in each.values()]
            self._seen = self._look()
        return dict(self._parameters)

    def _look(self) -> tuple[list[int], list[str], list[int]]:
        """How many members each module has, their names, and the numbers of the objects."""
        members = self._members
        values = chain.from_iterable([each.values() for each in members])
        return list(map(len, members)), list(chain.from_iterable(members)), list(map(id, values))


def _members(module: nn.Module) -> tuple[Mapping[str, object], Mapping[str, object]]:
    return module._parameters, module._modules  # noqa: SLF001 - torch has no quicker way
