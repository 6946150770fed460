"""What is built in, and the page of each."""

from __future__ import annotations

from smc_eval.method import Method
from smc_eval.registry import load_registry
from smc_eval.task import Task


def own_methods() -> list[type[Method]]:
    """The built-in methods, in the order of the list."""
    methods = load_registry().checked().methods.values()
    return [kind for kind in methods if kind.__module__.startswith("smc_eval.")]


def own_tasks() -> list[type[Task]]:
    """The built-in tasks, in the order of the list."""
    tasks = load_registry().checked().tasks.values()
    return [kind for kind in tasks if kind.__module__.startswith("smc_eval.")]


def method_path(name: str) -> str:
    """The page of a method."""
    return f"methods/{name}.md"


def task_path(name: str) -> str:
    """The page of a task."""
    return f"tasks/{name.replace('/', '-')}.md"
