"""The problems that benchmarks of whole tasks are run on: a choice, a protein, a translation."""

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


def asked(about: str | None, translator: str = "scratch", **defaults: int) -> argparse.Namespace:
    """The command line, whole numbers by name beside data, models and threads; sets the threads."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data-dir", default="synthetic", help="data in the official layout")
    parser.add_argument("--corpus", help="of several parallel corpora in it, the one to translate")
    parser.add_argument("--text", default="tiny", help="text encoder, as for --model")
    parser.add_argument("--protein", default="tiny", help="protein encoder, as for --model")
    parser.add_argument("--translator", default=translator, help="encoder-decoder, as for --model")
    parser.add_argument("--threads", type=int, default=1)
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    found = parser.parse_args()
    torch.set_num_threads(found.threads)
    print(f"{found.threads} threads, torch {torch.__version__}, data {found.data_dir}")
    return found


def tasks(said: argparse.Namespace) -> list[Task]:
    """The three, each with its own recipe, as `--model tiny` has it for a tiny net.

    One that lacks its data or model ends the program.
    """
    found: list[Task] = [
        Csqa(backbone=said.text, folder=said.data_dir),
        HpS2C2(backbone=said.protein, folder=said.data_dir, fold=0),
        TwoToTwo(backbone=said.translator, folder=said.data_dir, corpus=said.corpus),
    ]
    try:
        for task in found:
            task.sources()
    except SmcError as error:
        raise SystemExit(str(error)) from None
    return [as_tiny(task) if task.backbone == "tiny" else task for task in found]


def as_tiny(task: Task) -> Task:
    """The task with the recipe of its trials."""
    return task.replace(recipe=task.recipe.model_copy(update=dict(task.tiny)))


def label(task: Task) -> str:
    """Task and model, for a line of results."""
    return f"{task.card.name} with {task.backbone}"


def clock() -> float:
    """Seconds of this process where they are those of its one thread, else of the wall."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def without_lengths(recipe: Recipe) -> Recipe:
    """The same recipe, drawing and cutting batches whatever the lengths of their examples."""
    return recipe.model_copy(update={"bucket": 1, "tokens": None})
