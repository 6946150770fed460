"""Kernel choices: which kernels were fastest on this machine, measured once for all runs of a store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smc_eval.files.sealed_json import read_sealed_json, write_sealed_json
from smc_eval.recipe import SPARSE_KERNELS_VERSION
from smc_eval.spec import digest

CHOICES_FOLDER = "kernels"
"""Their folder inside a store: a file for each question."""
MEASURED_USES = {"predicting", "training"}
"""What a choice names a kernel for."""


class KernelChoices:
    """The choices of a store, by a digest of the question, as compressed JSON.

    Results depend on them in their last digits, so a choice that was made stays: a later run and a resumed
    one take the same kernels. Save one under a lock of its name.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / CHOICES_FOLDER

    @staticmethod
    def name(question: Mapping[str, Any]) -> str:
        """The name of a question's file and lock."""
        return digest("kernels", SPARSE_KERNELS_VERSION, question)

    def load(self, question: Mapping[str, Any]) -> dict[str, str] | None:
        """The kernel for each product; None where none was chosen yet, or the file is broken."""
        name = self.name(question)
        content = read_sealed_json(self._path(name), name)
        return None if content is None else _choice(content)

    def save(self, question: Mapping[str, Any], choice: Mapping[str, str]) -> None:
        """Save a choice: all of it, or nothing.

        Raises:
            StoreError: it cannot be written.
        """
        name = self.name(question)
        write_sealed_json(self._path(name), name, {"question": dict(question), "choice": dict(choice)})

    def is_whole(self, name: str) -> bool:
        """Whether a file, named without its endings, is one of these and whole."""
        content = read_sealed_json(self._path(name), name)
        return content is not None and _choice(content) is not None

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json.gz"


def _choice(content: Mapping[str, Any]) -> dict[str, str] | None:
    """The choice of a file; None if it has other products, or kernels that its question does not allow."""
    question, choice = content.get("question"), content.get("choice")
    if not isinstance(question, dict) or not isinstance(choice, dict) or choice.keys() != MEASURED_USES:
        return None
    allowed = ["dense", *question.get("kernels", ())]
    return choice if all(kernel in allowed for kernel in choice.values()) else None
