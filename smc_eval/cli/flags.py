"""Flags: the fields of a run configuration as options of a verb."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_args

import typer

from smc_eval.cli.completion import GRID_NAMES, closed_choices, flag_completion
from smc_eval.experiment.ablation import How
from smc_eval.experiment.config import Format, RunConfig, configured, keys
from smc_eval.experiment.meaning import meaning

METAVARS = {
    "model": "[GROUP=]MODEL",
    "method": "NAME[:key=value,…]",
    "ablate": ",".join(get_args(How)),
    "tasks": "NAME[:key=value,…]",
    "sparsity": "N,N:M,heads:N,smc",
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
    "device": "auto|cpu|cuda[:N]|mps",
    "jobs": "N",
    "executor": "local|slurm[:KEY=VALUE,…]|ray[:ADDRESS]",
    "threads": "N",
    "checkpoint-every": "SECONDS",
    "track": "NAME[:key=value,…]",
}
"""Placeholders for the values of flags in the help, where the type of the field gives none."""

FORMATS = "|".join(get_args(Format))
"""Placeholder of `--format`."""

GRID_OPTION = typer.Option(
    "--grid",
    metavar="FILE.toml|NAME",
    help="Take flags from a TOML file, one key for each flag, or from a built-in grid: smc-bench. "
    "Flags on the command line take precedence. Default: none.",
    autocompletion=GRID_NAMES,
)


def with_config_flags(verb: Callable[..., None], *, json_is_flag: bool = False) -> Callable[..., None]:
    """A verb of a run configuration as a command, with a flag for each field and then the verb's own flags.

    With `json_is_flag`, `--json` takes no file: the verb prints JSON.
    """
    _, *own = inspect.signature(verb, eval_str=True).parameters.values()

    def command(grid: str | None = None, **values: Any) -> None:
        if json_is_flag and values.get("json_file"):
            values["json_file"] = "-"
        own_values = {parameter.name: values.pop(parameter.name) for parameter in own}
        given = {name: value for name, value in values.items() if value not in (None, [])}
        verb(configured(given, grid), **own_values)

    parameters = [_parameter(key, name, json_is_flag=json_is_flag) for key, name in keys().items()]
    parameters += [_keyword("grid", str | None, GRID_OPTION), *own]
    command.__doc__ = verb.__doc__
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _parameter(key: str, name: str, *, json_is_flag: bool) -> inspect.Parameter:
    field = RunConfig.model_fields[name]
    text = meaning(RunConfig, name)
    if key == "json" and json_is_flag:
        return _keyword(
            name,
            bool | None,
            typer.Option("--json", help="Print the plan as JSON. Default: off.", show_default=False),
        )
    if field.annotation is bool:
        switch = f"--{key}/--no-{key}" if field.default else f"--{key}"
        return _keyword(name, bool | None, typer.Option(switch, help=text, show_default=False))
    option = typer.Option(
        f"--{key}",
        metavar=METAVARS.get(key) or "|".join(closed_choices(field.annotation)) or None,
        help=text,
        show_default=False,
        autocompletion=flag_completion(key),
    )
    return _keyword(name, list[str] | None if field.annotation == tuple[str, ...] else str | None, option)


def _keyword(name: str, kind: Any, option: Any) -> inspect.Parameter:
    # every default is None, so that a flag that is not given does not hide a key of a grid file
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option]
    )
