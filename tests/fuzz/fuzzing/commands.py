"""Command lines: plans and runs with random flags."""

from __future__ import annotations

from fuzzing.mutator import NUMBERS, Mutator
from fuzzing.world import World

TASKS = (
    "toy",
    "toy",
    "folded",
    "csqa",
    "mawps/gts",
    "hp-s",
    "meltome",
    "translation/2-to-2",
    "commonsense",
    "all",
)
METHODS = (
    "omp-after",
    "omp-before",
    "random-before",
    "snip",
    "grasp",
    "synflow:rounds=3",
    "gmp",
    "set",
    "movement",
    "omp-rigl",
    "lth",
    "lth:share=0.4",
    "obert",
    "wanda",
    "sparsegpt",
    "random-after",
    "dense",
)
GOOD = {
    "--sparsity": ("0.5", "0.8", "0.9", "0.36", "2:4", "1:4", "3:5", "0.5,0.75", "0.99", "0"),
    "--distribution": ("global", "uniform", "rows", "erk", "lamp", "owl"),
    "--scope": ("body", "all-2d"),
    "--include": ("*.weight*", "re:.*", "odd", "encoder.*", "*_l0"),
    "--exclude": ("odd", "down.weight", "encoder.*", "words"),
    "--protocol": ("sound", "paper"),
    "--seeds": ("1", "2", "0,1", "5,"),
    "--folds": ("all", "0,", "1,"),
    "--recipe": (
        "steps=2",
        "steps=0",
        "epochs=0.2",
        "steps=3,keep=best,validation=0.2",
        "lr=1e30",
        "clip=1e-30",
    ),
    "--precision": ("fp32", "bf16", "fp16"),
    "--kernels": ("dense", "sparse"),
    "--match": ("steps", "flops", "steps=2", "flops=1.5"),
    "--find": ("s@95", "s@50:within=0.1,runs=3", "s@99:low=0.2,high=0.9,runs=2"),
    "--limit": ("1", "2", "8", "9999"),
    "--device": ("cpu", "auto"),
    "--keep": ("nets", "final", "masks", "results"),
    "--threads": ("1", "2"),
    "--checkpoint-every": ("0", "0.01", "60"),
    "--ablate": ("shuffle", "random", "reinit", "invert", "shuffle,random"),
    "--data-dir": ("synthetic", "published"),
    "--format": ("table", "markdown", "csv", "latex", "json"),
    "--json": ("out.json", "-"),
    "--model": ("tiny", "folded=tiny"),
}
WRONG_ONLY = ("--grid", "--output", "--jobs", "--executor", "--nothing")
PLAN_ONLY = ("--workers", "--rates", "--flops")
OPTIONS = ("share", "rounds", "batches", "every", "early", "since", "until", "damping", "x", "size")
FIELDS = (
    "lr",
    "epochs",
    "steps",
    "batch_size",
    "accumulation",
    "tokens",
    "bucket",
    "betas",
    "eps",
    "warmup",
    "period",
    "gamma",
    "clip",
    "validation",
    "momentum",
    "weight_decay",
    "backbone_lr",
    "optimizer",
    "schedule",
    "keep",
    "x",
)


def wrong_plan(draw: Mutator, world: World) -> None:
    """A plan with one or more wrong values. Nothing runs."""
    flags = _flags(draw, draw.choice(TASKS), wrong=draw.choice((0, 1, 1, 2)))
    if "--json" in flags:  # it takes no file here
        del flags[flags.index("--json") + 1]
    if draw.chance(0.2):
        flags += [draw.choice(PLAN_ONLY), draw.choice(("1", "1e12", "2,4", draw.word()))]
    world.run("plan", *flags)


def run_toys(draw: Mutator, world: World) -> None:
    """A run of toys, mostly with good values; every result is checked."""
    flags = _flags(draw, draw.choice(("toy", "toy", "folded")), wrong=int(draw.chance(0.3)))
    if "--match" not in flags and "--recipe" not in flags:
        flags += ["--recipe", "steps=3"]
    flags = [*flags, "--keep", "masks", "--output", "s", "--quiet"]
    for _ in range(draw.choice((1, 1, 2))):
        world.run("run", *flags, store="s")
    world.run("report", "s", *draw.choice(((), ("--curves",), ("--format", "csv"), ("--format", "json"))))


def other_verbs(draw: Mutator, world: World) -> None:
    """Any other verb, with random arguments."""
    verb = draw.choice(
        ("show", "list", "report", "compare", "score", "store", "work", "data", "nothing", "--help")
    )
    words = {
        "show": (draw.choice((*METHODS, *TASKS)),),
        "compare": (draw.choice(METHODS), draw.choice(METHODS), "s"),
        "data": (
            draw.choice(("list", "verify", "verify")),
            draw.choice(("synthetic", ".")),
            draw.choice(TASKS),
        ),
        "store": ("s", draw.choice(("--verify", "--prune", "--older", "--size"))),
    }.get(verb, ("s",))
    words = tuple(draw.word() if draw.chance(0.4) else word for word in words)
    flags = draw.choice(
        ("--format", "--where", "--html", "--older", "--size", "--data-dir", "--curves", "--json")
    )
    extra = (flags, draw.word()) if draw.chance(0.6) else ()
    world.run(verb, *words, *extra)


def _flags(draw: Mutator, task: str, wrong: int) -> list[str]:
    values = {
        "--model": "tiny",
        "--tasks": task,
        "--method": ",".join(draw.some(METHODS, 2)),
        "--sparsity": draw.choice(GOOD["--sparsity"]),
        "--limit": "16",
    }
    for flag in draw.some(list(GOOD), 4):
        values[flag] = draw.choice(GOOD[flag])
    for _ in range(wrong):
        match draw.randrange(5):
            case 0:
                flag = draw.choice((*values, *GOOD, *WRONG_ONLY))
                values[flag] = draw.word()
            case 1:
                values["--recipe"] = f"{draw.choice(FIELDS)}={draw.choice(NUMBERS)}"
            case 2:
                values["--method"] = (
                    f"{draw.choice(METHODS).partition(':')[0]}:{draw.choice(OPTIONS)}={draw.word()}"
                )
            case 3:
                flag = draw.choice(list(values))
                values[flag] = draw.text(values[flag])
            case _:
                values["--find"] = (
                    f"s@{draw.word()}:{draw.choice(('within', 'low', 'high', 'runs'))}={draw.word()}"
                )
    return [word for flag, value in values.items() for word in (flag, value)]
