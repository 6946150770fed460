"""Python code that a checkpoint brings: it is never run, whatever a plugin asks for."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from smc_eval.errors import ModelError
from smc_eval.files.json_text import parse_json

FIELD = "auto_map"
"""Field of a config.json, or of a tokenizer's, that names code to be run in place of a class."""

TOKENIZER_CONFIG = "tokenizer_config.json"

IMPORTERS = ("transformers.dynamic_module_utils", "transformers.generation.utils")
"""Modules of transformers that import the code of a checkpoint, all by the function `IMPORT`."""

IMPORT = "get_class_in_module"


def refuse_remote_code(folder: Path, config: Mapping[str, Any], model_name: str) -> None:
    """Refuse a checkpoint whose config names Python code of its own.

    A class of transformers would be loaded in its place where the model type is known, and might compute
    something else.

    Raises:
        ModelError: it does; the code is named.
    """
    for name, content in (("config.json", config), (TOKENIZER_CONFIG, _tokenizer_config(folder))):
        if code := content.get(FIELD):
            raise remote_code(model_name, f"its {name} has {FIELD} = {str(code)[:100]}")


def remote_code(model_name: str, found: str) -> ModelError:
    """The error for a checkpoint with code of its own; `found` says where."""
    return ModelError(
        f"the model {model_name!r} brings Python code of its own, which smc-eval never runs ({found})\n"
        "give a model of a type that transformers knows; if it is one, remove auto_map from a copy of it"
    )


@contextmanager
def no_remote_code(model_name: str) -> Iterator[None]:
    """Within, code of a checkpoint cannot be imported through transformers, also with `trust_remote_code`.

    Raises:
        ModelError: a plugin tries to.
    """
    import transformers.dynamic_module_utils

    def refuse(class_name: str, module_path: object, **_: object) -> NoReturn:
        raise remote_code(model_name, f"the class {class_name} of {Path(str(module_path)).name}")

    places = [module for name in IMPORTERS if (module := sys.modules.get(name))]
    before = [(place, vars(place)[IMPORT]) for place in places if IMPORT in vars(place)]
    assert before, f"transformers {transformers.__version__} imports code in another way"
    for place, _ in before:
        vars(place)[IMPORT] = refuse
    try:
        yield
    finally:
        for place, own in before:
            vars(place)[IMPORT] = own


def _tokenizer_config(folder: Path) -> Mapping[str, Any]:
    """The config of a folder's tokenizer; empty if there is none that can be read."""
    try:
        content = parse_json((folder / TOKENIZER_CONFIG).read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
