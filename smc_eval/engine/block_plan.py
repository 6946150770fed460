"""Block plan: the sections of a net and how each is reached, found in a few passes over one batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from smc_eval.engine.block_calls import (
    Act,
    Call,
    OutputNotKept,
    absent,
    copied,
    equal,
    halved,
    is_plain,
)
from smc_eval.engine.block_trace import Place, SeenInputs, Uses
from smc_eval.errors import SparsityError
from smc_eval.sparse.inputs import InputObserver
from smc_eval.sparse.padding import Enough


@dataclass(frozen=True)
class Route:
    """How a section is reached in a pass."""

    reads: frozenset[str] | None = None
    """Blocks whose kept outputs are read when all blocks before the section are left out; None: the pass
    begins at the start of the net."""
    ends: bool = False
    """Whether the pass ends behind the section's block, or in front of the next block."""


@dataclass(frozen=True)
class SectionPlan:
    """A section and the route to it."""

    name: str
    names: tuple[str, ...]
    """Names of its weights."""
    before: int = 0
    """How many blocks of the chain run before it."""
    route: Route = Route()


@dataclass(frozen=True)
class Goal:
    """What a route is wanted to."""

    name: str
    names: tuple[str, ...]
    """Names of the weights whose inputs are to be seen."""
    before: int
    """How many blocks of the chain run before."""
    block: str | None = None
    """The block in which the weights are used; None: outside of all."""


@dataclass(frozen=True)
class BlockPlan:
    """The chain of blocks, in the order of their first calls, and the sections of the net."""

    chain: tuple[str, ...]
    routes: tuple[Route, ...]
    """The route to each block of the chain."""
    sections: tuple[SectionPlan, ...]
    passes: float = 0
    """How many passes over the batch were made to find it."""


Attempt = Callable[[InputObserver, Act, Uses | None], None]
"""Passes the batch through the net. All inputs go to the observer, and calls of blocks to `Act`."""


class Planner:
    """Finds a plan in a few passes over one batch.

    First the whole net runs, and its calls, inputs and outputs are recorded. Then all blocks run on other
    numbers, so that what a block may have left behind is wrong. Then each section is tried by itself: it
    is reached with kept outputs only if it sees the very inputs that were recorded, and nothing reads an
    output that is not kept.
    """

    def __init__(
        self, scope: Sequence[str], uses: Uses, attempt: Attempt, stacks: Mapping[str, Sequence[str]]
    ) -> None:
        """`scope` are the names of the weights in scope; `stacks` are those of them in each block."""
        self.scope, self.uses, self.attempt = tuple(scope), uses, attempt
        self.block_of = {name: block for block, names in stacks.items() for name in names}
        self.names_of = stacks
        self.outputs: dict[str, list[Any]] = {}
        self.times: dict[str, int] = {}
        """When each block was first called."""
        self.seen = SeenInputs()
        self.opaque = False
        """Whether blocks may pass on more than their outputs: one wrote into an argument, or returned an
        object with a state."""
        self.passes = 0.0

    def plan(self) -> BlockPlan:
        """The plan."""
        self.attempt(self.seen, self._record, self.uses)
        self.chain = tuple(self.outputs)
        self.index = {block: at for at, block in enumerate(self.chain)}
        self.passes += 3
        try:
            self.attempt(SeenInputs(), _disturbed, None)
        except Exception:  # noqa: BLE001 - a net may refuse the other numbers
            self.opaque = True
        units = self._units()
        routes = self._routes([*self._blocks(), *(goal for unit in units if (goal := self._goal(*unit)))])
        self._check_unharmed()
        sections = [
            SectionPlan(name, names, self._before(name, names), routes.get(name, Route()))
            for name, names in units
        ]
        chain_routes = tuple(routes[block] for block in self.chain)
        return _with_few_kept(BlockPlan(self.chain, chain_routes, tuple(sections), self.passes))

    def _check_unharmed(self) -> None:
        """Check that the whole net sees again what it saw at first.

        Raises:
            SparsityError: it does not, because passes were ended early.
        """
        again = SeenInputs()
        self.attempt(again, Call.run, None)
        for name, seals in self.seen.seals.items():
            if again.seals.get(name) != seals:
                raise SparsityError(
                    f"the net cannot be walked block by block: a pass that ends early changes what {name!r} "
                    "gets in later passes\nchoose calibrate=once, or restore the net in `finally`"
                )

    def _record(self, call: Call) -> Any:
        """A call of the first pass."""
        versions = [(tensor, tensor._version) for tensor in call.tensors()]  # noqa: SLF001 - counts writes
        self.times.setdefault(call.block, self.uses.begin(call.block))
        output = call.run()
        self.uses.inside.pop()
        written = any(tensor._version != version for tensor, version in versions)  # noqa: SLF001
        self.opaque |= written or not is_plain(output) or bool(self.uses.inside)
        self.outputs.setdefault(call.block, []).append(copied(output))
        return output

    def _units(self) -> list[tuple[str, tuple[str, ...]]]:
        """Names of the weights of each section, in the order in which they are first used."""
        time, times = 0, dict[str, int]()
        for name in self.scope:
            if places := self.uses.places.get(name):  # what is not used stands behind its neighbour
                time = places[0].time
            times[name] = time
        starts = dict(self.times)
        for name, own in self.block_of.items():
            starts[own] = min(times[name], starts.get(own, times[name]))
        units: list[tuple[str | None, list[str]]] = []
        for name in sorted(self.scope, key=lambda name: starts.get(self.block_of.get(name, ""), times[name])):
            block = self.block_of.get(name)
            if units and units[-1][0] == block:
                units[-1][1].append(name)
            else:
                units.append((block, [name]))
        return [(block or names[0], tuple(names)) for block, names in units]

    def _blocks(self) -> list[Goal]:
        """The blocks of the chain."""
        return [
            Goal(block, tuple(self.names_of.get(block, ())), at, block) for at, block in enumerate(self.chain)
        ]

    def _goal(self, name: str, names: tuple[str, ...]) -> Goal | None:
        """A section outside of the chain; None if its weights are used in blocks."""
        places = self._places(names)
        if name in self.index or not places or any(place.inside for place in places):
            return None
        return Goal(name, names, min(place.begun for place in places))

    def _before(self, name: str, names: tuple[str, ...]) -> int:
        """How many blocks of the chain run before a section."""
        first = min((place.begun for place in self._places(names)), default=0)
        return self.index.get(name, first)

    def _places(self, names: Sequence[str]) -> list[Place]:
        """The places where some weights are used."""
        return [place for name in names for place in self.uses.places.get(name, ())]

    def _routes(self, goals: Sequence[Goal]) -> dict[str, Route]:
        """The shortest routes on which all goals see what was recorded, by name.

        Routes with kept outputs are tried from the last goal to the first: blocks before a goal have then
        not run since they ran on other numbers.
        """
        alone = [
            goal for goal in goals if all(each.inside == goal.block for each in self._places(goal.names))
        ]
        routes = dict.fromkeys((goal.name for goal in goals), Route())
        for goal in sorted(alone, key=lambda goal: -goal.before):
            if not (self.opaque and goal.before):
                routes[goal.name] = self._with_kept(goal)
        for goal in alone:
            if routes[goal.name].reads is None:
                routes[goal.name] = self._tried(goal, Route(ends=True)) or Route()
        if any(goal.block and not routes[goal.name].ends for goal in alone) and not self.opaque:
            # a block runs again after blocks behind it: kept outputs would be those before these were pruned
            self.opaque = True
            return self._routes(goals)
        return routes

    def _with_kept(self, goal: Goal) -> Route:
        """The shortest route to a goal that begins with kept outputs."""
        kept = frozenset(self.chain[max(0, goal.before - 1) : goal.before])
        for ends in (True,) if goal.block else (True, False):
            if route := self._tried(goal, Route(kept, ends)):
                return route
        return Route()

    def _tried(self, goal: Goal, route: Route) -> Route | None:
        """A route, with more kept outputs if they are read; None if it does not show what was recorded."""
        seen, outputs, before, block = SeenInputs(), list[Any](), goal.before, goal.block

        def act(call: Call) -> Any:
            at = self.index[call.block]
            if at < before and route.reads is not None:
                recorded = self.outputs[call.block][call.number]
                return copied(recorded) if call.block in route.reads else absent(recorded, call.block)
            if at >= before and block is None and route.ends:
                raise Enough
            output = call.run()
            if call.block == block:
                outputs.append(output)
                if route.ends:
                    raise Enough
            return output

        left_out = before if route.reads is not None else 0
        self.passes += ((before + 1 if route.ends else len(self.chain)) - left_out) / max(1, len(self.chain))
        try:
            self.attempt(seen, act, None)
        except OutputNotKept as error:
            kept = (route.reads or frozenset()) | {error.block}
            return self._tried(goal, replace(route, reads=kept)) if len(kept) < 3 else None
        except Exception:  # noqa: BLE001 - a net that fails on this route takes another one
            return None
        same = block is None or equal(outputs, self.outputs[block])
        same &= all(seen.seals.get(name) == self.seen.seals.get(name) for name in goal.names)
        return route if same else None


def _disturbed(call: Call) -> Any:
    """A call on half the numbers, with half the outputs."""
    args, kwargs = halved((call.args, call.kwargs))
    return halved(call.forward(*args, **kwargs))


def _with_few_kept(plan: BlockPlan) -> BlockPlan:
    """The plan, with at most one block whose outputs are kept beyond the next block.

    If there are more, the sections that read them are reached from the start of the net.
    """

    def later(before: int, route: Route) -> frozenset[str]:
        return (route.reads or frozenset()) - {*plan.chain[max(0, before - 1) : before]}

    wanted = [later(at, route) for at, route in enumerate(plan.routes)]
    wanted += [later(section.before, section.route) for section in plan.sections]
    if len(frozenset[str]().union(*wanted)) < 2:
        return plan

    def cut(before: int, route: Route) -> Route:
        return replace(route, reads=None) if later(before, route) else route

    return replace(
        plan,
        routes=tuple(cut(at, route) for at, route in enumerate(plan.routes)),
        sections=tuple(replace(each, route=cut(each.before, each.route)) for each in plan.sections),
    )
