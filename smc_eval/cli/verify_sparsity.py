"""The verb `verify-sparsity`: what the files of a checkpoint show of its sparsity, whatever wrote them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smc_eval.errors import ModelError, UsageError, counted
from smc_eval.exported.manifest import MASKS_FILE, Manifest
from smc_eval.files.json_text import parse_json
from smc_eval.files.user_path import is_file, is_folder, user_path
from smc_eval.reporting.printable import printable
from smc_eval.reporting.text_table import TextTable

if TYPE_CHECKING:
    from smc_eval.engine.verify.checkpoint_zeros import CheckpointZeros
    from smc_eval.engine.verify.tensor_files import TensorFiles

PATTERN = re.compile(r"([1-9][0-9]{0,2}):([1-9][0-9]{0,2})")
HEADS = ("tensor", "shape", "sparsity", "{pattern}", "dead rows", "dead columns", "−0.0", "not finite")


def verify_sparsity(
    place: Annotated[
        str,
        typer.Argument(
            metavar="DIR|FILE", help="A checkpoint: a folder, or a file (.safetensors, .bin, .pt)."
        ),
    ],
    *,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="DIR|FILE",
            help="The checkpoint that had the zeros: count those that are lost here. Default: none.",
        ),
    ] = None,
    pattern: Annotated[
        str,
        typer.Option(
            "--pattern",
            metavar="N:M",
            help="Pattern whose groups are counted. Default: 2:4.",
            show_default=False,
        ),
    ] = "2:4",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON. Default: off.")] = False,
) -> None:
    """Count the zeros of a checkpoint, without its net.

    The checkpoint may be of any origin. Exit code 1: a value is not finite, a tie is broken, a value under
    the masks of an exported folder is not zero, or --against finds a lost zero or a tensor that it cannot
    compare. −0.0 and dead rows are only shown.
    """
    match = PATTERN.fullmatch(pattern)
    if not match or int(match[1]) > int(match[2]):
        raise UsageError(f"--pattern {pattern!r} is no pattern; write N:M with N at most M, as in 2:4")
    n, m = int(match[1]), int(match[2])

    from smc_eval.engine.verify.checkpoint_zeros import checkpoint_zeros

    files = _opened(place)
    found = _named(
        place,
        lambda: checkpoint_zeros(
            files,
            n,
            m,
            ties_by_config=_ties(place),
            masks=_masks(place, files),
            against=_opened(against) if against else None,
        ),
    )
    if as_json:
        typer.echo(
            json.dumps(
                {"checkpoint": place, "pattern": pattern, **found.to_json()}, indent=1, allow_nan=False
            )
        )
    else:
        _print(found, pattern)
    if found.faults:
        raise typer.Exit(1)


def _opened(place: str) -> TensorFiles:
    """The tensors of a checkpoint, which must be the weights themselves.

    Raises:
        ModelError: there is none, it cannot be read, or another program packed or quantised its weights.
    """
    from smc_eval.engine.verify.tensor_files import TensorFiles
    from smc_eval.methods.from_checkpoint import checkpoint_files
    from smc_eval.tasks.checkpoint_files import refuse_packed
    from smc_eval.tasks.foreign_tensors import refuse_foreign

    paths = [*checkpoint_files(place), *_head(place)]
    refuse_packed(_config(place), place)
    files = TensorFiles(paths)
    refuse_foreign(files.names, place)
    return files


def _head(place: str) -> list[Path]:
    """The head beside the model of an exported folder."""
    folder = user_path(place)
    manifest = Manifest.read(folder) if is_folder(folder) else None
    return [folder / manifest.head] if manifest and manifest.form == "model" and manifest.head else []


def _masks(place: str, files: TensorFiles) -> dict[str, Any] | None:
    """The masks beside the model of an exported folder; None where there are none."""
    from smc_eval.exported.packed_tensors import read_packed

    folder = user_path(place)
    if not is_folder(folder) or Manifest.read(folder) is None or not is_file(folder / MASKS_FILE):
        return None
    try:
        return {name: mask for name, mask in read_packed(folder / MASKS_FILE).items() if name in files}
    except Exception as error:  # noqa: BLE001  a broken file can raise anything
        raise ModelError(f"{folder / MASKS_FILE} cannot be read as masks: {error}") from None


def _ties(place: str) -> bool | None:
    """Whether the config ties input and output tables; None where it does not say."""
    value = _config(place).get("tie_word_embeddings")
    return value if isinstance(value, bool) else None


def _config(place: str) -> dict[str, Any]:
    """The config beside the weights; empty where there is none that can be read."""
    path = user_path(place) / "config.json"
    try:
        config = parse_json(path.read_bytes()) if is_file(path) else {}
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def _named(place: str, made: Any) -> CheckpointZeros:
    try:
        found: CheckpointZeros = made()
    except ModelError as error:
        raise ModelError(f"{place}: {error}") from None
    return found


def _print(found: CheckpointZeros, pattern: str) -> None:
    from rich.console import Console

    from smc_eval.reporting.terminal import print_text_table

    rows = tuple(
        (
            name,
            "×".join(map(str, counts.shape)),
            f"{counts.sparsity:.4f}",
            f"{counts.fitting / counts.groups:.4f}" if counts.groups else "–",
            *(
                str(count or "–")
                for count in (counts.dead_rows, counts.dead_columns, counts.negative_zeros, counts.not_finite)
            ),
        )
        for name, counts in found.tensors.items()
        if len(counts.shape) >= 2 or counts.not_finite
    )
    heads = tuple(head.format(pattern=pattern) for head in HEADS)
    table = TextTable(
        heads,
        "ll" + "r" * (len(heads) - 2),
        rows,
        notes=tuple(_notes(found, pattern)),
        warnings=tuple(map(printable, found.faults)),
    )
    print_text_table(table, Console())


def _notes(found: CheckpointZeros, pattern: str) -> list[str]:
    shares = {which: found.sparsity(which) for which in ("scope", "weights", "all")}
    scope = "the tensors with a mask" if found.scope is not None else "the matrices with zeros"
    words = {
        "scope": scope,
        "weights": "all matrices, without embeddings by their names",
        "all": "all values",
    }
    lines = [
        "sparsity: "
        + "; ".join(f"{share:.6g} of {words[name]}" for name, share in shares.items() if share is not None),
        f"column {pattern}: share of groups that fit the pattern, along rows",
    ]
    if negative := sum(counts.negative_zeros for counts in found.tensors.values()):
        lines.append(
            f"{counted(negative, 'zero')} with a minus sign (−0.0), as multiplication by a mask leaves them; "
            "files compress worse"
        )
    for tie in found.ties:
        if not tie.broken:
            state = "equal, stored twice" if not tie.differing else "two tensors"
            lines.append(f"{tie.output} and {tie.table}: {state}")
    if found.integers:
        lines.append(
            f"{counted(len(found.integers), 'tensor')} of integers left out, such as {found.integers[0]}: "
            "their scale is not known"
        )
    if found.comparison:
        before, lost = found.comparison.before, found.comparison.lost
        lines.append(f"against: {before - lost} of {before} zeros stayed")
    return list(map(printable, lines))
