"""Block walk: a net in sections, in the order in which they run, each with the inputs of the pruned net."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext, suppress
from typing import Any

from torch import Tensor

from smc_eval.engine.block_calls import BlockCalls, Call, OutputNotKept, absent, copied, is_absent, size
from smc_eval.engine.block_plan import BlockPlan, Planner, SectionPlan
from smc_eval.engine.block_trace import Uses
from smc_eval.engine.flop_meter import FlopMeter
from smc_eval.engine.input_passes import InputPasses
from smc_eval.errors import PluginError
from smc_eval.sparse.blocks import blocks
from smc_eval.sparse.inputs import InputObserver
from smc_eval.sparse.padding import Enough

FEW = 2
"""Examples of the passes that find a plan."""

Settle = Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], None]


class NetSection:
    """`smc_eval.pruner.WalkSection` of a net."""

    def __init__(self, walk: BlockWalk, plan: SectionPlan) -> None:
        self._walk, self.plan, self.name, self.names = walk, plan, plan.name, plan.names
        self._settled = False

    def inputs(self, see: InputObserver) -> None:
        self._check("observed")
        self._walk.observe(self.plan, see)

    def settle(
        self, masks: Mapping[str, Tensor], weights: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        self._check("settled")
        self._walk.settle(self.plan, masks, weights or {})
        self._settled = True
        return {name: self._walk.net.masks[name] for name in masks}

    def _check(self, what: str) -> None:
        """Refuse a section at which the walk does not stand, or that has been settled."""
        if self._settled or self._walk.current is not self:
            when = "after it was settled" if self._settled else "when the walk had gone on"
            raise PluginError(f"section {self.name!r} was {what} {when}; settle each section once, in order")


class BlockWalk:
    """The sections of a net, one after the other.

    Outputs of the last pruned block are kept for each batch, and in a net of two stacks those of the first
    stack too. A section is then reached from there: the blocks before are left out, the rest of the net
    runs as always, and the pass ends behind the section. Where the plan does not allow that, passes begin
    at the start of the net.
    """

    def __init__(self, passes: InputPasses, meter: Callable[[str], FlopMeter], settle: Settle) -> None:
        """`meter` gives the meter of a kind of pass. `settle` puts masks and values of some weights into
        the net."""
        self.net, self.passes, self._meter, self._settle = passes.net, passes, meter, settle
        self.current: NetSection | None = None
        self.passed = 0.0
        """Passes through the whole net so far, as a share of all examples."""
        self.kept_bytes = 0
        """Most bytes of outputs that were kept at a time."""
        self._kept: dict[int, dict[str, list[Any]]] = {}
        """By batch and block: the outputs of all calls, without values where they are not needed."""
        self._front: dict[int, int] = {}
        """By batch: place in the chain of the last block whose outputs are kept."""

    def sections(self) -> Iterator[NetSection]:
        """All sections. The plan is that of rank 0."""
        stacks = blocks(self.net.all_parameters)
        self.calls = BlockCalls(self.net.model, stacks)
        self.plan = self._planned(stacks) if stacks else _one_section(self.net.scope)
        self._place = {block: at for at, block in enumerate(self.plan.chain)}
        self._last_read = self._last_reads()
        for plan in self.plan.sections:
            self.current = NetSection(self, plan)
            yield self.current
        self.current = None
        self._kept.clear()

    def settle(self, plan: SectionPlan, masks: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
        """Put masks and values of a section into the net."""
        for what, names in (("masks", masks.keys()), ("values", weights.keys())):
            wrong = names - {*plan.names} or (set(plan.names) - names if what == "masks" else set())
            if wrong:
                raise PluginError(
                    f"section {plan.name!r} was settled with {what} of other weights than its own; "
                    f"missing or unknown: {min(wrong)!r}"
                )
        self._settle(masks, weights)

    def observe(self, plan: SectionPlan, see: InputObserver) -> None:
        """Give the inputs of a section to an observer."""
        weights, parameters = dict[str, Tensor](), self.net.weights
        for name in plan.names:
            weights[name] = parameters[name]
        self.passed += self._share(plan)
        self.passes.observe(
            weights, see, self._meter(plan.name), lambda number, whole: self._forward(plan, number, whole)
        )
        self._kept_bytes()

    def _planned(self, stacks: Mapping[str, tuple[str, ...]]) -> BlockPlan:
        """The plan, from a few passes over the two examples of the fewest tokens."""
        passes, ranks = self.passes, self.passes.device.ranks
        tokens = passes.batches.tokens
        few = min(passes.places, key=lambda places: tokens(places[:FEW]))[:FEW]
        meter, scope = self._meter("plan"), {*self.net.scope}
        uses = Uses(self.net.all_parameters)

        def attempt(see: InputObserver, act: Callable[[Call], Any], watch: Uses | None) -> None:
            def forward(_: int, whole: Callable[[], Any]) -> None:
                with self.calls.through(act), suppress(Enough), watch or nullcontext():
                    whole()

            passes.attempt(few, self.net.weights, see, meter, forward)

        own = {block: [name for name in names if name in scope] for block, names in stacks.items()}
        planner = Planner(self.net.scope, uses, attempt, own)
        with ranks.errors_shared():
            plan = planner.plan()
        self.passed += plan.passes * tokens(few) / sum(map(tokens, passes.places))
        return ranks.broadcast(plan)

    def _last_reads(self) -> dict[str, int]:
        """By block: the last place in the chain at which its kept outputs are read."""
        last = dict[str, int]()
        routes = [(at, route) for at, route in enumerate(self.plan.routes)]
        for at, route in [*routes, *((each.before, each.route) for each in self.plan.sections)]:
            for block in route.reads or ():
                last[block] = max(at, last.get(block, at))
        return last

    def _start(self, plan: SectionPlan, number: int) -> int:
        """How many blocks of the chain can be left out in a pass to a section."""
        start = min(self._front.get(number, -1) + 1, plan.before)
        routes = [*self.plan.routes[start : plan.before], plan.route]
        kept = self._kept.get(number, {})
        for route in routes if start else []:
            if route.reads is None:
                return 0
            for block in route.reads:
                if self._place[block] < start and is_absent(kept[block]):
                    return 0
        return start

    def _share(self, plan: SectionPlan) -> float:
        """The part of the net that runs in the passes to a section, by the number of blocks."""
        chain = len(self.plan.chain)
        if not chain or (plan.route.reads is None and not plan.route.ends):
            return 1.0
        number = next(iter(self._front), 0)
        stop = plan.before + (plan.name in self._place) if plan.route.ends else chain
        return max(1, stop - self._start(plan, number)) / chain

    def _forward(self, plan: SectionPlan, number: int, whole: Callable[[], Any]) -> None:
        """Pass a batch through the net, from the kept outputs to the section."""
        start, keeps = self._start(plan, number), plan.route.reads is not None
        kept, new = self._kept.get(number, {}), dict[str, list[Any]]()

        def act(call: Call) -> Any:
            at = self._place.get(call.block, math.inf)
            if at < start:
                return copied(kept[call.block][call.number])
            if plan.route.ends and at >= plan.before and call.block != plan.name:
                raise Enough
            output = call.run()
            if keeps and at < plan.before:
                needed = self._last_read.get(call.block, -1) >= plan.before
                new.setdefault(call.block, []).append(
                    copied(output) if needed else absent(output, call.block)
                )
            if plan.route.ends and call.block == plan.name:
                raise Enough
            return output

        try:
            with self.calls.through(act), suppress(Enough):
                whole()
        except OutputNotKept as error:
            raise PluginError(
                f"{error}, and was not in the batch with which the walk was planned; "
                "prune all weights at once (calibrate=once)"
            ) from None
        if keeps and plan.before > start:
            kept |= new
            for block, outputs in kept.items():
                if self._last_read.get(block, -1) < plan.before:
                    kept[block] = [absent(output, block) for output in outputs]
            self._kept[number], self._front[number] = kept, plan.before - 1

    def _kept_bytes(self) -> None:
        sizes = (size(output) for kept in self._kept.values() for each in kept.values() for output in each)
        self.kept_bytes = max(self.kept_bytes, sum(sizes))


def _one_section(scope: tuple[str, ...]) -> BlockPlan:
    """The plan of a net without blocks."""
    return BlockPlan((), (), (SectionPlan(scope[0], scope),) if scope else ())
