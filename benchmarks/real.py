"""Tasks for the benchmarks of whole tasks: multiple choice, a protein, a translation."""

from __future__ import annotations

import argparse
import time

import torch

from smc_eval.errors import SmcError
from smc_eval.recipe import Recipe
from smc_eval.task import Task
from smc_eval.tasks.commonsense.csqa import Csqa
from smc_eval.tasks.protein.datasets import HpS2C2
from smc_eval.tasks.translation.translation import TwoToTwo


def parse_args(about: str | None, translator: str = "scratch", **defaults: int) -> argparse.Namespace:
    """The command line: data, models, threads, and the integers in `defaults`. Sets the threads."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data-dir", default="synthetic", help="data in the official layout")
    parser.add_argument("--corpus", help="the parallel corpus to translate, if the data has several")
    parser.add_argument("--text", default="tiny", help="text encoder, as in --model")
    parser.add_argument("--protein", default="tiny", help="protein encoder, as in --model")
    parser.add_argument("--translator", default=translator, help="encoder-decoder, as in --model")
    parser.add_argument("--threads", type=int, default=1)
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"{args.threads} threads, torch {torch.__version__}, data {args.data_dir}")
    return args


def tasks(args: argparse.Namespace) -> list[Task]:
    """The three tasks, each with its own recipe; a tiny net has the recipe of `--model tiny`.

    The program ends if data or a model is missing.
    """
    made: list[Task] = [
        Csqa(backbone=args.text, folder=args.data_dir),
        HpS2C2(backbone=args.protein, folder=args.data_dir, fold=0),
        TwoToTwo(backbone=args.translator, folder=args.data_dir, corpus=args.corpus),
    ]
    try:
        for task in made:
            task.sources()
    except SmcError as error:
        raise SystemExit(str(error)) from None
    return [as_tiny(task) if task.backbone == "tiny" else task for task in made]


def as_tiny(task: Task) -> Task:
    """The task with the recipe of its tiny model."""
    return task.replace(recipe=task.recipe.model_copy(update=dict(task.tiny)))


def label(task: Task) -> str:
    """Task and model, for a line of the output."""
    return f"{task.card.name} with {task.backbone}"


def clock() -> float:
    """Process time on one thread, else wall-clock time."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def without_lengths(recipe: Recipe) -> Recipe:
    """The same recipe with batches that do not depend on the lengths of examples."""
    return recipe.model_copy(update={"bucket": 1, "tokens": None})
