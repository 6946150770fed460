"""The parameters of a model by name, looked up again only where a module or a parameter was replaced."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

Members = tuple[tuple[str, object], ...]


class NamedParameters:
    """`dict(model.named_parameters())`, remembered: in a net of many modules it takes a millisecond.

    A training looks the parameters up some ten times in each step, and modules may replace theirs at any
    time. So each look-up compares all children and parameters of all modules with those of the last one.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._parameters: dict[str, nn.Parameter] = {}
        self._seen: list[tuple[Mapping[str, object], Members]] = []

    def current(self) -> dict[str, nn.Parameter]:
        """The parameters by canonical name, tied ones once."""
        if not self._seen or not all(map(_is_same, *zip(*self._seen, strict=True))):
            self._parameters = dict(self._model.named_parameters())
            members = [each for module in self._model.modules() for each in _members(module)]
            self._seen = [(each, tuple(each.items())) for each in members]
        return dict(self._parameters)


def _members(module: nn.Module) -> tuple[Mapping[str, object], Mapping[str, object]]:
    """The parameters and the children that a module itself has, as torch keeps them."""
    return module._parameters, module._modules  # noqa: SLF001 - torch has no quicker way


def _is_same(members: Mapping[str, object], before: Members) -> bool:
    """Whether a module has the same members as before, no more and no fewer."""
    return len(members) == len(before) and all(members.get(name) is member for name, member in before)
