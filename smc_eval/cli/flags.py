"""Flags: an Order's fields as options of a command."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from smc_eval.experiment.ablation import How
from smc_eval.experiment.config import RunConfig, configured, keys

METAVARS = {
    "model": "[GROUP=]MODEL",
    "method": "NAME[:key=value,…]",
    "ablate": ",".join(get_args(How)),
    "tasks": "NAME[:key=value,…]",
    "sparsity": "N,N:M,smc",
    "include": "PATTERN",
    "exclude": "PATTERN",
    "seeds": "COUNT|N,N",
    "folds": "all|N,N",
    "recipe": "key=value,…",
    "match": "steps|flops[=N]",
    "find": "s@SHARE[:key=value,…]",
    "limit": "N",
    "data-dir": "DIR|hub|synthetic|published",
    "output": "DIR",
    "json": "FILE|-",
    "jobs": "N",
    "executor": "local|slurm[:KEY=VALUE,…]|ray[:ADDRESS]",
    "threads": "N",
}
"""What stands for a flag's value in its help, if its type does not say it."""

GRID_OPTION = typer.Option(
    "--grid",
    metavar="FILE.toml|NAME",
    help="Take all flags from a file, a key each, or from a grid that is shipped: smc-bench. "
    "Flags given beside it win.",
)


def with_config_flags(verb: Callable[..., None], *, json_is_flag: bool = False) -> Callable[..., None]:
    """A verb over an Order as a command that has a flag for each of the Order's fields, and then its own.

    With `json_is_flag`, `--json` takes no file: the verb prints JSON.
    """
    _, *own = inspect.signature(verb, eval_str=True).parameters.values()

    def command(grid: str | None = None, **given: Any) -> None:
        if json_is_flag and given.get("json_file"):
            given["json_file"] = "-"
        apart = {one.name: given.pop(one.name) for one in own}
        verb(
            configured({name: value for name, value in given.items() if value not in (None, [])}, grid),
            **apart,
        )

    parameters = [_parameter(key, name, json_is_flag=json_is_flag) for key, name in keys().items()]
    parameters += [_keyword("grid", str | None, GRID_OPTION), *own]
    command.__doc__ = verb.__doc__
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _parameter(key: str, name: str, *, json_is_flag: bool) -> inspect.Parameter:
    field = RunConfig.model_fields[name]
    text = " ".join((field.description or "").split())
    if key == "json" and json_is_flag:
        return _keyword(
            name, bool | None, typer.Option("--json", help="Print the plan as JSON.", show_default=False)
        )
    if field.annotation is bool:
        spelled = f"--{key}/--no-{key}" if field.default else f"--{key}"
        return _keyword(name, bool | None, typer.Option(spelled, help=text, show_default=False))
    option = typer.Option(
        f"--{key}", metavar=METAVARS.get(key) or _choices(field.annotation), help=text, show_default=False
    )
    return _keyword(name, list[str] | None if field.annotation == tuple[str, ...] else str | None, option)


def _choices(annotation: Any) -> str | None:
    """The values of a `Literal`, or of a `Literal | None`."""
    literals = [part for part in (annotation, *get_args(annotation)) if get_origin(part) is Literal]
    return "|".join(map(str, get_args(literals[0]))) if literals else None


def _keyword(name: str, kind: Any, option: Any) -> inspect.Parameter:
    # every default is None: what was not said must not hide what a grid file says
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option]
    )
