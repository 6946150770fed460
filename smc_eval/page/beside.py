"""What lies beside the records of one or several stores: items of scores, sketches of masks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from smc_eval.answers import Answers
from smc_eval.score import Items
from smc_eval.sketches import Sketch, Sketches


@dataclass(frozen=True)
class Beside:
    """Finds both by the digest of a record; None where there is none."""

    items: Callable[[str], Items | None] = lambda _: None
    sketches: Callable[[str], Mapping[str, Sketch] | None] = lambda _: None

    @classmethod
    def of(cls, folders: Iterable[Path]) -> Beside:
        """What lies in these stores; where several have it, the last one's, whose record counts."""
        stores = [(Answers(folder), Sketches(folder)) for folder in folders][::-1]

        def items(digest: str) -> Items | None:
            return next((found for answers, _ in stores if (found := answers.items(digest))), None)

        def sketches(digest: str) -> Mapping[str, Sketch] | None:
            return next((found for _, masks in stores if (found := masks.load(digest))), None)

        return cls(items, sketches)
