"""The tables of docs/methods.md: every built-in method, from its card, its plan and the passes that it makes.

    python benchmarks/methods.py

It writes the tables anew between the marks in the document, and leaves the rest of it as it is. Passes are
counted while each pruner prunes the toy net of `smc_eval.testing` once; trainings, rounds and changes are
those of the plan at the first of `TARGETS` that a method accepts.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import get_args

from smc_eval.card import MethodCard
from smc_eval.cli.listing import SHORT_WHEN
from smc_eval.engine.batches import Batches
from smc_eval.engine.device import Device
from smc_eval.engine.distributed.shardable import unshardable_parts
from smc_eval.engine.net_units import find_net_units
from smc_eval.engine.probe import NetProbe
from smc_eval.engine.usage import Usage
from smc_eval.errors import SmcError
from smc_eval.method import Method
from smc_eval.methods import smc_eval_methods
from smc_eval.pruner import Pruner
from smc_eval.sparse.net import Net
from smc_eval.sparse.scope import in_scope
from smc_eval.stages import Prune, Stage, Train
from smc_eval.target import Distribution, Scope, Target
from smc_eval.task import Part
from smc_eval.testing import Toy, chain_of
from smc_eval.testing.toy import Example, UnitToy

DOCUMENT = Path(__file__).parent.parent / "docs" / "methods.md"
START, END = "<!-- tables: python benchmarks/methods.py -->", "<!-- end of tables -->"
TARGETS = ("0.8", "2:4", "neurons:0.8")
"""Targets of the plans: the first that a method accepts."""
STEPS = 1000
"""Steps of a training in which an updater's dense gradients are counted."""
HEAD = ("method", "when", "what decides", "patterns", "distribution", "cost", "cannot")
PATTERNS = {"n:m": "N:M"}
"""Names of patterns in the table, where they are not those of the card."""


def tables(kinds: Iterable[type[Method]]) -> str:
    """Both tables in Markdown: what each method does and costs, and what it equals."""
    cards = [kind.card for kind in kinds]
    rows = [HEAD, tuple("---" for _ in HEAD), *(_row(kind) for kind in kinds)]
    equal = [("method", "equals"), ("---", "---")]
    equal += [(f"`{card.name}`", card.equals or "compared with none") for card in cards if _prunes(card)]
    return "\n\n".join("\n".join(_line(row) for row in each) for each in (rows, equal))


def document(text: str, kinds: Iterable[type[Method]]) -> str:
    """The document with its tables written anew."""
    before, mark, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not (mark and end):
        raise SystemExit(f"{DOCUMENT} lacks the line {END if mark else START}")
    return f"{before}{mark}\n\n{tables(kinds)}\n\n{end}{after}"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _prunes(card: MethodCard) -> bool:
    return card.when not in {"none", "custom"}


def _row(kind: type[Method]) -> tuple[str, ...]:
    card = kind.card
    when = SHORT_WHEN.get(card.when, f"{card.when} training")
    if not _prunes(card):
        return f"`{card.name}`", when, "", "", "", "1 training", ""
    patterns = ", ".join(PATTERNS.get(pattern, pattern) for pattern in card.patterns)
    target = accepted(kind())
    if target is None:
        return f"`{card.name}`", when, card.criterion, patterns, f"`{card.distribution}`", "not counted", ""
    stages = list(kind().plan(target))
    costs = [counted_trainings(stages), *_passes(stages, target), *_updates(stages)]
    limits = _refused(kind, stages, target)
    return (
        f"`{card.name}`",
        when,
        card.criterion,
        patterns,
        f"`{card.distribution}`",
        " + ".join(costs),
        "; ".join(limits),
    )


def accepted(method: Method) -> Target | None:
    """The first sample target that a method accepts, with its own distribution; None if it accepts none."""
    for word in TARGETS:
        target = Target.parse(word)
        if target.pattern == "free":
            target = target.with_distribution(method.card.distribution)
        try:
            method.accept(target)
        except SmcError:
            continue
        return target
    return None


def counted_trainings(stages: Iterable[Stage]) -> str:
    """`2 trainings`: in lengths of the recipe."""
    parts = [
        Fraction(stage.length) * (Fraction(stage.stop) - Fraction(stage.start))
        for stage in stages
        if isinstance(stage, Train)
    ]
    total = float(sum(parts))
    return f"{total:.3g} training" + ("" if total == 1 else "s")


def _passes(stages: Iterable[Stage], target: Target) -> Iterator[str]:
    """`64 passes`: over a batch, of all prunings together."""
    total = 0
    counted: dict[str, int] = {}
    for stage in stages:
        if isinstance(stage, Prune):
            key = stage.by.digest()
            if key not in counted:
                counted[key] = passes(stage.by, stage.to or target)
            total += counted[key] * stage.rounds
    if total:
        yield f"{total:,} passes"


class _LargeData:
    """A toy's examples, many times: no pruner comes to their end."""

    def data(self, part: Part) -> Sequence[Example]:
        return [*super().data(part)] * 20  # type: ignore[misc]


class LargeToy(_LargeData, Toy):
    """The toy, with more data."""


class LargeUnitToy(_LargeData, UnitToy):
    """The toy with heads and neurons, with more data."""


def passes(by: Pruner, target: Target) -> int:
    """Passes over a batch that a pruner makes once, counted on the toy net."""
    task, device, usage = (
        LargeUnitToy() if target.is_structured else LargeToy(),
        Device("cpu", threads=1),
        Usage(),
    )
    device.seed("methods")
    model = task.model()
    names, batches = in_scope(model, target.scope), Batches(task, task.recipe, "start", device)
    units = find_net_units(model, names, target.units, batches) if target.is_structured else ()
    net = Net(model, tuple({part.name: None for layer in units for part in layer.parts}) or names)
    net.units = units
    probe = NetProbe(net, batches, "methods", usage, device)
    by.prune(probe, target)
    return usage.scoring_passes


def _updates(stages: Iterable[Stage]) -> Iterator[str]:
    """How many steps of a training have dense gradients because of an updater."""
    for stage in stages:
        if isinstance(stage, Train) and stage.updater:
            dense = len(stage.updater.dense_gradient_steps(STEPS))
            if dense:
                yield f"dense gradients in {dense:,} of {STEPS:,} steps"


def _refused(kind: type[Method], stages: Iterable[Stage], target: Target) -> Iterator[str]:
    """What the method refuses, from its card, its pruners and its updaters."""
    card = kind.card
    for what, own, known in (
        ("distributions", card.distributions, get_args(Distribution)),
        ("scopes", card.scopes, get_args(Scope)),
    ):
        if own and (missing := [f"`{one}`" for one in known if one not in own]):
            yield f"{what} {', '.join(missing)}"
    if any(isinstance(stage, Prune) and stage.by.needs_outputs for stage in stages):
        yield "tasks without outputs"
    uniform = card.distributions is None or "uniform" in card.distributions
    plain = target.with_distribution("uniform") if uniform and target.pattern == "free" else target
    if any(True for _ in unshardable_parts(chain_of(kind(), plain))):
        yield "`--shard`"


def main() -> None:
    """Write the document anew."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    text = document(DOCUMENT.read_text(encoding="utf-8"), smc_eval_methods())
    DOCUMENT.write_text(text, encoding="utf-8")
    print(f"wrote {DOCUMENT}")


if __name__ == "__main__":
    main()
