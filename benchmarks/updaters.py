"""The cost of updaters: whole trainings against dense training of the same net.

    python benchmarks/updaters.py --steps 800 --turn 10 --batch 32
    python benchmarks/updaters.py --steps 200 --of 2000 --turn 10 --batch 64
    python benchmarks/updaters.py --net gts --steps 800 --turn 10

The denominator is a dense step of the same loop: forward, backward, clipping, optimizer. An updater's cost
grows with the weights, that of a dense step with weights and tokens. So the first line states how many words
a step has: CommonsenseQA and HP-S2C2 have about 2,000 and 1,500, the default here is 256. `--net gts` is the
small GTS of docs/findings. "to fixed mask" is the floor: what every pruned net pays.
Trainings of one net run side by side, each for a turn of a few steps: A B C D, D C B A,
and again, so that other programs slow all of them equally. Two ratios are printed for each kind, to the dense
training and to a fixed mask. The median over turns shows a usual turn: most turns of GMP and RigL change no
mask. The ratio of whole trainings includes all changes, and has the target. In a short training changes
come closer together than in a real run, since GMP and others make twenty at least. With `--of 2000` they
come every 100 steps, as in a training of that length, and its first steps are run. On one thread, process
time is measured, unless `--clock wall` is given.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence
from statistics import median
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from smc_eval.card import TaskCard
from smc_eval.engine.batches import Batches
from smc_eval.engine.device import Device
from smc_eval.engine.probe import NetProbe
from smc_eval.engine.train import Training
from smc_eval.engine.usage import Usage
from smc_eval.experiment.cell import Cell, chain
from smc_eval.method import Method
from smc_eval.methods.ac_dc import AcDc
from smc_eval.methods.chts import Chts, Chtss
from smc_eval.methods.dense import Dense
from smc_eval.methods.gmp import Gmp
from smc_eval.methods.mest import Mest
from smc_eval.methods.movement import Movement
from smc_eval.methods.omp import MagnitudeBefore
from smc_eval.methods.rigl import MagnitudeRigL
from smc_eval.methods.set import SparseEvolution
from smc_eval.methods.sr_ste import SrSte
from smc_eval.methods.srigl import StructuredRigL
from smc_eval.methods.top_kast import TopKast
from smc_eval.protocol import SOUND
from smc_eval.recipe import Recipe
from smc_eval.score import Score, accuracy
from smc_eval.sparse.net import Net
from smc_eval.sparse.scope import in_scope
from smc_eval.stages import Prune, Train
from smc_eval.target import Target
from smc_eval.task import Part, Source, Task
from smc_eval.tasks.arithmetic.datasets import MawpsGts

KINDS: dict[str, tuple[Method, float | None]] = {
    "dense": (Dense(), None),
    "fixed mask": (MagnitudeBefore(), 1.03),
    "gmp": (Gmp(), 1.05),
    "omp-rigl": (MagnitudeRigL(), 1.05),
    "ac-dc": (AcDc(), 1.05),
    "top-kast": (TopKast(), 1.05),
    "top-kast:every=1": (TopKast(every=1), None),
    "sr-ste": (SrSte(), 1.05),
    "set": (SparseEvolution(), None),
    "mest": (Mest(), 1.05),
    "mest:bound=hard": (Mest(bound="hard"), 1.05),
    "srigl": (StructuredRigL(), 1.05),
    "chts": (Chts(), 1.05),
    "chts:score=ch3-l3p": (Chts(score="ch3-l3p"), None),
    "chtss": (Chtss(), None),
    "movement": (Movement(), None),
    "movement:every=10": (Movement(every=10), None),
}
"""Methods, and the target: the largest ratio of their time to that of dense training."""

WORDS, LENGTH, CLASSES = 1000, 32, 10


class Encoder(nn.Module):
    """A transformer encoder that classifies sentences."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, width)
        layer = nn.TransformerEncoderLayer(width, max(1, width // 64), 4 * width, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.out = nn.Linear(width, CLASSES)

    def forward(self, tokens_NL: Tensor) -> Tensor:
        """Logits [N, C]."""
        logits: Tensor = self.out(self.layers(self.words(tokens_NL))[:, 0])
        return logits


class Sentences(Task):
    """Random sentences with random labels."""

    card: ClassVar[TaskCard] = TaskCard(
        name="sentences",
        summary="random",
        source="none",
        metric="accuracy (%)",
        accepts=("tiny",),
        published="tiny",
    )
    width: int = 256
    layers: int = 4

    def sources(self) -> tuple[Source, ...]:
        return ()

    def data(self, part: Part) -> Sequence[tuple[list[int], int]]:
        generator = random.Random(0)  # no secret
        return [
            ([generator.randrange(WORDS) for _ in range(LENGTH)], generator.randrange(CLASSES))
            for _ in range(512)
        ]

    def model(self) -> nn.Module:
        return Encoder(self.width, self.layers)

    def collate(self, examples: Sequence[tuple[list[int], int]]) -> tuple[Tensor, Tensor]:
        return torch.tensor([words for words, _ in examples]), torch.tensor([label for _, label in examples])

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    def predict(self, model: nn.Module, batch: Any) -> list[int]:
        classes: list[int] = model(batch[0]).argmax(-1).tolist()
        return classes

    def score(self, predicted: Sequence[Any], examples: Sequence[Any]) -> Score:
        right = [guess == label for guess, (_, label) in zip(predicted, examples, strict=True)]
        return accuracy(right, self.card.metric, "accuracy")


def new_training(method: Method, sparsity: float, task: Task, device: Device) -> Training:
    """The last training of a method's plan, before its first step; its net is pruned as planned."""
    target = Target(sparsity=sparsity, distribution=method.card.distribution)
    if "free" not in method.card.patterns:
        target = Target.parse("2:4")
    links = chain(Cell(task=task, method=method, target=target, protocol=SOUND), (), len(task.data("train")))
    device.seed(links.start)
    model = task.model().to(device.torch_device)
    net, usage = Net(model, in_scope(model, "body")), Usage()
    net.model.train()
    for link in links.links:
        batches = Batches(task, task.recipe, links.start, device)
        match link.stage:
            case Prune(by=by, to=Target() as to):
                net.set_masks(by.prune(NetProbe(net, batches, link.digest, usage, device), to))
            case Train():
                return Training(net, link, batches, usage, device, None)
    raise SystemExit(f"{method.label} does not train")


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def seconds(training: Training, steps: int, clock: str) -> float:
    """Seconds of some steps."""
    began = CLOCKS[clock]()
    for _ in range(steps):
        training._advance()  # noqa: SLF001  # the loop without files and progress
    return CLOCKS[clock]() - began


def main() -> None:
    """Train all kinds side by side, and print the ratios of their times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--of", type=int, help="steps of the whole training; by default all are run")
    parser.add_argument("--turn", type=int, default=10, help="steps of one kind in a turn")
    parser.add_argument("--net", choices=("encoder", "gts"), default="encoder")
    parser.add_argument("--data-dir", default="synthetic", help="problems of gts, in the official layout")
    parser.add_argument("--batch", type=int, default=8, help=f"examples, of {LENGTH} words for the encoder")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--sparsity", type=float, default=0.8)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=CLOCKS, help="default: cpu on one thread, else wall")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=[*KINDS])
    args = parser.parse_args()
    clock = args.clock or ("cpu" if args.threads == 1 else "wall")
    recipe = Recipe(steps=args.of or args.steps, batch_size=args.batch, lr=1e-4, clip=1.0)
    task: Task = Sentences(width=args.width, layers=args.layers, recipe=recipe)
    if args.net == "gts":
        small = {"hidden": 128, "embedding": 128}
        task = MawpsGts(backbone="scratch", folder=args.data_dir, fold=0, recipe=recipe, **small)
    device = Device("cpu", threads=args.threads)
    kinds = [*dict.fromkeys(["dense", "fixed mask", *args.kinds])]
    trainings = {kind: new_training(KINDS[kind][0], args.sparsity, task, device) for kind in kinds}
    weights = [weight.numel() for weight in trainings["dense"].net.weights.values()]
    words = f" of {LENGTH} words" if args.net == "encoder" else ""
    print(
        f"{sum(weights):,} weights of {len(weights)} tensors, {args.batch} examples{words} a step, "
        f"{args.steps} of {recipe.steps} steps in turns of {args.turn}, {args.threads} threads, "
        f"{clock} time, torch {torch.__version__}"
    )
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(args.steps // args.turn):
        for kind in kinds if number % 2 == 0 else reversed(kinds):
            times[kind].append(seconds(trainings[kind], args.turn, clock))
    report(times, args.turn)


def report(times: dict[str, list[float]], turn: int) -> None:
    """Print the time of each kind, and its ratios to dense training and to the fixed mask."""
    print(f"{'':>18}  ms a step  to dense (whole)  to fixed mask (whole)")
    for kind, spent in times.items():
        words = f"{kind:>18}  {1000 * median(spent) / turn:9.1f}"
        for other in ("dense", "fixed mask"):
            ratio = median(own / beside for own, beside in zip(spent, times[other], strict=True))
            words += f"  {ratio:6.3f} ({sum(spent) / sum(times[other]):.3f})"
        target = KINDS[kind][1]
        print(words + (f"  target {target} to dense" if target else ""))


if __name__ == "__main__":
    main()
