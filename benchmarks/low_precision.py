"""What bf16 saves: a training step beside one in fp32, with attention in fp32 and as torch computes it.

    python benchmarks/low_precision.py --data-dir DIR --corpus tatoeba --text pkg:NAME --protein pkg:NAME

Trainings of one net from the same weights run step by step in turns: fp32, bf16, and bf16 with torch's own
attention. Ratios are medians over the turns without the first. On one thread, process time is measured. A
processor without bf16 products gains nothing; the first line says what this one has.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from engine import new_training
from real import clock, label, parse_args, tasks

from smc_eval.engine import device as device_module
from smc_eval.engine.device import Device
from smc_eval.errors import SmcError
from smc_eval.recipe import Precision
from smc_eval.tasks.arithmetic.datasets import MawpsGts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smc_eval.engine.train import Training
    from smc_eval.task import Task

TARGETS = {"csqa": 0.55, "hp-s2c2": 0.65, "mawps/gts": 0.75}
"""The largest share of fp32's time, by task, with pretrained nets and a processor with bf16 products."""

FEATURES = ("avx512_bf16", "amx_bf16", "bf16")
"""Names of bf16 products among the flags of a processor."""


@contextmanager
def torchs_attention() -> Iterator[None]:
    """Within, attention is torch's own."""
    ours = device_module.attention_in_fp32
    device_module.attention_in_fp32 = nullcontext  # type: ignore[assignment]
    try:
        yield
    finally:
        device_module.attention_in_fp32 = ours


def training(task: Task, precision: Precision, device: Device) -> Training:
    """A training before its first step."""
    return new_training(task.replace(recipe=task.recipe.model_copy(update={"precision": precision})), device)


def measured(task: Task, turns: int, device: Device) -> float:
    """Print the ratios of a task; returns that of bf16 as the suite computes it."""
    kinds = {"fp32": training(task, "fp32", device)}
    kinds |= {name: training(task, "bf16", device) for name in ("bf16", "bf16 with torch's attention")}
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for turn in range(turns + 1):
        for name in kinds if turn % 2 == 0 else reversed(kinds):
            with torchs_attention() if "torch" in name else nullcontext():
                began = clock()
                kinds[name]._advance()  # noqa: SLF001  # the loop without files and progress
                times[name].append(clock() - began)
    ratios = {
        name: median(own / whole for own, whole in zip(spent[1:], times["fp32"][1:], strict=True))
        for name, spent in times.items()
    }
    words = ", ".join(f"{name} {ratio:.3f}" for name, ratio in ratios.items() if name != "fp32")
    print(f"{label(task)}: fp32 {1000 * median(times['fp32'][1:]):.0f} ms a step; of it {words}", flush=True)
    return ratios["bf16"]


def main() -> None:
    """Measure the tasks; exit with 1 if a target is missed."""
    args = parse_args(__doc__, turns=12)
    facts = Path("/proc/cpuinfo")  # Linux alone has it
    flags = set(facts.read_text(encoding="utf-8").split()) if facts.exists() else set()
    print("bf16 products:", ", ".join(sorted(flags & {*FEATURES})) or "none")
    device = Device("cpu", threads=args.threads)
    solver = MawpsGts(backbone="scratch", folder=args.data_dir, fold=0)
    missed = []
    for task in (*tasks(args), solver):
        try:
            ratio = measured(task, args.turns, device)
        except SmcError as error:
            raise SystemExit(str(error)) from None
        if task.backbone != "tiny" and ratio > TARGETS.get(task.card.name, 1.0):
            missed.append(task.card.name)
    print(f"missed: {', '.join(missed) or 'none'}")
    raise SystemExit(bool(missed))


if __name__ == "__main__":
    main()
