"""Plugins: methods and tasks whose classes return what they should not."""

from __future__ import annotations

from fuzzing.mutator import Mutator
from fuzzing.world import World

HEAD = """
import math, os, sys
from typing import Any, ClassVar
import numpy as np
import torch
from torch import nn
from smc_eval import (
    Criterion, Method, MethodCard, Pruner, Prune, Rewind, Score, Source, TaskCard, Train, Updater, hookimpl,
    masks,
)
from smc_eval.score import Items
from smc_eval.stages import Distillation
from smc_eval.target import Target
from smc_eval.testing import Toy

def magnitudes(view):
    return {name: weight.abs() for name, weight in view.weights.items()}
"""

METHOD = """
class Scores(Criterion):
    def saliency(self, probe):
        {saliency}

class Masks(Pruner):
    {pruner_flags}
    def prune(self, probe, target):
        made = masks(magnitudes(probe), target, within=probe.masks)
        {prune}
        return made

class Changes(Updater):
    to: Target
    {updater_flags}
    def init(self, weights, masks):
        {init}
    def update(self, view, state):
        made = None
        if view.step == view.steps - 1:
            made = masks(magnitudes(view), self.to, within=view.masks)
        {update}
        if made is not None:
            view.set_masks(made)
        return state
    def densities(self, steps, density):
        {densities}

class Odd(Method):
    card: ClassVar[MethodCard] = MethodCard(name="odd", summary="odd", source="none", when="after")
    def plan(self, target):
        {plan}

@hookimpl
def smc_eval_methods():
    return {methods}
"""

TASK = """
class Odd(Toy):
    card: ClassVar[TaskCard] = TaskCard(
        name="odd-toy", summary="odd", source="none", metric="accuracy (%)", accepts=("tiny",),
        published="tiny",
    )
    {task_flags}
    def sources(self):
        {sources}
    def data(self, part):
        found = super().data(part)
        {data}
        return found
    def model(self):
        model = super().model()
        {model}
        return model
    def collate(self, examples):
        batch = super().collate(examples)
        {collate}
        return batch
    def loss(self, model, batch):
        loss = super().loss(model, batch)
        {loss}
        return loss
    def predict(self, model, batch):
        found = super().predict(model, batch)
        {predict}
        return found
    def score(self, predicted, examples):
        score = super().score(predicted, examples)
        {score}
        return score

@hookimpl
def smc_eval_tasks():
    return {tasks}
"""

VALUES = (
    "None",
    "True",
    "0",
    "-1",
    "1.5",
    "math.nan",
    "math.inf",
    "10**400",
    "'a'",
    "'\\x1b[2J'",
    "'\\ud800'",
    "b'a'",
    "[]",
    "{}",
    "()",
    "[None]",
    "{'a': 1}",
    "object()",
    "torch.tensor(1.0)",
    "torch.ones(3)",
    "torch.ones(2, 2, dtype=torch.bool)",
    "torch.tensor(float('nan'))",
    "np.float32(1)",
    "np.ones(3)",
    "Score",
    "lambda *a: 1",
    "iter([1])",
    "range(3)",
    "{1, 2}",
    "nn.Linear(2, 2)",
    "type('T', (), {})()",
)
ACTS = (
    "sys.exit(3)",
    "sys.exit('a\\x1b[2J\\nb')",
    "raise SystemExit",
    "raise ValueError('a\\n' * 50)",
    "raise ValueError",
    "raise KeyError('\\x1b[2J')",
    "raise AssertionError",
    "raise StopIteration",
    "raise RecursionError",
    "raise MemoryError",
    "raise OSError(28, 'No space left on device', 'x')",
    "raise UnicodeDecodeError('utf-8', b'a', 0, 1, 'x')",
    "raise type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})()",
    "torch.manual_seed(0)",
    "torch.set_grad_enabled(False)",
    "torch.set_default_dtype(torch.float64)",
    "os.chdir('/')",
    "(lambda f: f(f))(lambda f: f(f))",
)
MASK_CHANGES = (
    "made = {name: mask.float() for name, mask in made.items()}",
    "made = {name: mask.to(torch.uint8) for name, mask in made.items()}",
    "made = {name: mask.to('meta') for name, mask in made.items()}",
    "made = {name: mask.flatten() for name, mask in made.items()}",
    "made = {name: mask.t() for name, mask in made.items()}",
    "made = {name: mask[:1] for name, mask in made.items()}",
    "made = {name: mask[None] for name, mask in made.items()}",
    "made = {name: mask.numpy() for name, mask in made.items()}",
    "made = {name: mask.tolist() for name, mask in made.items()}",
    "made = {name: ~mask for name, mask in made.items()}",
    "made = {name: mask.to_sparse() for name, mask in made.items()}",
    "made = {name: mask.clone().fill_(True) for name, mask in made.items()}",
    "made = {name: mask.clone().fill_(False) for name, mask in made.items()}",
    "made = dict(list(made.items())[1:])",
    "made = {**made, 'other': torch.ones(2, 2).bool()}",
    "made = {**made, 'words.weight': torch.ones(12, 8).bool()}",
    "made = {str(number): mask for number, mask in enumerate(made.values())}",
    "made = {number: mask for number, mask in enumerate(made.values())}",
    "made = list(made.items())",
    "made = list(made.values())",
    "made = iter(made.items())",
    "made = {name: mask.expand_as(mask) & True for name, mask in made.items()}",
    "first = next(iter(made)); made[first].view(-1)[0] ^= True",
    "first = next(iter(made)); made = {**made, first: torch.zeros_like(made[first])}",
    "made = {name: torch.rand(mask.shape) < 0.5 for name, mask in made.items()}",
    "made = {name: next(iter(made.values())) for name in made}",
)
VIEW_CHANGES = (
    "[weight.add_(1) for weight in {view}.weights.values()]",
    "[mask.fill_(True) for mask in {view}.masks.values()]",
    "[weight.data.fill_(math.nan) for weight in {view}.weights.values()]",
    "[weight.data.mul_(3) for weight in {view}.weights.values()]",
    "[weight.resize_(1) for weight in {view}.weights.values()]",
    "{view}.weights.clear()",
    "{view}.weights = {{}}",
    "{view}.generator.manual_seed(1)",
)
PROBE_CALLS = (
    "probe.note('\\x1b[2J')",
    "probe.note('a\\n' * 50)",
    "probe.note(3)",
    "probe.note('a' * 10000)",
    "probe.mend({})",
    "probe.mend({'other': torch.ones(2)})",
    "probe.mend({name: w * math.nan for name, w in probe.weights.items()})",
    "probe.mend({name: w.double() for name, w in probe.weights.items()})",
    "probe.mend({name: w + 1 for name, w in probe.weights.items()})",
    "probe.mend({name: w.flatten() for name, w in probe.weights.items()})",
    "probe.mend({name: w.tolist() for name, w in probe.weights.items()})",
    "probe.mend(None)",
    "probe.gradients(0)",
    "probe.gradients(-1)",
    "probe.gradients('a')",
    "probe.gradients(1.5)",
    "probe.gradients(10**9 if False else 3)",
    "probe.gradients(1, temperature=0)",
    "probe.gradients(1, temperature=-2.0)",
    "probe.gradients(1, temperature=3.0, per_class=1)",
    "probe.gradients(1, per_class=0)",
    "probe.products({}, 1)",
    "probe.products({name: w.flatten() for name, w in probe.weights.items()}, 1)",
    "probe.inputs(1, lambda *a: 1 / 0)",
    "probe.inputs(1, None)",
    "probe.inputs(0, lambda *a: None)",
    "probe.flow(0)",
    "next(probe.each_gradient(1, 0))",
    "next(probe.each_gradient(1, -5))",
    "next(probe.each_gradient(0))",
)
SALIENCIES = (
    "return magnitudes(probe)",
    "return {name: w * math.nan for name, w in probe.weights.items()}",
    "return {name: w.abs() * math.inf for name, w in probe.weights.items()}",
    "return {name: w * 0 for name, w in probe.weights.items()}",
    "return {name: w.to(torch.complex64) for name, w in probe.weights.items()}",
    "return {name: w.abs().to(torch.int64) for name, w in probe.weights.items()}",
    "return {name: w.abs() > 0.1 for name, w in probe.weights.items()}",
    "return {name: w.abs().half() for name, w in probe.weights.items()}",
    "return {name: w.abs().double() * 1e300 for name, w in probe.weights.items()}",
    "return {name: w.abs().to(torch.float8_e5m2) for name, w in probe.weights.items()}",
    "return {name: w.abs().to('meta') for name, w in probe.weights.items()}",
    "return {name: w.abs().to_sparse() for name, w in probe.weights.items()}",
    "return {name: w.abs().numpy() for name, w in probe.weights.items()}",
    "return {name: w.abs().tolist() for name, w in probe.weights.items()}",
    "return {name: w.abs().sum() for name, w in probe.weights.items()}",
    "return {name: w.abs().flatten() for name, w in probe.weights.items()}",
    "return {name: 1.0 for name in probe.weights}",
    "return [w.abs() for w in probe.weights.values()]",
    "return dict(list(magnitudes(probe).items())[:1])",
    "return {**magnitudes(probe), 'other': torch.ones(2)}",
    "return {number: w.abs() for number, w in enumerate(probe.weights.values())}",
    "return probe.weights",
    "return probe.gradients(1)",
    "return {name: -w.abs() for name, w in probe.weights.items()}",
    "return {name: w.abs().requires_grad_() for name, w in probe.weights.items()}",
)
PLANS = (
    "yield Train(); yield Prune(by=Scores(), to=target); yield Train()",
    "yield Prune(by=Masks(), to=target); yield Train()",
    "yield Train(); yield Prune(by=Masks(), to=target); yield Train()",
    "yield Train(updater=Changes(to=target))",
    "yield Prune(by=Scores(), to=target); yield Train(updater=Changes(to=target))",
    "yield Prune(by=Masks(), to=target, rounds=3); yield Train()",
    "yield Train(name='a'); yield Prune(by=Scores(), to=target); yield Rewind(to='a'); yield Train()",
)
WRONG_PLANS = (
    "yield",
    "yield 5",
    "yield None; yield Train()",
    "yield Prune(by=Masks(), to=None)",
    "yield Train(length=1e300)",
    "yield Train(length=math.nan)",
    "yield Train(start=0.9, stop=0.1)",
    "yield Rewind(to='nowhere')",
    "yield Prune(by=Scores(), to=target)",
    "yield Train()",
    "yield Prune(by=Scores(), to=target.at(0.1)); yield Train()",
    "yield Prune(by=None, to=target)",
    "yield Prune(by=Masks, to=target)",
    "yield Train; yield Prune",
    "yield Train(updater=Changes)",
    "yield Train(name='a', distil=Distillation(teacher='a'))",
    "yield Prune(by=Scores(), to=target, rounds=10**6)",
    "yield from [Train()] * 3",
    "return []",
    "return None",
    "return 5",
    "return [Prune(by=Scores(), to=target), Train()]",
    "while True: yield Train()",
)


def odd_method(draw: Mutator, world: World) -> None:  # noqa: C901  a match of nine cases
    """A method whose parts give odd values or do odd things; every result that is certified is checked."""
    parts = {
        "saliency": "return magnitudes(probe)",
        "pruner_flags": "",
        "prune": "pass",
        "updater_flags": "",
        "init": "return {}",
        "update": "pass",
        "densities": "return None",
        "plan": draw.choice(PLANS),
        "methods": "[Odd]",
    }
    for _ in range(draw.choice((1, 1, 2))):
        match draw.randrange(9):
            case 0:
                parts["saliency"] = draw.choice(SALIENCIES)
            case 1:
                parts["prune"] = draw.choice(MASK_CHANGES)
            case 2:
                parts["update"] = f"if made is not None: {draw.choice(MASK_CHANGES)}"
            case 3:
                place, view = draw.choice((("prune", "probe"), ("update", "view"), ("saliency", "probe")))
                parts[place] = draw.choice(VIEW_CHANGES).format(view=view)
                parts[place] += "; return magnitudes(probe)" if place == "saliency" else ""
            case 4:
                parts[draw.choice(("prune", "saliency"))] = (
                    draw.choice(PROBE_CALLS) + "; return magnitudes(probe)"
                )
            case 5:
                parts["plan"] = draw.choice(WRONG_PLANS)
            case 6:
                parts[draw.choice(("saliency", "prune", "init", "update", "densities"))] = (
                    f"return {draw.choice(VALUES)}"
                )
            case 7:
                parts[draw.choice(("saliency", "prune", "init", "update", "densities", "plan"))] = (
                    draw.choice(ACTS)
                )
            case _:
                flags = draw.choice(
                    ("revives = True", "soft = True", "needs_outputs = True", "shardable = True")
                )
                parts[draw.choice(("pruner_flags", "updater_flags"))] = flags
    if draw.chance(0.1):
        parts["methods"] = draw.choice((*VALUES, "[5]", "[Odd()]", "[Odd, Odd]", "[Method]", "[Scores]"))
    if draw.chance(0.1):
        parts["plan"] = parts["plan"].replace("(by=Scores()", "(by=Masks()")
    _run(draw, world, METHOD.format(**parts), "toy", "odd")


def odd_task(draw: Mutator, world: World) -> None:
    """A task whose methods give odd values or do odd things."""
    names = ("sources", "data", "model", "collate", "loss", "predict", "score")
    parts = dict.fromkeys(names, "pass") | {
        "sources": "return super().sources()",
        "task_flags": "",
        "tasks": "[Odd]",
    }
    for _ in range(draw.choice((1, 1, 2))):
        name = draw.choice(names)
        match draw.randrange(6):
            case 0 | 1:
                parts[name] = f"return {draw.choice(VALUES)}"
            case 2:
                parts[name] = draw.choice(ACTS)
            case _:
                parts[name] = draw.choice(CHANGES[name])
    if draw.chance(0.1):
        parts["tasks"] = draw.choice((*VALUES, "[5]", "[Odd()]", "[Odd, Odd]", "[Toy]"))
    if draw.chance(0.1):
        parts["task_flags"] = draw.choice(FLAGS)
    _run(
        draw,
        world,
        TASK.format(**parts),
        "odd-toy",
        draw.choice(("omp-after", "snip", "wanda", "set", "synflow")),
    )


FLAGS = (
    "generates = True",
    "tiny = {'steps': 'a'}",
    "tiny = {'x': 1}",
    "paper = {'x': 1}",
    "length = 5",
    "exclude = ('other',)",
    "def exclude(self): return ('other',)",
    "def exclude(self): return 5",
    "def length(self, example): return 'a'",
    "def trained_as(self): return 5",
    "def ceiling(self, examples): return {'a': math.nan}",
    "def content(self, example): return object()",
    "def left_out(self, part): return 'a'",
    "def unknown_tokens(self, *a): return {'a': 'b'}",
    "def sizes(self): return 5",
    "def data_files(self): return 5",
    "option: dict = {}",
)
CHANGES = {
    "sources": (
        "return (Source('data', 'x', ''),)",
        "return (Source('data', '\\x1b[2J', 5),)",
        "return (Source('other', 'x', 'y'),)",
        "return (5,)",
        "return (Source('data', 'x', 'y'),) * 2",
        "import random; return (Source('data', 'x', str(random.random())),)",
    ),
    "data": (
        "found = []",
        "found = [5] * len(found)",
        "found = iter(found)",
        "found = tuple(found)",
        "found = found[:1]",
        "found = found if part == 'train' else []",
        "found = [] if part == 'train' else found",
        "found = found * 2",
        "found = {n: e for n, e in enumerate(found)}",
        "import random; random.SystemRandom().shuffle(found)",
    ),
    "model": (
        "model = model.double()",
        "model = model.half()",
        "model = model.to('meta')",
        "model.requires_grad_(False)",
        "model = nn.Sequential()",
        "model.words.weight.data.fill_(math.nan)",
        "model.down.weight.data.zero_()",
        "model.register_buffer('b', torch.tensor(math.nan))",
        "model.register_parameter('p', nn.Parameter(torch.zeros(0, 3)))",
        "model.register_parameter('p', nn.Parameter(torch.zeros(4, 3)))",
        "model.extra = nn.LazyLinear(3)",
        "model = nn.utils.parametrizations.weight_norm(model.down) and model",
        "nn.utils.prune.l1_unstructured(model.down, 'weight', 0.5) if hasattr(nn.utils, 'prune') else None",
        "model.down.weight.data = model.down.weight.data.t().contiguous().t()",
        "model.train = lambda mode=True: model",
    ),
    "collate": (
        "batch = None",
        "batch['tokens'] = batch['tokens'].float()",
        "batch['tokens'] = batch['tokens'] + 100",
        "batch['answers'] = batch['answers'][:1]",
        "batch['extra'] = 'text'",
        "batch = {**batch, 'n': torch.tensor(math.nan)}",
        "batch = {name: value.to('meta') for name, value in batch.items()}",
        "examples.clear() if isinstance(examples, list) else None",
    ),
    "loss": (
        "loss = loss.detach()",
        "loss = loss * math.nan",
        "loss = loss * math.inf",
        "loss = loss * 1e38",
        "loss = loss * 0",
        "loss = loss[None]",
        "loss = loss.expand(3)",
        "loss = loss.item()",
        "loss = (loss, loss)",
        "loss = -loss * 1e6",
        "loss = torch.complex(loss, loss)",
        "model.down.weight.data.fill_(1.0)",
        "model.eval()",
        "loss.backward()",
        "model.register_parameter('late', nn.Parameter(torch.ones(3, 3)))",
        "model.down.weight = nn.Parameter(torch.ones(8, 10))",
        "del model.odd",
    ),
    "predict": (
        "found = found[:-1]",
        "found = found + [1]",
        "found = tuple(found)",
        "found = iter(found)",
        "found = dict(enumerate(found))",
        "found = [torch.tensor(v) for v in found]",
        "found = [np.int64(v) for v in found]",
        "found = [math.nan for v in found]",
        "found = ['\\ud800' for v in found]",
        "found = [str(v) for v in found]",
        "found = [None for v in found]",
        "found = 'a' * len(found)",
        "found = [[v] for v in found]",
        "found = [{1: v} for v in found]",
        "found = [10**400 for v in found]",
        "found = np.array(found)",
        "found = torch.tensor(found)",
        "model.down.weight.data.fill_(1.0)",
        "model.train()",
    ),
    "score": (
        "score = Score('accuracy (%)', math.nan, 20)",
        "score = Score('accuracy (%)', 10**400, 20)",
        "score = Score('accuracy (%)', 50.0, 10**40)",
        "score = Score('other', 50.0, 20)",
        "score = Score('accuracy (%)', 50.0, 20, signature='\\x1b[2J')",
        "score = Score('accuracy (%)', 50.0, 20, signature='\\ud800')",
        "score = Score('accuracy (%)', 50.0, 20, also={'\\ud800': 1.0})",
        "score = Score('accuracy (%)', 50.0, 20, also={5: 1.0})",
        "score = Score('accuracy (%)', 50.0, 20, also=[1])",
        "score = Score('accuracy (%)', 50.0, 20, also_n=None)",
        "score = Score('accuracy (%)', 50.0, 20, higher_is_better='a')",
        "score = Score('accuracy (%)', 50.0, 20, ceiling={'a': math.nan})",
        "score = Score('accuracy (%)', 50.0, 20, items=5)",
        "score = Score('accuracy (%)', 50.0, 20, items=Items('mean', ()))",
        "score = Score('accuracy (%)', 50.0, 20, items=Items('mean', ((1.0,),)))",
        "score = Score('accuracy (%)', 50.0, 20, items=Items('other', ((1.0,),) * 20))",
        "score = Score('accuracy (%)', 50.0, 20, items=Items('mean', 5))",
        "score = Score('accuracy (%)', 50.0, 20, items=Items('mean', ((math.nan,),) * 20))",
        "score = Score('accuracy (%)', 50.0, 20, items=Items('bleu', ((1.0,),) * 20))",
        "score = Score('accuracy (%)', 150.0, 20)",
        "predicted.clear()",
    ),
}


def _run(draw: Mutator, world: World, source: str, task: str, method: str) -> None:
    world.install("odd", HEAD + source)
    flags = (
        "--model",
        "tiny",
        "--tasks",
        task,
        "--method",
        method,
        "--sparsity",
        draw.choice(("0.5", "0.9", "2:4")),
    )
    options = ("--recipe", draw.choice(("steps=3", "steps=2,batch_size=20")), "--device", "cpu")
    world.run("plan", *flags, *options)
    world.run(
        "run", *flags, *options, "--keep", "masks", "--output", "s", "--quiet", store="s", own_code=True
    )
    world.run("report", "s", *draw.choice(((), ("--curves",), ("--format", "json"))))
    if draw.chance(0.3):
        world.run("show", draw.choice(("odd", "odd-toy")))
        world.run("score", "s", store="s", own_code=True)
