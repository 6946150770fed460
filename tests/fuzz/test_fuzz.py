"""Random wrong input: no traceback, no hang, and no wrong result is accepted.

tox -e fuzz prints its seed. SMC_EVAL_FUZZ_SEED repeats a run, and SMC_EVAL_FUZZ_ONLY one case of it.
"""

# ruff: noqa: T201  pytest -s shows the seed and the faults at once
from __future__ import annotations

import os
import shutil
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fuzzing import commands, data_files, grids, plugins, stores
from fuzzing.mutator import Mutator
from fuzzing.world import World, forget_modules

Family = Callable[[Mutator, World, stores.MadeStore], None]

FAMILIES: dict[str, tuple[int, Family]] = {
    "a wrong plan": (26, lambda draw, world, made: commands.wrong_plan(draw, world)),
    "a run of toys": (10, lambda draw, world, made: commands.run_toys(draw, world)),
    "another verb": (8, lambda draw, world, made: commands.other_verbs(draw, world)),
    "a wrong grid file": (10, lambda draw, world, made: grids.wrong_grid(draw, world)),
    "a damaged store": (8, stores.damaged_store),
    "a foreign store": (8, stores.foreign_store),
    "wrong data": (10, lambda draw, world, made: data_files.wrong_data(draw, world)),
    "an odd method": (10, lambda draw, world, made: plugins.odd_method(draw, world)),
    "an odd task": (10, lambda draw, world, made: plugins.odd_task(draw, world)),
}
"""What is mutated: the share of the cases, and how one runs."""


def run_case(seed: int, number: int, folder: Path, made: stores.MadeStore) -> tuple[str, World]:
    """Run one case in a folder of its own. Returns its family, and its world with what was found."""
    draw = Mutator(seed, number)
    family = draw.choices(list(FAMILIES), [share for share, _ in FAMILIES.values()])[0]
    settings = torch.get_default_dtype(), torch.is_grad_enabled()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a warning is no traceback
        world = World(folder / f"case{number}", patch)
        try:
            FAMILIES[family][1](draw, world, made)
        finally:
            forget_modules(world.folder)
            torch.set_default_dtype(settings[0])
            torch.set_grad_enabled(settings[1])
    return family, world


@pytest.mark.fuzz
@pytest.mark.timeout(3600, method="thread")  # the other method needs the alarm that limits each command
def test_wrong_input_gives_no_traceback_no_hang_and_no_wrong_result(
    seed: int, numbers: list[int], tmp_path: Path
) -> None:
    print(f"\nfuzz: seed {seed}, {len(numbers)} cases")
    with pytest.MonkeyPatch.context() as patch:
        made = stores.MadeStore(World(tmp_path / "made", patch))
        forget_modules(tmp_path / "made")
    counts, seconds, failed, start = Counter[str](), Counter[str](), list[int](), time.monotonic()
    ended = defaultdict[str, Counter[str]](Counter)
    for number in numbers:
        began = time.monotonic()
        family, world = run_case(seed, number, tmp_path, made)
        counts[family] += 1
        ended[family].update(world.counts)
        seconds[family] += round(1000 * (time.monotonic() - began))
        if world.faults or "SMC_EVAL_FUZZ_ONLY" in os.environ:
            print(f"\n{family}: SMC_EVAL_FUZZ_SEED={seed} SMC_EVAL_FUZZ_ONLY={number}")
            print(*world.steps, sep="\n  ")
        if world.faults:
            failed.append(number)
            print(*(f"FAULT: {fault}" for fault in world.faults), sep="\n", flush=True)
        else:
            for place in tmp_path.glob(f"case{number}*"):
                if place.name.removeprefix(f"case{number}")[:1] in {"", "-"}:
                    shutil.rmtree(place)
        if len(numbers) > 1 and sum(counts.values()) % 100 == 0:
            print(
                f"{sum(counts.values())} cases in {time.monotonic() - start:.0f} s, {len(failed)} faults",
                flush=True,
            )
    print(
        f"seed {seed}: {sum(counts.values())} cases in {time.monotonic() - start:.0f} s, {len(failed)} faults"
    )
    for family, count in sorted(counts.items()):
        ends = ", ".join(f"{what} {times}" for what, times in sorted(ended[family].items()))
        print(f"  {family}: {count} cases, {seconds[family] / 1000:.0f} s; {ends}")
    assert not failed, f"seed {seed}: faults in cases {failed}"
